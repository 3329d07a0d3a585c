"""What a file of one modality is called and how it is recognised."""

from collections.abc import Callable
from typing import NamedTuple


class FileKind(NamedTuple):
    """one, many: what messages call a file and several. usual: suffixes that messages propose. suffixes: returns all
    suffixes that can be read, in lower case. columns: usual names of a column of paths, beside path and file."""

    one: str
    many: str
    usual: tuple[str, ...]
    suffixes: Callable[[], frozenset[str]]
    columns: tuple[str, ...]
