"""Which samples a run learned from, and which chose its epoch: a digest of each, so that they are recognised when they
are scored as other samples. A file for each split has its digests in sequence, in ascending order.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from frostline.paths import write_atomically

FOLDER = "samples"
SPLITS = ("train", "val")
BYTES = 8  # of a digest: by a chance of 3 %, two of a billion different samples have the same


def write_seen(run: Path, digests: Mapping[str, Iterable[bytes]]) -> None:
    """digests: by split, of each sample, of BYTES or more. Raises OSError."""
    (run / FOLDER).mkdir(exist_ok=True)
    for split in SPLITS:
        content = b"".join(sorted(digest[:BYTES] for digest in digests[split]))
        write_atomically(run / FOLDER / f"{split}.digests", content)


def numbers_seen(run: Path, digests: Sequence[bytes], sizes: Mapping[str, int]) -> dict[str, int] | None:
    """How many of these samples are in each of the run's SPLITS, of these sizes; None if it stored no digests, or
    damaged ones."""
    import numpy as np

    files = {split: run / FOLDER / f"{split}.digests" for split in SPLITS}
    if not all(file.is_file() for file in files.values()):
        return None
    own = np.frombuffer(b"".join(digest[:BYTES] for digest in digests), np.uint64)
    found = {}
    for split, file in files.items():
        try:
            stored = np.frombuffer(file.read_bytes(), np.uint64)
        except (OSError, ValueError):  # ValueError: it ends within a digest
            return None
        if len(stored) != sizes[split]:
            return None
        found[split] = int(np.isin(own, stored).sum())
    return found
