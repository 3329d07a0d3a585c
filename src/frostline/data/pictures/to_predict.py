"""Load pictures without labels, for prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from frostline.contracts.batch import Batch
from frostline.data.loader import EpochBatches
from frostline.data.pictures.grey import Range
from frostline.data.pictures.reading import Box, named, resized
from frostline.data.pictures.sources import FilePictures
from frostline.data.pictures.tiles import Tile
from frostline.data.split import Split, Transfers, loader
from frostline.errors import DataError

BROKEN = -1  # label of a picture that cannot be read


class Shown(NamedTuple):
    """Pictures to predict: their files, or pictures in place of files. grey: see `to_rgb`."""

    pictures: Sequence[Path | Image.Image]
    grey: Range | None


class Readable(FilePictures):
    """Pictures in files or open ones. An unreadable one becomes a black picture with the label BROKEN, so that the
    others are still predicted.

    tiles: the tile of its picture that each sample shows; None if samples are whole pictures.
    """

    def __init__(
        self, pictures: Sequence[Path | Image.Image], *, tiles: Sequence[Tile] | None = None, **common: Any
    ) -> None:
        files = [it if isinstance(it, Path) else Path() for it in pictures]
        super().__init__(files, torch.zeros(len(files), dtype=torch.long), **common)
        self.pictures = pictures
        self.tiles = tiles

    def box_of(self, place: int) -> Box | None:
        return None if self.tiles is None else self.tiles[place].box

    def scored_targets(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Labels, and the size of each tile (B, 2)."""
        if self.tiles is None:
            return self.targets(index), None
        boxes = torch.tensor([self.tiles[place].box for place in index.tolist()])
        return self.targets(index), boxes[:, [3, 2]] - boxes[:, [1, 0]]

    def _read(self, place: int) -> Tensor:
        picture = self.pictures[place]
        try:
            if isinstance(picture, Path):
                return super()._read(place)
            with named(f"picture {place + 1}"):
                return resized(picture, self.spec, self.grey, self.box_of(place))
        except DataError:
            self.labels[place] = BROKEN
            sides = self.spec.stretched or (self.spec.resize, self.spec.resize)
            return torch.zeros(3, *sides, dtype=torch.uint8)


class PictureFiles(Transfers):
    """Loads pictures in order, and decodes them on access; those with the label BROKEN could not be read. preprocess:
    shows a batch of them to the network. whole: whether each loaded picture could be read."""

    def __init__(
        self, pictures: FilePictures, preprocess: nn.Module, *, batch_size: int, num_workers: int | None
    ) -> None:
        super().__init__()
        self.num_workers = num_workers
        self.whole: list[bool] = []
        self.pictures = pictures
        self.batch_size = batch_size
        self.preprocess = preprocess

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        split = Split(self.pictures, torch.arange(len(self.pictures.files)), scored=True)
        return loader(split, EpochBatches(len(split), self.batch_size, shuffle=False, seed=0), self.num_workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        self.whole += (batch.targets != BROKEN).tolist()
        return batch._replace(inputs=self.preprocess(batch.pictures))
