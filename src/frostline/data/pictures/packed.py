"""Store pictures of several sizes in one file, and batch them. Shapes: a picture is (H, W, 3) uint8, as in Pillow, so
that a batch (B, 3, H, W) is channels last in memory.

A row is height and width, two bytes each, then the picture's bytes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import center_crop

from frostline.storage.entry import Entry

SIZE = np.dtype("<u2")  # up to 65,535; sides of stored pictures have at most MAX_ASPECT · specs.MOST_PIXELS = 8,192
HEAD = 2 * SIZE.itemsize


def packed(picture: Tensor) -> Tensor:
    """(3, H, W) → (4 + H · W · 3,)."""
    head = torch.frombuffer(bytearray(np.array(picture.shape[1:], SIZE).tobytes()), dtype=torch.uint8)
    return torch.cat([head, picture.permute(1, 2, 0).reshape(-1)])


def packed_bytes(size: tuple[int, int]) -> Tensor:
    return torch.tensor(HEAD + 3 * size[0] * size[1])


class PackedPictures(Sequence[np.ndarray]):
    """The pictures of a complete entry, read from its memory map."""

    def __init__(self, entry: Entry) -> None:
        assert entry.starts is not None
        self._entry = entry  # a reference keeps the store from removing it
        self._flat = entry.flat.numpy()
        self._starts = entry.starts.numpy()
        heads = self._flat[self._starts[:-1, None] + np.arange(HEAD)]
        self._sizes = np.ascontiguousarray(heads).view(SIZE)  # (N, 2)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, place: int) -> np.ndarray:  # type: ignore[override]
        height, width = self._sizes[place]
        return self._flat[self._starts[place] + HEAD : self._starts[place + 1]].reshape(height, width, 3)


def padded(pictures: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None]:
    """Batch pictures (B, 3, H, W), padded with zeros at the right and bottom; return sizes (B, 2), None if all are
    equal."""
    sizes = [picture.shape[:2] for picture in pictures]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    alike = len(set(sizes)) == 1
    canvas = (np.empty if alike else np.zeros)((len(pictures), height, width, 3), np.uint8)
    for slot, picture in zip(canvas, pictures, strict=True):
        slot[: picture.shape[0], : picture.shape[1]] = picture
    return torch.from_numpy(canvas).permute(0, 3, 1, 2), None if alike else torch.tensor(sizes)


def centres(pictures: Sequence[np.ndarray], side: int) -> Tensor:
    """Batch centre crops (B, 3, side, side), equal to torchvision's `center_crop`."""
    cut = np.empty((len(pictures), side, side, 3), np.uint8)
    for slot, picture in zip(cut, pictures, strict=True):
        height, width = picture.shape[:2]
        if height < side or width < side:  # torchvision pads with black
            slot[:] = center_crop(torch.from_numpy(picture).permute(2, 0, 1), [side, side]).permute(1, 2, 0).numpy()
        else:
            top, left = round((height - side) / 2), round((width - side) / 2)
            slot[:] = picture[top : top + side, left : left + side]
    return torch.from_numpy(cut).permute(0, 3, 1, 2)
