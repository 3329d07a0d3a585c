"""Read scalars from the event files of TensorBoard, which are records of protocol buffers with checksums."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEAD, TAIL = 12, 4  # bytes: length and its checksum; the checksum of the content
MOST_BYTES = 200e6  # of larger files the first part is read


class Curve(NamedTuple):
    """Values by optimizer step, in ascending order; of a step that was written twice (a resume), the later value."""

    steps: list[int]
    values: list[float]


def curves(folder: Path) -> dict[str, Curve]:
    """Scalars by tag, of all event files in a folder; empty if there are none or tensorboard is not installed."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for tag, step, value in _scalars(file):
            found.setdefault(tag, {})[step] = value
    return {tag: Curve(sorted(own), [own[step] for step in sorted(own)]) for tag, own in found.items()}


def _scalars(file: Path) -> Iterator[tuple[str, int, float]]:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    with file.open("rb") as opened:
        while opened.tell() < MOST_BYTES and len(head := opened.read(HEAD)) == HEAD:
            (size,) = struct.unpack_from("<Q", head)
            content = opened.read(size) if size < MOST_BYTES else b""
            if len(content) < size or len(opened.read(TAIL)) < TAIL:
                return  # cut off: the run was killed while it wrote
            try:
                event = Event.FromString(content)
            except DecodeError:
                return
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    yield value.tag, event.step, value.simple_value
