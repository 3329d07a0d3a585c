"""A task of one's own that wraps another and has two targets: the class of a picture, and a teacher's logits."""

import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

import frostline
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
from frostline.tasks.base import Metrics, Mode, Task
from test_resume import STOPPER, _train
from tiny import MORE, MoreDigits

# --- the data ---


class TaughtPictures(ArrayPictures):
    """logits: (N, C) of a teacher."""

    def __init__(self, pixels: Tensor, labels: Tensor, logits: Tensor) -> None:
        super().__init__(pixels, labels)
        self.logits = logits

    def targets(self, index: Tensor) -> dict[str, Tensor]:
        return {"label": self.labels[index], "teacher": self.logits[index]}


class Taught(ArraySamples):
    def __init__(self, pixels: Tensor, labels: Tensor, logits: Tensor) -> None:
        super().__init__(pixels, labels)
        self.logits = logits

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> TaughtPictures:
        return TaughtPictures(self.pixels, self.labels, self.logits)


class TaughtDigits(MoreDigits):
    """teacher: the folder of its run."""

    def __init__(self, *, teacher: str) -> None:
        self.teacher = teacher

    def read(self, target: TargetType, known: Targets | None) -> Found:
        names, *splits = super().read(target, known)[:4]
        network = frostline.open(self.teacher, trust=True, calibration="none").module
        with torch.no_grad():
            return Found(names, *(Taught(it.pixels, it.labels, network(it.pixels)) for it in splits))


# --- the task ---


def labelled(batch: Batch) -> Batch:
    return batch._replace(targets=batch.targets["label"])


