"""Find, create and remove files and folders; walk plain config values."""

import os
from collections.abc import Iterable, Iterator
from errno import ENOENT, ENOTDIR, ENOTEMPTY
from pathlib import Path
from typing import Any

from frostline.errors import ConfigError

RANKING = "rank.json"  # in the output folder of `frostline rank`


def conf_dir() -> Path:
    """`frostline/conf` in an installed wheel, `conf/` in a checkout."""
    package = Path(__file__).parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parents[1] / "conf"


def bundled_weights() -> Path:
    return Path(__file__).parent / "backbones" / "bundled.safetensors"


def user_cache() -> Path:
    """FROSTLINE_CACHE_DIR, or else `frostline` in the cache folder of the XDG base directory specification."""
    named = os.environ.get("FROSTLINE_CACHE_DIR")
    return at_home(named) if named else at_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "frostline"


def at_home(path: str) -> Path:
    """Expand `~` as a shell does. Raises ConfigError if the home folder is unknown: `~name` of an unknown user, or `~`
    without HOME in a container that does not list the user."""
    try:
        if path.startswith("~") and os.environ.get("HOME") == "":
            raise RuntimeError("HOME is empty")  # Path would expand `~` to the root folder
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"'{Path(path).parts[0]}' is not a known home folder",
            where=path,
            next_step="use an absolute path, for the cache in cache.dir or FROSTLINE_CACHE_DIR; or set HOME",
        ) from error


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the folders that exist and are empty, in the given order."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR, ENOTEMPTY):  # absent or not empty, perhaps since a moment ago
                raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, and a crash leaves no partial file at `path`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:  # `x` does not follow a link at that path
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that is no dict or list, with its dotted key, such as `model.weights` or `models[0]`."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from leaves(item, f"{key}[{number}]")
    else:
        yield key, node


def moved(node: Any, before: str, after: str) -> Any:
    """Replace the path `before` by `after` in plain values: in each string or key that is `before` or a path below."""
    if isinstance(node, dict):
        return {moved(key, before, after): moved(value, before, after) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, before, after) for value in node]
    if isinstance(node, str) and (node == before or node.startswith(f"{before}/")):
        return after + node.removeprefix(before)
    return node
