"""Curves of learning rates: one for each block, through all phases."""

from types import SimpleNamespace
from typing import Any

from frostline.training.callbacks.rates import LearningRates


def test_parts_with_and_without_weight_decay_are_one_curve() -> None:
    logged: list[tuple[dict[str, float], int]] = []
    logger = SimpleNamespace(log_metrics=lambda rates, step: logged.append((rates, step)))
    trainer: Any = SimpleNamespace(loggers=[logger], log_every_n_steps=2, global_step=0, optimizers=[])
    module: Any = None
    names = ["head", "head/no_decay", "stage4/no_decay"]
    for step in range(4):
        groups = [{"name": name, "lr": rate / (step + 1)} for name, rate in zip(names, (1.0, 1.0, 0.5), strict=True)]
        trainer.global_step, trainer.optimizers = step, [SimpleNamespace(param_groups=groups)]
        LearningRates().on_train_batch_start(trainer, module, None, 0)
    assert logged == [({"lr/head": 1.0, "lr/stage4": 0.5}, 0), ({"lr/head": 1 / 3, "lr/stage4": 0.5 / 3}, 2)]
    trainer.loggers = []
    LearningRates().on_train_batch_start(trainer, module, None, 0)
    assert len(logged) == 2
