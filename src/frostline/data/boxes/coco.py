"""COCO's annotations: a JSON file for each split (https://cocodataset.org/#format-data)."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frostline.data.boxes.annotated import Annotated, Annotations, Box
from frostline.data.files.class_folders import SPLITS
from frostline.data.files.found import sample_files
from frostline.data.pictures.files import PICTURES
from frostline.errors import DataError, few
from frostline.faults import of_each

LAYOUT = "annotations/instances_train.json (and _val, _test) beside folders train, val and test of pictures"
OBJECTS = "instances"  # begins the names of COCO's files of boxes; others hold keypoints and captions
OTHERS = "annotation files of other kinds"
UNNAMED = "pictures that no annotation file names"
EMPTY = re.compile(rb'"annotations"\s*:\s*\[\s*\]')
FLAGS = {0: False, 1: True, "0": False, "1": True}


class _File(NamedTuple):
    """has_boxes: whether it has boxes, or an empty list of annotations."""

    path: Path
    has_boxes: bool


def is_here(folder: Path) -> bool:
    return any(it.has_boxes for it in _files(folder))


def read(folder: Path) -> Annotations:
    """Raises DataError that names the file and the annotation."""
    files = [*_files(folder)]
    found = _by_split(files, folder)
    passed = Counter({OTHERS: len(files) - len(found)})
    names: list[str] = []
    splits = {}
    for split, file in found.items():
        content = _loaded(file)
        categories = _categories(file, content)
        names += [name for name in categories.values() if name not in names]
        splits[split] = [*_annotated(file, content, categories, folder)]
    pictures = {one.picture for some in splits.values() for one in some}
    folders = {it.parent for it in pictures}
    beside = {it for place in folders for it in sample_files(place, PICTURES).files if it.parent == place}
    passed[UNNAMED] += len(beside - pictures)
    return Annotations(names, splits, +passed)


def _files(folder: Path) -> Iterator[_File]:
    """JSON files with lists of pictures, in the folder and those below it."""
    below = [it for it in sorted(folder.iterdir()) if it.is_dir() and not it.name.startswith(".")]
    for place in (folder, *below):
        for file in sorted(it for it in place.iterdir() if it.suffix.lower() == ".json" and it.is_file()):
            try:
                text = file.read_bytes()
            except OSError as error:
                raise DataError(
                    f"the file cannot be read: {error.strerror}", where=file, next_step="make it readable (chmod u+r)"
                ) from error
            if b'"images"' in text:
                yield _File(file, b'"annotations"' in text and (b'"bbox"' in text or bool(EMPTY.search(text))))


def _by_split(files: Sequence[_File], folder: Path) -> dict[str, Path]:
    """The annotation file of each split; a single file without the name of one is all of `train`."""
    named: dict[str, list[Path]] = {}
    for file in (it.path for it in files if it.has_boxes):
        named.setdefault(_split_of(file, folder), []).append(file)
    found = {}
    for split, some in named.items():
        own = [file for file in some if file.name.startswith(OBJECTS)] or some
        if len(own) > 1:
            raise DataError(
                f"{len(own)} annotation files are for the {split} split: {few([file.name for file in own], 5)}",
                where=folder,
                next_step="move all but one elsewhere, or name their splits: train.json, val.json, test.json",
            )
        found[split] = own[0]
    return {split: found[split] for split in SPLITS if split in found}


def _split_of(file: Path, folder: Path) -> str:
    """Find the split by the words of the file's name, else by the name of its folder."""
    for text in (file.stem, *([] if file.parent == folder else [file.parent.name])):
        words = re.findall("[a-z]+", text.lower())
        for split, names in SPLITS.items():
            if any(name in words for name in names):
                return split
    return "train"


def _loaded(file: Path) -> dict[str, Any]:
    """The file as lists of objects by key. Raises DataError if it is broken."""
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"the file is not JSON: {error}", where=file, next_step="repair it") from error
    for key in ("images", "annotations", "categories"):
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"the file has no list '{key}'", where=file, next_step=f"export it as COCO: {LAYOUT}")
    found: dict[str, Any] = content
    return found


def _id(row: Mapping[str, Any], key: str) -> int | str | None:
    """None if the row has no such id, or one that is neither a whole number nor text."""
    value = row.get(key)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _categories(file: Path, content: Mapping[str, Any]) -> dict[int | str, str]:
    """Names by id, in the order of the ids, without unused supercategories: Roboflow adds one above all others."""
    named: dict[int | str, str] = {}
    for row in content["categories"]:
        own, name = _id(row, "id"), row.get("name")
        if own is None or not isinstance(name, int | str) or not str(name):
            raise DataError("a category has no id or no name", where=file, next_step="correct or remove it")
        if own in named or str(name) in named.values():
            what = f"name '{name}'" if str(name) in named.values() else f"id {own}"
            raise DataError(f"two categories have the same {what}", where=file, next_step="rename or remove one")
        named[own] = str(name)
    used = {_id(row, "category_id") for row in content["annotations"]}
    parents = {str(row.get("supercategory")) for row in content["categories"]}
    ids = [it for it in named if it in used or named[it] not in parents]
    return {it: named[it] for it in sorted(ids, key=lambda it: (isinstance(it, str), it))}


