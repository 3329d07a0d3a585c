"""Pictures with one mask each. Shapes: N pictures, C classes; masks (H, W) uint8 class indices, IGNORED for pixels that
do not count.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.files import UNREADABLE
from frostline.data.pictures.grey import Range
from frostline.data.pictures.reading import upright_size
from frostline.data.pictures.sources import FilePictures
from frostline.data.sample_cache import SampleCache
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError, few
from frostline.faults import at_once
from frostline.tasks.segmentation import IGNORED

VALUES = 256  # possible values of a mask
MEMORY_BYTES = 2 * 2**30  # a source's masks are held in memory if they take no more
INDEXED = ("P", "L", "1")  # modes of Pillow whose values are indices
# Pillow stretches grey values of 2 and 4 bits to 0..255: by its raw mode, the distance of neighbouring values.
STEPS = {"L;2": 85, "L;4": 17}
LOSSY = ("JPEG", "MPO")  # formats that change values near edges


class MaskedSamples:
    """Pictures and masks as the reader found them. Parameters: see `MaskedPictures`."""

    def __init__(self, files: list[Path], masks: list[Path], *, indices: Mapping[int, int], root: Path) -> None:
        self.files = files
        self.masks = masks
        self.indices = indices
        self.root = root

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> "MaskedPictures":
        return MaskedPictures(self.files, self.masks, indices=self.indices, root=self.root, spec=spec, grey=grey)


class MaskedPictures(FilePictures):
    """masks: one file per picture. indices: class index by mask value, IGNORED for values that do not count. `labels`:
    (N, C) int64, number of pixels of each class.

    Raises DataError that names all masks that do not fit.
    """

    def __init__(
        self, files: Sequence[Path], masks: Sequence[Path], *, indices: Mapping[int, int], root: Path, **common: Any
    ) -> None:
        self.masks = list(masks)
        self._table = np.full(VALUES, -1, np.int16)
        for value, index in indices.items():
            self._table[value] = index
        classes = 1 + max((index for index in indices.values() if index != IGNORED), default=-1)
        own = at_once(lambda pair: self._read_mask(*pair), list(zip(masks, files, strict=True)), "masks do not fit")
        counts = [np.bincount(mask.ravel(), minlength=VALUES)[:classes] for mask in own]
        digest = hashlib.blake2b(digest_size=16)
        for mask in own:
            digest.update(repr(mask.shape).encode() + mask.tobytes())
        self._masks_digest = digest.hexdigest()
        self._own = own if sum(mask.nbytes for mask in own) <= MEMORY_BYTES else None
        labels = torch.from_numpy(np.stack(counts)).long() if counts else torch.zeros(0, classes).long()
        super().__init__(files, labels, root=root, **common)

    def fingerprint(self, target: TargetType, *, as_found: bool = False) -> str:
        """Digest of pictures, pixel counts, and all pixels of the masks."""
        digest = hashlib.blake2b(super().fingerprint(target, as_found=as_found).encode(), digest_size=16)
        digest.update(self._masks_digest.encode())
        return digest.hexdigest()

    def targets(self, index: Tensor) -> Tensor:
        """Masks (B, H, W) at the network's sides, by nearest neighbour."""
        height, width = self.spec.sides
        masks = [Image.fromarray(self._mask(place)) for place in index.tolist()]
        resized = [np.asarray(mask.resize((width, height), Image.Resampling.NEAREST)) for mask in masks]
        return torch.from_numpy(np.stack(resized))

    def scored_targets(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Masks (B, H, W) at the pictures' own sides, padded with IGNORED, and these sides (B, 2)."""
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
            ignore = [*np.flatnonzero(self._table == IGNORED).tolist(), *unknown]
            raise DataError(
                f"the mask has pixels of the value {few([str(value) for value in unknown])}, which is not a class",
                where=mask,
                next_step="name each value from 0 up in classes.txt or data.classes; or remove all names, so that each "
                f"value is a class; or data.ignore=[{','.join(map(str, ignore))}]  # if these pixels do not count",
            )
        width, height = upright_size(picture)
        if values.shape != (height, width):
            raise DataError(
                f"the mask has {values.shape[0]} × {values.shape[1]} pixels, but its picture {height} × {width}",
                where=mask,
                next_step="save the mask at the size of its picture, without interpolation",
            )
        return indices.astype(np.uint8)


def mask_values(file: Path) -> np.ndarray:
    """Read a mask: (H, W) uint8, upright. Raises DataError."""
    try:
        with Image.open(file) as opened:
            problem = ""
            if opened.mode not in INDEXED:
                problem = f"a mask holds a class index in each pixel, but this picture has the mode {opened.mode}"
            elif opened.format in LOSSY:
                problem = f"a {opened.format} file changes the values of a mask"
            if problem:
                step = "save it as a PNG of 8-bit indices, with or without a palette"
                raise DataError(problem, where=file, next_step=step)
            times = STEPS.get(str(opened.tile[0].args), 1) if opened.tile else 1
            values = np.asarray(ImageOps.exif_transpose(opened), np.uint8)  # mode 1 gives 0 and 1
            return values // times
    except UNREADABLE as error:
        raise DataError(
            f"a mask does not decode: {error}", where=file, next_step="repair or remove that file"
        ) from error


def palette_of(file: Path) -> list[int]:
    """Red, green and blue per value, in one flat list: the mask's palette, completed by `usual_palette`."""
    with Image.open(file) as opened:
        own = (opened.getpalette() if opened.mode == "P" else None) or []
    return own + usual_palette()[len(own) :]


def usual_palette() -> list[int]:
    """PASCAL VOC's palette: the bits of the index, lowest first, become bits of red, green and blue in turn, highest
    first (Everingham et al. 2010, VOC development kit, `VOClabelcolormap`)."""
    colours = []
    for index in range(VALUES):
        for channel in range(3):
            bits = [index >> (3 * place + channel) & 1 for place in range(3)]
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colours
