"""Bound what is cached in memory."""

from collections.abc import Iterator
from pathlib import Path

SHARE = 0.25  # of free memory; larger things are not held
CGROUPS = Path("/sys/fs/cgroup")
# Files of a control group: its limit, what it uses, and its statistics; by whether it is of version 2.
FILES = {
    True: ("memory.max", "memory.current", "memory.stat"),
    False: ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
}
DROPPED = ("inactive_file", "active_file", "slab_reclaimable")
Stamp = tuple[int, int, int, int, int]


def stamp_of(path: Path) -> Stamp:
    """Device, inode, size, and times of the last change of content and of anything else: a file that takes the place of
    another differs in one of them, also if it has its size and date."""
    at = path.stat()
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns


def free_memory() -> int:
    """Bytes that this process may take without swapping: what Linux estimates, or what its control groups leave."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = [line for line in lines if line.startswith("MemAvailable:")]
    return max(0, min([1024 * int(available.split()[1]), *_left_by_groups()]))


def memory_limits() -> list[int]:
    """Bytes that the control groups of this process grant it."""
    return [limit for file in limit_files(_text(Path("/proc/self/cgroup"))) if (limit := _number(file)) is not None]


def limit_files(text: str) -> list[Path]:
    """Files that limit this process's memory: those of its control group and of all groups above it. text: the text of
    /proc/self/cgroup, a line `number:controllers:path` per hierarchy (cgroups(7)). In a container the path may exist on
    the host alone; the container's own limit is then at the root."""
    files = [CGROUPS / FILES[True][0], CGROUPS / "memory" / FILES[False][0]]
    for line in text.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (CGROUPS / "memory", FILES[False][0]) if controllers else (CGROUPS, FILES[True][0])
        own = Path(path.lstrip("/"))
        files += [root / group / name for group in (own, *own.parents) if group != Path()]
    return files


def _left_by_groups() -> Iterator[int]:
    """Yield the limit of each control group less what it uses, but for pages of files, which the kernel can drop and
    MemAvailable counts as free."""
    for file in limit_files(_text(Path("/proc/self/cgroup"))):
        _, usage, stat = FILES[file.name == FILES[True][0]]
        limit, used = _number(file), _number(file.with_name(usage))
        if limit is not None and used is not None:
            stats = dict(line.split(" ", 1) for line in _text(file.with_name(stat)).splitlines() if " " in line)
            prefix = "total_" if "total_inactive_file" in stats else ""
            yield limit - used + sum(int(stats.get(f"{prefix}{name}", "0")) for name in DROPPED)


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
