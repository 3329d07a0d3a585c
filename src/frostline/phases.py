"""A plan is an ordered list of phases; a phase is a stretch of training with one frost line. Arithmetic only, no torch.

Block depth: the head is at depth 0, the top block at depth 1, the stem at depth `number of blocks`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from frostline.errors import PlanError, close_names
from frostline.signatures import problems
from frostline.values import Fraction, NonNegative, Positive, Probability

# Samples up to which statistics of pretrained norms are better kept than learned: with 10,000 pictures of CIFAR-10 they
# were (two seeds of two), with 45,000 they were not (benchmarks/norm_mode.py).
FEW = 20_000


@dataclass(frozen=True)
class Until:
    """Ends a phase early: after `patience` epochs in which `monitor` was not better than before by `min_delta`.

    patience: null never ends it. mode: which end of the score is best.
    """

    monitor: str
    mode: Literal["max", "min"]
    patience: Positive[int] | None
    min_delta: NonNegative[float]


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    thaw: what learns besides the head: `none`, `all`, a number of blocks from the top, or from the stem (-1), a block's
        name (that block and every block above it), or a list of names (those blocks alone). `each` stands for a phase
        per block, with one block more each time, from the top.
    only: of the thawed blocks, only the `norms`, the `biases`, the `adapters` or a list of these; null: all. The head
        learns whole.
    lr_scale: times `optimizer.lr`. layer_decay: times itself once per block of depth (ULMFiT's discriminative rates,
        Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
    warmup_epochs: linear rise from 0; may be a fraction of an epoch. curve: what follows, from 1 down to 0 at the end.
    weight_decay: null for the optimizer's own. optimizer: one of this phase's own; null for the run's.
    norm: whether the norm layers of thawed blocks go on learning statistics; those of frozen blocks never do. `auto`
        stands for `frozen` where the backbone comes pretrained, else for `adapt`.
    l2_sp: half of this times the squared distance of the thawed backbone from its pretrained weights is added to the
        loss (Li et al. 2018, arXiv:1802.01483, equation 3).
    start_from: the weights that the run had last, or its best so far by validation.
    solve: in a phase in which a linear head learns and nothing else, compute its best weights (a regularised convex
        problem) instead of making steps towards them: one epoch, at a rate of 0, scores the solution.
    min_steps: of the optimizer; small data gets more epochs until it has as many.
    """

    name: str
    thaw: Literal["none", "all"] | int | str | list[str]
    only: Literal["norms", "biases", "adapters"] | list[Literal["norms", "biases", "adapters"]] | None
    epochs: int
    lr_scale: float
    layer_decay: float
    warmup_epochs: float
    curve: Literal["cosine", "linear", "constant"]
    weight_decay: NonNegative[float] | None
    optimizer: dict[str, Any] | None
    norm: Literal["auto", "adapt", "frozen"]
    l2_sp: NonNegative[float]
    until: Until
    start_from: Literal["last", "best"]
    solve: bool
    min_steps: NonNegative[int]

    def thawed(self, blocks: Sequence[str]) -> list[str]:
        """Which of `blocks` learn, from the stem up. Raises PlanError where `thaw` names no block."""
        if isinstance(self.thaw, list):
            for name in self.thaw:
                self._require_block(name, blocks)
            return [name for name in blocks if name in self.thaw]
        if self.thaw in ("none", "all"):
            return list(blocks) if self.thaw == "all" else []
        if isinstance(self.thaw, int):
            if abs(self.thaw) > len(blocks):
                raise PlanError(
                    f"phase '{self.name}' thaws {abs(self.thaw)} blocks, and the backbone has {len(blocks)}",
                    where=f"schedule.phases.{self.name}.thaw",
                    next_step=f"a number from -{len(blocks)} to {len(blocks)}, none, all, or of: {', '.join(blocks)}",
                )
            return list(blocks)[: -self.thaw] if self.thaw < 0 else list(blocks)[len(blocks) - self.thaw :]
        self._require_block(self.thaw, blocks)
        return list(blocks)[list(blocks).index(self.thaw) :]

    def frost_line(self, blocks: Sequence[str]) -> int:
        """How many of `blocks`, counted from the stem, are frozen before the first that learns. Raises PlanError."""
        thawed = self.thawed(blocks)
        return list(blocks).index(thawed[0]) if thawed else len(blocks)

    def rate(self, depth: int) -> float:
        """The factor on `optimizer.lr` at a block depth."""
        return 0.0 if self.solve else self.lr_scale * self.layer_decay**depth

    def curve_at(self, step: int, steps_per_epoch: int) -> float:
        """The factor on the learning rate at an optimizer step of this phase, in 0..1.

        Warm-up counts from 1 so that the first step already learns; cosine as in SGDR without restarts
        (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5).
        """
        total = self.epochs * steps_per_epoch
        warmup = min(round(self.warmup_epochs * steps_per_epoch), total)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.curve == "constant":
            return 1.0
        done = min((step - warmup) / max(total - warmup, 1), 1.0)
        return 1.0 - done if self.curve == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    def _require_block(self, name: str, blocks: Sequence[str]) -> None:
        if name not in blocks:
            raise PlanError(
                f"phase '{self.name}' thaws '{name}', and the backbone has no such block: "
                + close_names(name, [*blocks, "none", "all"]),
                where=f"schedule.phases.{self.name}.thaw",
                next_step=f"one of: none, all, a number of blocks, {', '.join(blocks)}",
            )


