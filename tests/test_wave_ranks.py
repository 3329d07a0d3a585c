"""Two processes learn to write sounds as one does, from values and from cached tokens, and count the same errors."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train
from tiny_waves import TEXTS, make_encoder, put_spoken

pytestmark = pytest.mark.process


def jobs(folder: Path, encoder: Path, table: Path, trainer: list[str]) -> list[Job]:
    """8 training sounds in batches of 2 and 3, of which ranks get 1 and 2."""
    own = [*trainer, "task=transcription", "model=sound_transformer", f"model.name={encoder}", "model.dropout=0.0"]
    own += ["data=audio_csv", f"data.file={table}", "data.target_columns=[text]", "data.split_column=split"]
    own += ["data._target_=frostline.data.sounds.audio_csv.AudioCsv", "data.train_limit=null", "data.image_size=null"]
    own += ["data.batch_size=3"]
    return [
        Job(str(folder / "whole"), "full", own),
        Job(str(folder / "never"), "last_block", [*own, "cache=never"]),
        Job(str(folder / "kept"), "last_block", [*own, "cache=always"]),
    ]


JOBS = ["whole", "never", "kept"]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By number of processes and job."""
    made = tmp_path_factory.mktemp("made")
    encoder, table = make_encoder(made / "encoder"), put_spoken(made / "spoken")
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    quiet()
    for job in jobs(one, encoder, table, ALONE):
        torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    _train(two, 2, jobs(two, encoder, table, RANKS["ddp"]))
    return {f"{folder.name[:3]} {name}": _load(folder / f"{name}.pt") for folder in (one, two) for name in JOBS}


@pytest.mark.parametrize("name", JOBS)
def test_two_ranks_end_where_one_process_ends(name: str, ends: dict[str, dict[str, Any]]) -> None:
    one, two = ends[f"one {name}"], ends[f"two {name}"]
    for key, value in one["weights"].items():
        error = (two["weights"][key].double() - value.double()).abs().max()
        assert error <= 1e-4 * value.double().abs().max().clamp(min=1e-2), key
    assert one["scores"]["test/n"] == two["scores"]["test/n"] == len(TEXTS)
    assert one["scores"]["test/cer"] == two["scores"]["test/cer"]
    assert one["scores"]["test/wer"] == two["scores"]["test/wer"]
    assert two["scores"]["test/loss"] == pytest.approx(one["scores"]["test/loss"], rel=1e-4)


def test_ranks_that_cache_tokens_end_in_the_same_bits(ends: dict[str, dict[str, Any]]) -> None:
    never, kept = ends["two never"], ends["two kept"]
    assert all(torch.equal(value, kept["weights"][name]) for name, value in never["weights"].items())
    assert kept["scores"] == never["scores"]
