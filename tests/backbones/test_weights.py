"""Weights come in through one door, which names both sides."""

import argparse
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from frostline.backbones import held, weights
from frostline.backbones.weights import load_weights, not_finite, packed, read_weights
from frostline.errors import WeightsError


def network(width: int = 4, classes: int = 3) -> nn.Module:
    layers = {"stem": nn.Conv2d(3, width, 3), "norm": nn.BatchNorm2d(width), "fc": nn.Linear(width, classes)}
    return nn.ModuleDict(layers)


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return network().state_dict()


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state().items()}


def write(path: Path, content: Any, *, new_format: bool = True) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
    return path


def same(read: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return read.keys() == expected.keys() and all(torch.equal(read[key], expected[key]) for key in expected)


# --- reading ---


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, each time."""
    found: list[Path] = []
    read = weights._content

    def noted(path: Path) -> Any:
        found.append(path)
        return read(path)

    monkeypatch.setattr(weights, "_content", noted)
    monkeypatch.setattr(held.Held, "file", None)
    return found


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_is_read_again_is_held(tmp_path: Path, readings: list[Path], name: str) -> None:
    file = write(tmp_path / name, state())
    read_weights(file)
    assert held.Held.file is not None
    assert held.Held.file.content is None, "a single run holds nothing"
    for _ in range(3):
        assert same(read_weights(file), state())
    assert len(readings) == 2
    load_weights(network(), read_weights(file), [], source=file)
    learns = network()
    load_weights(learns, read_weights(file), [], source=file)
    with torch.no_grad():
        for parameter in learns.parameters():
            parameter.zero_()
    read_weights(file).clear()
    assert same(read_weights(file), state()), "a network that learns changes nothing in it"
    assert len(readings) == 2
    held.forget()
    read_weights(file)
    assert len(readings) == 3


def test_only_the_weights_of_a_file_are_held(tmp_path: Path, readings: list[Path]) -> None:
    file = write(tmp_path / "it.pth", {"state_dict": prefixed("module."), "ema": state(), "optimizer": {"lr": 0.1}})
    for _ in range(3):
        found = read_weights(file)
        assert same(found, state())
        assert len(found.told) == 2
    assert held.Held.file is not None
    assert held.Held.file.content.keys() == state().keys()


def test_a_file_that_changed_is_read_again(tmp_path: Path, readings: list[Path]) -> None:
    first, other = ({key: value + number for key, value in state().items()} for number in (0, 1))
    file = write(tmp_path / "weights.pth", first)
    for _ in range(3):
        read_weights(file)
    write(tmp_path / "new.pth", other).replace(file)
    for _ in range(3):
        assert same(read_weights(file), other)
    assert len(readings) == 4
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the clock of the file system ticks
        file.write_bytes(write(tmp_path / "new.pth", first).read_bytes())
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    assert same(read_weights(file), state()), "written in place, with the date of the second"
    file.unlink()
    with pytest.raises(WeightsError, match="there is no such weights file"):
        read_weights(file)


def test_a_file_that_is_too_large_for_memory_is_read_each_time(
    tmp_path: Path, readings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "free_memory", lambda: 1000)
    file = write(tmp_path / "weights.pth", state())
    for _ in range(3):
        assert same(read_weights(file), state())
    assert len(readings) == 3


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.bin", "weights.safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_prefixes_of_wrapped_networks_come_off(tmp_path: Path, name: str, prefix: str) -> None:
    assert same(read_weights(write(tmp_path / name, prefixed(prefix))), state())


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: {"state_dict": inner},
        lambda inner: {"model_state_dict": inner, "optimizer": {"lr": 0.1}},
        lambda inner: {"epoch": 3, "model": inner},
        lambda inner: {"state_dict": {"model": inner}},
    ],
)
def test_wrapped_weights_are_found(tmp_path: Path, wrap: Callable[[Any], Any], new_format: bool) -> None:
    file = write(tmp_path / "checkpoint.pth", wrap(prefixed("module.")), new_format=new_format)
    assert same(read_weights(file), state())


def test_a_prefix_that_only_some_keys_have_is_part_of_the_name(tmp_path: Path) -> None:
    content = {"module.weight": torch.ones(2), "bias": torch.ones(2)}
    assert read_weights(write(tmp_path / "weights.pth", content)).keys() == content.keys()


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights file") as refused:
        read_weights(tmp_path / "absent.pth")
    assert refused.value.where == tmp_path / "absent.pth"


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_an_empty_file_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="cannot be read") as refused:
        read_weights(tmp_path / name)
    assert refused.value.where == tmp_path / name


def contents_of(folder: Path, name: str, *, new_format: bool = True) -> bytes:
    return write(folder / name, state(), new_format=new_format).read_bytes()


@pytest.mark.parametrize(
    ("name", "new_format"), [("weights.pth", True), ("weights.pth", False), ("weights.safetensors", True)]
)
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, name: str, new_format: bool) -> None:
    whole = contents_of(tmp_path, name, new_format=new_format)
    for length in range(0, len(whole), 23):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="cannot be read"):
            read_weights(tmp_path / name)


@given(content=st.binary(max_size=40), name=st.sampled_from(["weights.pth", "weights.safetensors"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_other_file_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError):
        read_weights(tmp_path / name)


class Stranger:
    """Unpickling it would run code of its choice."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("content", [{"weight": torch.ones(2), "hook": Stranger()}, Stranger()])
def test_a_pickled_object_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "weights.pth", content)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(content, protocol=2))
    for file in ("weights.pth", "plain.pth"):
        with pytest.raises(WeightsError, match="cannot be read") as refused:
            read_weights(tmp_path / file)
        assert "model.state_dict() alone" in refused.value.next_step
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(write(tmp_path / "weights.pth", network()))


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {}, {"state_dict": {}}, 3])
def test_tensors_without_names_are_no_weights(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsError, match="no named weights"):
        read_weights(write(tmp_path / "weights.pth", content))


