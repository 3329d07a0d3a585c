"""Track the jobs of a running sweep: the folder of each, how it ended, and which did not run."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from frostline.cli.job import overrides
from frostline.cli.sweep_jobs import Jobs
from frostline.cli.sweep_session import Session
from frostline.errors import FrostlineError, RunError, few, in_short, shown, steps_in
from frostline.paths import remove_empty
from frostline.quoting import with_program
from frostline.runs.folders import numbered
from frostline.runs.record import FILE as RECORD
from frostline.runs.record import Record
from frostline.runs.sweeps import JOBS, Note, Sweep, lost_of
from frostline.sweeps.workers import is_worker, logs_in

MOST_NAMED = 20  # jobs listed as not run
OF_SETTINGS = ("ConfigError", "PlanError")  # what fails again if it runs again
SPARED, EVERY = 20, 5.0  # seconds between two leaderboards: for each second that writing one takes, and at least
HELD = "frostline.backbones.held"  # weights and digests that runs of one process share
LIMITS = ("max_seconds", "max_parameters", "pruner", "minutes")


def _unused(sweep: Path, subdir: str) -> str:
    """The name of a job's folder, with a number appended if another job's run lies there: subdirs may be equal."""
    free = next(folder for folder in numbered(sweep / subdir) if not (folder / RECORD).is_file())
    return str(free.relative_to(sweep))


def _unsuccessful(sweep: Sweep) -> list[FrostlineError]:
    """An error if jobs failed, or if none finished."""
    states = {number: sweep.state(number) for number in sweep.numbers()}
    failed = [number for number, state in states.items() if state == "failed"]
    if failed:
        total = len(Jobs.all) or len(states)
        again = any(sweep.kind_of_failure(number) not in OF_SETTINGS for number in failed)
        what = f"{len(failed)} of {total} jobs failed, see above: {few([*map(str, failed)], MOST_NAMED)}"
        retry = f"{sweep.again()} sweep.retry=true"
        return [RunError(what, next_step=retry if again else "correct the settings, and start a new sweep")]
    if states and {*states.values()} == {"pruned"}:
        limits = [name for name in LIMITS if getattr(Session.settings, name, None) not in (None, "none")]
        steps = ["a new sweep with sweep.minutes=<more>"] * ("minutes" in limits)
        steps += ["a new sweep with a higher limit, or without one"] * (limits != ["minutes"])
        ended = f"all {len(states)} were" if len(states) > 1 else "the only one was"
        return [
            RunError(
                f"no run finished: {ended} ended early, see above",
                where=", ".join(f"sweep.{name}={getattr(Session.settings, name)}" for name in limits) or None,
                next_step="; or ".join(steps),
            )
        ]
    return []


def tell_notes(sweep: Sweep) -> None:
    """Print what the runs noted on their data, once, if workers ran them, whose output went to their logs."""
    if not logs_in(sweep.folder):
        return
    from frostline.report.trials import shared_notes

    numbers = sweep.numbers()
    notes = {str(number): record.notes for number in numbers if (record := sweep.record(number)) is not None}
    for whose, note in shared_notes(notes, len(numbers)):
        print(f"note  {whose}: {shown(note)}")


class Board:
    """The leaderboard of a sweep, rewritten after each job, or less often if that takes long."""

    def __init__(self) -> None:
        self._due = 0.0
        self._path: Path | None = None
        self._begun: set[int] = set()

    def begin(self) -> None:
        number = int(HydraConfig.get().job.num)
        self._begun.add(number)
        print(f"\n[{number}]  {' '.join(overrides())}", flush=True)
        sweep = Session.sweep
        if sweep is not None:
            note = sweep.note(number) or Note("", overrides(), attempts=0)
            damaged = (sweep.folder / note.run / RECORD).is_file() and sweep.record(number) is None
            run = _unused(sweep.folder, str(HydraConfig.get().sweep.subdir)) if damaged or not note.run else note.run
            sweep.write_note(number, Note(run, overrides(), attempts=note.attempts + 1, stopped=note.stopped))

    def end(self, sweep: Path, error: BaseException | None) -> None:
        """Record the end of the current job. error: why it failed. A job that failed before its run began is listed
        too, and the empty folder that Hydra made for it is removed."""
        number, subdir = int(HydraConfig.get().job.num), str(HydraConfig.get().sweep.subdir)
        folder = sweep / subdir
        remove_empty([folder, *(path for path in folder.parents if sweep in path.parents)])
        if Session.sweep is None:
            return
        note = Session.sweep.note(number)
        if error is not None and note is not None:
            if isinstance(error, Exception):
                note.error, note.kind = in_short(str(error)) or type(error).__name__, type(error).__name__
                note.steps = steps_in(str(error))
            else:  # a signal ended it: it runs again in a resume
                note.stopped += 1
            Session.sweep.write_note(number, note)
        if self._is_due(error):
            with suppress(OSError):  # the other jobs go on; `print` reports it
                self._write(Session.sweep)
        if Session.progress is not None and Session.sweep.state(number) != "new":  # as after a dry run
            print(f"sweep  {Session.progress.line()}", flush=True)

    def _is_due(self, error: BaseException | None) -> bool:
        """Reading the notes of all jobs takes longer with each of them. A signal ends the sweep without `print`."""
        stops = error is not None and not isinstance(error, Exception)
        return stops or time.monotonic() >= self._due

    def _write(self, sweep: Sweep, *, compare: bool = False) -> None:
        """compare: take the time to compare the settings sample by sample."""
        from frostline.report.leaderboard import write_leaderboard
        from frostline.report.trials import runs_of

        with sweep.locked("board", wait=True):
            begun = time.monotonic()
            if runs_of(sweep.folder) or lost_of(sweep.folder):
                self._path = write_leaderboard(sweep.folder, compare=compare)
            self._due = time.monotonic() + max(SPARED * (time.monotonic() - begun), EVERY)

    def print(self) -> list[FrostlineError]:
        """Print the leaderboard. Returns an error if jobs of the sweep failed."""
        sweep = Session.sweep
        if sweep is None or not (sweep.folder / JOBS).is_dir() or is_worker():
            return []
        errors: list[FrostlineError] = []
        if HELD in sys.modules:  # no more runs follow
            sys.modules[HELD].forget()
        self._write(sweep)
        if self._path is not None:
            from frostline.report.importances import write_importances
            from frostline.report.leaderboard_table import print_leaderboard

            errors += self._test_best(sweep)
            self._write(sweep, compare=True)
            if Session.importances:
                write_importances(sweep.folder, Session.importances)
            print_leaderboard(self._path)
            tell_notes(sweep)
            if Session.has_page:
                from frostline.commands.sweep_page import page_of_sweep

                page_of_sweep(sweep.folder)
        return [*errors, *_unsuccessful(sweep)]

    def _test_best(self, sweep: Sweep) -> list[FrostlineError]:
        """Score the test split with each run of the best setting, once: the sweep chose by validation."""
        settings = Session.settings
        if settings is None or settings.test != "best" or not Session.done:
            return []
        from frostline.report.leaderboard import best_runs
        from frostline.runs.folder import opened, read_run

        with sweep.locked("best", wait=True):
            for folder, first in best_runs(sweep.folder):
                if any(name.startswith("test/") for name in Record.read(folder).metrics):
                    continue
                print(f"\ntest of the best setting: {folder}", flush=True)
                from frostline.commands.test_later import test_later

                again = f"{sweep.again()} trust=true"
                try:
                    record, own = opened(folder, trains=False, trust=Session.trusted, again=again)
                    OmegaConf.update(own, "cache.dir", read_run(folder)[1].cache.dir)  # that of the sweep
                    test_later(folder, record, own, looks_in=None if folder == first else first)
                except FrostlineError as error:
                    return [error]
        return []

    def _is_stopped(self, number: int) -> bool:
        state = Session.sweep.state(number) if Session.sweep is not None else None
        return state == "open" or (state == "new" and number in self._begun and not Session.done)  # as a dry run is

    def tell_left(self) -> None:
        """Print the jobs of a stopped sweep that did not run."""
        left = [
            f"{number}: {' '.join(job)}"
            for number, job in enumerate(Jobs.all)
            if number not in self._begun and (Session.sweep is None or Session.sweep.state(number) == "new")
        ]
        if left:
            more = f"\n  and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
            named = "\n  ".join(left[:MOST_NAMED])
            number = f"{len(left)} job{'s' * (len(left) > 1)} of the sweep"
            print(f"frostline: {number} did not run:\n  {named}{more}", file=sys.stderr)
        stopped = [str(number) for number in range(len(Jobs.all)) if self._is_stopped(number)]
        if stopped:
            print(f"frostline: begun, and not ended: job {few(stopped, MOST_NAMED)}", file=sys.stderr)
        if Session.presence is None or Session.sweep is None or Session.is_unbegun():
            return
        if not Session.done and Session.sweep.numbers():
            again = with_program(f"  next:  {Session.sweep.again()}")
            print(f"frostline: the sweep was stopped\n{again}", file=sys.stderr)
