"""The batch that fits: the largest power of two by the bytes that a step keeps, the same for every rank and resume."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from torch import nn

from conftest import DEVICE, Answer, make_phase
from frostline.errors import RunError
from frostline.plan.freezing import parameter_groups
from frostline.training.batch_size import BLOCKS, MEASURED, ChosenBatch, costs_of, largest_batch
from frostline.training.costs import phase_bytes
from tiny import Tiny

TRAINER = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
SAMPLE = torch.zeros(1, 3, 16, 16)


def _batch(memory: int, samples: int = 100_000, **settings: Any) -> int:
    return _chosen(memory, samples, **settings).size


def _chosen(memory: int, samples: int = 100_000, **settings: Any) -> ChosenBatch:
    torch.manual_seed(0)
    make = {"it": lambda groups: torch.optim.AdamW(groups, lr=1e-3)}
    return largest_batch(
        Tiny(weights=None), nn.Linear(6, 3), [make_phase(**settings)], make,
        sample=SAMPLE, samples=samples, trainer=TRAINER, memory=memory,
    )  # fmt: skip


def test_twice_the_batch_would_not_fit_and_this_one_does() -> None:
    memory = 10**7
    batch = _batch(memory)
    backbone, head = Tiny(weights=None), nn.Linear(6, 3)
    costs = costs_of(backbone, head, SAMPLE, TRAINER)
    assert costs is not None
    phase = make_phase()
    groups = parameter_groups(backbone, head, phase)
    needs = [phase_bytes(costs, phase, ["stem"], size, groups, 2, 0) for size in (batch, 2 * batch)]
    assert needs[0] <= 0.6 * memory < needs[1] + 4096
    assert 1 < batch < 1024


def test_more_memory_gives_a_larger_batch_up_to_the_most_and_never_fewer_than_eight_steps() -> None:
    sizes = [_batch(memory) for memory in (10**6, 10**7, 10**8)]
    assert sizes == sorted(set(sizes))
    assert _batch(10**12) == 1024
    assert _batch(10**12, samples=900) == 64
    assert _batch(10**12, samples=3) == 1


@pytest.mark.parametrize(
    ("memory", "samples", "why"),
    [
        (10**7, 100_000, "fits into memory"),
        (10**12, 100_000, "Frostline tries"),
        (10**12, 900, "leaves 8 optimizer steps per epoch"),
        (10**7, 900, "leaves 8 optimizer steps per epoch"),
        (10**12, 3, "is possible, with one sample for each process"),
    ],
)
def test_what_kept_it_from_being_larger_is_told(memory: int, samples: int, why: str) -> None:
    assert _chosen(memory, samples).why == f"is the largest power of two that {why}"


def test_steps_of_several_batches_are_eight_an_epoch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRAINER, "accumulate_grad_batches", 4)
    batch = _batch(10**12, samples=900)
    assert batch == 16
    assert 900 // (4 * batch) >= 8
    assert _batch(10**12, samples=3) == 1


@pytest.mark.parametrize(("samples", "ranks", "batch"), [(60, 6, 8), (20, 3, 4), (100, 12, 16), (1000, 3, 64)])
def test_every_rank_has_a_sample(samples: int, ranks: int, batch: int) -> None:
    said: Any = SimpleNamespace(
        world_size=ranks, strategy=TRAINER.strategy, precision="32-true", precision_plugin=TRAINER.precision_plugin,
        accumulate_grad_batches=1,
    )  # fmt: skip
    make = {"it": lambda groups: torch.optim.AdamW(groups, lr=1e-3)}
    assert largest_batch(
        Tiny(weights=None), nn.Linear(6, 3), [make_phase()], make,
        sample=SAMPLE, samples=samples, trainer=said, memory=10**9,
    ).size == batch  # fmt: skip


def test_what_is_frozen_leaves_room() -> None:
    assert _batch(10**7, thaw="none") > _batch(10**7)


def test_a_sample_that_does_not_fit_is_told() -> None:
    with pytest.raises(RunError, match="a batch of 1 with 16 pixels a side needs more than"):
        _batch(10)


def test_memory_that_is_short_while_costs_are_measured_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    MEASURED.clear()
    BLOCKS.clear()
    monkeypatch.setattr("frostline.training.batch_size.measured_blocks", lambda *_: torch.empty(2**50))
    with pytest.raises(RunError, match="memory ran out while a step of a few samples was measured"):
        _batch(10**7)
    MEASURED.clear()


def test_costs_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    MEASURED.clear()
    BLOCKS.clear()
    first = costs_of(Tiny(weights=None), nn.Linear(6, 3), SAMPLE, TRAINER)
    monkeypatch.setattr("frostline.training.batch_size.measured_blocks", lambda *_: pytest.fail("measured again"))
    other = costs_of(Tiny(weights=None), nn.Sequential(nn.Linear(6, 4), nn.Tanh()), SAMPLE, TRAINER)
    assert first is not None
    assert other is not None
    assert other["stem"] is first["stem"], "another head costs the blocks nothing"
    assert other["head"].kept > first["head"].kept, "the head is measured for itself"
    monkeypatch.setattr("frostline.training.batch_size.with_head", lambda *_: pytest.fail("measured again"))
    assert costs_of(Tiny(weights=None), nn.Linear(6, 3), SAMPLE, TRAINER) is first


def test_a_run_that_finds_its_batch_keeps_it(program: Callable[..., Answer], tmp_path: Path) -> None:
    quick = ["data.train_limit=200", "data.batch_size=auto", "model._target_=tiny.Tiny", "logger=none", *DEVICE]
    quick += ["data.image_size=8", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1"]
    answer = program("train", *quick, "run_dir=run")
    assert answer.code == 0, answer.err
    assert "data.batch_size=16 is the largest power of two that leaves 8 optimizer steps per epoch\n" in answer.out
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["batch_size"] == 16
    said = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert said["frostline"]["identity"]["batch_size"] == 16
    scored = program("evaluate", "run=run", "trust=true")
    assert scored.code == 0, scored.err
    metrics = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]
    assert f"test/loss {metrics['test/loss']:.4f}" in scored.out


def test_a_run_that_is_taken_up_again_keeps_the_batch_that_it_found(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a scheduler starts it: the same command again, here on a machine with less memory."""
    quick = ["data.train_limit=200", "data.batch_size=auto", "model._target_=tiny.Tiny", "logger=none", *DEVICE]
    quick += ["data.image_size=8", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1", "requeue=true"]
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    monkeypatch.setenv("STOP_AT", f"train 17 {int(signal.SIGTERM)}")
    assert program("train", *quick, stopper, "run_dir=run").code == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    monkeypatch.setattr("frostline.training.batch_size._memory_of", lambda device: 10**5)
    answer = program("train", *quick, stopper, "run_dir=run")
    assert answer.code == 0, answer.err
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["batch_size"] == 16
