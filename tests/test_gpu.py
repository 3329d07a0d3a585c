"""A GPU ends in the weights of a CPU, in every plan, by itself, through DDP and in shards; what rests keeps every bit.

Whole runs on a GPU (kept outputs, resume, texts, adapters, compiled) are those of the other files: make test-gpu.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ranks_worker
from conftest import Answer
from frostline.commands.train import quiet
from frostline.paths import bundled_weights, conf_dir
from ranks_worker import Job
from tiny import TEST

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")

PLANS = sorted(file.stem for file in (conf_dir() / "schedule").glob("[!_]*.yaml") if file.name != "none.yaml")
CPU, GPU = ["trainer=cpu"], ["trainer=gpu", "trainer.deterministic=true"]
STRATEGIES = {name: [f"trainer={name}", "trainer.devices=1", "trainer.deterministic=true"] for name in ("ddp", "fsdp")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results under `cpu/<plan>` and `gpu/<plan>`, without TF32 convolutions, and those of NCCL."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "cpu").mkdir()
    (folder / "gpu").mkdir()
    jobs = [
        Job(str(folder / device / plan), plan, own) for device, own in (("cpu", CPU), ("gpu", GPU)) for plan in PLANS
    ]
    quiet()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.cudnn, "allow_tf32", False)
        for job in jobs:
            torch.save(ranks_worker.trained(job), f"{job.place}.pt")
    ranks = []
    for name, own in {"alone": GPU, **STRATEGIES}.items():
        ranks.append(Job(str(folder / name), "two_stage", own))
        ranks.append(Job(str(folder / f"dora-{name}"), "adapter_then_all", [*own, "adapter=dora"]))
    (folder / "jobs.json").write_text(json.dumps(ranks))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    worker = [ranks_worker.__file__, str(folder / "jobs.json")]
    answer = subprocess.run([*command, *worker], capture_output=True, text=True, timeout=900, env=environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = (*jobs, *ranks)
    return {
        str(Path(job.place).relative_to(folder)): torch.load(f"{job.place}.pt", weights_only=True, map_location="cpu")
        for job in found
    }


def require_same_end(run: dict[str, Any], expected: dict[str, Any], within: float) -> None:
    """within: of the largest number of each tensor."""
    assert run["weights"].keys() == expected["weights"].keys()
    away = {}
    for name, value in expected["weights"].items():
        error = (run["weights"][name].double() - value.double()).abs().max()
        away[name] = float(error / value.double().abs().max().clamp(min=1e-3))
    assert [(name, error) for name, error in away.items() if error > within] == []
    assert run["scores"]["test/n"] == expected["scores"]["test/n"] == TEST
    assert run["scores"]["test/accuracy"] == pytest.approx(expected["scores"]["test/accuracy"], abs=1 / TEST)
    assert run["scores"]["test/loss"] == pytest.approx(expected["scores"]["test/loss"], rel=1e-3)


@pytest.mark.parametrize("plan", PLANS)
def test_a_gpu_ends_in_the_weights_of_a_cpu(plan: str, runs: dict[str, Any]) -> None:
    require_same_end(runs[f"gpu/{plan}"], runs[f"cpu/{plan}"], 1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("prefix", ["", "dora-"])
def test_nccl_ends_where_a_gpu_by_itself_does(prefix: str, strategy: str, runs: dict[str, Any]) -> None:
    require_same_end(runs[f"{prefix}{strategy}"], runs[f"{prefix}alone"], 1e-5)


def test_a_checkpoint_of_a_gpu_is_read_on_any_machine(program: Callable[..., Answer], tmp_path: Path) -> None:
    answer = program("train", *GPU, "data.train_limit=50", "data.image_size=8", "schedule=head_only", "run_dir=run",
                     "schedule.phases.head.epochs=2", "schedule.every_phase.solve=false")  # fmt: skip
    assert answer.code == 0, answer.err
    for name in ("best", "last"):
        content = torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert {value.device.type for value in content["state_dict"].values()} == {"cpu"}
        momenta = content["optimizer_states"][0]["state"].values()
        assert {value.device.type for state in momenta for value in state.values()} == {"cpu"}


def test_what_rests_on_a_gpu_keeps_every_bit_and_what_is_thawed_learns(runs: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    before = {f"backbone.blocks.{name}": value for name, value in load_file(bundled_weights()).items()}

    def moved(run: str) -> set[str]:
        after = runs[run]["weights"]
        assert before.keys() <= after.keys()
        return {name.split(".")[2] for name, value in before.items() if not torch.equal(after[name], value)}

    assert moved("gpu/head_only") == set()
    assert moved("gpu/last_block") == {"stage3"}
    assert moved("gpu/full") == moved("fsdp") == {"stem", "stage1", "stage2", "stage3"}
