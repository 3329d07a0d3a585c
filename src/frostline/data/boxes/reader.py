"""A reader of pictures with boxes, in any of the usual formats of annotations."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
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
from frostline.errors import ConfigError, DataError, close_names, counted, few
from frostline.faults import at_once
from frostline.paths import at_home
from frostline.quoting import list_of

FORMATS = {"coco": coco, "voc": voc, "yolo": yolo}
OTHERS = "boxes of other classes"
SHOWN = 10  # classes named in a note


class BoxedPictures(Reader):
    """The settings are explained in conf/data/boxes.yaml. Raises DataError that names the file and the box."""

    modality = WholePictureModality
    kinds = ("boxes",)
    chooses = "data.classes"
    named_by = "data.dir"
    ungroups = "data.group_pattern=null"
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
        annotations = self._annotations()
        if not annotations.splits or (known is None and "train" not in annotations.splits):
            raise DataError(
                f"no {'' if known else 'training '}picture has an annotation",
                where=self.where,
                next_step="add them, or correct data.dir",
            )
        self._require_there(annotations, known)
        names, notes = (known.names, []) if known is not None else self._classes(annotations)
        self._require_known(annotations, known)
        classes = {name: place for place, name in enumerate(names)}
        others = sum(
            box.name not in classes for some in annotations.splits.values() for one in some for box in one.boxes
        )
        passed = Counter({OTHERS: others} if others else {})
        found = {}
        for split, some in annotations.splits.items():
            found[split], of_split = self._samples(some, classes)
            passed += of_split
        train = found.get("train") or [*found.values()][-1]
        pattern = self.group_pattern if known is None else None  # samples to score are not divided
        groups = groups_by_pattern({split: it.files for split, it in found.items()}, self.dir, pattern)
        notes = [*annotations.notes, *passed_note(annotations.passed), *passed_notes(passed), *_without(found), *notes]
        return Found(names, train, found.get("val"), found.get("test"), notes, groups=groups)

    def _annotations(self) -> Annotations:
        if not self.dir.is_dir():
            raise DataError("there is no such data folder", where=self.dir, next_step="data.dir=<folder>")
        if self.format is not None and FORMATS[self.format].is_here(self.dir):
            return FORMATS[self.format].read(self.dir)
        found = [name for name, it in FORMATS.items() if it.is_here(self.dir)]
        if self.format is not None:
            raise DataError(
                f"there are no annotations of the format {self.format}: {FORMATS[self.format].LAYOUT}",
                where=self.dir,
                next_step="; or ".join(f"data.format={name}" for name in found) or "add them, or correct data.dir",
            )
        if len(found) != 1:
            layouts = "; or ".join(f"data.format={name}  # {FORMATS[name].LAYOUT}" for name in found or FORMATS)
            raise ConfigError(
                f"this folder has annotations of {len(found)} formats" if found else "this folder has no annotations",
                where=self.dir,
                next_step=layouts,
            )
        return FORMATS[found[0]].read(self.dir)

    def _classes(self, annotations: Annotations) -> tuple[list[str], list[str]]:
        """Names in the order of the outputs, and sentences on classes that are left out: those without a training box.
        Raises DataError for chosen classes that have no training box."""
        shown = {box.name for one in annotations.splits["train"] for box in one.boxes if not box.crowd}
        empty = [name for name in annotations.names if name not in shown and name in (self.wanted or annotations.names)]
        if not shown or (empty and self.wanted is not None):
            raise DataError(
                f"no training picture has a box of the class '{empty[0]}'"
                if shown
                else "no training picture has a box",
                where=self.where,
                next_step=list_of("data.classes", [it for it in annotations.names if it in shown][:10])
                if shown
                else "add boxes",
            )
        names = [name for name in annotations.names if name in shown and (self.wanted is None or name in self.wanted)]
        return names, [f"classes without a training box are left out: {few(empty, SHOWN)}"] if empty else []

    def _require_there(self, annotations: Annotations, known: Targets | None) -> None:
        """Raise DataError if no annotation has a class of `data.classes`."""
        strange = [name for name in self.wanted or [] if name not in annotations.names]
        if strange:
            able = [name for name in annotations.names if known is None or name in known.names]
            raise DataError(
                f"no annotation has the class '{strange[0]}': {close_names(strange[0], annotations.names)}",
                where="data.classes",
                next_step=list_of("data.classes", able[:10]) if able else "data.classes=null",
            )

    def _require_known(self, annotations: Annotations, known: Targets | None) -> None:
        """Raise DataError if the annotations have classes that the run does not know, unless it knows all that are in
        `data.classes`."""
        if known is None:
            return
        new = [name for name in self.wanted or annotations.names if name not in known.names]
        if new:
            own = [name for name in annotations.names if name in known.names]
            raise DataError(
                f"these annotations have classes that the run does not know: {few(new, 10)}",
                where=self.where,
                next_step=f"{list_of('data.classes', own)}  # leaves out boxes of others"
                if own
                else f"data with classes among: {few(known.names, 10)}",
            )

    def _samples(self, some: list[Annotated], classes: Mapping[str, int]) -> tuple[BoxedSamples, Counter[str]]:
        """The pictures of a split, and the numbers of boxes that were left out or changed, by reason."""
        twice = [path for path, number in Counter(one.picture for one in some).items() if number > 1]
        if twice:
            raise DataError("a picture has two annotations", where=twice[0], next_step="join them, or remove one")
        found = at_once(partial(measured, classes=classes), some, "pictures have wrong annotations")
        passed = sum((one.passed for one in found), Counter[str]())
        rows, sizes = [one.rows for one in found], [one.size for one in found]
        return BoxedSamples([one.picture for one in some], rows, sizes, len(classes), self.dir), passed


def _without(found: Mapping[str, BoxedSamples]) -> list[str]:
    """A sentence on pictures without boxes."""
    number = sum(len(rows) == 0 for samples in found.values() for rows in samples.boxes)
    subject = counted(number, "picture has no box, and counts as one", "pictures have no box, and count as pictures")
    return [f"{subject} without objects"] if number else []
