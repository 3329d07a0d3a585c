"""Two processes learn from the whole batch's objects what one learns, also with a pretrained decoder."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train
from tiny_boxes import put_coco
from tiny_detr import put

pytestmark = pytest.mark.process


def jobs(folder: Path, data: Path, network: Path, trainer: list[str]) -> list[Job]:
    """13 training pictures in batches of 5: shares of 3 and 2, with different numbers of objects. RF-DETR draws nothing
    at random."""
    own = [*trainer, "task=detection", "data=boxes", f"data.dir={data}", "data.sides=[64,64]", "data.batch_size=5"]
    own += ["data._target_=frostline.data.boxes.reader.BoxedPictures", "data.train_limit=null", "cache=never"]
    own += ["model=rf_detr_nano", "optimizer.lr=1e-3", "data.image_size=64"]
    own += [f"model.name={network}", "model.dropout=0.0", "head.detections=20", "data.augment=none"]
    return [Job(str(folder / "boxes"), "last_block", own)]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The ends of a run on one process and on two."""
    data = put_coco(tmp_path_factory.mktemp("data"), {"train": 13, "val": 3, "test": 5})
    network = put("rf_detr", tmp_path_factory.mktemp("network"))
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    quiet()
    for job in jobs(one, data, network, ALONE):
        torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    _train(two, 2, jobs(two, data, network, RANKS["ddp"]))
    return [_load(folder / "boxes.pt") for folder in (one, two)]


@pytest.mark.long
def test_two_ranks_end_where_one_process_ends(ends: list[dict[str, Any]]) -> None:
    one, two = ends
    for key, value in one["weights"].items():
        error = (two["weights"][key].double() - value.double()).abs().max()
        assert error <= 1e-3 * value.double().abs().max() + 1e-6, key
    assert one["scores"]["test/n"] == two["scores"]["test/n"] == 5
