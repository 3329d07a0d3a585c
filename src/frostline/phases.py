"""A plan is an ordered list of phases; a phase is a stretch of training with one frost line. Arithmetic only, no torch.

Block depth: the head is at depth 0, the top block at depth 1, the stem at depth `number of blocks`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from frostline.errors import PlanError, close_names
from frostline.signatures import problems


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    thaw: what learns besides the head: `none`, `all`, a number of blocks from the top, or a block's name (that block
        and every block above it).
    lr_scale: times `optimizer.lr`. layer_decay: times itself once per block of depth (ULMFiT's discriminative rates,
        Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
    warmup_epochs: linear rise from 0; may be a fraction of an epoch. curve: what follows, from 1 down to 0 at the end.
    patience: epochs without a better validation score after which the phase ends; null trains them all.
    """

    name: str
    thaw: Literal["none", "all"] | int | str
    epochs: int
    lr_scale: float
    layer_decay: float
    warmup_epochs: float
    curve: Literal["cosine", "linear", "constant"]
    patience: int | None

    def frost_line(self, blocks: Sequence[str]) -> int:
        """How many of `blocks`, counted from the stem, are frozen. Raises PlanError where `thaw` names no block."""
        if self.thaw == "none":
            return len(blocks)
        if self.thaw == "all":
            return 0
        if isinstance(self.thaw, int):
            if 0 <= self.thaw <= len(blocks):
                return len(blocks) - self.thaw
            raise PlanError(
                f"phase '{self.name}' thaws {self.thaw} blocks, and the backbone has {len(blocks)}",
                where=f"schedule.phases.{self.name}.thaw",
                next_step=f"a number from 0 to {len(blocks)}, none, all, or one of: {', '.join(blocks)}",
            )
        if self.thaw in blocks:
            return list(blocks).index(self.thaw)
        raise PlanError(
            f"phase '{self.name}' thaws '{self.thaw}', and the backbone has no such block: "
            + close_names(self.thaw, [*blocks, "none", "all"]),
            where=f"schedule.phases.{self.name}.thaw",
            next_step=f"one of: none, all, a number of blocks, {', '.join(blocks)}",
        )

    def rate(self, depth: int) -> float:
        """The factor on `optimizer.lr` at a block depth."""
        return self.lr_scale * self.layer_decay**depth

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


@dataclass(frozen=True)
class Plan:
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if not self.phases:
            raise PlanError(
                "the plan has no phases",
                where="schedule.phases",
                next_step="add one, say: schedule.phases={head: {thaw: none, epochs: 3}}",
            )
        for phase in self.phases:
            _check(phase)

    @classmethod
    def from_config(cls, phases: Mapping[str, Mapping[str, Any] | None], every_phase: Mapping[str, Any]) -> "Plan":
        """`every_phase` holds for each phase unless the phase says otherwise. A phase set to null is left out."""
        chosen = {name: own for name, own in phases.items() if own is not None}
        return cls(tuple(_phase(name, own, every_phase) for name, own in chosen.items()))


def _phase(name: str, own: Mapping[str, Any], every_phase: Mapping[str, Any]) -> Phase:
    where = f"schedule.phases.{name}"
    if not isinstance(own, Mapping):
        raise PlanError(
            f"phase '{name}' is {own!r}, not settings", where=where, next_step=f"{where}={{thaw: none, epochs: 3}}, say"
        )
    settings = {**every_phase, **own, "name": name}
    lacking = [field.name for field in fields(Phase) if field.name not in settings]
    said = [f"{where}.{key} is missing" for key in lacking]
    said += problems({"_target_": "frostline.phases.Phase", **settings}, where)
    if said:
        raise PlanError(
            f"phase '{name}' has {'a wrong setting' if len(said) == 1 else f'{len(said)} wrong settings'}: "
            + "; ".join(said),
            where=where,
            next_step="conf/schedule/_every_phase.yaml explains each setting",
        )
    return Phase(**settings)


def _check(phase: Phase) -> None:
    where = f"schedule.phases.{phase.name}"
    if phase.epochs < 1:
        raise PlanError(
            f"phase '{phase.name}' has {phase.epochs} epochs",
            where=f"{where}.epochs",
            next_step=f"{where}.epochs=1 or more; to leave the phase out: {where}=null",
        )
    if phase.lr_scale <= 0:
        raise PlanError(
            f"phase '{phase.name}' trains nothing: its learning rate is scaled by {phase.lr_scale}",
            where=f"{where}.lr_scale",
            next_step=f"{where}.lr_scale=0.1, say; to leave the phase out: {where}=null",
        )
    if not 0 < phase.layer_decay <= 1:
        raise PlanError(
            f"phase '{phase.name}' has layer_decay {phase.layer_decay}, outside 0 < layer_decay <= 1",
            where=f"{where}.layer_decay",
            next_step=f"{where}.layer_decay=0.8, say; 1.0 gives every block the same rate",
        )
    if phase.warmup_epochs < 0 or (phase.patience is not None and phase.patience < 1):
        raise PlanError(
            f"phase '{phase.name}': warmup_epochs must be 0 or more, patience 1 or more or null",
            where=where,
            next_step=f"{where}.warmup_epochs=0.5, {where}.patience=null",
        )
