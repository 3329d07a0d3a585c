"""Checkpoints that are whole, that wait until a write is worth it, and that know their folder."""

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from frostline.errors import RunError
from frostline.memory import free_memory
from frostline.tasks.base import Task
from frostline.training.callbacks.checkpoint_files import LateFiles, Waits, WholeFiles, worth_of
from frostline.training.callbacks.checkpoints import PlacedCheckpoint

BEST, LAST = Waits({"body"}, first=True), Waits({"body"}, first=False)


@pytest.mark.parametrize("monitor", ["val/accuracy", None])
def test_its_state_has_lightnings_key(monitor: str | None, tmp_path: Path) -> None:
    own, theirs = (made(tmp_path, monitor=monitor, mode="max") for made in (PlacedCheckpoint, ModelCheckpoint))
    assert own.state_key == theirs.state_key.replace("ModelCheckpoint", "PlacedCheckpoint")
    assert own.state_key is own.state_key  # made once: each hook of each step asks for it


class Shares(SimpleNamespace):
    shares = frozenset({"val/accuracy"})
    standard_error = Task.standard_error


def chosen(scores: list[float], *, mode: str = "max", monitor: str = "val/accuracy", number: int = 100) -> list[int]:
    """Which epochs become the best, one after the other; `number` samples are validated on."""
    best = PlacedCheckpoint(filename="best", monitor=monitor, mode=mode)
    trainer: Any = SimpleNamespace(
        lightning_module=SimpleNamespace(task=Shares()),
        callback_metrics={"val/n": torch.tensor(float(number))},
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision: decision),
    )
    taken = []
    for epoch, score in enumerate(scores):
        if best.check_monitor_top_k(trainer, torch.tensor(score, dtype=torch.float64)):
            taken.append(epoch)
        best.load_state_dict({**best.state_dict(), "dirpath": None})  # as a resume after each epoch would
    return taken


@pytest.mark.parametrize(
    ("scores", "number", "taken"),
    [
        ([0.80, 0.90, 0.88], 100, [0, 1, 2]),  # one standard error of 0.9 on 100 samples is 0.03
        ([0.80, 0.90, 0.86], 100, [0, 1]),
        ([0.80, 0.90, 0.88], 10_000, [0, 1]),
        ([0.90, 0.88, 0.86, 0.84], 100, [0, 1]),  # measured from the highest: no drift downwards
        ([0.90, 0.60, 0.88], 100, [0, 2]),
        ([1.00, 0.99], 100, [0]),  # of a perfect score the error is 0
        ([0.50, 0.50], 100, [0, 1]),
    ],
)
def test_the_latest_of_the_epochs_that_validation_cannot_tell_apart_is_the_best(
    scores: list[float], number: int, taken: list[int]
) -> None:
    assert chosen(scores, number=number) == taken


@pytest.mark.parametrize(("mode", "monitor"), [("min", "val/loss"), ("max", "val/f1_macro")])
def test_a_score_without_a_known_error_has_to_be_reached(mode: str, monitor: str) -> None:
    signs = {"max": 1, "min": -1}[mode]
    scores = [signs * score for score in (0.5, 0.6, 0.599, 0.6, 0.61)]
    assert chosen(scores, mode=mode, monitor=monitor) == [0, 1, 3, 4]


