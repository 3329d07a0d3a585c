"""A sweep's folder: what was typed, its jobs, and for each job a note and a lock.

<sweep>/sweep.json         written once, whole, before anything else
<sweep>/.jobs/<n>.json     the run folder of job n; why it failed, if it failed before it had one
<sweep>/.jobs/lock         held (shared) by each process that takes part
<sweep>/.jobs/<n>.lock     held by the process that runs job n of a grid
<sweep>/.jobs/trial-<n>.lock  held by the process that runs the jobs of trial n of a search, one per seed
<sweep>/.jobs/study.lock   held while a process draws a trial, or takes over that of a process that died
<sweep>/.jobs/board.lock   held while the leaderboard is written
<sweep>/.jobs/best.lock    held while the best setting is tested
<sweep>/.jobs/worker-<n>.log  what worker n of launcher=local prints

How a job ended stands in the `run.json` of its run. All locks are POSIX record locks: the system releases them however
the process ends, also on network file systems, and children do not inherit them.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from frostline.config.signatures import value_problem
from frostline.errors import RunError
from frostline.paths import write_atomically
from frostline.quoting import setting_of
from frostline.runs.record import FILE as RECORD
from frostline.runs.record import Record

FILE = "sweep.json"
JOBS = ".jobs"
SCHEMA = 1
# Settings that choose code or places to write to: a sweep's folder may be a stranger's.
FOREIGN = re.compile(
    r"_target_|_args_|^-(?!m$|-multirun$)|remote_code=|^[+~]*hydra[./](?!sweep\.|sweeper\.)"
    r"|dirpath=|save_dir=|cache\.dir=|storage=(?!null$)"
    r"|oc\.(decode|create)|\$\{[^}:]*\$\{"  # from which a setting that is none of these could be put together
)
FIELDS = {"arguments": "list[str]", "cwd": "str", "jobs": "list[list[str]]", "search": "dict"}
NOTED = {"run": "str", "typed": "list[str]", "error": "str | None", "again": "bool", "attempts": "int"}
PAUSE = 0.2  # seconds between two looks at jobs that other processes run

State = Literal["new", "open", "finished", "pruned", "failed"]
DONE: tuple[State, ...] = ("finished", "pruned", "failed")


class Lost(NamedTuple):
    """A job that failed before it had a run folder. run: the folder that it would have had."""

    run: str
    typed: list[str]
    error: str


@dataclass
class Note:
    """run: the folder of the job's run, relative to the sweep's. error: why it has none. again: to be run once more.
    attempts: how often it began."""

    run: str
    typed: list[str]
    error: str | None = None
    again: bool = False
    attempts: int = 1


@dataclass
class Sweep:
    """arguments: as typed. cwd: the folder to which relative paths in them refer. jobs: the overrides of each job of a
    grid; empty for a search, whose settings stand in its study. search: what a search needs; empty for a grid."""

    folder: Path
    arguments: list[str]
    cwd: str
    jobs: list[list[str]] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)

    # --- the file ---

    def create(self) -> bool:
        """Write the file whole, unless the folder has one. Returns False if it has."""
        content = {"schema": SCHEMA, **{key: value for key, value in asdict(self).items() if key != "folder"}}
        draft = self.folder / f".{FILE}.{os.getpid()}"
        try:
            write_atomically(draft, json.dumps(content, indent=1) + "\n")
            os.link(draft, self.folder / FILE)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        (self.folder / JOBS).mkdir(exist_ok=True)
        return True

    @classmethod
    def read(cls, folder: Path) -> "Sweep":
        """Raises RunError if the folder holds no sweep, or one that cannot be read."""
        path = folder / FILE
        if not path.is_file():
            raise RunError(
                f"this folder is not a sweep: it has no {FILE}" if folder.is_dir() else "there is no such folder",
                where=folder,
                next_step="name the folder that a sweep printed, such as logs/sweeps/<date>/<time>",
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            schema = content.pop("schema")
            if schema == SCHEMA:
                sweep = cls(folder, **content)
                _require_types(sweep, FIELDS)
                (folder / JOBS).mkdir(exist_ok=True)
                return sweep
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{FILE} cannot be read: {error}", where=path, next_step="restore the file, or start a new sweep"
            ) from error
        raise RunError(
            f"{FILE} has schema {schema}, but this version reads schema {SCHEMA}",
            where=path,
            next_step="use the Frostline that wrote it",
        )

    def foreign(self) -> list[str]:
        """The settings that choose code or places to write to, for which opening the folder needs trust."""
        return foreign_of(_settings([self.arguments, self.jobs, self.search]))

    def again(self, key: str = "sweep.resume", *, trust: bool = False) -> str:
        """The command that takes the sweep up again. trust: with trust=true even if no setting of it needs that."""
        trusting = " trust=true" if trust or self.foreign() else ""
        return f"frostline train {setting_of(key, self.folder)}{trusting}"

    # --- jobs ---

    def note(self, number: int) -> Note | None:
        """Raises RunError if the note cannot be read, or names a folder that is not inside the sweep's."""
        path = self.folder / JOBS / f"{number}.json"
        try:
            note = Note(**json.loads(path.read_text(encoding="utf-8")))
            _require_types(note, NOTED)
            self._require_inside(note.run)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            raise RunError(
                f"the note of job {number} cannot be read: {error}",
                where=path,
                next_step="restore the file; or remove it, and the job runs again",
            ) from error
        return note

    def _require_inside(self, run: str) -> None:
        """Raise ValueError unless a run folder lies inside the sweep's, also after links are followed: what was left of
        it may be removed."""
        place, own = Path(os.path.realpath(self.folder / run)), Path(os.path.realpath(self.folder))
        if place == own or not place.is_relative_to(own):
            raise ValueError(f"'{run}' is not a folder inside the sweep's folder")

    def write_note(self, number: int, note: Note) -> None:
        write_atomically(self.folder / JOBS / f"{number}.json", json.dumps(asdict(note)) + "\n")

    def state(self, number: int) -> State:
        """How the job stands: `open` if it began and did not end."""
        note = self.note(number)
        if note is None:
            return "new"
        if note.again:
            return "open"
        if not (self.folder / note.run / RECORD).is_file():
            return "new" if note.error is None else "failed"
        status = Record.read(self.folder / note.run).status
        return "open" if status == "running" or status == "interrupted" else status

    def numbers(self) -> list[int]:
        """The numbers of the jobs that have begun."""
        return sorted(int(path.stem) for path in (self.folder / JOBS).glob("*.json") if path.stem.isdecimal())

    def retry(self) -> None:
        """Let failed jobs run again."""
        for number in self.numbers():
            if self.state(number) == "failed" and (note := self.note(number)) is not None:
                self.write_note(number, Note(note.run, note.typed, again=True, attempts=note.attempts))

    @contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Hold a lock in this context. Yields False if another process holds it and `wait` is False."""
        handle = os.open(self.folder / JOBS / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield _locks(handle, fcntl.LOCK_EX, wait=wait)
        finally:
            os.close(handle)


class Presence:
    """A process that takes part in a sweep, from `enter` until `leave`."""

    def __init__(self, sweep: Sweep) -> None:
        self._handle = os.open(sweep.folder / JOBS / "lock", os.O_RDWR | os.O_CREAT, 0o666)

    def enter(self, *, alone: bool) -> bool:
        """alone: whether no other process may take part at this moment. Returns False if one does."""
        if alone and not self.is_alone():
            return False
        return _locks(self._handle, fcntl.LOCK_SH, wait=True)

    def is_alone(self) -> bool:
        """Whether no other process takes part. Afterwards none can enter until this one enters or leaves."""
        return _locks(self._handle, fcntl.LOCK_EX, wait=False)

    def leave(self) -> None:
        os.close(self._handle)


def _locks(handle: int, kind: int, *, wait: bool) -> bool:
    try:
        fcntl.lockf(handle, kind | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, by POSIX
        return False
    return True


def taken(sweep: Sweep, left: Sequence[int], sort: Callable[[list[int]], list[int]] = list) -> Generator[int]:
    """Yield each job that is not done while its lock is held. Jobs that other processes run are awaited, and taken over
    if these processes die.

    sort: puts the jobs that are left into the order in which they are taken; called before each.
    """
    waiting = list(left)
    while waiting:
        for number in sort(waiting):
            if sweep.state(number) in DONE:
                waiting.remove(number)
                continue
            with sweep.locked(str(number)) as ours:
                if not ours:
                    continue
                if sweep.state(number) not in DONE:
                    yield number
            waiting.remove(number)
            break
        else:
            time.sleep(PAUSE if waiting else 0)


def foreign_of(settings: Iterable[str]) -> list[str]:
    """Those of the settings that choose code or places to write to, each once."""
    return list(dict.fromkeys(setting for setting in settings if FOREIGN.search(setting)))


def _settings(content: Any) -> Iterator[str]:
    """All texts of a sweep's file, and the settings of each dimension of a space."""
    if isinstance(content, dict) and "key" in content:
        values = content.get("values")
        yield from (f"{content['key']}={value}" for value in (values if isinstance(values, list) and values else [""]))
    elif isinstance(content, dict | list):
        for item in content.values() if isinstance(content, dict) else content:
            yield from _settings(item)
    elif isinstance(content, str):
        yield content


def _require_types(made: object, fields: dict[str, str]) -> None:
    """Raise TypeError if a file was edited into another form."""
    for name, annotation in fields.items():
        problem = value_problem(name, getattr(made, name), annotation)
        if problem is not None:
            raise TypeError(f"'{name}': {problem}")


def lost_of(folder: Path) -> list[Lost]:
    """Jobs of the sweep in `folder` that failed before they had a run folder; none if it is no sweep."""
    if not (folder / JOBS).is_dir():
        return []
    sweep = Sweep(folder, [], "")
    notes = [note for number in sweep.numbers() if (note := sweep.note(number)) is not None]
    return [
        Lost(note.run, note.typed, note.error)
        for note in notes
        if note.error is not None and not (folder / note.run / RECORD).is_file()
    ]