def test_what_is_not_a_tensor_is_passed_over_and_told(tmp_path: Path) -> None:
    found = read_weights(write(tmp_path / "weights.pth", {"stem.weight": torch.ones(2), "epoch": 3, "lr": 0.1}))
    assert list(found) == ["stem.weight"]
    assert found.told == ["2 ignored (epoch, lr)"]


def as_saved(names: str) -> dict[str, Any]:
    return {names.format(name): value for name, value in state().items()}


SAVED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "Lightning": (
        {"state_dict": as_saved("model.{}"), "epoch": 3},
        ["'state_dict' of the file", "names without 'model.'"],
    ),
    "Lightning beside a loss": (
        {"state_dict": as_saved("net.{}") | {"loss_fn.weight": torch.ones(2)}},
        ["'state_dict' of the file", "names without 'net.'", "1 ignored (loss_fn.weight)"],
    ),
    "AveragedModel": (
        as_saved("module.{}") | {"n_averaged": torch.tensor(3)},
        ["names without 'module.'", "1 ignored (n_averaged)"],
    ),
    "torchvision's references": (
        {"model": as_saved("{}"), "model_ema": as_saved("module.{}"), "args": argparse.Namespace(lr=0.1), "epoch": 3},
        ["'model' of the file; also present: model_ema"],
    ),
    "DINO": (
        {"student": as_saved("module.backbone.{}"), "teacher": as_saved("backbone.{}"), "optimizer": {"state": {}}},
        ["'teacher' of the file; also present: student", "names without 'backbone.'"],
    ),
    "compiled in DDP": (as_saved("module._orig_mod.{}"), ["names without 'module.'", "names without '_orig_mod.'"]),
    "plain": (as_saved("{}"), []),
}  # fmt: skip


@pytest.mark.parametrize("program", SAVED)
def test_weights_are_found_in_what_other_programs_save(program: str, tmp_path: Path) -> None:
    content, told = SAVED[program]
    found = read_weights(write(tmp_path / "weights.pth", content))
    assert found.keys() == state().keys()
    assert found.told == told
    report = load_weights(network(), found, ["fc"], source="it.pth")
    assert all(it in report for it in told)