class Times:
    """Seconds go by as told; a write takes two."""

    def __init__(self) -> None:
        self.now = 100.0
        self.written: list[str] = []


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()
    save = WholeFiles.save_checkpoint

    def timed(self: WholeFiles, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(self, checkpoint, path, storage_options)
        times.written.append(Path(path).stem)
        times.now += 2

    monkeypatch.setattr(
        "frostline.training.callbacks.checkpoint_files.time", SimpleNamespace(monotonic=lambda: times.now)
    )
    monkeypatch.setattr(WholeFiles, "save_checkpoint", timed)
    monkeypatch.setattr(LateFiles, "took", None)
    return times


Save = Callable[[Waits | None, str, float], None]


@pytest.fixture
def files(times: Times) -> LateFiles:
    return LateFiles()


@pytest.fixture
def save(files: LateFiles, tmp_path: Path) -> Save:
    """`save(LAST, "last", 3)`: a checkpoint that holds a 3; None for one that must not wait."""

    def saved(waits: Waits | None, name: str, value: float) -> None:
        content = {"state_dict": {"head": torch.tensor([value], dtype=torch.float32)}}
        if waits is None:
            files.save_checkpoint(content, tmp_path / f"{name}.ckpt")
            return
        with files.may_wait(waits):
            files.save_checkpoint(content, tmp_path / f"{name}.ckpt")

    return saved


def _values(folder: Path) -> dict[str, float]:
    files = sorted(folder.glob("*.ckpt"))
    return {file.stem: float(torch.load(file, weights_only=True)["state_dict"]["head"]) for file in files}


@pytest.mark.parametrize(("took", "worth"), [(0.01, 5), (0.5, 15), (1, 30), (2, 60), (5, 60), (12, 120)])
def test_work_of_less_than_a_minute_waits_longer(took: float, worth: float) -> None:
    assert worth_of(took) == pytest.approx(worth)


def test_a_write_comes_when_the_work_since_the_last_is_worth_it(
    times: Times, files: LateFiles, save: Save, tmp_path: Path
) -> None:
    save(LAST, "last", 1)
    assert times.written == ["last"], "the first of a process: nobody knows yet how long it takes"
    times.now += worth_of(2) - 1
    save(LAST, "last", 2)
    assert _values(tmp_path) == {"last": 1}
    save(None, "other", 0)  # the two seconds of this are no work
    assert times.written == ["last", "last", "other"], "what must not wait says of what waits that it is there"
    times.now += worth_of(2) - 1
    save(LAST, "last", 3)
    assert _values(tmp_path)["last"] == 2
    times.now += 1
    save(LAST, "last", 4)
    assert _values(tmp_path)["last"] == 4
    times.now += worth_of(1)
    files.begin()
    times.now += worth_of(1)
    save(LAST, "last", 5)
    assert _values(tmp_path)["last"] == 4, "the time between two phases is no work"


def test_the_best_is_there_before_the_last_says_so(times: Times, files: LateFiles, save: Save, tmp_path: Path) -> None:
    LateFiles.took = 2.0
    save(BEST, "best", 1)
    save(LAST, "last", 1)
    save(BEST, "best", 2)
    assert times.written == []
    files.write_held()
    assert times.written == ["best", "last"]
    assert _values(tmp_path) == {"best": 2, "last": 1}
    files.write_held()
    assert times.written == ["best", "last"], "nothing is held any more"
    times.now += worth_of(1)
    save(BEST, "best", 3)
    times.now += worth_of(1)
    save(LAST, "last", 4)
    assert times.written[2:] == ["best", "last"], "also where the last is worth it first"
    save(LAST, "last", 5)
    times.now += worth_of(2)
    save(BEST, "best", 6)
    assert times.written[4:] == ["best"], "a better one does not wait for the last"
    save(None, "last", 6)
    assert _values(tmp_path) == {"best": 6, "last": 6}
    files.write_held()
    assert times.written[5:] == ["last"], "what was written meanwhile is not written over with what waited"


def test_what_waits_stays_as_it_was(files: LateFiles, tmp_path: Path) -> None:
    """Resting weights are held once for all that waits, as long as they rest."""
    LateFiles.took = 1.0
    body, head = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.zeros(3)
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}
    best_scores = {"a": torch.tensor(0.5)}

    def content() -> dict[str, Any]:
        state = OrderedDict(body=body.detach(), head=head.detach())
        state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
        return {"state_dict": state, "optimizer_states": [{"state": {0: moments}}], "callbacks": {"it": best_scores}}

    def held(name: str) -> dict[str, Any]:
        with files.may_wait(LAST):
            files.save_checkpoint(content(), tmp_path / f"{name}.ckpt")
        return files._held[tmp_path / f"{name}.ckpt"]

    first = held("first")
    for tensor in (head, *moments.values(), best_scores["a"]):
        tensor.add_(1)
    best_scores["b"] = torch.tensor(1.0)
    second = held("second")
    assert first["state_dict"]["body"] is second["state_dict"]["body"]
    body += 1
    third = held("third")
    files.write_held()
    read = [torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("first", "second", "third")]
    assert [float(one["state_dict"]["body"].sum()) for one in read] == [0, 0, body.numel()]
    assert [float(one["state_dict"]["head"].sum()) for one in read] == [0, 3, 3]
    assert [float(one["optimizer_states"][0]["state"][0]["exp_avg"].sum()) for one in read] == [0, 3, 3]
    assert [sorted(one["callbacks"]["it"]) for one in read] == [["a"], ["a", "b"], ["a", "b"]]
    assert third["state_dict"]["body"].stride() == body.stride()
    assert read[0]["state_dict"]._metadata == {"": {"version": 1}}


