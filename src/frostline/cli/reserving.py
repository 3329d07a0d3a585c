"""Create the folder of a sweep when its name is first asked for, so that no other sweep takes it."""

import os
from pathlib import Path
from typing import ClassVar

from omegaconf import OmegaConf

from frostline.paths import remove_empty


class Reserved:
    """missing: the folder and those above it that did not exist before, deepest first."""

    missing: ClassVar[list[Path]] = []

    @staticmethod
    def register() -> None:
        """Register the OmegaConf resolver `reserved`: create the folder, with a number appended if it exists."""
        OmegaConf.register_new_resolver("reserved", Reserved._reserve, use_cache=True, replace=True)
        Reserved.missing = []

    @staticmethod
    def _reserve(place: str) -> str:
        from frostline.runs.folders import reserved_at_once  # most commands reserve nothing

        parents = missing_of(Path(place))[1:]
        chosen = reserved_at_once(place)
        Reserved.missing = [Path(chosen), *parents, *Reserved.missing]
        return chosen

    @staticmethod
    def remove_empty() -> None:
        remove_empty(Reserved.missing)


def missing_of(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist, deepest first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
