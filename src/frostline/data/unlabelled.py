"""Pictures without labels, for predictions."""

import torch
from torch.utils.data import DataLoader

from frostline.batch import Batch
from frostline.data.augment import evaluation_view
from frostline.data.loader import EpochBatches
from frostline.data.module import Transfers
from frostline.data.parts import Part, loader
from frostline.data.pictures import FilePictures
from frostline.errors import DataError


class PictureFiles(Transfers):
    """In order; each is decoded when it is asked for."""

    def __init__(self, pictures: FilePictures, *, batch_size: int) -> None:
        super().__init__()
        self.pictures = pictures
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        part = Part(self.pictures, torch.arange(len(self.pictures.files)), whole=False)
        return loader(part, EpochBatches(len(part), self.batch_size, shuffle=False, seed=0), num_workers=None)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch._replace(inputs=evaluation_view(batch.pictures, self.pictures.spec, cut=self.pictures.cut))
