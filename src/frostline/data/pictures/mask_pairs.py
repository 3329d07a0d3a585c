"""Match pictures and masks: files of the same name in folders `images` and `masks`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from frostline.data.files.class_folders import SPLITS, first_folder
from frostline.data.files.found import sample_files
from frostline.data.pictures.files import PICTURES
from frostline.errors import DataError
from frostline.quoting import setting_of

OF_A_SPLIT = {name for names in SPLITS.values() for name in names}
LOOSE = "pictures beside the folders train, val and test"
WITHOUT = "pictures without a mask"
ALONE = "masks without a picture"
Pair = tuple[Path, Path]


class MaskPairs:
    """suffix: what follows the picture's name in its mask's name. passed: number of skipped files, by reason."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix
        self.passed = Counter[str]()

    def by_split(self, *, needs_train: bool) -> dict[str, list[Pair]]:
        """Return pictures with their masks for each split that has some. Raises DataError if none has, or if training
        needs some and has none."""
        if not self.folder.is_dir():
            raise DataError("there is no such data folder", where=self.folder, next_step="data.dir=<folder>")
        pairs: dict[str, list[Pair]] = {split: [*self._pairs(split)] for split in SPLITS}
        whole = [*self._pairs(None)]
        if pairs["train"]:
            self.passed[LOOSE] += len(whole)
        else:
            pairs["train"] = whole
        pairs = {split: some for split, some in pairs.items() if some}
        if not pairs or (needs_train and "train" not in pairs):
            raise DataError(
                f"there is no {'training ' if pairs else ''}picture with a mask{self._counted()}",
                where=self.folder,
                next_step=self._suffix_step()
                or "put pictures into images/ and a PNG of the same name for each into masks/, both with or without "
                "folders train, val and test",
            )
        return pairs

    def _counted(self) -> str:
        counts = [f"{self.passed[why]:,} {why}" for why in (WITHOUT, ALONE) if self.passed[why]]
        return f": {', '.join(counts)}" if counts else ""

    def _suffix_step(self) -> str:
        """The suffix setting with which the first picture of a split would have a mask; empty if there is none."""
        for split in (*SPLITS, None):
            images, masks = self._folders(split)
            if images is None or masks is None:
                continue
            names = [it.stem for it in sample_files(masks, PICTURES).files]
            for picture in sample_files(images, PICTURES).files[:1]:
                ends = [name.removeprefix(picture.stem) for name in names if name.startswith(picture.stem)]
                if ends:
                    return setting_of("data.mask_suffix", min(ends, key=len))
        return ""

    def _pairs(self, split: str | None) -> Iterator[Pair]:
        """Yield the pairs of a split, or (None) those outside of split folders. Counts files without a partner."""
        images, masks = self._folders(split)
        by_name = {} if masks is None else {_name(it, masks): it for it in sample_files(masks, PICTURES).files}
        files: list[Path] = []
        if images is not None:
            files, passed = sample_files(images, PICTURES)
            self.passed += passed if split is None or images.name.lower() == "images" else Counter[str]()
        if split is None:  # exclude files in split folders below
            by_name = {name: it for name, it in by_name.items() if not _is_of_split(name)}
        used = set()
        for file in files:
            assert images is not None
            name = _name(file, images)
            if split is None and _is_of_split(name):
                continue
            mask = by_name.get(name.with_name(name.name + self.suffix))
            if mask is None:
                self.passed[WITHOUT] += 1
            else:
                used.add(mask)
                yield file, mask
        self.passed[ALONE] += len(by_name) - len(used)

    def _folders(self, split: str | None) -> tuple[Path | None, Path | None]:
        """Folders of pictures and masks: `images/train` and `masks/train`, or `train/images` and `train/masks`."""
        images, masks = _inside(self.folder, "images"), _inside(self.folder, "masks")
        if split is None:
            return images, masks
        if (below := _inside(images, *SPLITS[split])) is not None:
            return below, _inside(masks, *SPLITS[split])
        above = _inside(self.folder, *SPLITS[split])
        return _inside(above, "images"), _inside(above, "masks")


def _name(file: Path, folder: Path) -> Path:
    return file.relative_to(folder).with_suffix("")


def _is_of_split(name: Path) -> bool:
    return len(name.parts) > 1 and name.parts[0].lower() in OF_A_SPLIT


def _inside(folder: Path | None, *names: str) -> Path | None:
    """The subfolder with one of these names, in any case."""
    return None if folder is None else first_folder(folder, names)
