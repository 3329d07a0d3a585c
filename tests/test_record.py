"""run.json: what is written is what is read, and nothing half."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faked import phase_row
from frostline.errors import RunError
from frostline.runs import record as module
from frostline.runs.record import FILE, SCHEMA, Record, Stopwatch

KEYS = [
    "schema", "command", "seed", "status", "error", "versions", "data", "notes", "model", "foreign", "phases",
    "monitor", "mode", "baselines", "averages", "best", "metrics", "intervals", "test_uses", "slices", "calibration",
    "per_class", "seconds", "planned_seconds", "peak_memory_bytes", "checkpoints", "predictions",
]  # fmt: skip


def record(**settings: Any) -> Record:
    return Record(command="frostline train", seed=3, **settings)


def written(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return content


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def refused(folder: Path, name: str, value: object, told: str) -> None:
    """A whole record that has one other value is no record."""
    record().write(folder)
    (folder / FILE).write_text(json.dumps(written(folder) | {name: value}), encoding="utf-8")
    with pytest.raises(RunError, match=f"run.json cannot be read: {re.escape(told)}") as raised:
        Record.read(folder)
    assert raised.value.where == folder / FILE


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    made = record(
        status="failed",
        error={"type": "DataError", "message": "größer\nkaputt"},
        data={"name": "digits", "classes": ["a", "b"]},
        phases=[phase_row(val={"val/accuracy": 0.5})],
        metrics={"test/accuracy": 0.25},
        per_class=[{"class": "a", "f1": 0.5}],
        baselines={"knn": {"val/accuracy": 0.25, "seconds": 0.125}},
        averages=[{"name": "ema 0.9", "val": {"val/accuracy": 0.5}}],
        checkpoints={"best": "checkpoints/best.ckpt", "last": None},
    )
    made.write(tmp_path)
    assert Record.read(tmp_path) == made
    assert list(written(tmp_path)) == KEYS
    assert written(tmp_path)["schema"] == SCHEMA


def test_what_is_not_a_number_becomes_null_wherever_it_stands(tmp_path: Path) -> None:
    record(metrics={"nan": math.nan, "inf": math.inf, "fine": 0.5}, phases=[{"val": {"x": [-math.inf, 1]}}]).write(
        tmp_path
    )
    assert written(tmp_path)["metrics"] == {"nan": None, "inf": None, "fine": 0.5}
    assert written(tmp_path)["phases"] == [{"val": {"x": [None, 1]}}]


@pytest.mark.parametrize(
    ("raw", "calibrated", "harms"),
    [
        ({"nll": 0.5}, {"nll": 0.6}, True),
        ({"nll": 0.5}, {"nll": 0.4}, False),
        ({"nll": 0.5}, None, False),
        ("x", 3, False),
    ],
)
def test_a_temperature_that_harms_on_the_test_split_is_told(raw: Any, calibrated: Any, harms: bool) -> None:
    assert record(calibration={"raw": raw, "calibrated": calibrated}).temperature_harms == harms


def test_null_scores_are_read_as_not_a_number(tmp_path: Path) -> None:
    one = record(metrics={"val/loss": math.nan}, monitor="val/loss", status="finished", data={"classes": []})
    one.intervals = {"test/tar": {"low": math.nan, "high": 1.0, "by": "task", "caution": ""}}
    one.phases = [phase_row(val={"val/loss": math.inf})]
    assert one.rank == math.inf
    one.write(tmp_path)
    found = Record.read(tmp_path)
    assert math.isnan(found.metrics["val/loss"])
    assert math.isnan(found.phases[0]["val"]["val/loss"])
    assert (found.intervals, found.rank) == ({}, math.inf)


@given(st.dictionaries(st.sampled_from(["setup", "fit", "test", "more"]), st.floats(0, 1e6)))
def test_the_total_is_the_sum_of_the_others_however_often_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, seconds: dict[str, float]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    made = record(seconds=dict(seconds))
    made.write(folder)
    made.write(folder)
    assert written(folder)["seconds"] == {**seconds, "total": sum(seconds.values())}


def test_a_stopwatch_gives_each_name_its_own_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 12.0, 15.0, 19.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    watch = Stopwatch(seconds := {"fit": 0.5})
    watch.add_to("setup")
    watch.add_to("fit")
    watch.add_to("setup")
    assert seconds == {"fit": 3.5, "setup": 6.0}


def test_keys_that_a_newer_version_added_are_ignored(tmp_path: Path) -> None:
    made = record(phases=[phase_row()], data={"classes": ["a"]})
    made.write(tmp_path)
    newer = written(tmp_path) | {"later": [1], "schedule": None}
    newer["phases"][0]["later"] = newer["data"]["later"] = 1
    (tmp_path / FILE).write_text(json.dumps(newer), encoding="utf-8")
    found = Record.read(tmp_path)
    assert found.phases == [phase_row(later=1)]
    found.phases, found.data = made.phases, made.data
    assert found == made


# --- when writing fails ---


def test_a_record_that_is_no_json_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    record().write(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        record(data={"path": tmp_path}).write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_a_full_disk_leaves_the_old_one_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    record().write(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    monkeypatch.setattr("frostline.paths.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        record(metrics={"test/accuracy": 1.0}).write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


# --- when there is nothing to read ---


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this folder is not a run") as raised:
        Record.read(tmp_path)
    assert raised.value.where == tmp_path


@pytest.mark.parametrize(
    "content",
    [b"", b'{"schema": 1, "comm', b"[1, 2]", b"null", b"7", b"{}", b"\xff\xfe\x00", b'{"schema": 1}',
     b'{"schema": 1, "command": "x", "later": 1}'],
)  # fmt: skip
def test_a_broken_record_is_told_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RunError, match="cannot be read") as raised:
        Record.read(tmp_path)
    assert raised.value.where == tmp_path / FILE


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_truncated_record_is_told_by_name(tmp_path: Path, cut: int) -> None:
    record().write(tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[:-cut].rstrip(b"}\n"))
    with pytest.raises(RunError, match="cannot be read"):
        Record.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("metrics", {"val/accuracy": "abc"}, "'metrics.val/accuracy': 'abc' is not a number"),
        ("metrics", {"test/x": [1]}, "'metrics.test/x': "),
        ("error", {}, "'error' has no 'message'"),
        ("seconds", {}, "'seconds' has no 'total'"),
        ("seconds", {"total": 1.0, "fit": "1"}, "'seconds.fit': '1' is not a number"),
    ],
)
def test_a_value_that_the_leaderboard_cannot_read_is_told_by_name(
    tmp_path: Path, name: str, value: object, told: str
) -> None:
    refused(tmp_path, name, value, told)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("phases", [without(phase_row(), "learns")], "'phases.0' has no 'learns'"),
        ("phases", [phase_row(val={"val/loss": "a"})], "'phases.0.val.val/loss': 'a' is not a number"),
        ("intervals", {"test/x": {"low": "a", "high": 1.0}}, "'intervals.test/x.low': 'a' is not a number"),
        ("slices", {"q": {}}, "'slices.q' has no "),
        ("calibration", {"temperature": "x"}, "'calibration.temperature': 'x' is not a number"),
        ("calibration", {"raw": {"nll": 0.5}}, "'calibration.raw' has no 'brier'"),
        ("baselines", {"majority": "x"}, "'baselines.majority': 'x' is not "),
        ("best", {}, "'best' has no 'phase'"),
        ("data", {"classes": [], "targets": {"names": ["a"], "counts": None}}, "'data.targets.counts'"),
        ("data", {"classes": [], "name": ["a"]}, "'data.name'"),
        ("per_class", [3], "'per_class.0': 3 is not "),
        ("model", {"parameters": "many"}, "'model.parameters': 'many' is not a whole number"),
    ],
)
def test_a_value_that_the_page_cannot_read_is_told_by_name(tmp_path: Path, name: str, value: object, told: str) -> None:
    refused(tmp_path, name, value, told)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_a_record_of_another_schema_is_not_guessed_at(tmp_path: Path, schema: object) -> None:
    record().write(tmp_path)
    (tmp_path / FILE).write_text(json.dumps(written(tmp_path) | {"schema": schema}), encoding="utf-8")
    with pytest.raises(RunError, match=f"has schema {schema}, but this version reads schema 1"):
        Record.read(tmp_path)


def test_a_version_is_named_for_each_library_that_can_change_a_result() -> None:
    versions = record().versions
    assert list(versions) == ["python", *module.VERSIONED]
    assert {"frostline", "torch", "lightning"} <= set(versions)
    assert "not installed" not in versions.values()
