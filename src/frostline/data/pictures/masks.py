"""Pictures with a mask each: a class for each pixel. Shapes: N pictures, C classes; masks (H, W) uint8 of class
indices, IGNORED where no class counts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from frostline.data.pictures.files import UNREADABLE
from frostline.data.pictures.reading import upright_size
from frostline.data.pictures.sources import FilePictures
from frostline.errors import DataError, few
from frostline.tasks.segmentation import IGNORED

VALUES = 256  # that a mask can hold
MEMORY_BYTES = 2 * 2**30  # masks of a source that take no more are held in memory
INDEXED = ("P", "L", "1")  # modes of Pillow whose values are indices


class MaskedPictures(FilePictures):
    """masks: a file for each picture. indices: the class of each value of a mask, IGNORED for a value that does not
    count. `labels`: (N, C) int64, the pixels of each class.

    Raises DataError that names a mask which does not fit.
    """

    def __init__(
        self, files: Sequence[Path], masks: Sequence[Path], *, indices: Mapping[int, int], root: Path, **common: Any
    ) -> None:
        self.masks = list(masks)
        self._table = np.full(VALUES, -1, np.int16)
        for value, index in indices.items():
            self._table[value] = index
        self._classes = 1 + max((index for index in indices.values() if index != IGNORED), default=-1)
        with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it decodes
            own = list(pool.map(self._read_mask, masks, files))
        self.own_sides = [mask.shape for mask in own]
        counts = [np.bincount(mask.ravel(), minlength=VALUES)[: self._classes] for mask in own]
        digest = hashlib.blake2b(digest_size=16)
        for mask in own:
            digest.update(repr(mask.shape).encode() + mask.tobytes())
        self.masks_digest = digest.hexdigest()
        self._own = own if sum(mask.nbytes for mask in own) <= MEMORY_BYTES else None
        labels = torch.from_numpy(np.stack(counts)).long() if counts else torch.zeros(0, self._classes).long()
        super().__init__(files, labels, root=root, **common)

    def targets(self, index: Tensor) -> Tensor:
        """(B, H, W) of the network's sides."""
        height, width = self.spec.sides
        masks = [Image.fromarray(self._mask(place)) for place in index.tolist()]
        resized = [np.asarray(mask.resize((width, height), Image.Resampling.NEAREST)) for mask in masks]
        return torch.from_numpy(np.stack(resized))

    def scored_targets(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W) of the pictures' own sides, padded with IGNORED, and these sides (B, 2)."""
        masks = [self._mask(place) for place in index.tolist()]
        sides = np.array([mask.shape for mask in masks])
        canvas = np.full((len(masks), *sides.max(0)), IGNORED, np.uint8)
        for slot, mask in zip(canvas, masks, strict=True):
            slot[: mask.shape[0], : mask.shape[1]] = mask
        return torch.from_numpy(canvas), torch.from_numpy(sides)

    def _mask(self, place: int) -> np.ndarray:
        return self._read_mask(self.masks[place], self.files[place]) if self._own is None else self._own[place]

    def _read_mask(self, mask: Path, picture: Path) -> np.ndarray:
        values = mask_values(mask)
        indices = self._table[values]
        unknown = np.unique(values[indices < 0]).tolist()
        if unknown:
            raise DataError(
                f"the mask has pixels of the value {few([str(value) for value in unknown])}, which is no class",
                where=mask,
                next_step="name a class for each value from 0 up in classes.txt or data.classes, or the values that do "
                f"not count: data.ignore={unknown}",
            )
        width, height = upright_size(picture)
        if values.shape != (height, width):
            raise DataError(
                f"the mask has {values.shape[0]} × {values.shape[1]} pixels, and its picture {height} × {width}",
                where=mask,
                next_step="save the mask at the size of its picture, without interpolation",
            )
        return indices.astype(np.uint8)


def mask_values(file: Path) -> np.ndarray:
    """(H, W) uint8, upright. Raises DataError."""
    try:
        with Image.open(file) as opened:
            if opened.mode not in INDEXED:
                raise DataError(
                    f"a mask holds the index of a class in each pixel, and this is a picture of mode {opened.mode}",
                    where=file,
                    next_step="save it as a PNG of 8 bits with indices, with or without a palette",
                )
            upright = ImageOps.exif_transpose(opened)
            return np.asarray(upright, np.uint8)  # of mode 1: 0 and 1
    except UNREADABLE as error:
        raise DataError(
            f"a mask does not decode: {error}", where=file, next_step="repair or remove that file"
        ) from error


def palette_of(file: Path) -> list[int] | None:
    """Red, green and blue of each value, one after the other, of a mask that has a palette."""
    with Image.open(file) as opened:
        return opened.getpalette() if opened.mode == "P" else None


def usual_palette() -> list[int]:
    """That of PASCAL VOC: bits of the index, from the lowest, go to the highest bits of red, green and blue in turn
    (Everingham et al. 2010, VOC development kit, `VOClabelcolormap`)."""
    colours = []
    for index in range(VALUES):
        for channel in range(3):
            bits = [index >> (3 * place + channel) & 1 for place in range(3)]
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colours
