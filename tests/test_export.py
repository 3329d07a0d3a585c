"""The weights of a run as a file: with the adapter in them they are the same network without one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from conftest import DEVICE, Answer
from frostline.commands.train import NOT_HERE
from frostline.training.build import build
from frostline.training.init_from import init_from
from test_run import _train

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]

Program = Callable[..., Answer]
TINY = ["model._target_=tiny.Tiny", "data.train_limit=50", "data.image_size=8", "logger=none", "report=false", *DEVICE]
TINY += ["trainer.precision=32-true"]
LORA = [
    "schedule.every_phase.solve=false",
    "adapter=lora",
    "schedule=adapters",
    "schedule.phases.head.epochs=1",
    "schedule.phases.adapters.epochs=1",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run with an adapter."""
    return f"run={_train(tmp_path_factory.mktemp('adapted') / 'run', *LORA, 'optimizer.lr=0.05', short=TINY)}"


def test_a_merged_network_gives_what_the_adapted_one_gives(
    run: str, program: Program, composed: Callable[..., Any]
) -> None:
    assert program("export", run, "trust=true", "output=merged.safetensors").out.startswith(
        "9 tensors in merged.safetensors; 2 "
    )
    assert program("export", run, "trust=true", "output=beside.safetensors", "merge=false").code == 0
    plain = build(composed(*TINY, "run_dir=none"), logs=False)
    lora = build(composed(*TINY, *LORA, "run_dir=none"), logs=False)
    assert init_from(plain.model, Path("merged.safetensors"), plain.data.targets).endswith("; the head is loaded too")
    assert init_from(lora.model, Path("beside.safetensors"), lora.data.targets).endswith("; the head is loaded too")
    pictures = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    given, expected = (built.model.eval()(pictures) for built in (plain, lora))
    torch.testing.assert_close(given, expected)
    before = load_file("beside.safetensors")["backbone.blocks.stem.0.base_layer.weight"]
    assert not torch.allclose(load_file("merged.safetensors")["backbone.blocks.stem.0.weight"], before, rtol=1e-3)


def test_a_run_starts_from_it_without_the_adapter(run: str, program: Program) -> None:
    plan = ["schedule=head_only", "schedule.phases.head.epochs=1"]
    refused = program("train", *TINY, *plan, f"init_from={run.removeprefix('run=')}", "run_dir=never")
    assert refused.code == 1
    assert "frostline export run=<that run> output=<file>.safetensors  # merges" in refused.err
    assert program("export", run, "trust=true", "output=it.safetensors", "checkpoint=last").code == 0
    answer = program("train", *TINY, *plan, "init_from=it.safetensors", "run_dir=next")
    assert answer.code == 0, answer.err
    assert "it.safetensors (7 tensors; left out on purpose: nothing); the head is loaded too" in answer.out


def test_it_says_what_it_is_of_and_a_head_of_other_classes_stays(
    run: str, program: Program, composed: Callable[..., Any]
) -> None:
    answer = program("export", run, "trust=true", "output=it.safetensors")
    with safe_open("it.safetensors", "pt") as file:
        said = json.loads(file.metadata()["frostline"])
    assert (said["model"], said["adapter"], said["spec"]["size"]) == ("tiny", "merged", 8)
    assert (
        said["temperature"]
        == json.loads(Path(run.removeprefix("run="), "run.json").read_text())["calibration"]["temperature"]
    )
    assert f"the temperature {said['temperature']:.3f}" in answer.out
    assert said["targets"]["names"] == list("0123456789")
    built = build(composed(*TINY, "run_dir=none"), logs=False)
    other = replace(built.data.targets, names=list("abcdefghij"))
    assert "the run had other classes" in init_from(built.model, Path("it.safetensors"), other)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("there.safetensors", "a file of that name exists"),
        ("it", "the file name does not end in .safetensors"),
        ("nowhere/it.safetensors", "there is no such folder"),
    ],
)
def test_a_place_where_it_cannot_be_is_told(output: str, said: str, run: str, program: Program) -> None:
    Path("there.safetensors").write_text("mine")
    before = sorted(Path().rglob("*"))
    answer = program("export", run, "trust=true", f"output={output}")
    assert answer.code == 1
    assert said in answer.err
    assert sorted(Path().rglob("*")) == before
    assert Path("there.safetensors").read_text() == "mine"