def test_what_needs_too_much_memory_does_not_wait(times: Times, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    LateFiles.took = 2.0
    monkeypatch.setattr("frostline.training.callbacks.checkpoint_files.free_memory", lambda: 4 * 4 + 1)
    save(LAST, "last", 1)
    assert times.written == []
    monkeypatch.setattr("frostline.training.callbacks.checkpoint_files.free_memory", lambda: 4 * 4)
    save(LAST, "last", 1)
    assert times.written == ["last"]


@pytest.mark.parametrize(("writes", "left"), [("torch.save", []), ("shutil.copyfileobj", ["best.ckpt"])])
def test_what_does_not_fit_on_the_disk_is_given_up_with_what_follows(
    writes: str, left: list[str], files: LateFiles, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last refers to the best, or is a copy of it."""
    LateFiles.took = 2.0
    save(BEST, "best", 1)
    save(LAST, "last", 1)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"frostline.training.callbacks.checkpoint_files.{writes}", full)
        with pytest.raises(RunError, match="cannot write a checkpoint"):
            files.write_held()
    files.write_held()
    assert [path.name for path in tmp_path.iterdir()] == left


def test_the_memory_of_this_machine_is_known() -> None:
    assert 1e6 < free_memory() < 1e15


def test_a_best_and_a_last_of_the_same_content_are_one_write_and_a_copy(
    times: Times, files: LateFiles, save: Save, tmp_path: Path
) -> None:
    LateFiles.took = 2.0
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    save(BEST, "best", 1)
    save(LAST, "last", 1)
    files.write_held()
    assert times.written == ["best"]
    assert best.read_bytes() == last.read_bytes()
    assert best.stat().st_ino != last.stat().st_ino, "who damages one has the other"
    assert _values(tmp_path) == {"best": 1, "last": 1}
    save(BEST, "best", 0.0)
    save(LAST, "last", -0.0)
    files.write_held()
    assert times.written[1:] == ["best", "last"]
    assert [math.copysign(1, value) for value in _values(tmp_path).values()] == [1, -1]


def test_states_of_other_types_are_no_reason_to_fail(files: LateFiles, tmp_path: Path) -> None:
    LateFiles.took = 2.0
    for name, waits in (("best", BEST), ("last", LAST)):
        content = {"state_dict": {"head": torch.zeros(2)}, "callbacks": {"it": np.zeros(3)}}
        with files.may_wait(waits):
            files.save_checkpoint(content, tmp_path / f"{name}.ckpt")
    files.write_held()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_copy_of_a_file_that_is_gone_is_given_up(files: LateFiles, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write a checkpoint"):
        files._write({}, tmp_path / "last.ckpt", tmp_path / "best.ckpt")
    assert list(tmp_path.iterdir()) == []


def test_the_best_need_not_be_read_back(times: Times, files: LateFiles, save: Save, tmp_path: Path) -> None:
    LateFiles.took = 2.0
    best = tmp_path / "best.ckpt"
    save(BEST, "best", 1)
    save(LAST, "last", 1)
    assert files.take(best) is None, "it is only held"
    files.write_held(keep=True)
    content = files.take(best)
    assert content is not None
    assert files.take(best) is None, "it is handed over"
    assert torch.equal(content["state_dict"]["head"], torch.load(best, weights_only=True)["state_dict"]["head"])
    assert files.take(tmp_path / "last.ckpt") is None, "only the best is read again"
    save(BEST, "best", 2)
    files.write_held()
    assert files.take(best) is None, "the phase goes on"


@pytest.mark.parametrize("then", ["later", "average", "phase", "removed", "nothing"])
def test_the_best_is_read_if_it_is_another_one(then: str, files: LateFiles, save: Save, tmp_path: Path) -> None:
    LateFiles.took = 2.0
    best = tmp_path / "best.ckpt"
    save(BEST, "best", 1)
    files.write_held(keep=True)
    match then:
        case "later":
            save(None, "best", 2)
        case "average":
            WholeFiles().save_checkpoint({"state_dict": {"head": torch.zeros(1)}}, best)
        case "phase":
            files.begin()
        case "removed":
            best.unlink()
    assert (files.take(best) is not None) == (then == "nothing")
