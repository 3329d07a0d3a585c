"""A sweep's folder: what was typed, its jobs, and for each job a note and a lock.

<sweep>/sweep.json         written once, whole, before anything else
<sweep>/.jobs/<n>.json     the run folder of job n; why it failed or was dropped, if it had none
<sweep>/.jobs/lock         held (shared) by each process that takes part
<sweep>/.jobs/<n>.lock     held by the process that runs job n of a grid
<sweep>/.jobs/trial-<n>.lock  held by the process that runs the jobs of trial n of a search, one per seed
<sweep>/.jobs/study.lock   held while a process draws a trial, or takes over that of a process that died
<sweep>/.jobs/board.lock   held while the leaderboard is written
<sweep>/.jobs/best.lock    held while the best setting is tested
<sweep>/.jobs/worker-<n>.log  what worker n of launcher=local prints

How a job ended stands in the `run.json` of its run; in its note, if it failed or was dropped before it had a run. Notes
that were removed are made again from the runs, and from the leaderboard if a job had none.
"""

import json
import os
import re
import shlex
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from frostline.errors import RunError
from frostline.paths import write_atomically
from frostline.quoting import key_of, setting_of
from frostline.runs.record import FILE as RECORD
from frostline.runs.record import Record
from frostline.runs.schema import known_fields, read_schema, require_types
from frostline.runs.sweep_locks import locked
from frostline.runs.sweep_names import PRUNED
from frostline.runs.sweep_remade import remade

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
FIELDS |= {"work": "list[NonNegative[float]]"}
NOTED = {"run": "str", "typed": "list[str]", "error": "str | None", "kind": "str | None", "again": "bool"}
NOTED |= {"attempts": "int", "stopped": "int", "steps": "str"}
PAUSE = 0.2  # seconds between two looks at jobs that other processes run

State = Literal["new", "open", "finished", "pruned", "failed"]
DONE: tuple[State, ...] = ("finished", "pruned", "failed")


class Lost(NamedTuple):
    """A job that failed, or was dropped, before it had a run folder. run: the folder that it would have had."""

    run: str
    typed: list[str]
    error: str
    status: Literal["failed", "pruned"]


@dataclass
class Note:
    """run: the folder of the job's run, relative to the sweep's. error: why it failed, of which kind. steps: what the
    error proposes. again: to be run once more. attempts: how often it began. stopped: how often a signal ended it."""

    run: str
    typed: list[str]
    error: str | None = None
    again: bool = False
    attempts: int = 1
    stopped: int = 0
    kind: str | None = None
    steps: str = ""


