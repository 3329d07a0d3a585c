"""Pictures that are passed from Python: paths, PIL images, arrays and tensors."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from frostline.data.pictures.dicom import WINDOW
from frostline.data.pictures.files import DICOM, UNREADABLE, room_for
from frostline.data.pictures.grey import DEEP, PLAIN, TOPS, Range, Setting, deep_values, to_eight_bits
from frostline.errors import DataError
from frostline.paths import at_home

CHANNELS = (1, 3, 4)  # of grey, colour, and colour with transparency


class OwnRanges:
    """Scales grey pictures of more than 8 bits for a run without a range, each by the smallest usual range that holds
    its values, so that its prediction does not depend on other samples. Prints a note at the first picture of a range.

    setting: the run's; OwnRanges changes no picture unless it is None."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._reported: set[Range | None] = set()

    def shown(self, picture: Path | Image.Image, where: str) -> Path | Image.Image:
        """Return a picture of 8 bits in place of one of more bits; any other as it is, also if it is unreadable."""
        if self.setting is not None or (isinstance(picture, Path) and picture.suffix.lower() in PLAIN):
            return picture
        try:
            if isinstance(picture, Path):
                with Image.open(picture) as opened:
                    return self._scaled(opened, where) or picture
            return self._scaled(picture, where) or picture
        except UNREADABLE:
            return picture  # reported where it is decoded for the network

    def _scaled(self, picture: Image.Image, where: str) -> Image.Image | None:
        if not picture.mode.startswith(DEEP) or picture.format == DICOM or WINDOW in picture.info:
            return None  # DICOM is shown by its own window
        with room_for(picture):
            upright = ImageOps.exif_transpose(picture)
            values = np.asarray(upright)
            deep = deep_values(values, upright.mode)
            if not deep.number:
                return None
            self._tell(deep.range(), where, holes=deep.holes > 0)
            return Image.fromarray(to_eight_bits(values, upright.mode, deep.range()))

    def _tell(self, own: Range, where: str, *, holes: bool) -> None:
        is_usual = own[0] == 0 and own[1] in (1.0, *TOPS)
        key = own if is_usual else None
        if key not in self._reported:
            self._reported.add(key)
            low, high = (repr(value).removesuffix(".0") for value in own)
            rule = "the smallest usual range that holds its values" if is_usual else "its lowest and highest value"
            black = "; NaN becomes black" if holes else ""
            print(
                f"frostline: {where} is grey with more than 8 bits, for which the run has no range: {low} becomes "
                f"black and {high} white, {rule}{black}; the same rule holds for later samples",
                file=sys.stderr,
            )


def as_picture(sample: Any, where: str) -> Path | Image.Image:
    """Convert a sample to a path or a PIL image. Raises DataError at `where` if it is not a picture."""
    if isinstance(sample, str | os.PathLike):
        file = at_home(os.fspath(sample))
        if not file.is_file():
            raise DataError("there is no such picture", where=f"{file} ({where})", next_step="correct the path")
        return file
    if isinstance(sample, Image.Image):
        if 0 in sample.size:
            raise _no_picture("an image of {} × {} pixels".format(*sample.size), where)
        if sample.mode == "F":
            _require_finite(np.asarray(sample), where)
        return sample
    if not isinstance(sample, Tensor | np.ndarray):
        raise _no_picture(f"a {type(sample).__name__}", where)
    error = _no_picture(_described(sample), where, _turned(sample))
    if isinstance(sample, Tensor) and (sample.dtype != torch.uint8 or sample.ndim not in (2, 3)):
        raise error
    if 0 in sample.shape:
        raise _no_picture(f"{_described(sample)}, without values", where)
    if isinstance(sample, Tensor):
        values: np.ndarray = (sample.movedim(0, -1) if sample.ndim == 3 else sample).cpu().numpy()
    else:
        values = sample
    _require_finite(values, where)
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    try:
        return Image.fromarray(np.ascontiguousarray(values))
    except (TypeError, ValueError) as unknown:
        raise error from unknown


def _described(sample: Tensor | np.ndarray) -> str:
    kind = "a tensor" if isinstance(sample, Tensor) else "an array"
    return f"{kind} of {sample.dtype} with the shape {tuple(sample.shape)}"


def _turned(sample: Tensor | np.ndarray) -> str:
    """The call for a batch, or for a picture with channels last in a tensor, or first in an array."""
    is_tensor = isinstance(sample, Tensor)
    if sample.dtype not in (torch.uint8, np.uint8):
        return ""
    if sample.ndim == 4:
        return "predict([*batch]), without further brackets: it holds several pictures"
    if sample.ndim == 3 and sample.shape[-1 if is_tensor else 0] in CHANNELS:
        turned = "picture.movedim(-1, 0)" if is_tensor else "np.moveaxis(picture, 0, -1)"
        return f"predict([{turned}]), of the shape {'(C, H, W)' if is_tensor else '(H, W, C)'}"
    return ""


def _require_finite(values: Any, where: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(
            "this picture holds NaN or infinite values, which are no shade of grey",
            where=where,
            next_step="replace them: array = np.nan_to_num(np.asarray(picture)); predict([array])",
        )


def _no_picture(what: str, where: str, first: str = "") -> DataError:
    """first: a next step before the general one."""
    forms = "pass a path, a PIL image, an array (H, W) or (H, W, 3) of uint8, or a uint8 tensor (3, H, W)"
    return DataError(
        f"this is not a picture: {what}", where=where, next_step=f"{first}; or {forms}" if first else forms
    )
