"""Rows that are kept: made once, never half, found damaged, shared by processes, removed when they are too many."""

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from forked import started
from frostline.storage.entry import REGION, Entry
from frostline.storage.store import Store

ROWS = 2 * REGION + 10
WIDTH = 4


def made(places: list[int]) -> Tensor:
    """Rows that say which they are."""
    return torch.tensor(places, dtype=torch.float32)[:, None] * torch.arange(1, WIDTH + 1)


EXPECTED = made(list(range(ROWS)))


def entry_of(store: Store, key: str = "k", rows: int = ROWS) -> Entry:
    return store.entry(key, rows, (WIDTH,), torch.float32, {"model": "m"})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", 10**6)


def never(places: list[int]) -> Tensor:
    raise AssertionError("these rows are there")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_are_made_once(store: Store, dtype: torch.dtype) -> None:
    def make(places: list[int]) -> Tensor:
        return made(places).to(dtype)

    first = store.entry("k", ROWS, (WIDTH,), dtype, {})
    assert not store.has("k")
    assert first.fill(make) == (0, ROWS)
    assert store.has("k")
    again = store.entry("k", ROWS, (WIDTH,), dtype, {})
    assert again.fill(never) == (ROWS, 0)
    assert torch.equal(again.rows, EXPECTED.to(dtype))


def test_the_same_key_is_the_same_entry_whatever_it_is_called(store: Store) -> None:
    """The same pictures in a folder of another name."""
    first = entry_of(store)
    first.fill(made)
    other = store.entry("k", ROWS, (WIDTH,), torch.float32, {"model": "other"})
    assert other.fill(never) == (ROWS, 0)


def test_what_a_kill_left_is_counted_listed_and_removed(store: Store) -> None:
    entry_of(store, "a").fill(made)
    (store.folder / "a" / "rows.bin").unlink()  # killed between the two files
    (store.folder / ".gone-b").mkdir()  # killed while it was removed
    (store.folder / ".gone-b" / "entry.json").write_text('{"said": {}}')
    assert [kept.folder.name for kept in store.entries()] == ["a"]
    with pytest.warns(UserWarning, match="damaged"):
        assert entry_of(store, "a").fill(made) == (0, ROWS)
    assert not (store.folder / ".gone-b").exists()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[REGION * WIDTH * 4 + 5] ^= 1
    file.write_bytes(bytes(content))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


