"""Pictures with boxes. Shapes: N pictures, C classes, M the most boxes of a picture in a batch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.grey import Range
from frostline.data.pictures.sources import FilePictures
from frostline.data.sample_cache import SampleCache
from frostline.data.target_types.base import TargetType
from frostline.data.target_types.boxes import LEAST_SIDE
from frostline.errors import counted

CLASS, CROWD, COLUMNS = 4, 5, 7  # of a box; the last is their number
FILL = -1.0


class BoxedSamples:
    """Pictures and boxes as the reader found them. Parameters: see `PicturesWithBoxes`."""

    def __init__(
        self, files: list[Path], boxes: list[Tensor], sizes: list[tuple[int, int]], classes: int, root: Path
    ) -> None:
        self.files = files
        self.boxes = boxes
        self.sizes = sizes
        self.classes = classes
        self.root = root

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> "PicturesWithBoxes":
        return PicturesWithBoxes(self.files, self.boxes, self.sizes, self.classes, root=self.root, spec=spec, grey=grey)


class PicturesWithBoxes(FilePictures):
    """boxes: (M, 7) of each picture: left, top, right and bottom in its pixels, class, whether it is a crowd, area.
    sizes: width and height of each picture. classes: their number. `labels`: (N, C) int64, boxes of each class without
    crowds."""

    def __init__(
        self,
        files: Sequence[Path],
        boxes: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        classes: int,
        **common: Any,
    ) -> None:
        self.boxes = boxes
        self.sizes = torch.tensor(sizes).view(-1, 2)
        counts = [_counted(rows)[:, CLASS].long().bincount(minlength=classes) for rows in boxes]
        labels = torch.stack(counts) if counts else torch.zeros(0, classes, dtype=torch.int64)
        super().__init__(files, labels, **common)

    def fingerprint(self, target: TargetType, *, as_found: bool = False) -> str:
        """Digest of pictures and boxes."""
        digest = hashlib.blake2b(super().fingerprint(target, as_found=as_found).encode(), digest_size=16)
        for rows in self.boxes:
            digest.update(repr(tuple(rows.shape)).encode() + rows.numpy().tobytes())
        return digest.hexdigest()

    def targets(self, index: Tensor) -> Tensor:
        """(B, M, 5) in pixels at the network's sides, without crowds and boxes below LEAST_SIDE; FILL fills up."""
        height, width = self.spec.sides
        rows = []
        for place in index.tolist():
            own = _counted(self.boxes[place])
            scale = own.new_tensor([width, height, width, height]) / self.sizes[place].repeat(2)
            edges = own[:, :CLASS] * scale
            seen = (edges[:, 2:] - edges[:, :2]).amin(1) >= LEAST_SIDE
            rows.append(torch.cat([edges, own[:, CLASS:CROWD]], 1)[seen])
        return pad_sequence(rows, batch_first=True, padding_value=FILL)

    def notes(self) -> list[str]:
        """On boxes that are too small at the network's sides to be learned."""
        height, width = self.spec.sides
        rows = torch.cat([*self.boxes, torch.zeros(0, COLUMNS)])
        sizes = self.sizes.repeat_interleave(torch.tensor([len(own) for own in self.boxes], dtype=torch.int64), 0)
        sides = (rows[:, 2:4] - rows[:, :2]) * rows.new_tensor([width, height]) / sizes
        small = int(((sides.amin(1) < LEAST_SIDE) & (rows[:, CROWD] == 0)).sum())
        subject = counted(small, "box is", "boxes are")
        step = "a larger data.image_size shows more"
        return [f"{subject} smaller than a pixel at {height} × {width} and not learned; {step}"] if small else []

    def scored_targets(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, 7) in the pictures' own pixels, with crowds and areas, and heights and widths (B, 2)."""
        rows = pad_sequence([self.boxes[place] for place in index.tolist()], batch_first=True, padding_value=FILL)
        return rows, self.sizes[index].flip(1)


def _counted(rows: Tensor) -> Tensor:
    """Boxes that are not crowds."""
    return rows[rows[:, CROWD] == 0]
