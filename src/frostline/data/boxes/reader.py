"""A reader of pictures with boxes, in any of the usual formats of annotations."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from frostline.contracts.targets import Targets
from frostline.data.boxes import coco, voc, yolo
from frostline.data.boxes.annotated import Annotated, Annotations, measured, passed_notes
from frostline.data.boxes.sources import BoxedSamples
from frostline.data.files.found import passed_note
from frostline.data.grouping import groups_by_pattern, require_pattern
from frostline.data.pictures.whole import WholePictureModality
from frostline.data.reader import Found, Reader
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, DataError, close_names, few
from frostline.faults import at_once
from frostline.paths import at_home
from frostline.quoting import list_of

FORMATS = {"coco": coco, "voc": voc, "yolo": yolo}
OTHERS = "boxes of classes that are not in data.classes"


class BoxedPictures(Reader):
    """The settings are explained in conf/data/boxes.yaml. Raises DataError that names the file and the box."""

    modality = WholePictureModality
    kinds = ("boxes",)
    chooses = "data.classes"
    named_by = "data.dir"
    grouped_by = "data.group_pattern"
    divides = "annotations of train, val and test"

    def __init__(
        self,
        *,
        dir: str,
        format: Literal["coco", "voc", "yolo"] | None,
        classes: list[str | int] | None,
        group_pattern: str | None,
    ) -> None:
        require_pattern(group_pattern)
        self.group_pattern = group_pattern
        self.dir = self.where = at_home(dir)
        self.name = self.dir.absolute().name
        self.format = format
        self.wanted = None if classes is None else [str(name) for name in classes]

    def read(self, target: TargetType, known: Targets | None) -> Found:
        said = self._annotations()
        if not said.splits or (known is None and "train" not in said.splits):
            raise DataError(
                "no training picture has an annotation", where=self.where, next_step=f"data=coco: {coco.LAYOUT}"
            )
        names = self._classes(said, known)
        found = {}
        passed = Counter[str]()
        classes = {name: place for place, name in enumerate(names)}
        for split, some in said.splits.items():
            found[split] = self._samples(some, classes, passed)
        others = sum(box.name not in classes for some in said.splits.values() for one in some for box in one.boxes)
        passed[OTHERS] += others
        train = found.get("train") or [*found.values()][-1]
        pattern = self.group_pattern if known is None else None  # samples to score are not divided
        groups = groups_by_pattern({split: it.files for split, it in found.items()}, self.dir, pattern)
        notes = [*said.notes, *passed_note(said.passed), *passed_notes(passed), *_without(found)]
        return Found(names, train, found.get("val"), found.get("test"), notes, groups=groups)

    def _annotations(self) -> Annotations:
        if not self.dir.is_dir():
            raise DataError("there is no such data folder", where=self.dir, next_step="data.dir=<folder>")
        found = [name for name, it in FORMATS.items() if it.is_here(self.dir)]
        if self.format is not None and self.format not in found:
            others = "; or ".join(f"data={name}" for name in found)
            raise DataError(
                f"there are no annotations of the format {self.format}: {FORMATS[self.format].LAYOUT}",
                where=self.dir,
                next_step=others or "add them, or correct data.dir",
            )
        if self.format is None and len(found) != 1:
            layouts = "; or ".join(f"data={name}  # {FORMATS[name].LAYOUT}" for name in found or FORMATS)
            raise ConfigError(
                f"this folder has annotations of {len(found)} formats" if found else "this folder has no annotations",
                where=self.dir,
                next_step=layouts,
            )
        return FORMATS[self.format or found[0]].read(self.dir)

    def _classes(self, said: Annotations, known: Targets | None) -> list[str]:
        """Names in the order of the outputs. Raises DataError for classes that the annotations or the run lack."""
        if not said.names:
            raise DataError("no annotation has a class", where=self.where, next_step="add pictures with boxes")
        strange = [name for name in self.wanted or [] if name not in said.names]
        if strange:
            raise DataError(
                f"no annotation has the class '{strange[0]}': {close_names(strange[0], said.names)}",
                where="data.classes",
                next_step=list_of("data.classes", said.names[:10]),
            )
        names = said.names if self.wanted is None else [name for name in said.names if name in self.wanted]
        if known is None:
            return names
        new = [name for name in names if name not in known.names]
        if new:
            raise DataError(
                f"these annotations have classes that the run does not know: {few(new, 10)}",
                where=self.where,
                next_step=list_of("data.classes", [name for name in names if name in known.names] or known.names),
            )
        return known.names

    def _samples(self, some: list[Annotated], classes: Mapping[str, int], passed: Counter[str]) -> BoxedSamples:
        twice = [path for path, number in Counter(one.picture for one in some).items() if number > 1]
        if twice:
            raise DataError("a picture has two annotations", where=twice[0], next_step="join them, or remove one")
        found = at_once(lambda one: measured(one, classes), some, "pictures have wrong annotations")
        for one in found:
            passed += one.passed
        files = [Path(one.picture) for one in some]
        return BoxedSamples(files, [one.rows for one in found], [one.size for one in found], len(classes), self.dir)


def _without(found: Mapping[str, BoxedSamples]) -> list[str]:
    """A sentence on pictures without boxes."""
    number = sum(len(rows) == 0 for samples in found.values() for rows in samples.boxes)
    return [f"{number:,} pictures have no box, and count as pictures without objects"] if number else []
