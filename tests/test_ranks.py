"""Several processes train what one trains, in every plan, and say so when they do not agree."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.paths import conf_dir

pytestmark = pytest.mark.process

WORKER = Path(__file__).with_name("ranks_worker.py")
PLANS = sorted(file.stem for file in (conf_dir() / "schedule").glob("*.yaml") if not file.stem.startswith("_"))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def _run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=900, env={**environment, "OMP_NUM_THREADS": "1"}
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of every plan."""
    folder = tmp_path_factory.mktemp("alone")
    _run(sys.executable, str(WORKER), str(folder), "1", *PLANS)
    return folder


@pytest.mark.parametrize("world_size", [2, pytest.param(3, marks=pytest.mark.long)])
def test_ranks_end_in_the_weights_of_one_process_in_every_plan(world_size: int, alone: Path, tmp_path: Path) -> None:
    _run(*TORCHRUN, f"--nproc-per-node={world_size}", str(WORKER), str(tmp_path), str(world_size), *PLANS)
    assert len(PLANS) == 9
    for plan in PLANS:
        one: dict[str, Any] = torch.load(alone / f"{plan}-1.pt", weights_only=True)
        many: dict[str, Any] = torch.load(tmp_path / f"{plan}-{world_size}.pt", weights_only=True)
        assert one["weights"].keys() == many["weights"].keys()
        for name, value in one["weights"].items():
            error = (many["weights"][name].double() - value.double()).abs().max()
            assert error <= 1e-5 * value.double().abs().max().clamp(min=1e-3), (plan, name)
        assert one["scores"]["test/n"] == many["scores"]["test/n"] == 359, "each sample once"
        assert [scores["val/n"] for scores in many["val"]] == [143] * len(one["val"])
        assert many["scores"]["test/accuracy"] == pytest.approx(one["scores"]["test/accuracy"], abs=2 / 359)
        assert many["scores"]["test/loss"] == pytest.approx(one["scores"]["test/loss"], rel=1e-4)


DISAGREE = """
import sys, torch
from torch import nn
from frostline.agreement import require_agreement, require_one_run
from frostline.errors import RankError
torch.distributed.init_process_group("gloo")
torch.manual_seed(0)
network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
require_agreement({"backbone": network}, where="here")
if torch.distributed.get_rank() == 1:
    network[1].running_var[2] += 1e-7
try:
    require_agreement({"backbone": network}, where="the end of phase 'head'")
except RankError as error:
    print(error, flush=True)
rank = torch.distributed.get_rank()
try:
    require_one_run({"phase": "head", "epoch and batch": (3, 7 * rank), "data": "the same"}, where="here")
except RankError as error:
    print(error, flush=True)
torch.distributed.destroy_process_group()
"""


def test_a_difference_in_the_last_bit_or_in_the_place_of_one_rank_is_named(tmp_path: Path) -> None:
    script = tmp_path / "disagree.py"
    script.write_text(DISAGREE)
    said = _run(*TORCHRUN, "--nproc-per-node=2", str(script))
    assert said.count("different numbers in 1 of 7 tensors, such as backbone.1.running_var") == 2, "on every rank"
    assert "the end of phase 'head'" in said
    assert said.count("about to train different things: epoch and batch: [(3, 0), (3, 7)]\n") == 2
