"""Check the folders of a user's own options (`--config-dir`)."""

from collections.abc import Iterable
from pathlib import Path

from frostline.errors import ConfigError
from frostline.paths import conf_dir


def require_own_names(folders: Iterable[str | Path]) -> None:
    """Raises ConfigError for a file with the name of one of Frostline's: Hydra would read that one instead."""
    for folder in map(Path, folders):
        for file in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]):
            ours = conf_dir() / file.relative_to(folder)
            if ours.is_file() and ours.read_bytes() != file.read_bytes():
                option = f"{file.parent.name}={file.stem}" if file.parent != folder else file.stem
                raise ConfigError(
                    f"Frostline has an option {option} of its own, which would be used instead of this file",
                    where=file,
                    next_step=f"rename the file, such as to my_{file.name}",
                )
