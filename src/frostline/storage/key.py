"""What a stored entry is, as a key: everything that its numbers depend on, and nothing else."""

import hashlib
import json
from typing import Any

# Of entries, and of how pictures are decoded and frozen work is done: another number forgets all that was kept.
LAYOUT = 5


def key_of(said: dict[str, Any]) -> str:
    """The same for the same plain values, whatever their order."""
    text = json.dumps({"layout": LAYOUT} | said, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