def _annotated(
    file: Path, content: Mapping[str, Any], categories: Mapping[int | str, str], folder: Path
) -> Iterator[Annotated]:
    """Raises DataError that names pictures that are missing, and annotations whose picture or category is."""
    places = _places(file, folder)
    names = [str(row.get("file_name")) for row in content["images"]]
    there = next((found.parent for name in names if (found := _picture(name, places)) is not None), places[0])
    boxes: dict[int | str, list[Box]] = {own: [] for row in content["images"] if (own := _id(row, "id")) is not None}
    if len(boxes) < len(content["images"]):
        raise DataError("two pictures have the same id, or one has none", where=file, next_step="correct the ids")

    def add(row: Mapping[str, Any]) -> None:
        picture, category = _id(row, "image_id"), _id(row, "category_id")
        if picture is None or picture not in boxes:
            raise _wrong(file, row, f"no picture has the id {row.get('image_id')!r}")
        if category is None or category not in categories:
            raise _wrong(file, row, f"no category has the id {row.get('category_id')!r}")
        boxes[picture].append(_box(file, row, categories[category]))

    def picture(row: Mapping[str, Any]) -> Annotated:
        found = _picture(str(row.get("file_name")), places)
        if found is None:
            raise DataError(
                f"the picture '{row.get('file_name')}' (id {row['id']}) is missing",
                where=file,
                next_step=f"put it into {there}, or remove it from the file",
            )
        return Annotated(found, boxes[row["id"]], file, _size(file, row))

    of_each(add, content["annotations"], "annotations are wrong")
    yield from of_each(picture, content["images"], "pictures cannot be used")


def _size(file: Path, row: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height; None if the file states none, or 0. Raises DataError."""
    sides = [row.get("width"), row.get("height")]
    if all(side in (None, 0) for side in sides):
        return None
    numbers = [float(side) for side in sides if side is not None and _is_number(side)]
    whole = [int(side) for side in numbers if side > 0 and side == int(side)]
    if len(whole) != 2:
        raise DataError(
            f"the size of a picture is not two whole numbers: {str(sides)[:80]}",
            where=f"{file}, picture {row['id']}",
            next_step="correct width and height, or remove both",
        )
    return whole[0], whole[1]


def _box(file: Path, row: Mapping[str, Any], name: str) -> Box:
    numbers, area, crowd = row.get("bbox"), row.get("area"), row.get("iscrowd", 0)
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(_is_number(it) for it in numbers):
        raise _wrong(file, row, f"its bbox is not [x, y, width, height]: {str(numbers)[:80]}")
    if isinstance(crowd, list | dict | float) or crowd not in FLAGS:
        raise _wrong(file, row, f"its iscrowd is neither 0 nor 1: {str(crowd)[:80]}")
    left, top, width, height = map(float, numbers)
    own = float(area) if _is_number(area) and area > 0 else None  # type: ignore[operator, arg-type]
    edges = (left, top, left + width, top + height)
    return Box(*edges, name, f"annotation {row.get('id')}", crowd=FLAGS[crowd], area=own)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def _wrong(file: Path, row: Mapping[str, Any], what: str) -> DataError:
    where = f"{file}, annotation {row.get('id')}"
    return DataError(f"an annotation is wrong: {what}", where=where, next_step="correct or remove it")


def _places(file: Path, folder: Path) -> list[Path]:
    """Folders in which the file's pictures may lie, the most likely first."""
    ends = [file.stem.rpartition("_")[2], *SPLITS[_split_of(file, folder)]]
    below = [top / end for top in (folder, folder / "images") for end in ends]
    return [*(it for it in below if it.is_dir()), file.parent, folder / "images", folder]


def _picture(named: str, places: Sequence[Path]) -> Path | None:
    """The file of that name in one of the places, never outside them: of absolute paths and those that lead upwards,
    the name alone is used."""
    name = Path(named.replace("\\", "/"))
    names = [Path(name.name)] if name.is_absolute() or ".." in name.parts else [name, Path(name.name)]
    for own in names:
        for place in places:
            try:
                if own.name and (place / own).is_file():
                    return place / own
            except (OSError, ValueError):  # too long, or with a NUL character
                return None
    return None
