"""Seeds of streams of random numbers."""

from hashlib import blake2b


def seed_of(*place: object) -> int:
    """Of a stream of random numbers: another one for each place where some are drawn."""
    return int.from_bytes(blake2b(repr(place).encode(), digest_size=8).digest()) >> 1
