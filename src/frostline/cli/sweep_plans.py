"""Begin a search for model, head, plan and rate: what it chooses from, by the command line."""

import math
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.types import Override

from frostline.cli.sweep_search import Choices, Compose, require_composed
from frostline.errors import ConfigError
from frostline.sweeps.planning import KEYS
from frostline.sweeps.plans import FROZEN, Space
from frostline.sweeps.settings import Plans

MODEL, HEAD, SCHEDULE, RATE = KEYS
PROBE = "linear"
LISTS = {HEAD: "sweep.heads", SCHEDULE: "sweep.schedules", RATE: "sweep.rates"}  # whose place a typed setting takes


def space_of(
    overrides: Sequence[Override], settings: Plans, own: Sequence[str], choices: Choices, compose: Compose
) -> tuple[Space, list[str]]:
    """What is chosen from, and the overrides of every run. own: keys of the sweep that were typed. Raises ConfigError
    if something else has several values, if a list is given twice, or if a run would refuse a value."""
    fixed: list[str] = []
    typed: dict[str, list[str]] = {}
    for override in overrides:
        key = override.key_or_group
        if key in KEYS:
            typed[key] = [setting.partition("=")[2] for setting in choices(override)]
        elif override.is_sweep_override():
            raise ConfigError(
                f"sweep=plans chooses {', '.join(KEYS)}, but {key} has several values",
                where=str(override.input_line),
                next_step=f"{key}=<one value>; or sweep=grid, which tries every value",
            )
        else:
            fixed.append(str(override.input_line))
    _require_one_list(typed, own)
    _require_some(settings)
    first = compose([*fixed, *(f"{key}={values[0]}" for key, values in typed.items() if key != SCHEDULE)])
    composed = first.hydra.runtime.choices
    if first.dry_run:
        raise ConfigError("a search needs scores, but dry_run=true", where="dry_run", next_step="leave it out")
    models = typed.get(MODEL, [str(composed.model)])
    heads = typed.get(HEAD, settings.heads)
    if kept := HEAD not in typed and composed.head not in heads and LISTS[HEAD] not in own:
        heads = [str(composed.head)]
    schedules = typed.get(SCHEDULE, settings.schedules)
    probe = PROBE if PROBE in heads else heads[0]
    rates = {}
    for model in models:
        rates[model] = typed.get(RATE, [])
        if len(rates[model]) < 2:  # one value replaces the rate of the model
            typed_rate = [f"{RATE}={value}" for value in rates[model]]
            config = compose([*fixed, f"{MODEL}={model}", f"{HEAD}={probe}", *typed_rate])
            rates[model] = _multiples(config.optimizer.lr, rates[model], settings.rates)
    for model in models:
        for rate in rates[model][1:]:  # the first one is part of the jobs below
            require_composed([*fixed, f"{MODEL}={model}", f"{HEAD}={probe}", f"{RATE}={rate}"], compose)
        for head in heads:
            for schedule in (FROZEN, *schedules):
                job = [f"{MODEL}={model}", f"{HEAD}={head}", f"{SCHEDULE}={schedule}", f"{RATE}={rates[model][0]}"]
                require_composed([*fixed, *job], compose)
    if kept:
        print(f"plans  {HEAD}={heads[0]} is kept, and none of sweep.heads is tried: the model or the task chooses it")
    thawing = [schedule for schedule in schedules if schedule != FROZEN]
    return Space(rates, list(heads), thawing, probe, settings.models, settings.minutes), fixed


def _require_one_list(typed: Mapping[str, Sequence[str]], own: Sequence[str]) -> None:
    """Raises ConfigError if a setting and the list of the sweep that it replaces are both typed."""
    for key, listed in LISTS.items():
        least = 2 if key == RATE else 1  # sweep.rates multiplies a single rate
        if len(typed.get(key, [])) >= least and listed in own:
            raise ConfigError(
                f"{key} takes the place of {listed}, and both are typed",
                where=f"{key}={','.join(typed[key])}",
                next_step=f"leave {listed} out; or leave {key} out",
            )


def _require_some(settings: Plans) -> None:
    """Raises ConfigError if a list from which a run needs one value is empty."""
    for key, values, what in (("sweep.heads", settings.heads, "head"), ("sweep.rates", settings.rates, "rate")):
        if not values:
            raise ConfigError(f"sweep=plans needs at least one {what}", where=f"{key}=[]", next_step=f"leave {key} out")


def _multiples(rate: object, typed: Sequence[str], factors: Sequence[float]) -> list[str]:
    """The rate times each factor, itself as it was typed. Raises ConfigError if it is no number above 0."""
    own = typed[0] if typed else str(rate)
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 < rate < math.inf:
        raise ConfigError(
            f"{RATE} must be a number above 0, not {own}",
            where=f"{RATE}={own}",
            next_step=f"leave {RATE} out: each model has a rate of its own; or {RATE}=0.001",
        )
    return list(dict.fromkeys(own if factor == 1 else f"{rate * factor:.3g}" for factor in factors))


def require_once_each(settings: Plans) -> None:
    """Raises ConfigError if settings of other sweeps ask for repetitions."""
    if settings.seeds is not None and settings.seeds > 1:
        raise ConfigError(
            "sweep=plans runs each choice once, and sweep.seeds would repeat it",
            where=f"sweep.seeds={settings.seeds}",
            next_step="leave sweep.seeds out; or sweep=grid, which repeats each setting",
        )
    if settings.drop:
        raise ConfigError(
            "sweep=plans runs each choice once, so that there are no seeds that sweep.drop could save",
            where="sweep.drop=true",
            next_step="leave sweep.drop out",
        )
