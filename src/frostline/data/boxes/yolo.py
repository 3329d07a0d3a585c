"""YOLO's annotations: a text file for each picture, a line `class x y width height` for each box, as shares of the
picture's sides; x and y are its centre. Lines of more numbers are outlines, whose box is taken.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from frostline.data.boxes.annotated import Annotated, Annotations, Box
from frostline.data.files.class_folders import SPLITS, first_folder
from frostline.data.files.found import sample_files
from frostline.data.pictures.files import PICTURES
from frostline.errors import DataError
from frostline.faults import of_each

LAYOUT = (
    "folders images and labels, with or without train, val and test; names of the classes in data.yaml or classes.txt"
)
NAMES = ("data.yaml", "dataset.yaml", "data.yml")
LINES = ("classes.txt", "obj.names")
EMPTY = "pictures have no label file, and count as pictures without objects"
ALONE = "label files without a picture"
CENTRE, OUTLINE = 5, 7  # numbers in a line; an outline has three points at least


def is_here(folder: Path) -> bool:
    return any(labels.is_dir() for _, labels in _places(folder).values())


def read(folder: Path) -> Annotations:
    """Raises DataError that names the file and the line."""
    names = _names(folder)
    passed, empty = Counter[str](), 0
    splits: dict[str, list[Annotated]] = {}
    for split, (images, labels) in _places(folder).items():
        files = sample_files(images, PICTURES).files
        found = [labels / file.relative_to(images).with_suffix(".txt") for file in files]
        empty += sum(not file.is_file() for file in found)
        passed[ALONE] += len({*labels.rglob("*.txt")} - {*found} - {labels / "classes.txt"})
        pairs = [*zip(files, found, strict=True)]
        splits[split] = of_each(lambda pair: _annotated(*pair, names), pairs, "label files are wrong")
    if names is None:
        used = {int(box.name) for some in splits.values() for one in some for box in one.boxes}
        names = [str(number) for number in range(max(used, default=-1) + 1)]
    notes = [f"{empty:,} {EMPTY}"] if empty else []
    return Annotations(names, {split: some for split, some in splits.items() if some}, +passed, notes)


def _places(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of pictures and labels by split: images/train and labels/train, or train/images and train/labels; without
    splits, images and labels."""
    images, labels = first_folder(folder, ("images",)), first_folder(folder, ("labels",))
    found = {}
    for split, names in SPLITS.items():
        above = first_folder(folder, names)
        pairs = [
            (images and first_folder(images, names), labels and first_folder(labels, names)),
            (above and first_folder(above, ("images",)), above and first_folder(above, ("labels",))),
        ]
        own = next(((some, beside) for some, beside in pairs if some is not None and beside is not None), None)
        if own is not None:
            found[split] = own
    if not found and images is not None and labels is not None:
        found["train"] = images, labels
    return found


def _names(folder: Path) -> list[str] | None:
    """Names of the classes by index; None if no file states them."""
    for name in NAMES:
        file = folder / name
        if file.is_file():
            return _names_in(file)
    for place in (folder, folder / "labels"):
        for name in LINES:
            if (place / name).is_file():
                return (place / name).read_text("utf-8-sig").rstrip().splitlines()
    return None


def _names_in(file: Path) -> list[str]:
    try:
        said: Any = yaml.safe_load(file.read_text("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"the file is not YAML: {error}", where=file, next_step="repair it") from error
    names = said.get("names") if isinstance(said, dict) else None
    if isinstance(names, dict) and sorted(names) == [*range(len(names))]:
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(
            "the file has no names of classes", where=file, next_step="names: [first, second], from the class 0 up"
        )
    return [str(name) for name in names]


def _annotated(picture: Path, labels: Path, names: list[str] | None) -> Annotated:
    if not labels.is_file():
        return Annotated(picture, [], labels, relative=True)
    try:
        lines = labels.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"the file is not text: {error}", where=labels, next_step="save it as UTF-8") from error
    boxes = [_box(labels, place, line.split(), names) for place, line in enumerate(lines, 1) if line.split()]
    return Annotated(picture, boxes, labels, relative=True)


def _box(file: Path, place: int, words: list[str], names: list[str] | None) -> Box:
    try:
        number, values = int(float(words[0])), [float(word) for word in words[1:]]
    except ValueError:
        raise _wrong(file, place, "it holds something other than numbers") from None
    if len(words) != CENTRE and (len(words) < OUTLINE or len(values) % 2):
        raise _wrong(file, place, f"it holds {len(words)} numbers, not class x y width height")
    if number < 0 or (names is not None and number >= len(names)):
        raise _wrong(file, place, f"there is no class {number}" + (f" among {len(names)} names" if names else ""))
    if max(values) > 2 or min(values) < -1:
        raise _wrong(file, place, f"its numbers are not shares of the picture's sides: {' '.join(words[1:5])}")
    if len(words) == CENTRE:
        x, y, width, height = values
        edges = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        across, down = values[0::2], values[1::2]
        edges = min(across), min(down), max(across), max(down)
    return Box(*edges, str(number) if names is None else names[number], f"line {place}")


def _wrong(file: Path, place: int, what: str) -> DataError:
    return DataError(
        f"a line is wrong: {what}",
        where=f"{file}, line {place}",
        next_step="class x y width height, such as 0 0.5 0.5 0.2 0.1",
    )
