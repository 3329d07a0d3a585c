"""What the formats of annotations have in common, and which of their boxes can be used."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from frostline.data.pictures.reading import ORIENTATION, named, upright_size_of
from frostline.errors import DataError, counted

Sides = tuple[int, int]
NO_AREA, OUTSIDE, TWICE = "boxes without area", "boxes outside their picture", "repeated boxes"
# Reported in sentences of their own, by one and several.
CUT = ("box reaches beyond its picture and is cut", "boxes reach beyond their picture and are cut")
CROWDS = ("crowd or difficult object is scored as COCO does, and not learned",
          "crowds or difficult objects are scored as COCO does, and not learned")  # fmt: skip
OUTLINES = ("outline is read as the box around it", "outlines are read as the boxes around them")
TURNED = ("picture was annotated without its EXIF rotation: its boxes are turned",
          "pictures were annotated without their EXIF rotation: their boxes are turned")  # fmt: skip
ASSUMED = ("picture has an EXIF rotation: its boxes are taken as those of the upright picture",
           "pictures have an EXIF rotation: their boxes are taken as those of the upright picture")  # fmt: skip
SENTENCES = {"cut": CUT, "crowds": CROWDS, "outlines": OUTLINES, "turned": TURNED, "assumed": ASSUMED}
SLACK = 1.0  # pixels by which a box may reach beyond its picture without a note, as rounding does
FLAT = 1e-3  # pixels, largest side of a box without area
FARTHEST = 1e9  # pixels


class Box(NamedTuple):
    """left, top, right, bottom: in pixels, from the picture's left and top edges. crowd: whether it holds a group or an
    object that is hard to see, which counts neither in training nor in scores. area: of the object in pixels, for
    scores by size; None for that of the box. where: names it in messages. outline: whether it was read from one."""

    left: float
    top: float
    right: float
    bottom: float
    name: str
    where: str
    crowd: bool = False
    area: float | None = None
    outline: bool = False


class Annotated(NamedTuple):
    """A picture with its boxes. size: width and height of the picture by its annotation, None if it states none.
    relative: whether boxes are shares of the sides. file: of the annotations."""

    picture: Path
    boxes: Sequence[Box]
    file: Path
    size: Sides | None = None
    relative: bool = False


class Annotations(NamedTuple):
    """names: of the classes, in the order of the outputs. splits: pictures of train, val and test. passed: number of
    pictures and files that are not used, by reason. notes: sentences for the user."""

    names: list[str]
    splits: Mapping[str, list[Annotated]]
    passed: Counter[str]
    notes: Sequence[str] = ()


class Measured(NamedTuple):
    """size: width and height of the upright picture. rows: (M, 7) left, top, right, bottom in its pixels, class, 1 for
    a crowd, area of the object. passed: numbers by reason, or by a key of SENTENCES."""

    size: Sides
    rows: Tensor
    passed: Counter[str]


def measured(one: Annotated, classes: Mapping[str, int]) -> Measured:
    """Check the boxes of a picture. classes: index by name; boxes of other classes are left out.

    Raises DataError that names a box whose corners are in the wrong order, or a picture whose size is not that in its
    annotation."""
    with named(one.picture), Image.open(one.picture) as opened:
        size, turn = upright_size_of(opened), opened.getexif().get(ORIENTATION, 1)
        stored: Sides = opened.size
    if one.size not in (None, size, stored):
        assert one.size is not None
        raise DataError(
            f"the annotation is for {one.size[0]} × {one.size[1]} pixels, but the picture {one.picture} has "
            f"{size[0]} × {size[1]}",
            where=one.file,
            next_step="put the picture back at the size at which it was annotated, or correct its annotation",
        )
    as_stored = one.size is not None and one.size != size  # annotated without its EXIF rotation
    passed, rows = Counter[str](), dict[tuple[float, ...], float]()
    is_turned = turn in range(2, 9) and bool(one.boxes)
    passed["turned"] += as_stored and is_turned
    passed["assumed"] += is_turned and (one.size is None or size == stored)
    for box in one.boxes:
        if box.name not in classes:
            continue
        corners = _corners(one, box, stored if as_stored else size)
        corners = _turned(corners, stored, turn) if as_stored else corners
        kept = _inside(corners, size)
        row = (*kept, float(classes[box.name]), float(box.crowd))
        reason = _reason(corners, kept) or (TWICE if row in rows else "")
        if reason:
            passed[reason] += 1
            continue
        passed["cut"] += max(abs(a - b) for a, b in zip(corners, kept, strict=True)) > SLACK
        passed["crowds"] += box.crowd
        passed["outlines"] += box.outline
        rows[row] = (kept[2] - kept[0]) * (kept[3] - kept[1]) if box.area is None else box.area
    table = torch.tensor([[*row, area] for row, area in rows.items()], dtype=torch.float32).view(-1, 7)
    return Measured(size, table, +passed)


def passed_notes(passed: Mapping[str, int]) -> list[str]:
    """Sentences on boxes that were left out or changed, if there are any."""
    left_out = [f"{number:,} {why}" for why, number in passed.items() if why not in SENTENCES]
    notes = [f"left out: {', '.join(left_out)}"] if left_out else []
    return notes + [counted(passed[key], *words) for key, words in SENTENCES.items() if passed.get(key)]


def _corners(one: Annotated, box: Box, size: Sides) -> tuple[float, float, float, float]:
    left, top, right, bottom = box[:4]
    if not all(math.isfinite(value) and abs(value) < FARTHEST for value in box[:4]):
        raise _wrong(one, box, f"its corners are not numbers of pixels below {FARTHEST:g}: {box[:4]}")
    if right < left or bottom < top:
        raise _wrong(one, box, f"its right or bottom edge lies before its left or top edge: {box[:4]}")
    if one.relative:
        left, top, right, bottom = left * size[0], top * size[1], right * size[0], bottom * size[1]
    return left, top, right, bottom


def _wrong(one: Annotated, box: Box, what: str) -> DataError:
    return DataError(
        f"a box of '{box.name}' is wrong: {what}", where=f"{one.file}, {box.where}", next_step="correct or remove it"
    )


def _reason(whole: Sequence[float], kept: Sequence[float]) -> str:
    """Why a box is left out, or ""."""
    if whole[2] - whole[0] <= FLAT or whole[3] - whole[1] <= FLAT:
        return NO_AREA
    return OUTSIDE if kept[2] - kept[0] <= FLAT or kept[3] - kept[1] <= FLAT else ""


def _inside(corners: Sequence[float], size: Sides) -> tuple[float, float, float, float]:
    (left, top, right, bottom), (width, height) = corners, size
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def _turned(corners: Sequence[float], size: Sides, turn: int) -> tuple[float, float, float, float]:
    """Boxes of the stored picture → boxes of the upright one. turn: EXIF orientation. size: of the stored picture."""
    (left, top, right, bottom), (width, height) = corners, size
    if turn >= 5:
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if turn in (2, 3, 6, 7):
        left, right = width - right, width - left
    if turn in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom
