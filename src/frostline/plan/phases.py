"""A plan is an ordered list of phases, read from a config and settled for the data. Arithmetic only, no torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from frostline.config.ranges import Fraction, Probability
from frostline.config.signatures import problems
from frostline.errors import PlanError
from frostline.plan.phase import Phase, Until, require_sound

# Most training samples for which pretrained norms keep their statistics: on CIFAR-10 that scored better with 10,000
# pictures (two seeds of two), but not with 45,000 (benchmarks/norm_mode.py).
FEW = 20_000

# Values for runs written before these settings existed.
BEFORE: dict[str, Any] = {"solve": False, "min_steps": 0}

# Values of `lr_scale: auto`. With BatchNorm, 0.3 of AdamW's 2e-3 scored better than 0.1 on a few hundred pictures
# (EfficientNet-Lite0, benchmarks/README.md, "Defaults for pictures"); 0.1 is for other networks (MiniLM).
WITH_BATCH_NORMS, WITHOUT = 0.3, 0.1


@dataclass(frozen=True)
class Average:
    """Averages of weights after the last phase. The best by validation becomes the run's best if no epoch beats it.

    ema_decay: of an exponential moving average of the weights over the last phase (Polyak and Juditsky 1992,
        doi:10.1137/0330046); null: none.
    wise_ft: shares of the tuned weights, each tried in a mix with the weights from before the backbone was first
        thawed (Wortsman et al. 2022, arXiv:2109.01903, equation 1); null: none.
    """

    ema_decay: Fraction | None
    wise_ft: list[Probability] | None


NO_AVERAGE = Average(None, None)


@dataclass(frozen=True)
class Plan:
    """phases: empty if nothing is trained (schedule=none)."""

    phases: tuple[Phase, ...]
    average: Average

    def __post_init__(self) -> None:
        for phase in self.phases:
            require_sound(phase)
        names = [phase.name for phase in self.phases]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise PlanError(
                f"two phases are called '{twice[0]}'; `thaw: each` names a phase after its block",
                where="schedule.phases",
                next_step="give one of them another name",
            )
        if self.phases and self.phases[0].start_from == "best":
            raise PlanError(
                f"phase '{self.phases[0].name}' starts from the best epoch so far, but it is the first phase",
                where=f"schedule.phases.{self.phases[0].name}.start_from",
                next_step="start_from: last",
            )

    @classmethod
    def from_config(
        cls,
        phases: Mapping[str, Mapping[str, Any] | None],
        every_phase: Mapping[str, Any],
        average: Mapping[str, Any],
    ) -> "Plan":
        """Read a plan. every_phase: defaults of each phase. A phase set to null is left out. Raises PlanError."""
        chosen = {name: own for name, own in phases.items() if own is not None}
        if not chosen:
            raise PlanError(
                "the plan has no phases",
                where="schedule.phases",
                next_step="add one: 'schedule.phases={head: {thaw: none, epochs: 3}}'",
            )
        found = _wrong(Average, average, "schedule.average")
        if found:
            raise PlanError(
                f"the average of weights has a wrong setting: {'; '.join(found)}",
                where="schedule.average",
                next_step="conf/schedule/_every_phase.yaml explains each setting",
            )
        return cls(tuple(_phase(name, own, every_phase) for name, own in chosen.items()), Average(**average))

    def unfolded(self, blocks: Sequence[str]) -> "Plan":
        """Replace `thaw: each` by one phase per block, from the top down."""
        return replace(self, phases=tuple(phase for folded in self.phases for phase in _unfolded(folded, blocks)))

    @property
    def open_phases(self) -> list[str]:
        """Names of the phases with `thaw: auto`."""
        return [phase.name for phase in self.phases if phase.thaw == "auto"]

    def deep(self, depth: int) -> "Plan":
        """Replace `thaw: auto` by `depth` blocks from the top."""
        phases = (replace(phase, thaw=depth) if phase.thaw == "auto" else phase for phase in self.phases)
        return replace(self, phases=tuple(phases))

    def scaled(self, *, batch_norms: bool) -> "Plan":
        """Replace `lr_scale: auto` by its value for a network with or without BatchNorm."""
        scale = WITH_BATCH_NORMS if batch_norms else WITHOUT
        phases = (replace(phase, lr_scale=scale) if phase.lr_scale == "auto" else phase for phase in self.phases)
        return replace(self, phases=tuple(phases))

    def settled(self, *, pretrained: bool, samples: int, steps_per_epoch: int, solvable: bool) -> "Plan":
        """Replace `norm`, `solve` and `epochs` by their values for this number of training samples.

        solvable: whether a head that learns alone can be solved.
        """
        norm: Literal["adapt", "frozen"] = "frozen" if pretrained and samples <= FEW else "adapt"

        def settle(phase: Phase) -> Phase:
            own = replace(phase, norm=norm if phase.norm == "auto" else phase.norm)
            if phase.solves and solvable:
                return replace(own, epochs=1, warmup_epochs=0.0)
            return replace(own, solve=False, epochs=max(phase.epochs, -(-phase.min_steps // steps_per_epoch)))

        return replace(self, phases=tuple(map(settle, self.phases)))

    def first_thaw(self, blocks: Sequence[str]) -> int | None:
        """Index of the first phase in which the backbone learns, or None. Raises PlanError if `wise_ft` needs such a
        phase and there is none."""
        thaws = [number for number, phase in enumerate(self.phases) if phase.thawed(blocks)]
        if self.average.wise_ft and not thaws:
            raise PlanError(
                "wise_ft mixes weights before and after a thaw, but no phase thaws the backbone",
                where="schedule.average.wise_ft",
                next_step="schedule.average.wise_ft=null, or a plan that thaws: schedule=two_stage",
            )
        return thaws[0] if thaws else None

    @property
    def anchored(self) -> bool:
        """Whether `l2_sp` needs the pretrained weights throughout the run."""
        return any(phase.l2_sp for phase in self.phases)

    def first_from_best(self) -> str | None:
        """The key of the first setting `start_from: best`, if any."""
        names = [phase.name for phase in self.phases if phase.start_from == "best"]
        return f"schedule.phases.{names[0]}.start_from" if names else None

    def describe(self) -> dict[str, Any]:
        return asdict(self)


def _unfolded(phase: Phase, blocks: Sequence[str]) -> Iterator[Phase]:
    if phase.thaw != "each":
        yield phase
        return
    for number, block in enumerate(reversed(blocks), start=1):
        yield replace(phase, name=f"{phase.name}-{block}", thaw=number)


def _phase(name: str, own: Mapping[str, Any], every_phase: Mapping[str, Any]) -> Phase:
    where = f"schedule.phases.{name}"
    if not isinstance(own, Mapping):
        raise PlanError(
            f"phase '{name}' is {own!r}, not settings", where=where, next_step=f"'{where}={{thaw: none, epochs: 3}}'"
        )
    settings = {**every_phase, **own, "name": name}
    shared, ends = every_phase.get("until"), own.get("until")
    until = {**_settings(shared), **_settings(ends)}
    found = [*_wrong(Phase, {**settings, "until": None}, where), *_wrong(Until, until, f"{where}.until")]
    if not isinstance(ends, Mapping | None):
        found.append(f"{where}.until: {ends!r} is not settings, such as {{patience: 3}}")
    if found:
        raise PlanError(
            f"phase '{name}' has {'a wrong setting' if len(found) == 1 else f'{len(found)} wrong settings'}: "
            + "; ".join(found),
            where=where,
            next_step="conf/schedule/_every_phase.yaml explains each setting",
        )
    return Phase(**{**settings, "until": Until(**until)})


def _settings(node: Any) -> Mapping[str, Any]:
    """The settings under `until`; none if it is null or not a mapping."""
    return node if isinstance(node, Mapping) else {}


def _wrong(made: type[Phase] | type[Until] | type[Average], settings: Mapping[str, Any], where: str) -> list[str]:
    lacking = [f"{where}.{field.name} is missing" for field in fields(made) if field.name not in settings]
    target = f"{made.__module__}.{made.__name__}"
    return lacking + list(problems({"_target_": target, **settings}, where))
