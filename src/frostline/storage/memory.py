"""What may be held in memory in place of a file, and how much."""

from pathlib import Path

SHARE = 0.25  # of free memory; larger things are not held
Stamp = tuple[int, int, int]  # inode, size and time of a file, which tell it from one that takes its place


def stamp_of(path: Path) -> Stamp:
    at = path.stat()
    return at.st_ino, at.st_size, at.st_mtime_ns


def free_memory() -> int:
    """Bytes available without swapping, as Linux estimates."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = [line for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(available.split()[1])
