"""Pictures without labels, for predictions."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.batch import Batch
from frostline.data.augment import evaluation_view
from frostline.data.loader import EpochBatches
from frostline.data.module import Transfers
from frostline.data.parts import Part, loader
from frostline.data.pictures import FilePictures
from frostline.errors import DataError

BROKEN = -1  # in the place of a class


class Readable(FilePictures):
    """A file that cannot be read is a black picture with BROKEN for its class: it does not cost the others."""

    def _read(self, place: int) -> Tensor:
        try:
            return super()._read(place)
        except DataError:
            self.labels[place] = BROKEN
            return torch.zeros(3, self.spec.resize, self.spec.resize, dtype=torch.uint8)


class PictureFiles(Transfers):
    """In order; each is decoded when it is asked for. whole: of each picture that came, whether it could be read."""

    def __init__(self, pictures: Readable, *, batch_size: int) -> None:
        super().__init__()
        self.whole: list[bool] = []
        self.pictures = pictures
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        part = Part(self.pictures, torch.arange(len(self.pictures.files)), whole=False)
        return loader(part, EpochBatches(len(part), self.batch_size, shuffle=False, seed=0), num_workers=None)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        self.whole += (batch.targets != BROKEN).tolist()
        return batch._replace(inputs=evaluation_view(batch.pictures, self.pictures.spec, cut=self.pictures.cut))
