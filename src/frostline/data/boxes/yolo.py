"""YOLO's annotations: a text file for each picture, a line `class x y width height` for each box, as shares of the
picture's sides; x and y are its centre. Key points may follow. Lines of more numbers are outlines, whose box is taken.
"""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from frostline.data.boxes.annotated import Annotated, Annotations, Box
from frostline.data.files.class_folders import SPLITS, first_folder
from frostline.data.files.found import sample_files
from frostline.data.files.name_lines import name_lines
from frostline.data.pictures.files import PICTURES
from frostline.errors import DataError, counted
from frostline.faults import of_each

LAYOUT = (
    "folders images and labels, with or without train, val and test; names of the classes in data.yaml or classes.txt"
)
YAMLS = ("data.yaml", "dataset.yaml", "data.yml")
LINES = ("classes.txt", "obj.names")
ALONE, LOOSE = "label files without a picture", "pictures beside the folders of a split with labels"
CENTRE, OUTLINE = 5, 7  # numbers in a line; an outline has three points at least
LARGEST = 100_000  # class number
LINE = "class x y width height, such as 0 0.5 0.5 0.2 0.1"


class _Header(NamedTuple):
    """names: of the classes by number, None if no file states them. key_points: numbers that follow each box."""

    names: list[str] | None
    key_points: int


def is_here(folder: Path) -> bool:
    return bool(_places(folder))


def read(folder: Path) -> Annotations:
    """Raises DataError that names the file and the line."""
    header = _header_of(folder)
    passed, empty = Counter[str](), 0
    splits: dict[str, list[Annotated]] = {}
    places = _places(folder)
    for split, (images, labels) in places.items():
        files, others = sample_files(images, PICTURES)
        passed += others
        by_name = {
            it.relative_to(labels).with_suffix(""): it for it in labels.rglob("*") if it.suffix.lower() == ".txt"
        }
        pairs = [(file, by_name.pop(file.relative_to(images).with_suffix(""), None)) for file in files]
        empty += sum(found is None for _, found in pairs)
        passed[ALONE] += len([name for name in by_name if name != Path("classes")])
        splits[split] = of_each(partial(_annotated, header=header), pairs, "label files are wrong")
    whole = first_folder(folder, ("images",))
    if whole is not None and whole not in [images for images, _ in places.values()]:
        used = {one.picture for some in splits.values() for one in some}
        passed[LOOSE] += len({*sample_files(whole, PICTURES).files} - used)
    names = header.names
    if names is None:
        used_names = {box.name for some in splits.values() for one in some for box in one.boxes}
        names = sorted(used_names, key=int)
    notes = [f"{counted(empty, 'picture has', 'pictures have')} no label file"] if empty else []
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


def _header_of(folder: Path) -> _Header:
    file = next((folder / name for name in YAMLS if (folder / name).is_file()), None)
    if file is not None:
        return _header_in(file)
    for place in (folder, folder / "labels"):
        for name in LINES:
            if (names := name_lines(place / name)) is not None:
                return _Header(_different(names, place / name), 0)
    return _Header(None, 0)


def _header_in(file: Path) -> _Header:
    try:
        header: Any = yaml.safe_load(file.read_text("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise DataError(f"the file is not YAML: {error}", where=file, next_step="repair it") from error
    names = header.get("names") if isinstance(header, dict) else None
    if isinstance(names, dict) and all(number in names for number in range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise DataError(
            "the file has no names of classes", where=file, next_step="names: [first, second], from the class 0 up"
        )
    shape = header.get("kpt_shape")
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(isinstance(it, int) and it > 0 for it in shape)
    return _Header(_different([str(name) for name in names], file), shape[0] * shape[1] if is_shape else 0)


def _different(names: list[str], file: Path) -> list[str]:
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise DataError(f"two classes are called '{twice[0]}'", where=file, next_step="rename one of them")
    return names


def _annotated(pair: tuple[Path, Path | None], *, header: _Header) -> Annotated:
    picture, labels = pair
    if labels is None:
        return Annotated(picture, [], picture, relative=True)
    try:
        lines = labels.read_text("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"the file is not text: {error}", where=labels, next_step="save it as UTF-8") from error
    boxes = [_box(labels, place, line.split(), header) for place, line in enumerate(lines, 1) if line.split()]
    return Annotated(picture, boxes, labels, relative=True)


def _box(file: Path, place: int, words: list[str], header: _Header) -> Box:
    try:
        number, *values = (float(word) for word in words)
    except ValueError:
        raise _wrong(file, place, "it holds something other than numbers") from None
    is_centre = len(words) == CENTRE or (header.key_points > 0 and len(words) == CENTRE + header.key_points)
    if not is_centre and (len(words) < OUTLINE or len(values) % 2 or header.key_points):
        raise _wrong(file, place, f"it holds {len(words)} numbers, not class x y width height")
    if not 0 <= number <= LARGEST or number != int(number):
        raise _wrong(file, place, f"there is no class {words[0][:40]}")
    if header.names is not None and number >= len(header.names):
        step = f"name all classes, from 0 to {int(number)}, in data.yaml or classes.txt, or correct the line"
        raise _wrong(file, place, f"there is no class {int(number)} among {len(header.names)} names", step)
    numbers = values[: CENTRE - 1] if is_centre else values
    if not all(-1 <= value <= 2 for value in numbers):
        what = f"its numbers are not shares of the picture's sides: {' '.join(words[1:5])[:80]}"
        raise _wrong(file, place, what, "divide pixels by the picture's width and height")
    if is_centre:
        x, y, width, height = numbers
        edges = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        across, down = numbers[0::2], numbers[1::2]
        edges = min(across), min(down), max(across), max(down)
    name = str(int(number)) if header.names is None else header.names[int(number)]
    return Box(*edges, name, f"line {place}", outline=not is_centre)


def _wrong(file: Path, place: int, what: str, step: str = LINE) -> DataError:
    return DataError(f"a line is wrong: {what}", where=f"{file}, line {place}", next_step=step)
