"""Derive the seeds of random number streams."""

from hashlib import blake2b


def seed_of(*place: object) -> int:
    """Hash what identifies a stream, such as (seed, epoch, batch, rank), into a seed of 63 bits."""
    return int.from_bytes(blake2b(repr(place).encode(), digest_size=8).digest()) >> 1
