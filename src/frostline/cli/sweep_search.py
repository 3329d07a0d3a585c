"""Begin a search: its space, from the command line."""

import uuid
from collections.abc import Callable, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from frostline.cli.sweep_arguments import GROUPS
from frostline.commands.checks import check
from frostline.config.schedules import whole_schedule
from frostline.errors import ConfigError
from frostline.sweeps.searching import Plan
from frostline.sweeps.settings import Search
from frostline.sweeps.space import dimension_of, require_space

Choices = Callable[[Override], Sequence[str]]
Compose = Callable[[list[str]], DictConfig]


def planned(overrides: Sequence[Override], settings: Search, choices: Choices) -> Plan:
    """Separate the space from what is fixed, and seeds from the space. Raises ConfigError."""
    fixed, seeds, space = [], [], []
    for override in overrides:
        line = str(override.input_line)
        if not override.is_sweep_override():
            fixed.append(line)
        elif override.key_or_group == "seed":
            seeds = [*choices(override)]
        else:
            space.append(dimension_of(override, choices))
    require_space(space)
    return Plan(f"frostline-{uuid.uuid4().hex}", "", space, fixed, seeds)


def corners(plan: Plan) -> list[list[str]]:
    """Jobs that show whether each value of the space can be composed: one per end of a dimension."""
    first = [dimension.corners()[0] for dimension in plan.space]
    found = [
        [*plan.fixed, *first[:at], corner, *first[at + 1 :], *plan.seeds[:1]]
        for at, dimension in enumerate(plan.space)
        for corner in dimension.corners()
    ]
    return found


def require_values(plan: Plan, compose: Compose) -> None:
    """Raises ConfigError if a run would refuse an end of a dimension, or one of its choices."""
    for job in corners(plan):
        require_composed(job, compose)


def require_one(jobs: Sequence[list[str]], compose: Compose) -> None:
    """Raises ConfigError, that of the first job, if every job of a grid would be refused."""
    refusals: list[ConfigError] = []
    for job in jobs:
        try:
            require_composed(job, compose)
        except ConfigError as error:
            refusals.append(error)
        else:
            return
    if refusals:
        raise refusals[0]


def require_composed(job: list[str], compose: Compose) -> None:
    """Raises ConfigError if a run with these overrides would be refused."""
    config = compose(job).copy()
    recipe = config.hydra.runtime.choices.get("experiment")
    with open_dict(config):
        for group in ("hydra", *GROUPS):
            del config[group]
        config.run_dir, config.logs_dir = "run", "logs"  # a sweep's folder has a time, and reading it makes the folder
    whole_schedule(config, job, of_recipe=recipe not in (None, "null"))
    check(config)


def with_mode(plan: Plan, compose: Compose) -> Plan:
    """compose: composes a job. Raises ConfigError if it has no score to search by."""
    config = compose(corners(plan)[0])
    if config.dry_run:
        raise ConfigError("a search needs scores, but dry_run=true", where="dry_run", next_step="leave it out")
    return plan._replace(mode=str(config.task.mode))
