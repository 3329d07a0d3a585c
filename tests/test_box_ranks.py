"""Two processes learn from boxes what one learns, and score the same."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train, require_same_predictions
from tiny_boxes import put_coco

pytestmark = pytest.mark.process

# 13 training pictures in batches of 5: shares of 3 and 2; 5 test pictures, which two ranks cannot share equally.
# RetinaNet draws nothing at random, and its loss is a mean over pictures. After an epoch, no score is above 0.05.
RETINA = ["head=retinanet", "head.channels=32", "head.anchor_scale=2", "head.detections=10", "head.score=0.0"]


def jobs(folder: Path, data: Path, trainer: list[str]) -> list[Job]:
    own = [*trainer, "task=detection", "data=boxes", f"data.dir={data}", "data.sides=[32,64]", "data.batch_size=5"]
    own += ["data._target_=frostline.data.boxes.reader.BoxedPictures", "data.train_limit=null"]
    own += ["model._target_=tiny.Levels", *RETINA]
    return [
        Job(str(folder / "boxes"), "last_block", [*own, "cache=never"], stores=True),
        Job(str(folder / "kept"), "last_block", [*own, "cache=always"]),
    ]


JOBS = ["boxes", "kept"]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Results by number of processes and job."""
    data = put_coco(tmp_path_factory.mktemp("data"), {"train": 13, "val": 3, "test": 5})
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    quiet()
    for job in jobs(one, data, ALONE):
        torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    _train(two, 2, jobs(two, data, RANKS["ddp"]))
    return {f"{folder.name[:3]} {name}": _load(folder / f"{name}.pt") for folder in (one, two) for name in JOBS}


def test_two_ranks_end_where_one_process_ends(ends: dict[str, dict[str, Any]]) -> None:
    one, two = ends["one boxes"], ends["two boxes"]
    for key, value in one["weights"].items():
        error = (two["weights"][key].double() - value.double()).abs().max()
        # Biases begin at 0, so that they are what was learned.
        assert error <= (1e-2 if key.endswith("bias") else 1e-4) * value.double().abs().max(), key
    assert one["scores"]["test/n"] == two["scores"]["test/n"] == 5
    for score, value in one["scores"].items():
        assert two["scores"][score] == pytest.approx(value, rel=1e-3, abs=1e-3), score


def test_two_ranks_store_the_predictions_of_one_process(ends: dict[str, dict[str, Any]]) -> None:
    require_same_predictions(ends["two boxes"]["run"], ends["one boxes"]["run"])


def test_ranks_that_keep_a_pyramid_end_in_the_same_bits(ends: dict[str, dict[str, Any]]) -> None:
    never, kept = ends["two boxes"], ends["two kept"]
    assert all(torch.equal(value, kept["weights"][name]) for name, value in never["weights"].items())
    assert kept["scores"] == never["scores"]
