"""Several processes train what one trains, in every plan, and say so when they do not agree."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ranks_worker
from conftest import free_port, short_form
from forked import ran, ran_as_ranks
from frostline.commands.train import quiet
from frostline.paths import bundled_weights, conf_dir
from frostline.runs.predictions import read
from ranks_worker import Job
from tiny import TEST, VAL

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("solved_to_the_end")]

# Batches of another size change the last bits of features. L-BFGS makes that up to 1e-3 of the weights in the end, the
# steps of a phase 7e-7 (Intel Xeon with AMX). So only these runs solve their heads.
SOLVED, SOLVED_WITHIN = "schedule.every_phase.solve=true", 1e-2
WORKER = Path(__file__).with_name("ranks_worker.py")
UNTRAINED = "none.yaml"
PLANS = sorted(file.stem for file in (conf_dir() / "schedule").glob("[!_]*.yaml") if file.name != UNTRAINED)
SHORT_FORM = ["two_stage", "gradual", "last_block"]
ALONE = ["trainer=cpu"]
RANKS = {name: [f"trainer={name}", "trainer.accelerator=cpu", "trainer.devices=2"] for name in ("ddp", "fsdp")}
# Shares of a batch that differ in size, and what is not the loss of a sample or comes after all of them.
PULLED = ["task.l1=1e-5", "schedule.every_phase.l2_sp=0.1", "trainer.gradient_clip_val=0.1"]


def _train(folder: Path, world_size: int, jobs: list[Job], *, torchrun: bool = False) -> None:
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs))
    if not torchrun:
        ran_as_ranks(world_size, free_port(), str(WORKER), str(file))
        return
    answer = ran(str(WORKER), str(file), str(world_size), env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def plans(request: pytest.FixtureRequest) -> list[str]:
    """Those of the form that runs: short, or all."""
    return SHORT_FORM if "not long" in request.config.getoption("markexpr") else PLANS


@pytest.fixture(scope="module")
def alone(plans: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one process, for every plan."""
    folder = tmp_path_factory.mktemp("alone")
    jobs = [Job(str(folder / plan), plan, ALONE, keep=plan == "two_stage") for plan in plans]
    quiet()
    if plans == PLANS:
        jobs.append(Job(str(folder / "dora"), "adapter_then_all", [*ALONE, "adapter=dora"]))
        jobs.append(Job(str(folder / "pulled"), "two_stage", [*ALONE, *PULLED]))
    jobs.append(Job(str(folder / "solved"), "two_stage", [*ALONE, SOLVED], keep=True))
    for job in jobs:
        torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    return folder


@pytest.fixture(scope="module")
def two(plans: list[str], alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two processes; for `two_stage` also sharded, and resumed from other processes' checkpoints."""
    folder = tmp_path_factory.mktemp("two")
    jobs = [Job(str(folder / plan), plan, RANKS["ddp"], keep=plan == "two_stage") for plan in plans]
    jobs.append(Job(str(folder / "fsdp"), "two_stage", RANKS["fsdp"], keep=True))
    for name in RANKS if plans == PLANS else []:
        jobs.append(Job(str(folder / f"dora-{name}"), "adapter_then_all", [*RANKS[name], "adapter=dora"]))
        jobs.append(Job(str(folder / f"pulled-{name}"), "two_stage", [*RANKS[name], *PULLED]))
    for name in RANKS:
        jobs.append(Job(str(folder / f"solved-{name}"), "two_stage", [*RANKS[name], SOLVED]))
        place, source = str(folder / f"{name}-from-solved"), f"{alone / 'solved'}-mid.ckpt"
        jobs.append(Job(place, "two_stage", [*RANKS[name], SOLVED], resume=source))
    jobs.append(Job(str(folder / "solved-kept"), "two_stage", [*RANKS["ddp"], SOLVED, "cache=always"]))
    jobs.append(Job(str(folder / "kept"), "last_block", [*RANKS["ddp"], "cache=always"]))
    for name, source in (("ddp", alone / "two_stage"), ("fsdp", alone / "two_stage"), ("fsdp", folder / "fsdp")):
        place = str(folder / f"{name}-from-{source.name}")
        jobs.append(Job(place, "two_stage", RANKS[name], resume=f"{source}-mid.ckpt"))
    _train(folder, 2, jobs)
    return folder


def _load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def _require_close(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], within: float = 1e-5) -> None:
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        error = (weights[name].double() - value.double()).abs().max()
        assert error <= within * value.double().abs().max().clamp(min=1e-3), name


