"""Create the folder of a sweep, which must be new or empty, and remove it if no run begins in it."""

import os
from pathlib import Path
from typing import ClassVar

from frostline.errors import ConfigError
from frostline.paths import remove_empty
from frostline.runs.folders import require_empty, require_writable, reserved_at_once

WRITTEN_FIRST = "multirun.yaml"  # Hydra's name for the config of a sweep
BOARD = "leaderboard.csv"


class Place:
    """The folder of this process's sweep. missing: folders that did not exist before it, deepest first."""

    folder: Path | None = None
    missing: ClassVar[list[Path]] = []

    @staticmethod
    def reserve(place: str) -> str:
        """The OmegaConf resolver `reserved`: create the folder at once, with a number appended if it exists."""
        parents = _missing(Path(place))[1:]
        chosen = reserved_at_once(place)
        Place.missing = [Path(chosen), *parents, *Place.missing]
        return chosen

    @staticmethod
    def take(folder: Path, setting: str, config: str) -> None:
        """Create the folder and write the sweep's config into it. setting: the key that selects another folder. Raises
        ConfigError if the folder holds a sweep, RunError if it holds other files or is not writable."""
        another = ConfigError(
            "this folder holds another sweep", where=folder, next_step=f"{setting}=<a new or empty folder>"
        )
        if os.path.lexists(folder / WRITTEN_FIRST) or os.path.lexists(folder / BOARD):
            raise another
        require_empty(folder, setting)
        require_writable(folder, setting)
        Place.missing = Place.missing or _missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / WRITTEN_FIRST).open("x", encoding="utf-8")
        except FileExistsError as error:  # another sweep has just created it
            raise another from error
        with file:
            Place.folder = folder
            file.write(config)

    @staticmethod
    def forget() -> None:
        Place.folder, Place.missing = None, []

    @staticmethod
    def remove_unbegun() -> None:
        """Remove what is left of a sweep in which no run began."""
        folder = Place.folder
        if folder is not None and {path.name for path in folder.glob("[!.]*")} == {WRITTEN_FIRST}:
            (folder / WRITTEN_FIRST).unlink()
        remove_empty(Place.missing)


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


def _missing(folder: Path) -> list[Path]:
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
