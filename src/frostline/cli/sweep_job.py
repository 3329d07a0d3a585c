"""What a sweep decides for the run of its current job."""

import shutil
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from frostline.cli.sweep_session import Session, within
from frostline.runs.record import FILE as RECORD
from frostline.sweeps.watch import Watch


class SweepJob:
    """folder: of the run, inside the sweep's, else ConfigError is raised."""

    def __init__(self, sweep: Path) -> None:
        hydra = HydraConfig.get()
        self.folder = within(sweep, str(hydra.sweep.subdir))
        self._number = int(hydra.job.num)

    @property
    def is_tested(self) -> bool:
        """Whether each run scores the test split when it ends."""
        return Session.settings is None or Session.settings.test == "all"

    @property
    def watch(self) -> Watch | None:
        """What may end the run early."""
        return Session.watch

    def begun_folder(self) -> Path | None:
        """The folder of the run if it has begun: the job continues it."""
        note = Session.sweep.note(self._number) if Session.sweep is not None else None
        folder = None if Session.sweep is None or note is None else Session.sweep.folder / note.run
        return folder if folder is not None and (folder / RECORD).is_file() else None

    def remove_remains(self) -> None:
        """Remove what a job that was killed left before its run had a record."""
        note = Session.sweep.note(self._number) if Session.sweep is not None else None
        if Session.sweep is None or note is None or note.attempts == 1:
            return
        folder = within(Session.sweep.folder, note.run)
        if folder.is_dir() and not (folder / RECORD).is_file():
            shutil.rmtree(folder)
