"""Print a line per epoch, in terminals and logs alike."""

import lightning as L


class EpochLines(L.Callback):
    """monitor: the score that is printed beside the losses."""

    def __init__(self, *, monitor: str) -> None:
        self.shown = {"loss": "train/loss_epoch"} | {name: name for name in ("val/loss", monitor)}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seen = trainer.callback_metrics  # read on every rank: it gathers
        if not trainer.is_global_zero or not pl_module.trained:
            return
        width = max(8, *map(len, pl_module.phase_names))  # type: ignore[arg-type]
        phase, first = pl_module.phase, pl_module.first_epoch
        scores = {"train/loss_epoch", *pl_module.task.scores}  # type: ignore[union-attr, misc]
        names = {label: name for label, name in self.shown.items() if name in scores}  # not every task has val/loss
        shown = {label: f"{float(seen[name]):.4f}" if name in seen else "-" for label, name in names.items()}
        epoch = f"{trainer.current_epoch - first + 1}/{phase.epochs}"  # type: ignore[union-attr,operator]
        line = "  ".join(f"{name} {value}" for name, value in shown.items())
        print(f"{phase.name:>{width}} {epoch:>7}   {line}", flush=True)  # type: ignore[union-attr]
