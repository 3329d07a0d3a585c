"""Where things lie."""

import os
import shutil
from pathlib import Path


def conf_dir() -> Path:
    """`frostline/conf` of an installed wheel, `conf/` of a checkout."""
    package = Path(__file__).parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parents[1] / "conf"


def bundled_weights() -> Path:
    return Path(__file__).parent / "backbones" / "bundled.safetensors"


def remove_empty(folder: Path, *, above: int = 2) -> None:
    """Remove `folder` if nothing is in it, then as many empty folders above it."""
    for candidate in [folder, *list(folder.parents)[:above]]:
        if not candidate.is_dir() or any(candidate.iterdir()):
            return
        candidate.rmdir()


def write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never a part; a crash leaves no half file under that name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def has_room(folder: Path, num_bytes: int) -> bool:
    return shutil.disk_usage(folder).free > num_bytes
