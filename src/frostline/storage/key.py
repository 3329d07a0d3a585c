"""The key of a stored entry: a digest of everything that its numbers depend on, and of nothing else."""

import hashlib
import json
from typing import Any

# Version of the entry format, of decoding and of frozen computation: a new number invalidates every cached entry.
VERSION = 5


def key_of(values: dict[str, Any]) -> str:
    """The same for the same plain values, whatever the order of their keys."""
    text = json.dumps({"layout": VERSION} | values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
