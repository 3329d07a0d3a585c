"""The LightningModule: a backbone, a head and a task, trained phase by phase.

Which parameters learn is derived from the phase whenever it matters, and never stored.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from frostline.adapters.layers import adapter_names
from frostline.backbones.base import Backbone
from frostline.contracts.batch import Batch
from frostline.contracts.seeds import seed_of
from frostline.contracts.tokens import Tokens
from frostline.distributed.agreement import require_one_run
from frostline.distributed.sharding import shard, sharded_like, total
from frostline.errors import RunError
from frostline.frozen.blocks import FrozenPass
from frostline.plan.freezing import (
    Group,
    learning_weights,
    optimizer_groups,
    parameter_groups,
    rest_frozen,
    set_trainable,
)
from frostline.plan.phase import Phase
from frostline.tasks.base import Task
from frostline.training.compiling import compile_in_place
from frostline.training.lean_module import LeanModule

CHECKPOINT_KEY = "frostline"
OptimizerFactory = Callable[[list[dict[str, Any]]], Optimizer]


class FineTuner(LeanModule):
    """optimizers: by phase name, the factory that makes an optimizer from parameter groups; its learning rate is the
    base that phases scale.

    identity: plain values that must be the same in the checkpoint from which a run resumes.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        task: Task,
        optimizers: Mapping[str, OptimizerFactory],
        *,
        seed: int,
        identity: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.task = task
        self.metrics = nn.ModuleDict({"val": task.metrics(), "test": task.metrics()})
        self.per_class: list[dict[str, Any]] = []
        self._optimizers, self.phase_names = optimizers, list(optimizers)
        self._seed, self.identity = seed, identity or {}
        self.compiles = False  # with torch.compile, anew in each phase
        self._compiled = False
        self._pretrained: dict[str, Tensor] = {}
        self._phase: Phase | None = None
        self._line = 0
        self.frozen_pass = FrozenPass(backbone)
        self._losses, self._samples = torch.zeros(()), 0  # of this epoch so far: sum of losses, number of samples
        self.trained = False  # in this epoch, by this process: a resume repeats the end of an epoch trained before
        self.phase_number = self.first_epoch = 0
        self.starts_at = (0, 0)  # the epoch of the run, and its batches that are done

    # --- phases ---

    def enter(self, phase: Phase, number: int, first_epoch: int) -> list[Group]:
        """Set the frost line of `phase`, at index `number` of the plan, which begins at `first_epoch` of the run."""
        self._phase = phase
        self._line = phase.frost_line(list(self.backbone.blocks))
        self.phase_number = number
        self.first_epoch = first_epoch
        self._compiled, self._samples = False, 0
        self.frozen_pass.forget()
        set_trainable(self.backbone, self.head, phase)
        self.train()  # Lightning keeps the modes it finds: a block frozen until now would stay in eval mode
        return parameter_groups(self.backbone, self.head, phase)

    def freeze_below(self, line: int, frozen_pass: FrozenPass) -> None:
        """Run the blocks below `line` in `frozen_pass`, to predict outside of any phase."""
        self._line, self.frozen_pass = line, frozen_pass

    @property
    def phase(self) -> Phase:
        if self._phase is None:
            raise RuntimeError("no phase was entered")
        return self._phase

    def anchor(self) -> None:
        """Make the backbone's current weights those that `l2_sp` pulls towards."""
        added = adapter_names(self.backbone)  # not pretrained
        own = {name: p for name, p in self.backbone.named_parameters() if name not in added}
        self._pretrained = {name: p.detach().clone() for name, p in own.items()}

    def on_fit_start(self) -> None:
        """Move or shard the anchor weights like the parameters."""
        own = dict(self.backbone.named_parameters())
        self._pretrained = {name: sharded_like(value, own[name]) for name, value in self._pretrained.items()}

    def configure_model(self) -> None:
        """Shard and compile. Lightning calls this in every phase, with a device mesh if the strategy shards."""
        modules = [*self.backbone.blocks.values(), self.head]
        if self.device_mesh is not None:
            shard(self, modules, self.device_mesh["data_parallel"])
        if self.compiles and not self._compiled:
            compile_in_place(modules)
            self._compiled = True

    def train(self, mode: bool = True) -> "FineTuner":
        super().train(mode)
        if self._phase is not None:
            rest_frozen(self.backbone, self._phase)
        return self

    def optimizer_of(self, phase: Phase) -> OptimizerFactory:
        return self._optimizers[phase.name]

    def make_optimizer(self, phase: Phase | None = None) -> Optimizer:
        """Make the optimizer of a phase, by default the current one, at the peak of its learning-rate curve."""
        phase = phase or self.phase
        groups = parameter_groups(self.backbone, self.head, phase)
        optimizer = self.optimizer_of(phase)(optimizer_groups(groups, phase))
        for group in optimizer.param_groups:
            group["lr"] *= group["lr_scale"]
        return optimizer

    def setup(self, stage: str) -> None:
        """Raises RankError if another rank is about to train something else."""
        self.frozen_pass.forget()
        if stage == "fit":
            place = {"phase": self.phase.name, "epoch and batch": self.starts_at}
            require_one_run(place | self.identity, where=f"the start of phase '{self.phase.name}'")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer()
        steps_per_epoch = max(1, int(self.trainer.estimated_stepping_batches) // self._epochs_planned())
        curve = LambdaLR(optimizer, lambda step: self.phase.curve_at(step, steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": curve, "interval": "step", "name": "lr"}}

    def _epochs_planned(self) -> int:
        """Epochs from the start of the run to the end of this phase, for which Lightning counts the steps."""
        if self.trainer.max_epochs is None:
            raise RuntimeError("a phase runs for a number of epochs")
        return self.trainer.max_epochs

    # --- steps ---

    def forward(self, inputs: Tensor | Tokens, passed: int = 0, targets: Tensor | None = None) -> Any:
        """inputs: output of `passed` blocks; FrozenPass runs those below the frost line. targets: of `guides_head`."""
        if passed < self._line:
            inputs, passed = self.frozen_pass.through(inputs, passed, self._line), self._line
        features = self.backbone.to_head(self.backbone.through(inputs, passed, len(self.backbone.blocks)))
        return self.head(features) if targets is None else self.head(features, targets)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by (seed, epoch, batch, rank), so that a resume has nothing to replay."""
        self.trained = True
        place = (self._seed, self.current_epoch, batch_idx, self.global_rank)
        number = seed_of(*place)
        torch.default_generator.manual_seed(number)  # torch.manual_seed queries every kind of device: 0.15 ms
        if self.device.type != "cpu":
            torch.get_device_module(self.device).manual_seed(number)

    def on_validation_start(self) -> None:
        self._share_statistics()

    def on_train_epoch_end(self) -> None:
        """Raises RunError if the epoch's loss is not finite."""
        self._share_statistics()  # in case no validation ran before
        if not self.trained:
            return
        self.trained = False  # the callbacks that read it run before this hook
        loss = self.trainer.callback_metrics.get("train/loss_epoch")
        if loss is not None and not loss.isfinite():
            raise RunError(
                f"the loss is {float(loss)} in phase '{self.phase.name}'",
                where=f"epoch {self.current_epoch - self.first_epoch + 1}",
                next_step="a smaller optimizer.lr, or trainer.gradient_clip_val=1.0",
            )

    def _share_statistics(self) -> None:
        """Copy rank 0's buffers to every rank: each gathers its own BatchNorm statistics, but rank 0's are saved."""
        if self.trainer.world_size > 1:
            for buffer in (*self.backbone.buffers(), *self.head.buffers()):
                torch.distributed.broadcast(buffer, src=0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        targets = batch.targets if self.task.guides_head else None
        terms = self.task.loss(self(batch.inputs, batch.passed, targets), batch)
        loss, penalty = reduce(torch.add, terms.values()), self._penalty()
        self._log_loss((loss + penalty).detach(), batch.size, terms)
        # The weight corrects for unequal numbers of samples on the ranks. The penalty is the same on every rank, and
        # its gradient is not averaged over the ranks for sharded parameters.
        return loss * batch.weight + penalty

    def _log_loss(self, loss: Tensor, samples: int, terms: Mapping[str, Tensor]) -> None:
        """Call Lightning's `log` only when a value is written: it takes longer than a step of a small head."""
        self._losses = loss * samples if self._samples == 0 else self._losses + loss * samples
        self._samples += samples
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (self.trainer.global_step + 1) % every == 0:
            self.log("train/loss_step", loss, batch_size=1)
            for name, term in terms.items() if len(terms) > 1 else ():
                self.log(f"train/{name}_step", term.detach(), batch_size=1)
        if self.trainer.is_last_batch:
            mean = self._losses / self._samples
            self.log("train/loss_epoch", mean, batch_size=self._samples, on_step=False, on_epoch=True, sync_dist=True)
            self._samples = 0

    def _penalty(self) -> Tensor | float:
        penalty: Tensor | float = 0.0
        if self.task.l1:
            learning = learning_weights(self.optimizers(use_pl_optimizer=False).param_groups)  # type: ignore[union-attr]
            penalty = penalty + self.task.l1 * total(weight.abs().sum() for weight in learning)
        if self.phase.l2_sp:
            penalty = penalty + self.phase.l2_sp / 2 * self._distance()
        return penalty

    def _distance(self) -> Tensor | float:
        """Squared distance of the thawed backbone from its pretrained weights."""
        own = dict(self.backbone.named_parameters())
        moved = [(own[name], value) for name, value in self._pretrained.items() if own[name].requires_grad]
        return total(((p - value) ** 2).sum() for p, value in moved)

    def validation_step(self, batch: Batch, batch_idx: int, split: str = "val") -> Tensor:
        outputs: Tensor = self(batch.inputs, batch.passed)
        self.metrics[split].update(outputs, batch)  # type: ignore[operator]
        return outputs  # for callbacks

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.validation_step(batch, batch_idx, "test")

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensor]:
        return self.task.decode(self(batch.inputs), batch)

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _report(self, split: str) -> None:
        metrics = self.metrics[split]
        values = metrics.compute()  # type: ignore[operator]
        if split == "test":
            self.per_class = metrics.per_class()  # type: ignore[operator]
        metrics.reset()  # type: ignore[operator]
        # torchmetrics has gathered over the ranks already, so every rank logs the same numbers.
        self.log_dict({f"{split}/{name}": float(value) for name, value in values.items()}, rank_zero_only=False)

    # --- checkpoints ---

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add where the run stands. `ended`: this epoch ends the phase; a kill may come before run.json says so."""
        trainer = self.trainer
        batches = trainer.fit_loop.epoch_loop.batch_progress
        mid_epoch = not batches.is_last_batch
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        checkpoint[CHECKPOINT_KEY] = {
            "phase": self.phase.name,
            "first_epoch": self.first_epoch,
            "epoch": self.current_epoch,
            "batches": batches.current.ready if mid_epoch else 0,
            "losses": self._losses_of_ranks(),
            "ended": not mid_epoch and (trainer.current_epoch + 1 >= self._epochs_planned() or trainer.should_stop),
            "precision": trainer.precision,
            "val": scores,
            "average": None,
            "identity": self.identity,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint[CHECKPOINT_KEY]
        if saved["batches"]:
            own = saved["losses"]
            if len(own) != self.trainer.world_size:  # another world size: rank 0 takes it all
                own = [[sum(one) for one in zip(*own, strict=True)], *[[0.0, 0]] * (self.trainer.world_size - 1)]
            losses, self._samples = own[self.global_rank]
            self._losses = torch.tensor(losses, device=self.device)

    def _losses_of_ranks(self) -> list[list[float]]:
        """Each rank's sum of losses and number of samples, in this epoch so far. Collective: every rank calls it."""
        own = [float(self._losses), self._samples]
        ranks: list[Any] = [own] * self.trainer.world_size
        if self.trainer.world_size > 1:
            torch.distributed.all_gather_object(ranks, own)
        return ranks
