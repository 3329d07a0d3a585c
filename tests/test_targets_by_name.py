"""A task of one's own whose targets have names: the class of a picture, and the logits of a teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import mse_loss, one_hot

from conftest import Answer
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.contracts.tokens import Tokens
from frostline.contracts.worst import Worst
from frostline.data.pictures.grey import Range
from frostline.data.pictures.samples import ArraySamples
from frostline.data.pictures.sources import ArrayPictures
from frostline.data.reader import Found
from frostline.data.sample_cache import SampleCache
from frostline.data.target_types.base import TargetType
from frostline.pages.events import curves
from frostline.pages.samples import galleries
from frostline.runs.predictions import read
from frostline.runs.record import Record
from frostline.tasks.base import Metrics
from frostline.tasks.classification import Classification
from tiny import CHAIN, TEST, FewDigits


class TaughtPictures(ArrayPictures):
    def targets(self, index: Tensor) -> dict[str, Tensor]:
        label = self.labels[index]
        return {"label": label, "teacher": 4.0 * one_hot(label, 10)}


class Taught(ArraySamples):
    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> TaughtPictures:
        return TaughtPictures(self.pixels, self.labels)


class TaughtDigits(FewDigits):
    def read(self, target: TargetType, known: Targets | None) -> Found:
        names, *splits = super().read(target, known)[:4]
        return Found(names, *(Taught(split.pixels, split.labels) for split in splits))


def labelled(batch: Batch) -> Batch:
    return batch._replace(targets=batch.targets["label"])


class Distillation(Classification):
    worst = Worst("gap", "min", "Furthest from the teacher", "By the mean gap of the logits.", "gap")

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {
            "hard": super().loss(outputs, labelled(batch))["loss"],
            "soft": mse_loss(outputs, batch.targets["teacher"]),
        }

    def fit_rows(self, features: Tensor | Tokens, targets: Any) -> tuple[Tensor, Tensor]:
        return super().fit_rows(features, targets["label"])

    def metrics(self) -> Metrics:
        return OfLabels(super().metrics())

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        gap = (outputs - batch.targets["teacher"]).abs().mean(1)
        return super().saved(outputs, labelled(batch)) | {"teacher": batch.targets["teacher"], "gap": gap}


class OfLabels(Metrics):
    def __init__(self, own: Metrics) -> None:
        super().__init__()
        self.own = own

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.own.update(outputs, labelled(batch))

    def compute(self) -> dict[str, float]:
        return self.own.compute()

    def per_class(self) -> list[dict[str, Any]]:
        return self.own.per_class()

    def reset(self) -> None:
        self.own.reset()


def test_a_task_learns_from_a_class_and_a_teacher(program: Callable[..., Answer]) -> None:
    """The head is solved on cached outputs, then all blocks learn for an epoch."""
    own = ["data._target_=test_targets_by_name.TaughtDigits", "task._target_=test_targets_by_name.Distillation"]
    plan = ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1", "trainer.log_every_n_steps=1"]
    answer = program("train", *CHAIN, *own, *plan, "trainer=cpu", "cache=always", "report=false", "run_dir=run")
    assert answer.code == 0, answer.err
    record = Record.read(Path("run"))
    assert [phase.get("solved") is not None for phase in record.phases] == [True, False]
    assert {"train/hard_step", "train/soft_step"} <= curves(Path("run/tensorboard")).keys()
    found = read(Path("run"), "test")
    assert found.columns["teacher"].shape == (TEST, 10)
    assert (found.columns["teacher"].argmax(1) == found.columns["target"]).all()
    furthest, _ = galleries(found, str).shown
    assert furthest.title == "Furthest from the teacher"
    assert furthest.samples[0].answer == f"gap {found.columns['gap'].max():.2f}"
