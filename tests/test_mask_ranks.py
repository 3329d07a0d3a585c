"""Two processes learn from masks what one learns, from maps and from kept pyramids."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train, require_same_predictions
from tiny_masks import put

pytestmark = pytest.mark.process

# 17 training pictures in batches of 5: shares of 3 and 2. No norm of the heads looks at a batch.
LINEAR = ["head=linear", "task.dice=0.5", "task.class_weights=balanced"]
FPN = ["model._target_=tiny.Levels", "head=fpn", "head.channels=32", "head.segmentation_channels=32"]
FPN += ["head.dropout=0"]


def jobs(folder: Path, data: Path, trainer: list[str]) -> list[Job]:
    own = [*trainer, "task=segmentation", "data=image_masks", f"data.dir={data}", "data.sides=[64,32]"]
    own += [
        "data._target_=frostline.data.pictures.image_masks.ImageMasks",
        "data.train_limit=null",
        "data.batch_size=5",
    ]
    return [
        Job(str(folder / "linear"), "two_stage", [*own, *LINEAR], stores=True),
        Job(str(folder / "fpn"), "last_block", [*own, *FPN, "cache=never"]),
        Job(str(folder / "kept"), "last_block", [*own, *FPN, "cache=always"]),
    ]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By number of processes and job."""
    data = put(tmp_path_factory.mktemp("data"))
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    quiet()
    for job in jobs(one, data, ALONE):
        torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    _train(two, 2, jobs(two, data, RANKS["ddp"]), torchrun=True)
    return {f"{folder.name[:3]} {name}": _load(folder / f"{name}.pt") for folder in (one, two) for name in JOBS}


JOBS = ["linear", "fpn", "kept"]


@pytest.mark.parametrize("name", JOBS)
def test_two_ranks_end_where_one_process_ends(name: str, ends: dict[str, dict[str, Any]]) -> None:
    one, two = ends[f"one {name}"], ends[f"two {name}"]
    for key, value in one["weights"].items():
        error = (two["weights"][key].double() - value.double()).abs().max()
        # Biases begin at 0, so that they are what was learned; of that a ReLU that flips near 0 changes a thousandth,
        # and shares of 3 and 2 that weighed the same would change a tenth.
        assert error <= (1e-2 if key.endswith("bias") else 1e-4) * value.double().abs().max(), key
    assert one["scores"]["test/n"] == two["scores"]["test/n"] == 5
    for score, value in one["scores"].items():
        assert two["scores"][score] == pytest.approx(value, rel=1e-3, abs=1e-3), score
    assert [scores["val/n"] for scores in two["val"]] == [2, 2]


def test_two_ranks_store_the_predictions_of_one_process(ends: dict[str, dict[str, Any]]) -> None:
    require_same_predictions(ends["two linear"]["run"], ends["one linear"]["run"])


def test_ranks_that_keep_a_pyramid_end_in_the_same_bits(ends: dict[str, dict[str, Any]]) -> None:
    never, kept = ends["two fpn"], ends["two kept"]
    assert all(torch.equal(value, kept["weights"][name]) for name, value in never["weights"].items())
    assert kept["scores"] == never["scores"]