def test_files_of_our_own_are_for_init_from(tmp_path: Path) -> None:
    write(tmp_path / "best.ckpt", {"state_dict": state(), "frostline": {}})
    (tmp_path / "it.safetensors").write_bytes(packed(state(), {"version": "0"}))
    for name in ("best.ckpt", "it.safetensors"):
        with pytest.raises(WeightsError, match="written by Frostline") as refused:
            read_weights(tmp_path / name)
        assert refused.value.next_step == f"init_from={tmp_path / name}  # instead of model.weights"


# --- loading ---


def test_every_value_arrives_and_the_report_names_what_was_left_out() -> None:
    fresh, given_state = network(), state()
    head = fresh["fc"].weight.clone()
    report = load_weights(fresh, given_state, ["fc"], source="resnet.pth")
    loaded = fresh.state_dict()
    assert all(torch.equal(loaded[key], given_state[key]) for key in given_state if not key.startswith("fc."))
    assert torch.equal(loaded["fc.weight"], head)
    assert report == "resnet.pth (7 tensors; left out on purpose: fc.bias, fc.weight)"


def test_the_report_says_when_nothing_was_left_out() -> None:
    assert load_weights(network(), state(), (), source="a file") == "a file (9 tensors; left out on purpose: nothing)"


def test_a_name_that_only_begins_alike_is_not_left_out() -> None:
    fresh = nn.ModuleDict({"fc": nn.Linear(2, 2), "fc6": nn.Linear(2, 2)})
    other = nn.ModuleDict({"fc": nn.Linear(2, 2), "fc6": nn.Linear(2, 2)})
    load_weights(fresh, other.state_dict(), ["fc"], source="a file")
    assert torch.equal(fresh["fc6"].weight, other["fc6"].weight)
    assert not torch.equal(fresh["fc"].weight, other["fc"].weight)


def test_a_missing_parameter_is_named() -> None:
    lacking = {key: value for key, value in state().items() if key != "norm.running_var"}
    with pytest.raises(WeightsError, match=r"1 missing \(norm.running_var\)") as refused:
        load_weights(network(), lacking, ["fc"], source="a file")
    assert "extra" not in refused.value.what
    assert refused.value.where == "a file"


def test_an_extra_parameter_is_named() -> None:
    with pytest.raises(WeightsError, match=r"1 extra \(stem.scale\)") as refused:
        load_weights(network(), {**state(), "stem.scale": torch.ones(1)}, ["fc"], source="a file")
    assert "missing" not in refused.value.what


def test_other_shapes_are_named_with_both_sides() -> None:
    wide = network(width=5).state_dict()
    with pytest.raises(WeightsError, match=r"6 of another shape \(norm.bias is \(5,\), not \(4,\)"):
        load_weights(network(), wide, ["fc"], source="a file")


def test_a_head_of_another_shape_does_not_matter_when_it_is_left_out() -> None:
    fresh, given_state = network(classes=1000), state()
    load_weights(fresh, given_state, ["fc"], source="a file")
    assert torch.equal(fresh["stem"].weight, given_state["stem.weight"])
    with pytest.raises(WeightsError, match=r"fc.weight is \(3, 4\), not \(1000, 4\)"):
        load_weights(fresh, given_state, (), source="a file")


def test_the_file_of_another_network_is_told_apart_in_one_line() -> None:
    other = nn.ModuleDict({f"layer{number}": nn.Linear(2, 2) for number in range(9)}).state_dict()
    with pytest.raises(WeightsError, match="do not belong to ModuleDict") as refused:
        load_weights(network(), other, ["fc"], source="a file")
    assert "6 missing (norm.bias, norm.running_mean, norm.running_var, norm.weight, and 2 more)" in refused.value.what
    assert "18 extra (layer0.bias, layer0.weight, layer1.bias, layer1.weight, and 14 more)" in refused.value.what
    assert "model=..." in refused.value.next_step


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_one_number_that_is_not_finite_is_found(kind: torch.dtype, value: float) -> None:
    spoilt = torch.ones(7)
    spoilt[4] = value
    state = {"good": torch.ones(3), "empty": torch.ones(0), "count": torch.tensor(3), "spoilt": spoilt}
    state = {name: it.to(kind) if it.is_floating_point() else it for name, it in state.items()}
    assert not_finite(state) == ["spoilt"]
