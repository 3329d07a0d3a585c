"""A process that waits for an entry which another one holds prints so."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.storage import locks
from frostline.storage.entry import clear
from frostline.storage.locks import lock
from frostline.storage.store import Store

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "wb")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_wait_for_another_process_is_told_once_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "it"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            holder.communicate()

    real = locks.time.sleep
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: (real(seconds), pause(seconds)))
    with file.open("rb+") as mine:
        assert not lock(mine.fileno(), tmp_path, wait=False)
        assert capsys.readouterr().err == ""
        assert lock(mine.fileno(), tmp_path, wait=True)
    err = capsys.readouterr().err
    assert err.count("waiting for") == 1
    assert f"process {holder.pid}" in err or "another process" in err
    assert str(tmp_path) in err


def test_a_lock_that_is_free_waits_for_nobody(tmp_path: Path) -> None:
    with (tmp_path / "it").open("wb") as file:
        assert lock(file.fileno(), tmp_path, wait=True)
        fcntl.flock(file, fcntl.LOCK_UN)


def test_what_is_no_file_of_an_entry_stays(tmp_path: Path) -> None:
    own = tmp_path / "frozen" / "key"
    (own / "regions").mkdir(parents=True)
    for name in ("entry.json", "rows.bin", "lengths.bin", "scores-1.json", "regions/0"):
        (own / name).write_text('{"said": {}}')
    (own / "mine.txt").write_text("a stranger's")
    store = Store(tmp_path, 0)
    assert [kept.folder for kept in store.clear()] == [own]
    assert [path.read_text() for path in tmp_path.rglob("mine.txt")] == ["a stranger's"]
    assert list(tmp_path.rglob("rows.bin")) == []


def test_an_entry_goes_whole(tmp_path: Path) -> None:
    own = tmp_path / "key"
    (own / "regions").mkdir(parents=True)
    for name in ("entry.json", "rows.bin", "regions/0", "regions/17"):
        (own / name).touch()
    clear(own)
    assert not own.exists()