class Distilled(Task):
    """wrapped: makes the task whose loss is `hard`. temperature: divides the logits of both networks in the `soft` loss
    (Hinton et al. 2015, arXiv:1503.02531)."""

    worst = Worst("gap", "min", "Furthest from the teacher", "By the mean gap of the logits.", "gap")

    def __init__(
        self, targets: Targets, *, wrapped: Callable[[Targets], Task], temperature: float, monitor: str, mode: Mode
    ) -> None:
        own = wrapped(targets)
        scores = {name.removeprefix("val/"): best for name, best in own.scores.items()}
        super().__init__(monitor=monitor, mode=mode, l1=own.l1, scores=scores)
        self.own = own
        self.temperature = temperature

    @property
    def num_outputs(self) -> int:
        return self.own.num_outputs

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        student, teacher = outputs / self.temperature, batch.targets["teacher"] / self.temperature
        soft = cross_entropy(student, teacher.softmax(1))
        return {"hard": self.own.loss(outputs, labelled(batch))["loss"], "soft": self.temperature**2 * soft}

    def fit_rows(self, features: Tensor | Tokens, targets: Any) -> tuple[Tensor, Tensor]:
        return self.own.fit_rows(features, targets["label"])

    def loss_of_rows(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A head is solved from labels alone."""
        return self.own.loss_of_rows(outputs, targets)

    def standard_error(self, monitor: str, score: float, samples: float) -> float:
        return self.own.standard_error(monitor, score, samples)

    def metrics(self) -> Metrics:
        return OfLabels(self.own.metrics())

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        return self.own.decode(outputs, batch)

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        return self.own.columns(predictions, top_k)

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        gap = (outputs - batch.targets["teacher"]).abs().mean(1)
        return self.own.saved(outputs, labelled(batch)) | {"teacher": batch.targets["teacher"], "gap": gap}


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


# --- runs ---

DISTILLED = """
defaults: [classification@wrapped, _self_]
_target_: test_targets_by_name.Distilled
wrapped: {_partial_: true}
temperature: 4.0
monitor: ${.wrapped.monitor}
mode: ${.wrapped.mode}
"""
SHORT = [*MORE, "trainer=cpu", "trainer.precision=32-true", "trainer.log_every_n_steps=1", "report=false"]
TEACHER = [*SHORT, "schedule=head_only"]
STUDENT = [*TEACHER, "schedule.every_phase.solve=false", "schedule.phases.head.epochs=10", "optimizer.lr=0.1"]


def distilled(folder: Path) -> list[str]:
    """Settings of a run that learns from the run `teacher` in a folder."""
    (folder / "conf" / "task").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "task" / "distilled.yaml").write_text(DISTILLED)
    data = ["data._target_=test_targets_by_name.TaughtDigits", f"+data.teacher={folder / 'teacher'}"]
    return ["--config-dir", str(folder / "conf"), "task=distilled", *data]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `teacher`; `alone`, which learns from labels; `student`, which learns from the teacher too; and
    `stopped`, the student before its test."""
    folder = tmp_path_factory.mktemp("runs")
    assert _train(folder, *TEACHER, f"run_dir={folder / 'teacher'}") == 0
    assert _train(folder, *STUDENT, f"run_dir={folder / 'alone'}") == 0
    own = [*STUDENT, *distilled(folder), "cache=always", STOPPER, f"run_dir={folder / 'student'}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOP_AT", f"test 1 {int(signal.SIGTERM)}")
        assert _train(folder, *own) == 128 + signal.SIGTERM
    shutil.copytree(folder / "student", folder / "stopped")
    assert _train(folder, f"resume={folder / 'student'}", "trust=true") == 0
    return folder


def divergence(run: Path, teacher: Path) -> float:
    """Mean Kullback-Leibler divergence of a run's answers from a teacher's, on test pictures."""
    found, wanted = (torch.from_numpy(read(it, "test").columns["logits"]).log_softmax(1) for it in (run, teacher))
    return kl_div(found, wanted, log_target=True, reduction="batchmean").item()


def test_a_student_answers_more_like_its_teacher_than_one_that_learns_from_labels_alone(runs: Path) -> None:
    student, alone = (divergence(runs / name, runs / "teacher") for name in ("student", "alone"))
    assert 0 < 2 * student < alone


def test_a_run_stores_the_outputs_of_its_teacher_and_shows_where_it_differs(runs: Path) -> None:
    found, teacher = read(runs / "student", "test"), read(runs / "teacher", "test")
    assert found.columns["teacher"] == pytest.approx(teacher.columns["logits"], abs=1e-5)
    assert {"train/hard_step", "train/soft_step"} <= curves(runs / "student" / "tensorboard").keys()
    furthest, _ = galleries(found, str).shown
    assert furthest.title == "Furthest from the teacher"
    assert furthest.samples[0].answer == f"gap {found.columns['gap'].max():.2f}"


@pytest.mark.parametrize(
    ("run", "command", "said"),
    [
        ("stopped", ["train", "resume=run"], "data.named_targets was "),
        ("student", ["evaluate", "run=run"], "not the data that the run was trained and tested on"),
    ],
)
def test_another_teacher_is_refused(
    run: str, command: list[str], said: str, runs: Path, program: Callable[..., Answer]
) -> None:
    shutil.copytree(runs / run, "run")
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace(str(runs / "teacher"), str(runs / "alone")))
    answer = program(*command, "trust=true")
    assert (answer.code, said in answer.err) == (1, True), answer.err


def test_runs_with_and_without_a_teacher_are_runs_of_the_same_data(runs: Path, program: Callable[..., Answer]) -> None:
    answer = program("compare", f"first={runs / 'student'}", f"second={runs / 'alone'}")
    assert answer.code == 0, answer.err


def test_mixed_pictures_have_mixed_targets(runs: Path, program: Callable[..., Answer]) -> None:
    """The head is solved on cached outputs, then all blocks learn from mixed pictures."""
    plan = ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1", "data.augment=strong", "cache=always"]
    answer = program("train", "model._target_=tiny.Chain", *SHORT, *plan, *distilled(runs), "run_dir=run")
    assert answer.code == 0, answer.err
    assert [phase.get("solved") is not None for phase in Record.read(Path("run")).phases] == [True, False]
