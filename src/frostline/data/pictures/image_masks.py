"""A reader of your own pictures with one mask each, in folders `images` and `masks`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from frostline.config.ranges import NonNegative
from frostline.contracts.targets import Targets
from frostline.data.files.found import passed_note
from frostline.data.files.name_lines import name_lines
from frostline.data.grouping import groups_by_pattern, require_pattern
from frostline.data.pictures.mask_pairs import MaskPairs
from frostline.data.pictures.masks import VALUES, MaskedSamples, mask_values, palette_of
from frostline.data.pictures.whole import TiledPictureModality
from frostline.data.reader import Found, Reader
from frostline.data.target_types.base import TargetType
from frostline.errors import ConfigError, DataError, few
from frostline.faults import at_once
from frostline.paths import at_home
from frostline.tasks.segmentation import IGNORED

NAMES = "classes.txt"


class ImageMasks(Reader):
    """The settings are explained in conf/data/image_masks.yaml. Raises DataError that names a picture or mask."""

    modality = TiledPictureModality
    kinds = ("masks",)
    named_by = "data.dir"
    ungroups = "data.group_pattern=null"
    divides = "folders train, val and test in images and masks"

    def __init__(
        self,
        *,
        dir: str,
        classes: list[str | int] | None,
        ignore: list[NonNegative[int]],
        mask_suffix: str,
        group_pattern: str | None,
    ) -> None:
        require_pattern(group_pattern)
        self.group_pattern = group_pattern
        self.dir = self.where = at_home(dir)
        self.name = self.dir.absolute().name
        self.wanted = None if classes is None else [str(name) for name in classes]
        self.ignore = ignore
        self._pairs = MaskPairs(self.dir, mask_suffix)
        if max(ignore, default=0) >= VALUES:
            raise ConfigError(
                f"a mask holds values up to {VALUES - 1}, not {max(ignore)}",
                where="data.ignore",
                next_step=f"data.ignore=[{','.join(str(value) for value in ignore if value < VALUES)}]",
            )

    def read(self, target: TargetType, known: Targets | None) -> Found:
        pairs = self._pairs.by_split(needs_train=known is None)
        self._masks = [mask for some in pairs.values() for _, mask in some]
        named = self._classes(known)
        self._values = [*named]
        indices = dict.fromkeys(self.ignore, IGNORED) | {value: place for place, value in enumerate(named)}
        found = {
            split: MaskedSamples(*map(list, zip(*some, strict=True)), indices=indices, root=self.dir)
            for split, some in pairs.items()
        }
        train = found.get("train") or [*found.values()][-1]
        about = {"palette": palette_of(next(iter(pairs.values()))[0][1]), "values": self._values}
        notes = passed_note(+self._pairs.passed)
        pattern = self.group_pattern if known is None else None  # samples to score are not divided
        groups = groups_by_pattern({split: it.files for split, it in found.items()}, self.dir, pattern)
        return Found([*named.values()], train, found.get("val"), found.get("test"), notes, about, groups)

    # --- classes ---

    def _classes(self, known: Targets | None) -> dict[int, str]:
        """Names of the mask values that count, by value. Raises DataError."""
        names = self.wanted if self.wanted is not None else name_lines(self.dir / NAMES)
        if names is not None:
            named = dict(enumerate(names))
        elif known is not None:
            named = dict(zip(known.about["values"], known.names, strict=True))
        else:
            named = {value: str(value) for value in _values(self._masks)}
        counted = {value: name for value, name in named.items() if value not in self.ignore}
        twice = [name for name, number in Counter(counted.values()).items() if number > 1]
        if twice:
            raise DataError(f"two classes are called '{twice[0]}'", where=self.where, next_step="rename one of them")
        if not 2 <= len(counted) <= IGNORED or max(counted) >= VALUES:
            raise DataError(
                f"masks need 2 to {IGNORED} classes, but there are {len(counted)}: {few([*counted.values()])}"
                f"{self._without_ignored()[0]}",
                where=self.where,
                next_step=self._without_ignored()[1] or f"name them in {NAMES}, one a line, or in data.classes=[...]",
            )
        return counted

    def _without_ignored(self) -> tuple[str, str]:
        """A clause that names ignored values which occur in masks, and the settings with which they count; empty if
        none occurs."""
        ignored = [str(value) for value in _values(self._masks) if value in self.ignore]
        if not ignored:
            return "", ""
        names = f"remove {NAMES} and " if self.wanted is None and (self.dir / NAMES).is_file() else ""
        rest = ",".join(str(value) for value in self.ignore if str(value) not in ignored)
        clause = f"; pixels of the value {few(ignored)} do not count (data.ignore)"
        return clause, f"{names}data.classes=null data.ignore=[{rest}]  # each value is a class"

    def too_few(self, error: DataError, counts: Mapping[str, int], needed: int) -> DataError:
        """Add the values to ignore to the next step."""
        rare = [value for value, count in zip(self._values, counts.values(), strict=True) if count < needed]
        clause, step = self._without_ignored() if min(counts.values()) == 0 else ("", "")
        left_out = ",".join(map(str, [*self.ignore, *rare]))
        return DataError(
            f"{error.what}{clause}",
            where=self.where,
            next_step=step
            or f"add pictures that show them; or data.ignore=[{left_out}]; or divide them yourself: {self.divides}",
        )


def _values(masks: Sequence[Path]) -> list[int]:
    """Values that occur in the masks, ascending. Raises DataError."""
    return sorted(
        set[int]().union(*at_once(lambda mask: np.unique(mask_values(mask)).tolist(), masks, "masks cannot be read"))
    )
