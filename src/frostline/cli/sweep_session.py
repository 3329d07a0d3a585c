"""Create the folder of a sweep, which must be new or empty, or enter that of an earlier one; remove it if no run begins
in it."""

import os
import shutil
from pathlib import Path
from typing import ClassVar

from frostline.cli.reserving import Reserved, missing_of
from frostline.errors import ConfigError, RunError
from frostline.runs.folders import require_empty, require_writable
from frostline.runs.sweep_locks import Presence
from frostline.runs.sweep_names import BOARD
from frostline.runs.sweeps import FILE, JOBS, Sweep
from frostline.sweeps.progress import Progress
from frostline.sweeps.settings import Grid
from frostline.sweeps.watch import Watch
from frostline.sweeps.workers import logs_in

WRITTEN_FIRST = "multirun.yaml"  # Hydra's name for the config of a sweep


class Session:
    """What this process knows of its sweep."""

    folder: Path | None = None
    sweep: Sweep | None = None
    presence: Presence | None = None
    made = False  # by this process
    trusted = False  # whether code that the sweep's settings name may run
    settings: Grid | None = None
    watch: Watch | None = None  # of the current job
    done = False  # whether every job has ended
    has_page = True  # whether the sweep ends with report.html: not with report=false
    progress: Progress | None = None
    importances: ClassVar[dict[str, float]] = {}

    @staticmethod
    def take(sweep: Sweep, setting: str, config: str) -> None:
        """Create the folder and write the sweep and its config into it. setting: the key that selects another folder.
        Raises ConfigError if the folder holds a sweep, RunError if it holds other files or is not writable."""
        folder = sweep.folder
        another = ConfigError(
            "this folder holds another sweep",
            where=folder,
            next_step=f"{setting}=<a new or empty folder>; or {sweep.again()}",
        )
        if any(os.path.lexists(folder / name) for name in (FILE, WRITTEN_FIRST, BOARD)):
            raise another
        require_empty(folder, setting)
        require_writable(folder, setting)
        Reserved.missing = Reserved.missing or missing_of(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not sweep.create():  # another sweep has just created it
            raise another
        (folder / WRITTEN_FIRST).write_text(config, encoding="utf-8")
        Session.enter(sweep, alone=False)
        Session.made = Session.trusted = True

    @staticmethod
    def enter(sweep: Sweep, *, alone: bool) -> None:
        """Take part in a sweep. alone: whether no other process may do so now. Raises RunError if one does."""
        Session.folder, Session.sweep, Session.presence = sweep.folder, sweep, Presence(sweep.presence)
        if not Session.presence.enter(alone=alone):
            Session.forget()
            raise RunError(
                "this sweep is still running",
                where=sweep.folder,
                next_step=f"{sweep.again('sweep.join')}  # takes part in it",
            )

    @staticmethod
    def forget() -> None:
        if Session.presence is not None:
            Session.presence.leave()
        Session.folder, Session.sweep, Session.presence, Session.made = None, None, None, False
        Session.trusted, Session.settings, Session.watch, Session.done = False, None, None, False
        Session.importances, Session.progress = {}, None

    @staticmethod
    def is_unbegun() -> bool:
        """Whether `remove_unbegun` will remove the sweep."""
        alone = Session.made and Session.presence is not None and Session.presence.is_alone()
        return Session.folder is not None and alone and _unbegun(Session.folder)

    @staticmethod
    def remove_unbegun() -> None:
        """Remove what is left of a new sweep in which no run and no worker began, unless another process takes part in
        it."""
        folder = Session.folder
        if folder is not None and Session.is_unbegun():
            shutil.rmtree(folder / JOBS)
            for name in (WRITTEN_FIRST, FILE):
                (folder / name).unlink(missing_ok=True)
        Reserved.remove_empty()


def _unbegun(folder: Path) -> bool:
    """Whether no run of the sweep began, and no worker, whose log an error may name."""
    ours = {path.name for path in folder.glob("[!.]*")} <= {FILE, WRITTEN_FIRST}
    return ours and not logs_in(folder)


def within(sweep: Path, subdir: str) -> Path:
    """The folder of a job. Raises ConfigError if it is not inside the sweep's folder."""
    place, above = Path(os.path.normpath(sweep / subdir)), Path(os.path.normpath(sweep))
    if place == above or not place.is_relative_to(above):
        raise ConfigError(
            f"'{subdir}' is not a folder inside the sweep's folder",
            where="hydra.sweep.subdir",
            next_step="leave it out: the jobs are numbered; hydra.sweep.dir=<folder> sets the sweep's folder",
        )
    return sweep / subdir
