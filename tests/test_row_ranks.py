"""Two processes learn from rows what one learns, and score the same, from cached outputs of both towers too."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train
from tiny_rows import COLUMNS, put_pets
from tiny_text import make_tokenizer

pytestmark = pytest.mark.process

# 62 training rows in batches of 13: shares of 7 and 6. Without dropout, as ranks draw their own.
STILL = ["head.dropout=0.0", "head.drop_columns=0.0", "head.drop_names=0.0", "schedule.phases.last.thaw=2"]


def jobs(folder: Path, data: Path, trainer: list[str]) -> list[Job]:
    own = [*trainer, "task=regression", "data=table", f"data.file={data / 'pets.csv'}", "data.target_columns=[price]"]
    own += ["data._target_=frostline.data.rows.reader.TableRows", *COLUMNS, "data.train_limit=null"]
    own += ["model=fusion", "model@model.image=bundled", "model.image._target_=tiny.Chain", "model@model.text=bundled"]
    own += ["model.text._target_=tiny_text.StillText", f"model.text.weights={data / 'tokenizer'}", *STILL]
    return [
        Job(str(folder / "never"), "last_block", [*own, "cache=never"]),
        Job(str(folder / "kept"), "last_block", [*own, "cache=always"]),
    ]


JOBS = ["never", "kept"]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By number of processes and job."""
    data = tmp_path_factory.mktemp("data")
    put_pets(data)
    make_tokenizer(data / "tokenizer")
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    quiet()
    for job in jobs(one, data, ALONE):
        torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    _train(two, 2, jobs(two, data, RANKS["ddp"]))
    return {f"{folder.name[:3]} {name}": _load(folder / f"{name}.pt") for folder in (one, two) for name in JOBS}


@pytest.mark.parametrize("name", JOBS)
def test_two_ranks_end_where_one_process_ends(name: str, ends: dict[str, dict[str, Any]]) -> None:
    one, two = ends[f"one {name}"], ends[f"two {name}"]
    for key, value in one["weights"].items():
        error = (two["weights"][key].double() - value.double()).abs().max() if value.numel() else 0.0
        assert error <= 1e-4 * value.double().abs().max().clamp(min=1e-2), key
    assert one["scores"]["test/n"] == two["scores"]["test/n"]
    assert two["scores"]["test/loss"] == pytest.approx(one["scores"]["test/loss"], rel=1e-4)


def test_ranks_that_cache_towers_end_in_the_same_bits(ends: dict[str, dict[str, Any]]) -> None:
    never, kept = ends["two never"], ends["two kept"]
    assert all(torch.equal(value, kept["weights"][name]) for name, value in never["weights"].items())
    assert kept["scores"] == never["scores"]
