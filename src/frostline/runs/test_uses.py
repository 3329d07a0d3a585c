"""Count the runs that were scored on a test split: the more of them, the more the best score owes to luck."""

import fcntl
import hashlib
from pathlib import Path

USES = "test_uses"  # folder beside the entries of the cache: a file for each test split, a line for each run


def counted_use(cache: Path, split: str, run: Path) -> int | None:
    """Note that a run was scored on the test split with this digest, and return how many runs were, this one among
    them. A run that is scored again, after a resume, counts once. None if the note cannot be written."""
    own = hashlib.blake2b(str(run.absolute()).encode(errors="surrogateescape"), digest_size=16).hexdigest()
    try:
        (cache / USES).mkdir(parents=True, exist_ok=True)
        with (cache / USES / f"{split}.txt").open("a+", encoding="ascii", errors="replace") as notes:
            fcntl.flock(notes, fcntl.LOCK_EX)
            notes.seek(0)
            known = {*notes.read().split()}
            if own not in known:
                notes.write(f"{own}\n")
            return len(known | {own})
    except OSError:
        return None
