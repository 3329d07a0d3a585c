"""Where things lie."""

import os
from collections.abc import Iterable, Iterator
from errno import ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path
from typing import Any

from frostline.errors import ConfigError

RANKING = "rank.json"  # in the folder of a ranking


def conf_dir() -> Path:
    """`frostline/conf` of an installed wheel, `conf/` of a checkout."""
    package = Path(__file__).parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parents[1] / "conf"


def bundled_weights() -> Path:
    return Path(__file__).parent / "backbones" / "bundled.safetensors"


def user_cache() -> Path:
    """FROSTLINE_CACHE_DIR, else `frostline` where the XDG base directory specification puts what can be made again."""
    named = os.environ.get("FROSTLINE_CACHE_DIR")
    return at_home(named) if named else at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "frostline"


def at_home(said: str) -> Path:
    """The place that a user says, with `~` as the shell has it. Raises ConfigError where nobody knows that home: of a
    user of another name, or of one without HOME in a container that does not list it."""
    try:
        if said.startswith("~") and os.environ.get("HOME") == "":
            raise RuntimeError("HOME is empty")  # which Path would take for the root folder
        return Path(said).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"'{Path(said).parts[0]}' names no home folder here",
            where=said,
            next_step="a whole path, and for what is kept cache.dir or FROSTLINE_CACHE_DIR; or set HOME",
        ) from error


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those that exist and hold nothing, in this order."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR, ENOTEMPTY):  # gone, or in use, perhaps since a moment ago
                raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """A reader sees the old file or the new one, never a part; a crash leaves no half file under that name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:  # a link that lies there is not followed
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Of plain values: each that holds no others, with its dotted key, such as `model.weights` or `models[0]`."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from leaves(item, f"{key}[{number}]")
    else:
        yield key, node


def moved(node: Any, before: str, after: str) -> Any:
    """Plain values in which every place at or below `before`, also as a key, is named as it lies below `after`."""
    if isinstance(node, dict):
        return {moved(key, before, after): moved(value, before, after) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, before, after) for value in node]
    if isinstance(node, str) and (node == before or node.startswith(f"{before}/")):
        return after + node.removeprefix(before)
    return node
