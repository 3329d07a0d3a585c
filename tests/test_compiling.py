"""A compiled run is the same run: the same keys, the same weights up to rounding; and one without a compiler, too."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from conftest import DEVICE, Answer
from frostline.frozen.blocks import FrozenPass
from frostline.frozen.compile import compiled_for_inference, frozen_pays
from frostline.training.compiling import compile_in_place, compiler_problem, training_pays
from frostline.training.trainer import compiled
from tiny import FEW, Tiny

SHORT = ["data.train_limit=50", "data.batch_size=15", "data.image_size=8", *DEVICE]
SHORT += [
    "trainer.precision=32-true",
    "logger=none",
    "report=false",
    "schedule.phases.head.epochs=1",
    "schedule.phases.all.epochs=1",
]
SHORT += ["optimizer=sgd", "callbacks.best=null"]
# 5 batches of 7 to train with, 3 to validate with, and a smaller one after 3 to test with: each size costs graphs.
TINY = [*SHORT, "model._target_=tiny.Tiny", *FEW, "data.train_limit=35", "data.batch_size=7"]


def _state(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def _compiled_run(program: Callable[..., Answer], folder: Path, settings: list[str], parts: int) -> None:
    """Ends as the run `plain` beside it did, and its evaluation in the scores that it had."""
    torch._dynamo.utils.counters.clear()
    answer = program("train", *settings, "run_dir=compiled", "trainer.compile=true")
    assert answer.code == 0, answer.err
    frames = torch._dynamo.utils.counters["frames"]
    assert frames["ok"] == frames["total"] >= 2 * parts, "each part in each of two phases; nothing was given up"
    expected, state = _state(folder / "plain"), _state(folder / "compiled")
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        largest = max(float(value.abs().max()), 1e-3)  # a solved head has weights up to 41 beside small ones
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-5 * largest, msg=name)
    scored = program("evaluate", "run=compiled", "checkpoint=last", "trust=true")
    metrics = json.loads((folder / "compiled" / "run.json").read_text())["metrics"]
    assert f"test/loss {metrics['test/loss']:.4f}" in scored.out


@pytest.fixture
def plain(program: Callable[..., Answer], tmp_path: Path) -> dict[str, torch.Tensor]:
    assert program("train", *TINY, "run_dir=plain").code == 0
    return _state(tmp_path / "plain")


@pytest.fixture
def nothing_compiled() -> Iterator[None]:
    compiler_problem.cache_clear()
    torch.compiler.reset()
    yield
    compiler_problem.cache_clear()
    torch.compiler.reset()


@pytest.fixture
def no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace and differentiate graphs as for compiling, and run them without generated code, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.mark.long
@pytest.mark.usefixtures("nothing_compiled", "no_code", "plain")
def test_a_compiled_run_has_the_same_keys_and_weights(program: Callable[..., Answer], tmp_path: Path) -> None:
    _compiled_run(program, tmp_path, TINY, parts=2)


@pytest.mark.usefixtures("nothing_compiled", "no_code")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_every_part_is_compiled_for_every_batch_size() -> None:
    """torch gives up after eight variants, and counts those of all parts together."""
    torch._dynamo.utils.counters.clear()
    parts = [nn.Linear(width, width + 1) for width in range(2, 11)]
    compile_in_place(parts)
    for size in (4, 3, 5):
        x = torch.ones(size, 2)
        for part in parts:
            x = part(x)
    assert dict(torch._dynamo.utils.counters["frames"]) == {"total": 9, "ok": 9}


@pytest.mark.long
@pytest.mark.usefixtures("nothing_compiled")
def test_a_compiled_run_of_a_deeper_network(program: Callable[..., Answer], tmp_path: Path) -> None:
    settings = [*SHORT, "schedule.every_phase.norm=frozen"]  # statistics of so few pictures magnify what is rounded
    assert program("train", *settings, "run_dir=plain").code == 0
    _compiled_run(program, tmp_path, settings, parts=5)


@pytest.mark.usefixtures("nothing_compiled")
def test_a_run_without_a_compiler_goes_on_and_says_so_once(
    plain: dict[str, torch.Tensor], program: Callable[..., Answer], tmp_path: Path
) -> None:
    from torch._inductor import config

    with config.patch({"cpp.cxx": ("/nowhere/g++",)}):
        answer = program("train", *TINY, "run_dir=uncompiled", "trainer.compile=true")
    assert answer.code == 0, answer.err
    (said,) = [line for line in answer.err.splitlines() if "trainer.compile" in line]
    assert said.startswith("frostline: trainer.compile is ignored: torch cannot compile here: ")
    assert "No working C++ compiler found" in said
    state = _state(tmp_path / "uncompiled")
    assert [name for name, value in plain.items() if not torch.equal(value, state[name])] == []


@pytest.mark.usefixtures("nothing_compiled")
def test_compiled_frozen_blocks_give_what_they_give_uncompiled_whatever_the_company() -> None:
    torch._dynamo.utils.counters.clear()
    backbone = Tiny(weights=None).eval()
    work = FrozenPass(backbone, torch.bfloat16, compiles=True)
    x, stop = torch.randn(70, 3, 16, 16, generator=torch.Generator().manual_seed(0)), len(backbone.blocks)
    features = work(x, 0, stop)
    assert dict(torch._dynamo.utils.counters["frames"]) == {"total": stop, "ok": stop}
    torch.testing.assert_close(features, FrozenPass(backbone, torch.bfloat16)(x, 0, stop), rtol=2e-2, atol=1e-2)
    assert torch.equal(work(x[7:12], 0, stop), features[7:12])
    assert not features.requires_grad


@pytest.mark.usefixtures("nothing_compiled")
def test_frozen_blocks_of_every_network_of_a_sweep_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch counts the variants of one `forward`, which blocks of a class share, whatever their network."""
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda block, **_: compile(block, dynamic=False, backend="eager"))
    torch._dynamo.utils.counters.clear()
    limits = {"recompile_limit": 8, "accumulated_recompile_limit": 16}
    with torch._dynamo.config.patch(limits), torch.inference_mode():
        for width in range(2, 22):
            compiled_for_inference(nn.Linear(width, 2))(torch.ones(4, width))
    assert dict(torch._dynamo.utils.counters["frames"]) == {"total": 20, "ok": 20}


def test_in_float32_frozen_blocks_are_never_compiled() -> None:
    assert not FrozenPass(Tiny(weights=None), None, compiles=True).compiles


@pytest.mark.parametrize(
    ("wanted", "precision", "training", "frozen", "expected"),
    [
        ("auto", "bf16-mixed", 1e30, 1e20, (False, True)),
        ("auto", "bf16-mixed", 1e30, 1e9, (False, False)),
        ("auto", "32-true", 1e30, 1e20, (False, False)),
        (True, "bf16-mixed", 1.0, 1.0, (True, True)),
        (True, "32-true", 1.0, 1.0, (True, False)),
        (False, "bf16-mixed", 1e30, 1e20, (False, False)),
    ],
)
def test_auto_compiles_what_is_long_enough_to_win_it_back(
    wanted: Any, precision: Any, training: float, frozen: float, expected: tuple[bool, bool]
) -> None:
    trainer = L.Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    assert compiled(wanted, trainer, training=training, frozen=frozen) == expected


def test_on_other_devices_long_training_is_compiled() -> None:
    assert training_pays(1e18, torch.device("cuda"))
    assert not training_pays(1e16, torch.device("cuda"))
    assert not frozen_pays(1e30, torch.device("cuda"))
