"""A phase: a stretch of training with one frost line, one optimizer and one rate curve. Arithmetic only, no torch.

Block depth: the head is at depth 0, the top block at depth 1, the stem at depth `number of blocks`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from frostline.config.ranges import NonNegative, Positive
from frostline.errors import PlanError, close_names


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
        per block, with one block more each time, from the top; `auto` for a number of blocks from the top.
    only: of the thawed blocks, only the `norms`, the `biases`, the `adapters` or a list of these; null: all. The head
        learns whole.
    lr_scale: times `optimizer.lr`; `auto` goes by the kind of network. layer_decay: times itself once per block of
        depth (ULMFiT's discriminative rates, Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
    warmup_epochs: linear rise from 0; may be a fraction of an epoch. curve: what follows, from 1 down to 0 at the end.
    weight_decay: null for the optimizer's own. optimizer: one of this phase's own; null for the run's.
    norm: whether the norm layers of thawed blocks go on learning statistics; those of frozen blocks never do. `auto`
        stands for `frozen` if the backbone comes pretrained and trains on 20,000 samples or fewer, else for `adapt`.
    l2_sp: half of this times the squared distance of the thawed backbone from its pretrained weights is added to the
        loss (Li et al. 2018, arXiv:1802.01483, equation 3).
    start_from: the weights that the run had last, or its best so far by validation.
    solve: in a phase in which a linear head learns and nothing else, compute its best weights (a regularised convex
        problem) instead of making steps towards them: one epoch, at a rate of 0, scores the solution.
    min_steps: of the optimizer, at least; on small data the phase gets more epochs to reach them.
    views: of each training picture: `fresh`, a new augmented one in each epoch; `none`, the picture without
        augmentation; or so many augmented ones in turn. `auto` is `none` where outputs of frozen blocks are worth
        reusing, else `fresh` (frozen/policy.py). A head is solved without augmentation; texts have none.
    """

    name: str
    thaw: Literal["none", "all"] | int | str | list[str]
    only: Literal["norms", "biases", "adapters"] | list[Literal["norms", "biases", "adapters"]] | None
    epochs: int
    lr_scale: float | Literal["auto"]
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
    views: Literal["auto", "fresh", "none"] | Positive[int]

    @property
    def solves(self) -> bool:
        """Whether this phase solves its head. Valid after Plan.settled."""
        return self.solve and self.thaw in ("none", 0) and self.optimizer is None

    def thawed(self, blocks: Sequence[str]) -> list[str]:
        """Which of `blocks` learn, from the stem up. Raises PlanError where `thaw` names no block."""
        if self.thaw == "auto":
            raise RuntimeError(f"the depth of phase '{self.name}' is not chosen yet")
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
        if isinstance(self.lr_scale, str):
            raise RuntimeError(f"phase '{self.name}' is not scaled yet")
        return 0.0 if self.solves else self.lr_scale * self.layer_decay**depth

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
                f"phase '{self.name}' thaws '{name}', but the backbone has no such block: "
                + close_names(name, [*blocks, "none", "all"]),
                where=f"schedule.phases.{self.name}.thaw",
                next_step=f"one of: none, all, auto, a number of blocks, {', '.join(blocks)}",
            )


def require_sound(phase: Phase) -> None:
    """Raises PlanError if a setting cannot train."""
    where = f"schedule.phases.{phase.name}"
    if phase.epochs < 1:
        raise PlanError(
            f"phase '{phase.name}' has {phase.epochs} epochs",
            where=f"{where}.epochs",
            next_step=f"{where}.epochs=1 or more; to leave the phase out: {where}=null",
        )
    if phase.lr_scale != "auto" and not 0 < phase.lr_scale <= 1000:  # NaN is no rate either
        raise PlanError(
            f"phase '{phase.name}' trains nothing: its learning rate is scaled by {phase.lr_scale}",
            where=f"{where}.lr_scale",
            next_step=f"{where}.lr_scale=0.1, say; to leave the phase out: {where}=null",
        )
    if phase.thaw == [] or phase.only == []:
        raise PlanError(
            f"phase '{phase.name}' has an empty list in `{'thaw' if phase.thaw == [] else 'only'}`",
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