@pytest.mark.parametrize(("damage", "rows_made"), [(flip, REGION), (truncate, ROWS)])
def test_damage_is_found_and_what_is_damaged_is_made_anew(
    damage: Callable[[Path], None], rows_made: int, store: Store
) -> None:
    entry_of(store).fill(made)
    damage(store.folder / "k" / "rows.bin")
    with pytest.warns(UserWarning, match="damaged and will be computed again"):
        assert entry_of(store).fill(made).made == rows_made
    assert torch.equal(entry_of(store).rows, EXPECTED)
    assert entry_of(store).fill(never) == (ROWS, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rows": 3}'])
def test_an_entry_that_does_not_say_what_it_is_is_made_anew(content: str, store: Store) -> None:
    entry_of(store).fill(made)
    (store.folder / "k" / "entry.json").write_text(content)
    assert entry_of(store).fill(made) == (0, ROWS)


def test_the_least_recently_used_goes_first_and_what_is_in_use_stays(tmp_path: Path) -> None:
    one = ROWS * WIDTH * 4
    store = Store(tmp_path, 3 * one)
    for number, key in enumerate("abc"):
        entry_of(store, key).fill(made)
        os.utime(store.folder / key / "entry.json", (number, number))
    used = entry_of(store, "a")  # the oldest, until now
    entry_of(store, "d").fill(made)
    assert {kept.folder.name for kept in store.entries()} == {"a", "c", "d"}
    also_used = [entry_of(store, key) for key in "cd"]
    with pytest.raises(OSError, match="other processes use its entries"):
        entry_of(store, "e")
    assert not (store.folder / "e").exists()
    assert torch.equal(used.rows, EXPECTED)
    del also_used
    entry_of(store, "e")
    assert sum(kept.num_bytes for kept in store.entries()) <= 3 * one


def test_one_limit_covers_all_kinds_and_pictures_take_half_of_it(tmp_path: Path) -> None:
    one = ROWS * WIDTH * 4
    frozen, decoded = Store(tmp_path, 4 * one), Store(tmp_path, 4 * one, "decoded")
    used = [entry_of(decoded, key) for key in "ab"]
    with pytest.raises(OSError, match="other processes use its entries"):
        entry_of(decoded, "c")
    with pytest.raises(OSError, match="more than"):
        entry_of(decoded, "large", 3 * ROWS)
    used.pop(0)
    os.utime(decoded.folder / "a" / "entry.json", (1, 1))
    for key in "xyz":  # a third one has no room beside two of the other kind
        entry_of(frozen, key)
    assert {(kept.kind, kept.folder.name) for kept in frozen.entries()} == {
        ("decoded", "b"), ("frozen", "x"), ("frozen", "y"), ("frozen", "z"),
    }  # fmt: skip
    assert [kept.folder.name for kept in decoded.entries()] == [kept.folder.name for kept in frozen.entries()]


def test_rows_of_several_lengths_are_measured_and_made_once(store: Store) -> None:
    lengths = torch.arange(1, ROWS + 1)
    rows = [torch.full((number + 1,), number % 251, dtype=torch.uint8) for number in range(ROWS)]
    first = store.ragged("k", lambda: lengths, {})
    assert not store.has("k")
    assert first.fill(lambda places: torch.cat([rows[place] for place in places])) == (0, ROWS)
    assert store.has("k")
    again = store.ragged("k", lambda: never([]), {})
    assert again.fill(never) == (ROWS, 0)
    assert torch.equal(again.flat, torch.cat(rows))
    assert again.starts is not None
    assert torch.equal(again.starts.diff(), lengths)


def test_an_entry_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="more than"):
        entry_of(Store(tmp_path, 100))
    assert Store(tmp_path, 100).entries() == []
    assert not (tmp_path / "frozen" / "k").exists()


def test_all_that_is_not_in_use_can_be_cleared(store: Store) -> None:
    entry_of(store, "a").fill(made)
    used = entry_of(store, "b")
    assert [kept.folder.name for kept in store.clear()] == ["a"]
    assert [kept.folder.name for kept in store.entries()] == ["b"]
    assert used.num_bytes == ROWS * WIDTH * 4


def test_a_disk_that_is_full_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        entry_of(store)
    assert not (store.folder / "k").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    answer = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if answer.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {answer.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.process
def test_a_real_disk_that_is_full(small_disk: Path) -> None:
    store = Store(small_disk, 10**9)
    entry_of(store, "small").fill(made)
    with pytest.raises(OSError, match="No space left"):
        store.entry("large", 10**4, (WIDTH,), torch.float32, {})
    assert [kept.folder.name for kept in store.entries()] == ["small"]


# --- several processes ---

WRITER = """
import sys, time, torch
from pathlib import Path
from frostline.storage.store import Store

def make(places):
    print("region", flush=True)
    time.sleep(float(sys.argv[2]))
    return torch.tensor(places, dtype=torch.float32)[:, None] * torch.arange(1, 5)

store = Store(Path(sys.argv[1]), 10**6)
entry = store.entry("k", 522, (4,), torch.float32, {"model": "m"})
print("ready", flush=True)
sys.stdin.readline()
print(entry.fill(make).made, flush=True)
"""


def writer(root: Path, pause: float) -> Any:
    process = started("-c", WRITER, str(root), str(pause))
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.process
def test_two_processes_make_each_region_once_and_both_have_all(store: Store) -> None:
    processes = [writer(store.root, 0.3) for _ in range(2)]
    for process in processes:
        go(process)
    said = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(words.count("region") for words in said) == 3
    assert sum(int(words[-1]) for words in said) == ROWS
    assert torch.equal(entry_of(store).rows, EXPECTED)


@pytest.mark.process
def test_what_a_killed_process_was_making_is_made_by_another(store: Store) -> None:
    process = writer(store.root, 60)
    go(process)
    assert process.stdout.readline() == "region\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    entry = entry_of(store)
    assert entry.fill(made) == (0, ROWS)
    assert torch.equal(entry.rows, EXPECTED)
