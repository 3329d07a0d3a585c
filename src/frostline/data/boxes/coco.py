"""COCO's annotations: a JSON file for each split (https://cocodataset.org/#format-data)."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.data.boxes.annotated import Annotated, Annotations, Box
from frostline.data.files.class_folders import SPLITS
from frostline.errors import DataError, few
from frostline.faults import of_each

LAYOUT = "annotations/instances_train.json (and _val, _test) beside folders train, val and test of pictures"
OBJECTS = "instances"  # begins the names of COCO's files of boxes; others hold keypoints and captions
EMPTY = "annotation files without boxes"


def is_here(folder: Path) -> bool:
    return any(_is_coco(file) for file in _candidates(folder))


def read(folder: Path) -> Annotations:
    """Raises DataError that names the file and the annotation."""
    found = _by_split(folder)
    passed = Counter({EMPTY: sum(_has_lists(file) and not _is_coco(file) for file in _candidates(folder))})
    names: list[str] = []
    splits = {}
    for split, file in found.items():
        said = _loaded(file)
        categories = _categories(file, said)
        names += [name for name in categories.values() if name not in names]
        splits[split] = [*_annotated(file, said, categories, folder)]
    return Annotations(names, splits, +passed)


def _by_split(folder: Path) -> dict[str, Path]:
    """The annotation file of each split; a single file without the name of one is all of `train`."""
    files = [file for file in _candidates(folder) if _is_coco(file)]
    named: dict[str, list[Path]] = {}
    for file in files:
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
    """By the file's name, else by that of its folder."""
    for text in (file.stem.lower(), *([] if file.parent == folder else [file.parent.name.lower()])):
        for split, names in SPLITS.items():
            if any(name in text for name in names):
                return split
    return "train"


def _candidates(folder: Path) -> Iterator[Path]:
    below = [it for it in sorted(folder.iterdir()) if it.is_dir() and not it.name.startswith(".")]
    for place in (folder, *below):
        yield from sorted(place.glob("*.json"))


def _is_coco(file: Path) -> bool:
    return _has_lists(file) and b'"bbox"' in file.read_bytes()


def _has_lists(file: Path) -> bool:
    text = file.read_bytes()
    return b'"images"' in text and b'"annotations"' in text


def _loaded(file: Path) -> dict[str, Any]:
    """The file as lists of objects by key. Raises DataError if it is broken."""
    try:
        said = json.loads(file.read_text("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"the file is not JSON: {error}", where=file, next_step="repair it") from error
    for key in ("images", "annotations", "categories"):
        rows = said.get(key) if isinstance(said, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"the file has no list '{key}'", where=file, next_step=f"export it as COCO: {LAYOUT}")
    found: dict[str, Any] = said
    return found


def _categories(file: Path, said: Mapping[str, Any]) -> dict[Any, str]:
    """Names by id, in the order of the ids; those with boxes, and all if no box has a known category. Roboflow adds a
    category above all others, which has none."""
    named = {row.get("id"): str(row.get("name")) for row in said["categories"]}
    if None in named or any("name" not in row for row in said["categories"]):
        raise DataError("a category has no id or no name", where=file, next_step="correct or remove it")
    twice = [name for name, number in Counter(named.values()).items() if number > 1]
    if twice or len(named) < len(said["categories"]):
        raise DataError(
            f"two categories have the name '{twice[0]}'" if twice else "two categories have the same id",
            where=file,
            next_step="rename or remove one",
        )
    used = {row.get("category_id") for row in said["annotations"]}
    parents = {str(row.get("supercategory")) for row in said["categories"]}
    ids = [it for it in sorted(named, key=str) if it in used or named[it] not in parents]
    ids = sorted(ids) if all(isinstance(it, int) for it in ids) else ids
    return {it: named[it] for it in ids}


def _annotated(file: Path, said: Mapping[str, Any], categories: Mapping[Any, str], folder: Path) -> Iterator[Annotated]:
    """Raises DataError that names pictures that are missing, and annotations whose picture or category is."""
    places = _places(file, folder)
    boxes: dict[Any, list[Box]] = {row.get("id"): [] for row in said["images"]}
    if len(boxes) < len(said["images"]):
        raise DataError("two pictures have the same id, or one has none", where=file, next_step="correct the ids")

    def add(row: Mapping[str, Any]) -> None:
        if row.get("image_id") not in boxes:
            raise _wrong(file, row, f"no picture has the id {row.get('image_id')!r}")
        if row.get("category_id") not in categories:
            raise _wrong(file, row, f"no category has the id {row.get('category_id')!r}")
        boxes[row["image_id"]].append(_box(file, row, categories[row["category_id"]]))

    def picture(row: Mapping[str, Any]) -> Annotated:
        found = _picture(str(row.get("file_name")), places)
        if found is None:
            raise DataError(
                f"the picture '{row.get('file_name')}' (id {row.get('id')}) is missing",
                where=file,
                next_step=f"put it into {places[0]}, or remove it from the file",
            )
        sides = row.get("width"), row.get("height")
        size = sides if all(isinstance(side, int) and side > 0 for side in sides) else None
        return Annotated(found, boxes[row.get("id")], file, size)  # type: ignore[arg-type]

    of_each(add, said["annotations"], "annotations are wrong")
    yield from of_each(picture, said["images"], "pictures cannot be found")


def _box(file: Path, row: Mapping[str, Any], name: str) -> Box:
    numbers = row.get("bbox")
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(_is_number(it) for it in numbers):
        raise _wrong(file, row, f"its bbox is not [x, y, width, height]: {numbers!r}")
    left, top, width, height = map(float, numbers)
    area = row.get("area")
    return Box(
        left,
        top,
        left + width,
        top + height,
        name,
        f"annotation {row.get('id')}",
        crowd=bool(row.get("iscrowd", 0)),
        area=float(area) if _is_number(area) and area > 0 else None,  # type: ignore[arg-type, operator]
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(file: Path, row: Mapping[str, Any], what: str) -> DataError:
    where = f"{file}, annotation {row.get('id')}"
    return DataError(f"an annotation is wrong: {what}", where=where, next_step="correct or remove it")


def _places(file: Path, folder: Path) -> list[Path]:
    """Folders in which the file's pictures may lie, the most likely first."""
    ends = [file.stem.rpartition("_")[2], *(name for name in SPLITS[_split_of(file, folder)])]
    below = [top / end for top in (folder, folder / "images") for end in ends]
    return [*(it for it in below if it.is_dir()), file.parent, folder / "images", folder]


def _picture(name: str, places: Sequence[Path]) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)
