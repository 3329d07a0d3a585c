"""A line per epoch, in terminals and in logs alike."""

import lightning as L


class EpochLines(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        phase, first = pl_module.phase, pl_module.first_epoch
        seen = trainer.callback_metrics
        shown = {
            "loss": f"{float(seen['train/loss_epoch']):.4f}" if "train/loss_epoch" in seen else "-",
            "val/loss": f"{float(seen['val/loss']):.4f}" if "val/loss" in seen else "-",
            "val/accuracy": f"{float(seen['val/accuracy']):.4f}" if "val/accuracy" in seen else "-",
        }
        epoch = f"{trainer.current_epoch - first + 1}/{phase.epochs}"  # type: ignore[union-attr,operator]
        line = "  ".join(f"{name} {value}" for name, value in shown.items())
        print(f"{phase.name:>8} {epoch:>7}   {line}", flush=True)  # type: ignore[union-attr]
