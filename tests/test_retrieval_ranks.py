"""Two processes learn embeddings as one does: losses of pairs see the samples of both."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from frostline.commands.train import quiet
from ranks_worker import Job
from test_ranks import ALONE, RANKS, _load, _train
from tiny import TEST, VAL

pytestmark = pytest.mark.process

LOSSES = ["supcon", "triplet"]
# Batches of 3 identities with 3 samples: shares of 5 and 4.
OWN = ["model._target_=tiny.Chain", "task=retrieval", "head.dimension=6", "data.batch_size=9", "data.per_identity=3"]
OWN += ["trainer.limit_train_batches=4"]


def jobs(folder: Path, trainer: list[str]) -> list[Job]:
    return [Job(str(folder / loss), "full", [*trainer, *OWN, f"task.loss={loss}"]) for loss in LOSSES]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Results of one process and of two, by loss."""
    alone, two = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("two")
    quiet()
    found = {loss: [ranks_worker.trained(job)] for loss, job in zip(LOSSES, jobs(alone, ALONE), strict=True)}
    _train(two, 2, jobs(two, RANKS["ddp"]))
    return {loss: [*ends, _load(two / f"{loss}.pt")] for loss, ends in found.items()}


@pytest.mark.parametrize("loss", LOSSES)
def test_two_ranks_end_in_the_weights_of_one_process(loss: str, ends: dict[str, list[dict[str, Any]]]) -> None:
    alone, two = ends[loss]
    for name, value in alone["weights"].items():
        error = (two["weights"][name].double() - value.double()).abs().max()
        assert error <= 1e-5 * value.double().abs().max().clamp(min=1e-3), name
    assert two["scores"]["test/n"] == TEST
    assert [row["val/n"] for row in two["val"]] == [VAL]
    assert two["scores"] == pytest.approx(alone["scores"], abs=0.05)


def test_the_losses_end_in_weights_of_their_own(ends: dict[str, list[dict[str, Any]]]) -> None:
    first, second = (ends[loss][0]["weights"]["head.layers.0.weight"] for loss in LOSSES)
    assert not torch.allclose(first, second, rtol=1e-3)