@dataclass(frozen=True)
class Average:
    """What is made of the weights after the last phase; it becomes the run's best where it scores so on validation.

    ema_decay: of an exponential moving average of the weights over the last phase (Polyak and Juditsky 1992,
        doi:10.1137/0330046); null: none.
    wise_ft: shares of the tuned weights, tried one by one, in a mix with those from before the backbone was first
        thawed (Wortsman et al. 2022, arXiv:2109.01903, equation 1); null: none.
    """

    ema_decay: Fraction | None
    wise_ft: list[Probability] | None


NO_AVERAGE = Average(None, None)


@dataclass(frozen=True)
class Plan:
    phases: tuple[Phase, ...]
    average: Average

    def __post_init__(self) -> None:
        if not self.phases:
            raise PlanError(
                "the plan has no phases",
                where="schedule.phases",
                next_step="add one, say: schedule.phases={head: {thaw: none, epochs: 3}}",
            )
        for phase in self.phases:
            _check(phase)
        names = [phase.name for phase in self.phases]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise PlanError(
                f"two phases are called '{twice[0]}'; of `thaw: each` a phase is called after its block",
                where="schedule.phases",
                next_step="give one of them another name",
            )
        if self.phases[0].start_from == "best":
            raise PlanError(
                f"phase '{self.phases[0].name}' starts from the best epoch so far, and it is the first",
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
        """`every_phase` holds for each phase unless the phase says otherwise. A phase set to null is left out."""
        chosen = {name: own for name, own in phases.items() if own is not None}
        said = _wrong(Average, average, "schedule.average")
        if said:
            raise PlanError(
                f"the average of weights has a wrong setting: {'; '.join(said)}",
                where="schedule.average",
                next_step="conf/schedule/_every_phase.yaml explains each setting",
            )
        return cls(tuple(_phase(name, own, every_phase) for name, own in chosen.items()), Average(**average))

    def unfolded(self, blocks: Sequence[str]) -> "Plan":
        """With `thaw: each` replaced by a phase per block, from the top down."""
        return replace(self, phases=tuple(phase for folded in self.phases for phase in _unfolded(folded, blocks)))

    def settled(
        self, blocks: Sequence[str], *, pretrained: bool, samples: int, steps_per_epoch: int, solvable: bool
    ) -> "Plan":
        """With `norm`, `solve` and `epochs` replaced by what they mean for so many samples to train on.

        solvable: whether a head that learns alone is a problem that can be solved.
        """
        norm: Literal["adapt", "frozen"] = "frozen" if pretrained and samples <= FEW else "adapt"

        def of(phase: Phase) -> Phase:
            solve = phase.solve and solvable and phase.optimizer is None and not phase.thawed(blocks)
            epochs = 1 if solve else max(phase.epochs, -(-phase.min_steps // steps_per_epoch))
            return replace(phase, norm=norm if phase.norm == "auto" else phase.norm, solve=solve, epochs=epochs)

        return replace(self, phases=tuple(map(of, self.phases)))

    def first_thaw(self, blocks: Sequence[str]) -> int | None:
        """The number, from 0, of the first phase in which the backbone learns. Raises PlanError where an average needs
        one and there is none."""
        thaws = [number for number, phase in enumerate(self.phases) if phase.thawed(blocks)]
        if self.average.wise_ft and not thaws:
            raise PlanError(
                "the weights before and after a thaw are to be mixed, and no phase thaws the backbone",
                where="schedule.average.wise_ft",
                next_step="schedule.average.wise_ft=null, or a plan that thaws: schedule=two_stage",
            )
        return thaws[0] if thaws else None

    @property
    def anchored(self) -> bool:
        """Whether the pretrained weights are needed all along."""
        return any(phase.l2_sp for phase in self.phases)

    def first_from_best(self) -> str | None:
        """The setting that asks for the run's best weights, if any."""
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
            f"phase '{name}' is {own!r}, not settings", where=where, next_step=f"{where}={{thaw: none, epochs: 3}}, say"
        )
    settings = {**every_phase, **own, "name": name}
    shared, ends = every_phase.get("until"), own.get("until")
    until = {**_settings(shared), **_settings(ends)}
    said = [*_wrong(Phase, {**settings, "until": None}, where), *_wrong(Until, until, f"{where}.until")]
    if not isinstance(ends, Mapping | None):
        said.append(f"{where}.until: {ends!r} is not settings, such as {{patience: 3}}")
    if said:
        raise PlanError(
            f"phase '{name}' has {'a wrong setting' if len(said) == 1 else f'{len(said)} wrong settings'}: "
            + "; ".join(said),
            where=where,
            next_step="conf/schedule/_every_phase.yaml explains each setting",
        )
    return Phase(**{**settings, "until": Until(**until)})


def _settings(node: Any) -> Mapping[str, Any]:
    """Of `until`; null, or what is no mapping, has none."""
    return node if isinstance(node, Mapping) else {}


def _wrong(made: type[Phase] | type[Until] | type[Average], settings: Mapping[str, Any], where: str) -> list[str]:
    lacking = [f"{where}.{field.name} is missing" for field in fields(made) if field.name not in settings]
    target = f"{made.__module__}.{made.__name__}"
    return lacking + list(problems({"_target_": target, **settings}, where))


def _check(phase: Phase) -> None:
    where = f"schedule.phases.{phase.name}"
    if phase.epochs < 1:
        raise PlanError(
            f"phase '{phase.name}' has {phase.epochs} epochs",
            where=f"{where}.epochs",
            next_step=f"{where}.epochs=1 or more; to leave the phase out: {where}=null",
        )
    if not 0 < phase.lr_scale <= 1000:  # NaN is no rate either
        raise PlanError(
            f"phase '{phase.name}' trains nothing: its learning rate is scaled by {phase.lr_scale}",
            where=f"{where}.lr_scale",
            next_step=f"{where}.lr_scale=0.1, say; to leave the phase out: {where}=null",
        )
    if phase.thaw == [] or phase.only == []:
        raise PlanError(
            f"phase '{phase.name}' names nothing in `{'thaw' if phase.thaw == [] else 'only'}`",
            where=where,
            next_step="thaw: none, or names of blocks; only: null, norms, biases, adapters, or a list",
        )
    if not 0 < phase.layer_decay <= 1:
        raise PlanError(
            f"phase '{phase.name}' has layer_decay {phase.layer_decay}, outside 0 < layer_decay <= 1",
            where=f"{where}.layer_decay",
            next_step=f"{where}.layer_decay=0.8, say; 1.0 gives every block the same rate",
        )
    if not 0 <= phase.warmup_epochs <= phase.epochs:
        raise PlanError(
            f"phase '{phase.name}' warms up for {phase.warmup_epochs} of its {phase.epochs} epochs",
            where=f"{where}.warmup_epochs",
            next_step=f"{where}.warmup_epochs=0.5, say, or more epochs",
        )