@dataclass
class Sweep:
    """arguments: as typed. cwd: the folder to which relative paths in them refer. jobs: the overrides of each job of a
    grid; empty for a search, whose settings stand in its study. search: what a search needs; empty for a grid. work: of
    each job, by its plan (sweeps/lengths.py); empty in sweeps of earlier versions."""

    folder: Path
    arguments: list[str]
    cwd: str
    jobs: list[list[str]] = field(default_factory=list)
    search: dict[str, Any] = field(default_factory=dict)
    work: list[float] = field(default_factory=list)

    # --- the file ---

    def create(self) -> bool:
        """Write the file whole, unless the folder has one. Returns False if it has."""
        draft = self.folder / f".{FILE}.{os.getpid()}"
        try:
            write_atomically(draft, self._text)
            os.link(draft, self.folder / FILE)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        (self.folder / JOBS).mkdir(exist_ok=True)
        return True

    def set_argument(self, typed: str) -> None:
        """Write the file anew, with one argument in place of those of the same key."""
        others = [argument for argument in self.arguments if key_of(argument) != key_of(typed)]
        if [*others, typed] != self.arguments:
            self.arguments = [*others, typed]
            write_atomically(self.folder / FILE, self._text)

    @property
    def _text(self) -> str:
        content = {"schema": SCHEMA, **{key: value for key, value in asdict(self).items() if key != "folder"}}
        return json.dumps(content, indent=1) + "\n"

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
        sweep = read_schema(path, SCHEMA, lambda content: _made(folder, content), kind="sweep")
        if not (folder / JOBS).is_dir():
            (folder / JOBS).mkdir()
            for number, fields in remade(folder, sweep.jobs).items():
                sweep.write_note(number, Note(**fields))
        return sweep

    def foreign(self) -> list[str]:
        """The settings that choose code or places to write to, for which opening the folder needs trust."""
        return foreign_of(_settings([self.arguments, self.jobs, self.search]))

    def again(self, key: str = "sweep.resume", *, trust: bool = False) -> str:
        """The command that takes the sweep up again. trust: with trust=true even if no setting of it needs that."""
        trusting = " trust=true" if trust or self.foreign() else ""
        return f"frostline train {setting_of(key, self.folder)}{trusting}"

    def anew(self) -> str:
        """The command that starts the same sweep in a new folder."""
        typed = [it for it in self.arguments if it not in ("-m", "--multirun") and key_of(it) != "hydra.sweep.dir"]
        return shlex.join(["frostline", "train", "-m", *typed])

    # --- jobs ---

    def note(self, number: int) -> Note | None:
        """Raises RunError if the note cannot be read, or names a folder that is not inside the sweep's."""
        path = self.folder / JOBS / f"{number}.json"
        try:
            note = Note(**known_fields(Note, json.loads(path.read_text(encoding="utf-8"))))
            require_types(note, NOTED)
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

    def record(self, number: int) -> Record | None:
        """The record of a job's run; None without one, or if it cannot be read."""
        note = self.note(number)
        if note is None or not (self.folder / note.run / RECORD).is_file():
            return None
        try:
            return Record.read(self.folder / note.run)
        except RunError:
            return None

    def state(self, number: int) -> State:
        """How the job stands: `open` if it began and did not end; `pruned`, too, if it was dropped before it had a run;
        `failed`, too, if its record cannot be read."""
        note = self.note(number)
        if note is None:
            return "new"
        if note.again:
            return "open"
        if not (self.folder / note.run / RECORD).is_file():
            return "new" if note.error is None else "pruned" if note.kind == PRUNED else "failed"
        record = self.record(number)
        status = "failed" if record is None else record.status
        return "open" if status == "running" or status == "interrupted" else status

    def kind_of_failure(self, number: int) -> str | None:
        """The name of the error with which a job failed; None if it is not known."""
        note, record = self.note(number), self.record(number)
        stored = (record.error or {}).get("type") if record is not None else None
        return stored or (None if note is None else note.kind)

    def numbers(self) -> list[int]:
        """The numbers of the jobs that have begun."""
        return sorted(int(path.stem) for path in (self.folder / JOBS).glob("*.json") if path.stem.isdecimal())

    def retry(self) -> None:
        """Let failed jobs run again."""
        for number in self.numbers():
            if self.state(number) == "failed" and (note := self.note(number)) is not None:
                self.write_note(number, replace(note, again=True, error=None, kind=None, steps=""))

    def locked(self, name: str, *, wait: bool = False) -> AbstractContextManager[bool]:
        """Hold a lock in this context. Yields False if another process holds it and `wait` is False."""
        return locked(self.folder / JOBS / f"{name}.lock", wait=wait)

    @property
    def presence(self) -> Path:
        """The lock that all processes share that take part."""
        return self.folder / JOBS / "lock"


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


def _made(folder: Path, content: dict[str, Any]) -> Sweep:
    sweep = Sweep(**known_fields(Sweep, content | {"folder": folder}))
    require_types(sweep, FIELDS)
    return sweep


def lost_of(folder: Path) -> list[Lost]:
    """Jobs of the sweep in `folder` that failed, or were dropped, before they had a run folder; none if it is no
    sweep."""
    if not (folder / JOBS).is_dir():
        return []
    sweep = Sweep(folder, [], "")
    notes = [note for number in sweep.numbers() if (note := sweep.note(number)) is not None]
    return [
        Lost(note.run, note.typed, note.error, "pruned" if note.kind == PRUNED else "failed")
        for note in notes
        if note.error is not None and not (folder / note.run / RECORD).is_file()
    ]
