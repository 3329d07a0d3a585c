"""Inputs that need too much memory are refused, with their size, before they are read."""

from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from frostline import memory
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures import files as picture_files
from frostline.data.pictures.reading import read_picture
from frostline.data.tables import formats as table_formats
from frostline.data.tables.formats import read_table
from frostline.data.texts import tokenized as tokenised
from frostline.data.texts.tokenized import require_bounded
from frostline.errors import DataError
from frostline.memory import CGROUPS, free_memory, limit_files
from frostline.training import batch_size as costing


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("0::/", []),
        ("0::/user.slice/job", ["user.slice/job/memory.max", "user.slice/memory.max"]),
        (
            "5:cpu,memory:/docker/abc\n3:cpuset:/docker/abc\n",
            ["memory/docker/abc/memory.limit_in_bytes", "memory/docker/memory.limit_in_bytes"],
        ),
        ("", []),
        ("nonsense", []),
    ],
)
def test_limits_of_a_group_and_of_all_above_it_bind(said: str, expected: list[str]) -> None:
    assert [str(file.relative_to(CGROUPS)) for file in limit_files(said)[2:]] == expected


def test_the_smallest_limit_is_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "outer" / "memory.max").write_text("3000000\n")
    (tmp_path / "outer" / "inner" / "memory.max").write_text("max\n")
    text = memory._text
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(
        memory, "_text", lambda file: "0::/outer/inner\n" if str(file) == "/proc/self/cgroup" else text(file)
    )
    assert costing._memory_of(torch.device("cpu")) == 3_000_000
    (tmp_path / "outer" / "memory.current").write_text("2900000\n")
    assert free_memory() == 100_000
    stat = tmp_path / "outer" / "memory.stat"
    stat.write_text("anon 5\ninactive_file 400000\nactive_file 50000\n")
    assert free_memory() == 550_000, "files that were read make room"
    stat.write_text("inactive_file 1\ntotal_inactive_file 200000\nactive_file 1\ntotal_active_file 100000\n")
    assert free_memory() == 400_000


def test_a_parquet_file_of_too_many_rows_is_refused_by_its_footer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_formats, "MOST_ROWS", 1000)
    file = tmp_path / "it.parquet"
    pq.write_table(pa.table({"path": pa.array(["a"] * 1001), "x": pa.array([1] * 1001)}), file)
    with pytest.raises(DataError, match="1,001 rows, but at most 1,000"):
        read_table(file, ["path", "x"])


def test_a_text_without_end_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenised, "MOST_CHARACTERS", 100)
    with pytest.raises(DataError, match="a text of more than") as refused:
        require_bounded([("a" * 100,), ("a" * 50, "b" * 51)], lambda place: f"line {place + 2}")
    assert refused.value.where == "line 3"


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    class Counted:
        def __init__(self) -> None:
            self._lock = Lock()

        def __enter__(self) -> None:
            taken.append(self._lock.acquire(blocking=False))

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    monkeypatch.setattr(picture_files, "ALONE", Counted())
    monkeypatch.setattr(picture_files, "LARGE", 100)
    for name, side in (("small.png", 10), ("large.png", 11)):
        Image.new("RGB", (side, side)).save(tmp_path / name)
        read_picture(tmp_path / name, ImageSpec(8, 8, (0, 0, 0), (1, 1, 1)))
    assert taken == [True]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "it.csv")
    with pytest.raises(DataError, match="it is a pipe or a device"):
        read_table(tmp_path / "it.csv", ["path"])
