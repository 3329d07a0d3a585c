"""PASCAL VOC's annotations: an XML file for each picture, and lists of the pictures of each split."""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

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
LISTS = {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}


def is_here(folder: Path) -> bool:
    return any(any(place.glob("*.xml")) for place in _places(folder).values())


def read(folder: Path) -> Annotations:
    """Names are sorted. Raises DataError that names the file and the object."""
    passed = Counter[str]()
    splits: dict[str, list[Annotated]] = {}
    for split, place in _places(folder).items():
        files = sorted(place.glob("*.xml"))
        beside = _pictures(folder, place, split)
        own = of_each(lambda file, beside=beside: _annotated(file, beside), files, "annotations cannot be read")  # type: ignore[misc]
        passed[ALONE] += len(beside) - len({one.picture for one in own})
        splits[split] = own
    if [*splits] == ["train"]:
        splits = _listed(folder, splits["train"], passed)
    names = sorted({box.name for some in splits.values() for one in some for box in one.boxes})
    return Annotations(names, splits, +passed)


def _places(folder: Path) -> dict[str, Path]:
    """The folder of XML files of each split; `train` alone if no folder is a split's."""
    above = {split: first_folder(folder, names) for split, names in SPLITS.items()}
    whole = first_folder(folder, FOLDERS)
    if whole is not None and any(whole.glob("*.xml")):
        return {"train": whole}
    below = {} if whole is None else {split: first_folder(whole, names) for split, names in SPLITS.items()}
    inside = {split: None if own is None else first_folder(own, FOLDERS) for split, own in above.items()}
    found = {}
    for split in SPLITS:
        places = [it for it in (below.get(split), inside[split], above[split]) if it is not None]
        own = next((it for it in places if any(it.glob("*.xml"))), None)
        if own is not None:
            found[split] = own
    return found or {"train": folder}


def _pictures(folder: Path, place: Path, split: str) -> dict[str, Path]:
    """Pictures by name without suffix: beside the XML files, or in a folder of pictures."""
    for top in (place, place.parent, folder):
        inside = first_folder(top, PICTURE_FOLDERS) if top != place else place
        own = None if inside is None else first_folder(inside, SPLITS[split])
        for some in (own, inside):
            files = [] if some is None else [it for it in sample_files(some, PICTURES).files if it.parent == some]
            if files:
                return {file.stem: file for file in files}
    return {}


def _annotated(file: Path, pictures: dict[str, Path]) -> Annotated:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"the file is not XML: {error}", where=file, next_step="repair or remove it") from error
    named = Path(root.findtext("filename", "").replace("\\", "/")).stem
    picture = pictures.get(file.stem) or pictures.get(named)
    if picture is None:
        raise DataError(
            "the picture of this annotation is missing",
            where=file,
            next_step=f"put it into JPEGImages/ as {file.stem}.jpg, or remove the annotation",
        )
    boxes = [_box(file, place, element) for place, element in enumerate(root.iter("object"), 1)]
    width, height = (root.findtext(f"size/{side}", "0").strip() for side in ("width", "height"))
    sides = int(width or 0), int(height or 0)
    return Annotated(picture, boxes, file, sides if min(sides) > 0 else None)


def _box(file: Path, place: int, element: ElementTree.Element) -> Box:
    name, where = element.findtext("name", "").strip(), f"object {place}"
    texts = [element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        left, top, right, bottom = (float(text or "") for text in texts)
    except ValueError:
        raise DataError(
            f"a bndbox is not four numbers: {texts}", where=f"{file}, {where}", next_step="correct or remove it"
        ) from None
    if not name:
        raise DataError("an object has no name", where=f"{file}, {where}", next_step="name or remove it")
    hard = element.findtext("difficult", "0").strip() not in ("", "0")
    flat = right == left or bottom == top  # one pixel, but nobody draws a box of one
    shift = 0.0 if flat else FIRST
    return Box(left - shift, top - shift, right, bottom, name, where, crowd=hard)


def _listed(folder: Path, whole: list[Annotated], passed: Counter[str]) -> dict[str, list[Annotated]]:
    """Divide pictures by the lists of ImageSets/Main, if there are any."""
    main = folder / "ImageSets" / "Main"
    lists = {
        split: next((main / f"{name}.txt" for name in names if (main / f"{name}.txt").is_file()), None)
        for split, names in LISTS.items()
    }
    if not any(lists.values()):
        return {"train": whole}
    by_name = {one.file.stem: one for one in whole}
    found: dict[str, list[Annotated]] = {}
    for split, file in lists.items():
        names = (
            []
            if file is None
            else [line.split()[0] for line in file.read_text("utf-8-sig").splitlines() if line.split()]
        )
        missing = [name for name in names if name not in by_name]
        if missing:
            raise DataError(
                f"{len(missing)} listed pictures have no annotation, such as '{missing[0]}'",
                where=file,
                next_step="add their XML files to Annotations/, or remove them from the list",
            )
        if names:
            found[split] = [by_name[name] for name in names]
    passed[UNLISTED] += len(whole) - len({name for some in found.values() for name in (one.file.stem for one in some)})
    return found
