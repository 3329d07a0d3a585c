"""Two runs that have to be the same, to the last bit."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ASIDE, Answer


def trained(program: Callable[..., Answer], folder: Path, *overrides: str, code: int = 0) -> dict[str, Any]:
    answer = program("train", *overrides, f"run_dir={folder}")
    assert answer.code == code, answer.out + answer.err
    return record_of(folder)


def kept_and_never(program: Callable[..., Answer], tmp_path: Path, *own: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Never kept; kept, and made; kept, and found: the last two, once all three are the same."""
    never = trained(program, tmp_path / "never", *ASIDE, *own, "cache=never")
    first = trained(program, tmp_path / "first", *ASIDE, *own, "cache=always")
    again = trained(program, tmp_path / "again", *ASIDE, *own, "cache=always")
    require_equal(tmp_path / "first", tmp_path / "never")
    require_equal(tmp_path / "again", tmp_path / "never")
    assert cached_phases(never) == []
    assert cached_phases(first) == cached_phases(again) != []
    assert sum(row["cache"]["made"] for row in first["phases"]) > 0
    assert sum(row["cache"]["made"] for row in again["phases"]) == 0, "the weights are the same, and so are the keys"
    return first, again


def require_equal_if_stopped(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, *own: str
) -> None:
    """A run that is stopped by SIGTERM and resumed ends as an undisturbed one. moment: see `test_resume.Stopper`."""
    own = (*ASIDE, *own)
    trained(program, tmp_path / "whole", *own)
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGTERM)}")
    trained(program, run, *own, "+callbacks.stopper={_target_: test_resume.Stopper}", code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    answer = program("train", f"resume={run}", "trust=true")
    assert answer.code == 0, answer.err
    require_equal(run, tmp_path / "whole")
    assert record_of(run)["phases"][-1]["val"] == record_of(tmp_path / "whole")["phases"][-1]["val"]


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def require_intervals(record: dict[str, Any]) -> None:
    """Fail unless each test score has an interval around it."""
    tested = {
        name
        for name in record["metrics"]
        if name.startswith("test/") and not name.endswith(("_low", "_high", "_units"))
    }
    assert {*record["intervals"]} == tested - {"test/n", "test/threshold", "test/ndcg_users", "test/recall_users"}
    for name, own in record["intervals"].items():
        assert own["low"] <= record["metrics"][name] <= own["high"], name


def require_equal(run: Path, other: Path) -> None:
    now, expected = record_of(run), record_of(other)
    assert now["metrics"] == expected["metrics"]
    assert now["per_class"] == expected["per_class"]
    assert [row["val"] for row in now["phases"]] == [row["val"] for row in expected["phases"]]
    for name in ("best", "last"):
        states = [torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (run, other)]
        mine, its = (state["state_dict"] for state in states)
        assert mine.keys() == its.keys()
        assert [key for key in mine if not torch.equal(mine[key], its[key])] == [], name


def cached_phases(record: dict[str, Any]) -> list[str]:
    return [row["name"] for row in record["phases"] if row["cached"]]
