"""PASCAL VOC's annotations: an XML file for each picture, and lists of the pictures of each split."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

from frostline.data.boxes.annotated import Annotated, Annotations, Box
from frostline.data.files.class_folders import SPLITS, first_folder
from frostline.data.files.found import sample_files
from frostline.data.pictures.files import PICTURES
from frostline.errors import DataError
from frostline.faults import of_each

LAYOUT = "folders Annotations (XML) and JPEGImages, with lists in ImageSets/Main, or XML files beside the pictures"
FOLDERS = ("annotations", "xml", "xmls")
PICTURE_FOLDERS = ("jpegimages", "images", "imgs")
ALONE, UNLISTED = "pictures without an XML file", "XML files in no list of ImageSets/Main"
FIRST = 1.0  # VOC counts pixels from 1, and the right and bottom ones belong to the box
FLAGS = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}


class _Pictures(NamedTuple):
    """Pictures of a folder by name, and by name without suffix."""

    by_name: dict[str, Path]
    by_stem: dict[str, list[Path]]


def is_here(folder: Path) -> bool:
    return any(_xml_in(place) for place in _places(folder).values())


def read(folder: Path) -> Annotations:
    """Names are sorted. Raises DataError that names the file and the object."""
    passed = Counter[str]()
    splits: dict[str, list[Annotated]] = {}
    places = _places(folder)
    lists = _lists(folder) if [*places] == ["train"] else {}
    for split, place in places.items():
        files = {file.stem: file for file in _xml_in(place)}
        beside = _pictures(folder, place, split)
        wanted = _listed(lists, files) if lists else {split: [*files.values()]}
        for own, some in wanted.items():
            splits[own] = of_each(partial(_annotated, beside=beside), some, "annotations cannot be read")
        used = {one.picture for some in splits.values() for one in some}
        listed = {file for some in wanted.values() for file in some}
        passed[UNLISTED] += len({*files.values()} - listed)
        passed[ALONE] += sum(file not in used and file.stem not in files for file in beside.by_name.values())
    names = sorted({box.name for some in splits.values() for one in some for box in one.boxes})
    return Annotations(names, splits, +passed)


def _xml_in(place: Path) -> list[Path]:
    return sorted(it for it in place.iterdir() if it.suffix.lower() == ".xml" and it.is_file())


def _places(folder: Path) -> dict[str, Path]:
    """The folder of XML files of each split; `train` alone if no folder is a split's."""
    above = {split: first_folder(folder, names) for split, names in SPLITS.items()}
    whole = first_folder(folder, FOLDERS)
    if whole is not None and _xml_in(whole):
        return {"train": whole}
    below = {} if whole is None else {split: first_folder(whole, names) for split, names in SPLITS.items()}
    inside = {split: None if own is None else first_folder(own, FOLDERS) for split, own in above.items()}
    found = {}
    for split in SPLITS:
        places = [it for it in (below.get(split), inside[split], above[split]) if it is not None]
        own = next((it for it in places if _xml_in(it)), None)
        if own is not None:
            found[split] = own
    return found or {"train": folder}


def _pictures(folder: Path, place: Path, split: str) -> _Pictures:
    """Pictures beside the XML files, or in a folder of pictures."""
    for top in (place, place.parent, folder):
        inside = first_folder(top, PICTURE_FOLDERS) if top != place else place
        own = None if inside is None else first_folder(inside, SPLITS[split])
        for some in (own, inside):
            files = [] if some is None else [it for it in sample_files(some, PICTURES).files if it.parent == some]
            if files:
                by_stem: dict[str, list[Path]] = {}
                for file in files:
                    by_stem.setdefault(file.stem, []).append(file)
                return _Pictures({file.name: file for file in files}, by_stem)
    return _Pictures({}, {})


def _annotated(file: Path, *, beside: _Pictures) -> Annotated:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, LookupError, OSError) as error:
        raise DataError(f"the file is not XML: {error}", where=file, next_step="repair or remove it") from error
    picture = _picture(file, Path(root.findtext("filename", "").replace("\\", "/")).name, beside)
    boxes = [_box(file, place, element) for place, element in enumerate(root.iter("object"), 1)]
    return Annotated(picture, boxes, file, _size(file, root))


