"""Two runs that have to be the same, to the last bit."""

import json
from pathlib import Path
from typing import Any

import torch


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


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