def require_same_predictions(run: str, expected: str, within: float = 1e-4) -> None:
    """Compare the columns of both splits in their order: floats up to `within` of the largest, all others exactly."""
    for split in ("val", "test"):
        found, wanted = (read(Path(it), split).columns for it in (run, expected))
        assert found.keys() == wanted.keys()
        for name, column in wanted.items():
            if column.dtype.kind != "f":
                np.testing.assert_array_equal(found[name], column, err_msg=name)
                continue
            atol = within * float(np.abs(np.nan_to_num(column)).max())
            np.testing.assert_allclose(found[name], column, rtol=0, atol=atol, err_msg=name)  # NaN only where NaN is


def _require_same_end(run: dict[str, Any], expected: dict[str, Any], within: float = 1e-5) -> None:
    _require_close(run["weights"], expected["weights"], within)
    assert run["scores"]["test/n"] == expected["scores"]["test/n"] == TEST, "each sample once"
    assert [scores["val/n"] for scores in run["val"]] == [VAL] * len(run["val"])
    assert run["scores"]["test/accuracy"] == pytest.approx(expected["scores"]["test/accuracy"], abs=1 / TEST)
    assert run["scores"]["test/loss"] == pytest.approx(expected["scores"]["test/loss"], rel=max(1e-4, within))


@pytest.mark.parametrize("plan", short_form(PLANS, *SHORT_FORM))
def test_two_ranks_end_in_the_weights_of_one_process(plan: str, alone: Path, two: Path) -> None:
    _require_same_end(_load(two / f"{plan}.pt"), _load(alone / f"{plan}.pt"))


@pytest.mark.long
def test_three_ranks_end_in_the_weights_of_one_process(plans: list[str], alone: Path, tmp_path: Path) -> None:
    three = [*RANKS["ddp"][:-1], "trainer.devices=3"]
    _train(tmp_path, 3, [Job(str(tmp_path / plan), plan, three) for plan in plans])
    for plan in plans:
        _require_same_end(_load(tmp_path / f"{plan}.pt"), _load(alone / f"{plan}.pt"))


@pytest.mark.parametrize("strategy", RANKS)
def test_ranks_solve_the_head_that_one_process_solves(strategy: str, alone: Path, two: Path) -> None:
    expected, ranks = _load(alone / "solved.pt"), _load(two / f"solved-{strategy}.pt")
    _require_same_end(ranks, expected, SOLVED_WITHIN)
    stepped = _load(alone / "two_stage.pt")["weights"]
    for name in [name for name in stepped if name.startswith("head.")]:
        solved = ranks["weights"][name]
        assert (solved - stepped[name]).norm() > 0.1 * solved.norm(), "a head that made steps is another"


@pytest.mark.parametrize("strategy", RANKS)
def test_ranks_go_on_from_a_solved_head(strategy: str, alone: Path, two: Path) -> None:
    _require_same_end(_load(two / f"{strategy}-from-solved.pt"), _load(alone / "solved.pt"))


def test_ranks_that_keep_outputs_of_frozen_blocks_end_in_the_same_bits(two: Path) -> None:
    """Batches of 6 and 7 pictures a rank, and each rank fills a part of what both read."""
    for one, other in (("kept", "last_block"), ("solved-kept", "solved-ddp")):
        kept, computed = _load(two / f"{one}.pt"), _load(two / f"{other}.pt")
        differing = [
            name for name, value in kept["weights"].items() if not torch.equal(value, computed["weights"][name])
        ]
        assert differing == []
        assert kept["val"] == computed["val"]


def test_sharded_ranks_save_the_checkpoint_of_whole_ones(two: Path) -> None:
    _require_same_end(_load(two / "fsdp.pt"), _load(two / "two_stage.pt"))
    for moment in ("head", "mid", "all"):
        sharded, whole = _load(two / f"fsdp-{moment}.ckpt"), _load(two / f"two_stage-{moment}.ckpt")
        assert sharded.keys() == whole.keys()
        _require_close(sharded["state_dict"], whole["state_dict"])
        said, expected = ({**saved["frostline"], "val": None} for saved in (sharded, whole))
        for losses, others in zip(said.pop("losses"), expected.pop("losses"), strict=True):
            assert losses == pytest.approx(others, rel=1e-5)
        assert said == expected


