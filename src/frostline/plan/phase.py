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
    """Ends a phase early, after `patience` epochs in which `monitor` did not improve by `min_delta`.

    patience: null never ends it. mode: whether the highest or the lowest score is best.
    """

    monitor: str
    mode: Literal["max", "min"]
    patience: Positive[int] | None
    min_delta: NonNegative[float]


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    thaw: what learns besides the head: `none`, `all`, a number of blocks from the top (or from the stem, if negative),
        a block's name (that block and every block above it), or a list of names (those blocks alone). `each` becomes
        one phase per block, each thawing one block more from the top; `auto` becomes a number of blocks from the top.
    only: which parameters of the thawed blocks learn: `norms`, `biases`, `adapters` or a list of these; null: all. The
        whole head learns.
    lr_scale: factor on `optimizer.lr`; `auto` depends on the kind of network. layer_decay: further factor for each
        block of depth (ULMFiT's discriminative rates, Howard and Ruder 2018, arXiv:1801.06146, section 3.2).
    warmup_epochs: linear warm-up from 0; may be a fraction of an epoch. curve: of the learning rate after the warm-up;
        cosine and linear fall to 0 at the end of the phase.
    weight_decay: null for the optimizer's. optimizer: config for this phase alone; null for the run's.
    norm: whether norm layers of thawed blocks update their statistics; those of frozen blocks never do. `auto` is
        `frozen` if the backbone is pretrained and trains on 20,000 samples or fewer, else `adapt`.
    l2_sp: adds half of this times the squared distance of the thawed backbone from its pretrained weights to the loss
        (Li et al. 2018, arXiv:1802.01483, equation 3).
    start_from: the run's last weights, or its best so far by validation.
    solve: if a linear head is all that learns, compute its best weights (a regularised convex problem) instead of
        taking steps towards them; one epoch at learning rate 0 scores the solution.
    min_steps: fewest optimizer steps; on small data the phase gets more epochs to reach them.
    views: of each training picture: `fresh`, a new augmented view each epoch; `none`, no augmentation; a number, that
        many augmented views in turn. `auto` is `none` if outputs of frozen blocks are worth reusing, else `fresh`
        (frozen/policy.py). Solved heads and texts use no augmentation.
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
        """Which of `blocks` learn, from the stem up. Raises PlanError if `thaw` asks for blocks that do not exist."""
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
                    f"phase '{self.name}' thaws {abs(self.thaw)} blocks, but the backbone has {len(blocks)}",
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
            next_step=f"{where}.epochs=1  # or more; or {where}=null  # leaves the phase out",
        )
    if phase.lr_scale != "auto" and not 0 < phase.lr_scale <= 1000:  # rejects NaN, too
        raise PlanError(
            f"phase '{phase.name}' trains nothing: its learning rate is scaled by {phase.lr_scale}",
            where=f"{where}.lr_scale",
            next_step=f"{where}.lr_scale=0.1; or {where}=null  # leaves the phase out",
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
            next_step=f"{where}.layer_decay=0.8; or {where}.layer_decay=1.0  # the same rate for every block",
        )
    if not 0 <= phase.warmup_epochs <= phase.epochs:
        raise PlanError(
            f"phase '{phase.name}' warms up for {phase.warmup_epochs} of its {phase.epochs} epochs",
            where=f"{where}.warmup_epochs",
            next_step=f"{where}.warmup_epochs=0.5, or more epochs",
        )
