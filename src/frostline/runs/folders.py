"""Choose a free folder for a run, and lock it for one process."""

import fcntl
import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from frostline.errors import RunError, few
from frostline.paths import remove_empty
from frostline.runs.record import FILE

CONFIG = "config.yaml"
ORPHANS = 30.0  # seconds; torch's loaders look for their parent every five


def free_folder(folder: Path, setting: str = "run_dir", holds: str = FILE) -> Path:
    """Return `folder`, with a number appended if a file `holds` is already in it.

    setting: the key that chooses another folder. Raises RunError if the folder holds other files.
    """
    folder = folder if folder.name else folder.absolute()  # `.` has no name to append a number to
    chosen = next(chosen for chosen in numbered(folder) if not (chosen / holds).exists())
    require_empty(chosen, setting)
    return chosen


def require_empty(folder: Path, setting: str = "run_dir") -> None:
    """Raise RunError if the folder holds files, hidden ones aside, and name some of them."""
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(folder, setting, error) from error
    if names:
        raise RunError(
            f"this folder holds other files: {few(names, 4)}",
            where=folder,
            next_step=f"{setting}=<a new or empty folder>",
        )


def stamp(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and modification time in ns of each file that identifies a run's progress."""
    paths = [folder / FILE, folder / CONFIG, *folder.glob("checkpoints/*.ckpt")]
    stats = [(str(path.relative_to(folder)), path.stat()) for path in paths if path.is_file()]
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def numbered(folder: Path) -> Iterator[Path]:
    """Yield `it`, `it-2`, `it-3`, ..."""
    yield folder
    yield from (folder.with_name(f"{folder.name}-{number}") for number in count(2))


@contextmanager
def reserved(folder: Path) -> Iterator[Path]:
    """Create the folder, with a number appended if it exists. It is created at once, as two runs may start in the same
    second, and removed at the end if it is still empty. Raises RunError if it cannot be created.
    """
    missing = [path for path in folder.parents if not path.exists()]
    chosen = next(chosen for chosen in numbered(folder) if _made(chosen))
    try:
        yield chosen
    finally:
        remove_empty([chosen, *missing])


def reserved_at_once(place: str) -> str:
    """Create the folder now, with a number appended if it exists. Returns `place` unchanged if that fails: the first
    write to it will raise the error."""
    try:
        return str(next(chosen for chosen in numbered(Path(place)) if _made(chosen)))
    except RunError:
        return place


def _made(folder: Path) -> bool:
    """Create the folder. Returns False if it exists; raises RunError if it cannot be created."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        if not os.path.lexists(folder):  # a folder above is a file, or a link to nowhere
            raise _unwritable(folder, "logs_dir", error) from error
        return False
    except OSError as error:
        raise _unwritable(folder, "logs_dir", error) from error
    return True


@contextmanager
def claimed(folder: Path, *, leads: bool, seen: list[tuple[str, int, int]]) -> Iterator[None]:
    """Lock the folder for this process. The lock leaves no file, and the system releases it however the process ends.

    leads: whether this process writes; only then it locks. seen: `stamp` of the folder when this process chose it.
    Raises RunError if another process trains in the folder, or has written to it since.
    """
    if not leads:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise RunError(
            "another process is training in this folder", where=folder, next_step="wait for it, or run_dir=<another>"
        ) from error
    try:
        if stamp(folder) != seen:
            raise RunError(
                "another process has written to this folder in the meantime",
                where=folder,
                next_step="run the command again, with run_dir=<another> for a new run",
            )
        yield
    finally:
        os.close(handle)


def await_orphans(folder: Path) -> None:
    """Wait until nobody holds the lock of `claimed`, at most ORPHANS seconds. Loaders of a process that was killed hold
    it until they notice."""
    end = time.monotonic() + ORPHANS
    while time.monotonic() < end:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            return
        finally:
            os.close(handle)


def require_writable(folder: Path, setting: str | None = "logs_dir") -> None:
    """Try to write. Folders created for it are removed again, so that an error before training leaves nothing behind.

    setting: the key that chooses another folder; None if it has to be this one. Raises RunError.
    """
    missing = [path for path in [folder, *folder.parents] if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, setting, error) from error
    finally:
        remove_empty(missing)


def _unwritable(folder: Path, setting: str | None, error: OSError) -> RunError:
    writable = shlex.join(["chmod", "-R", "u+w", str(folder)])
    return RunError(
        f"cannot write to the folder: {error.strerror}",
        where=folder,
        next_step=writable if setting is None else f"{setting}=<a writable folder>",
    )