def test_sharded_ranks_hold_a_shard_of_everything(two: Path) -> None:
    whole, sharded = _load(two / "two_stage.pt")["held"], _load(two / "fsdp.pt")["held"]
    assert sharded.keys() == whole.keys()
    assert [name for name in whole if sharded[name] != -(-whole[name] // 2)] == []


@pytest.mark.long
@pytest.mark.parametrize("strategy", RANKS)
def test_penalties_and_clipping_are_those_of_one_process(strategy: str, alone: Path, two: Path) -> None:
    expected = _load(alone / "pulled.pt")
    _require_same_end(_load(two / f"pulled-{strategy}.pt"), expected)
    free = _load(alone / "two_stage.pt")["weights"]
    assert any(not torch.allclose(expected["weights"][name], free[name], rtol=1e-3) for name in free), "they do act"


@pytest.mark.long
@pytest.mark.parametrize("strategy", RANKS)
def test_adapters_whose_frozen_layers_are_read_are_those_of_one_process(strategy: str, alone: Path, two: Path) -> None:
    """DoRA takes the norms of the weights beside it, which under `fsdp` are gathered for that."""
    _require_same_end(_load(two / f"dora-{strategy}.pt"), _load(alone / "dora.pt"))


def test_frozen_blocks_that_are_sharded_keep_every_bit(two: Path) -> None:
    from safetensors.torch import load_file

    before = {f"backbone.blocks.{name}": value for name, value in load_file(bundled_weights()).items()}
    after, end = (_load(two / f"fsdp-{phase}.ckpt")["state_dict"] for phase in ("head", "all"))
    frozen = [name for name in after if name.startswith("backbone.") and name in before]
    assert len(frozen) == 60
    assert [name for name in frozen if not torch.equal(after[name], before[name])] == []
    weights = [name for name in frozen if name.endswith("0.weight")]
    assert [name for name in weights if torch.equal(end[name], before[name])] == [], "all of them learn in the end"


@pytest.mark.parametrize("run", ["ddp-from-two_stage", "fsdp-from-two_stage", "fsdp-from-fsdp"])
def test_ranks_go_on_from_a_checkpoint_of_one_process_or_of_their_own(run: str, alone: Path, two: Path) -> None:
    """Saved in the middle of the second phase's epoch, with momentum."""
    _require_same_end(_load(two / f"{run}.pt"), _load(alone / "two_stage.pt"))


@pytest.mark.parametrize("saved", ["two_stage", "fsdp"])
def test_one_process_goes_on_from_a_checkpoint_of_two_ranks(saved: str, alone: Path, two: Path, tmp_path: Path) -> None:
    job = Job(str(tmp_path / "job"), "two_stage", ALONE, resume=str(two / f"{saved}-mid.ckpt"))
    quiet()
    _require_same_end(ranks_worker.trained(job), _load(alone / "two_stage.pt"))


@pytest.mark.long
def test_compiled_ranks_end_in_the_weights_of_one_process(tmp_path: Path) -> None:
    quiet()
    tiny = ["model._target_=tiny.Tiny"]
    alone = ranks_worker.trained(Job(str(tmp_path / "alone"), "two_stage", [*ALONE, *tiny]))
    compiled = [*tiny, "trainer.compile=true"]
    jobs = [Job(str(tmp_path / name), "two_stage", [*trainer, *compiled]) for name, trainer in RANKS.items()]
    _train(tmp_path, 2, jobs)
    for name in RANKS:
        run = _load(tmp_path / f"{name}.pt")
        _require_same_end(run, alone)
        assert run["graphs"] >= 7, "stem and head, in two phases, in training and not; a frozen stem is one"
        assert run["given_up"] == []


def test_a_difference_in_a_bit_in_what_learns_or_in_the_place_of_one_rank_is_named(two: Path) -> None:
    for rank in (0, 1):
        learns, bit, place = json.loads((two / f"disagreements-{rank}.json").read_text())
        for said, name in ((learns, "0.bias"), (bit, "1.running_var")):
            assert f"differ in 1 of 7 tensors, such as backbone.{name}: " in said
            assert "the end of phase 'head'" in said
        assert "about to train different things: epoch and batch: [(3, 0), (3, 7)]\n" in place
