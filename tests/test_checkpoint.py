"""Damaged and foreign checkpoints give an error: never other numbers, never a traceback."""

import copy
import io
import json
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from conftest import ASIDE, SMALL, Answer, short_form
from frostline.errors import RunError, WeightsError
from frostline.training.callbacks.checkpoints import PlacedCheckpoint
from frostline.training.checkpoint import read_checkpoint
from frostline.training.finetuner import CHECKPOINT_KEY

QUICK = [*SMALL, *ASIDE, "schedule=head_only"]


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "run")
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png")
    return tmp_path / "run"


OPENING = {
    "evaluate": ["evaluate", "run=run"],
    "predict": ["predict", "run=run", "input=it.png"],
    "export": ["export", "run=run", "output=it.safetensors"],
    "init_from": ["train", *QUICK, "init_from=run"],
}


def flip(path: Path, places: int = 3) -> None:
    """Bytes in the middle of the largest tensor."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda it: it.file_size)
    content = bytearray(path.read_bytes())
    for number in range(places):
        content[largest.header_offset + largest.file_size // 2 + number] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("command", OPENING)
def test_flipped_bytes_are_seen(command: str, run: Path, program: Callable[..., Answer]) -> None:
    flip(run / "checkpoints" / "best.ckpt")
    answer = program(*OPENING[command])
    assert answer.code == 1
    assert "it is damaged: the checksum of" in answer.err
    assert not (run.parent / "it.safetensors").exists()


def test_any_flipped_byte_changes_nothing_or_is_seen(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "it.ckpt"
    whole = (small_run / "checkpoints" / "best.ckpt").read_bytes()
    path.write_bytes(whole)
    expected = read_checkpoint(path)["state_dict"]

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def holds(place: int, change: int) -> None:
        content = bytearray(whole)
        content[place] ^= change
        path.write_bytes(content)
        try:
            state = read_checkpoint(path)["state_dict"]
        except RunError:
            return
        assert state.keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in state.items())

    holds()


def test_any_cut_is_seen(small_run: Path, tmp_path: Path) -> None:
    whole = (small_run / "checkpoints" / "best.ckpt").read_bytes()
    for share in (0, 1, 10, 50, 90, 99, 99.99):
        (tmp_path / "it.ckpt").write_bytes(whole[: int(len(whole) * share / 100)])
        with pytest.raises(RunError) as refused:
            read_checkpoint(tmp_path / "it.ckpt")
        assert "miniz" not in refused.value.what
        assert ".cc:" not in refused.value.what


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_a_config_that_was_edited_gives_no_answers(command: str, run: Path, program: Callable[..., Answer]) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("image_size: 8", "image_size: 16"))
    answer = program(*OPENING[command])
    assert answer.code == 1
    assert "differs from the one used in training: network.inputs.image_size was 8 and is 16" in answer.err
    assert "run/config.yaml" in answer.err


def test_an_edited_split_is_not_scored(run: Path, program: Callable[..., Answer]) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("split_seed: 0", "split_seed: 5"))
    answer = program("evaluate", "run=run")
    assert answer.code == 1
    assert "the samples are split differently (data.split_seed" in answer.err


def test_a_fault_in_a_runs_config_names_that_file(run: Path, program: Callable[..., Answer]) -> None:
    config = run / "config.yaml"
    config.write_text(re.sub(r"^seed: \d+", "seed: abc", config.read_text(), flags=re.MULTILINE))
    answer = program("evaluate", "run=run")
    assert answer.code == 1
    assert "where: run/config.yaml" in answer.err


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_weights_that_are_not_finite_give_no_answers(command: str, run: Path, program: Callable[..., Answer]) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    first = next(iter(content["state_dict"].values()))
    first[(0,) * first.ndim] = torch.nan
    torch.save(content, path)
    answer = program(*OPENING[command])
    assert answer.code == 1
    assert "the weights are not finite: " in answer.err


def test_a_compressed_checkpoint_is_not_unpacked(small_run: Path, tmp_path: Path) -> None:
    """A few bytes could otherwise allocate all memory."""
    with (
        zipfile.ZipFile(small_run / "checkpoints" / "best.ckpt") as whole,
        zipfile.ZipFile(tmp_path / "it.ckpt", "w", zipfile.ZIP_DEFLATED) as squeezed,
    ):
        for it in whole.infolist():
            squeezed.writestr(it.filename, whole.read(it))
    with pytest.raises(RunError, match="it is compressed"):
        read_checkpoint(tmp_path / "it.ckpt")


RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "none": lambda content: content.update({CHECKPOINT_KEY: None}),
    "a list": lambda content: content.update({CHECKPOINT_KEY: [1]}),
    "empty": lambda content: content.update({CHECKPOINT_KEY: {}}),
    "a phase that is no text": lambda content: content[CHECKPOINT_KEY].update(phase=3),
    "an epoch as text": lambda content: content[CHECKPOINT_KEY].update(epoch="3"),
    "a negative epoch": lambda content: content[CHECKPOINT_KEY].update(first_epoch=-1),
    "no identity": lambda content: content[CHECKPOINT_KEY].pop("identity"),
    "an identity that is text": lambda content: content[CHECKPOINT_KEY].update(identity="run"),
    "no targets": lambda content: content[CHECKPOINT_KEY]["identity"].pop("targets"),
    "classes that are no texts": lambda content: content[CHECKPOINT_KEY]["identity"]["targets"].update(names=[1, 2]),
    "another kind": lambda content: content[CHECKPOINT_KEY]["identity"]["targets"].update(kind="cubes"),
    "weights as a list": lambda content: content.update(state_dict=[torch.zeros(1)]),
    "weights that are texts": lambda content: content.update(state_dict={"head.weight": "zero"}),
    "no weights": lambda content: content.pop("state_dict"),
    "an unknown phase": lambda content: content[CHECKPOINT_KEY].update(phase="other"),
}


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.parametrize("command", short_form(OPENING, "predict"))
def test_a_checkpoint_with_another_record_is_refused_in_words(
    kind: str, command: str, run: Path, program: Callable[..., Answer]
) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = copy.deepcopy(torch.load(path, weights_only=True))
    RECORDS[kind](content)
    torch.save(content, path)
    answer = program(*OPENING[command])
    if kind == "an unknown phase" and command == "init_from":
        assert answer.code == 0, "of the phase they need nothing"
        return
    assert answer.code == 1
    assert answer.err.startswith("frostline: ")
    assert "Traceback" not in answer.err
    assert "next:" in answer.err


@pytest.mark.parametrize("command", short_form(OPENING, "evaluate", "predict"))
def test_a_run_of_a_newer_version_opens_without_its_new_keys(
    command: str, run: Path, program: Callable[..., Answer]
) -> None:
    record, path = json.loads((run / "run.json").read_text()), run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    own = content[CHECKPOINT_KEY]
    for held in (record, record["data"], record["data"]["targets"], own, own["identity"], own["identity"]["targets"]):
        held["later"] = 1
    (run / "run.json").write_text(json.dumps(record))
    torch.save(content, path)
    answer = program(*OPENING[command])
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epoch": 41}, "epoch 42 instead of "),
        ({"average": "ema 0.9"}, "average ema 0.9 instead of None"),
        ({"val": {"val/accuracy": 0.125}}, "val/accuracy 0.1250 instead of "),
    ],
)
def test_the_best_checkpoint_of_another_run_is_refused(
    change: dict[str, Any], said: str, command: str, run: Path, program: Callable[..., Answer]
) -> None:
    """Its samples, network and plan may be the same: its scores are not those of run.json."""
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content[CHECKPOINT_KEY].update(change)
    torch.save(content, path)
    answer = program(*OPENING[command])
    assert answer.code == 1
    assert f"the checkpoint is not the one that this run was tested with: {said}" in answer.err
    assert "next:  checkpoint=last\n    or:  restore" in answer.err
    if command == "predict":
        assert program(*OPENING[command], "checkpoint=last").code == 0


def test_a_resume_tells_that_it_tests_weights_which_it_did_not_choose(
    program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [*SMALL, *ASIDE, "schedule=two_stage", "logger=none", "schedule.phases.head.epochs=2"]
    stopped = program("train", *typed, "run_dir=run", "+callbacks.stop._target_=test_moved.StopLate")
    assert stopped.code == 128 + signal.SIGTERM, stopped.err
    path = Path("run/checkpoints/best.ckpt")
    content = torch.load(path, weights_only=True)
    content[CHECKPOINT_KEY]["val"]["val/accuracy"] += 2  # as of no epoch
    torch.save(content, path)
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    del config["callbacks"]["stop"]
    Path("run/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    monkeypatch.setattr(PlacedCheckpoint, "check_monitor_top_k", lambda *_: False)  # no later epoch is better
    resumed = program("train", "resume=run")
    assert resumed.code == 0, resumed.err
    score = content[CHECKPOINT_KEY]["val"]["val/accuracy"]
    assert f"best.ckpt holds other weights than this run chose last, with val/accuracy {score:.4f}" in resumed.err
    assert json.loads(Path("run/run.json").read_text())["metrics"]["val/accuracy"] == pytest.approx(score)
    assert program("evaluate", "run=run").code == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_resume_without_a_whole_last_checkpoint_touches_nothing_and_says_what_works(
    damage: str, run: Path, program: Callable[..., Answer]
) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    last, best = run / "checkpoints" / "last.ckpt", (run / "checkpoints" / "best.ckpt").read_bytes()
    if damage == "missing":
        last.unlink()
    elif damage == "cut":
        last.write_bytes(last.read_bytes()[:1000])
    else:
        flip(last)
    answer = program("train", "resume=run")
    assert answer.code == 1
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best
    (proposed,) = [line.partition("next:")[2].split() for line in answer.err.splitlines() if "next:" in line]
    assert proposed[-1] == f"init_from={'run/checkpoints/best.ckpt'}"
    anew = program(*proposed[1:])
    assert anew.code == 0, anew.err


ABOUTS = {"a list": "[1]", "none": "null", "no JSON": "{", "no targets": "{}", "targets of text": '{"targets": "x"}'}


@pytest.mark.parametrize("kind", ABOUTS)
def test_exported_weights_with_another_record_are_refused_in_words(
    kind: str, run: Path, program: Callable[..., Answer]
) -> None:
    from safetensors.torch import load_file, save_file

    assert program("export", "run=run", "output=it.safetensors").code == 0
    save_file(load_file("it.safetensors"), "other.safetensors", {"frostline": ABOUTS[kind]})
    answer = program("train", *QUICK, "init_from=other.safetensors")
    assert answer.code == 1
    assert "the weights file cannot be read: its " in answer.err
    assert "Traceback" not in answer.err


def test_weights_of_others_are_checked_too(tmp_path: Path) -> None:
    from frostline.backbones.weights import read_weights

    torch.save({"a": torch.arange(1000.0)}, tmp_path / "it.pth")
    assert torch.equal(read_weights(tmp_path / "it.pth")["a"], torch.arange(1000.0))
    flip(tmp_path / "it.pth", places=1)
    with pytest.raises(WeightsError, match="it is damaged: the checksum of"):
        read_weights(tmp_path / "it.pth")


def test_files_of_before_zip_are_read(tmp_path: Path) -> None:
    from frostline.backbones.weights import read_weights

    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3)}, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "it.pth").write_bytes(buffer.getvalue())
    assert torch.equal(read_weights(tmp_path / "it.pth")["a"], torch.ones(3))


def test_a_resume_without_its_best_checkpoint_is_refused_before_it_trains(
    run: Path, program: Callable[..., Answer]
) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    (run / "checkpoints" / "best.ckpt").unlink()
    answer = program("train", "resume=run")
    assert answer.code == 1
    assert "the checkpoint of the best epoch so far is missing" in answer.err
    assert "best.ckpt" in answer.err