def _picture(file: Path, written: str, beside: _Pictures) -> Path:
    """The picture of that stem, which `filename` chooses among several; else the one that `filename` names."""
    own = beside.by_stem.get(file.stem, [])
    named = beside.by_name.get(written)
    if len(own) > 1 and named not in own:
        raise DataError(
            f"{len(own)} pictures have the name of this annotation, and its filename '{written}' is none of them",
            where=file,
            next_step="correct filename, or remove the other pictures",
        )
    picture = named if len(own) != 1 else own[0]
    others = beside.by_stem.get(Path(written).stem, [])
    picture = picture or (others[0] if len(others) == 1 else None)
    if picture is None:
        raise DataError(
            "the picture of this annotation is missing",
            where=file,
            next_step=f"put it into JPEGImages/ as {file.stem}.jpg, or remove the annotation",
        )
    return picture


def _size(file: Path, root: ElementTree.Element) -> tuple[int, int] | None:
    """Width and height; None if the file states none, or 0. Raises DataError."""
    texts = [root.findtext(f"size/{side}", "").strip() or "0" for side in ("width", "height")]
    try:
        width, height = (float(text) for text in texts)
        sides = int(width), int(height)
        is_whole = sides == (width, height)
    except (ValueError, OverflowError):
        is_whole = False
    if not is_whole:
        raise DataError(
            f"the size of the picture is not two whole numbers: {texts}",
            where=f"{file}, size",
            next_step="correct width and height, or remove size",
        )
    return sides if min(sides) > 0 else None


def _box(file: Path, place: int, element: ElementTree.Element) -> Box:
    name, where = element.findtext("name", "").strip(), f"object {place}"
    texts = [element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    hard = element.findtext("difficult", "0").strip().lower()
    problem = "" if name else "it has no name"
    problem = problem if hard in FLAGS else f"its difficult is neither 0 nor 1: {hard[:80]}"
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
    except ValueError:
        left = top = right = bottom = 0.0
        problem = f"its bndbox is not four numbers: {str(texts)[:120]}"
    if problem:
        raise DataError(f"an object is wrong: {problem}", where=f"{file}, {where}", next_step="correct or remove it")
    flat = right == left or bottom == top  # one pixel, but nobody draws a box of one
    shift = 0.0 if flat else FIRST
    return Box(left - shift, top - shift, right, bottom, name, where, crowd=FLAGS[hard])


def _lists(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    """The lists of ImageSets/Main by split, with their files; empty if there are none. Without train.txt, the training
    pictures are those of trainval.txt that are in no other list."""
    main = folder / "ImageSets" / "Main"
    found = {split: (main / f"{split}.txt", _lines(main / f"{split}.txt")) for split in SPLITS}
    whole = main / "trainval.txt"
    if not found["train"][1] and (names := _lines(whole)):
        others = {name for split in ("val", "test") for name in found[split][1]}
        found["train"] = whole, [name for name in names if name not in others]
    return {split: (file, names) for split, (file, names) in found.items() if names}


def _lines(file: Path) -> list[str]:
    """Lines without repeats; empty if there is no such file. Raises DataError."""
    if not file.is_file():
        return []
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"the list cannot be read: {error}", where=file, next_step="save it as UTF-8") from error
    return [*dict.fromkeys(line.strip() for line in lines if line.strip())]


def _listed(lists: dict[str, tuple[Path, list[str]]], files: dict[str, Path]) -> dict[str, list[Path]]:
    """XML files of each list. A line holds the name, or the name and a number, as the lists of one class do."""
    found: dict[str, list[Path]] = {}
    for split, (file, names) in lists.items():
        own = [name if name in files else name.split()[0] for name in names]
        missing = [name for name in own if name not in files]
        if missing:
            raise DataError(
                f"{len(missing)} of the listed pictures have no annotation, such as '{missing[0]}'",
                where=file,
                next_step="add their XML files to Annotations/, or remove them from the list",
            )
        found[split] = [files[name] for name in own]
    return found
