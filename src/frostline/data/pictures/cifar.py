"""CIFAR-10 and CIFAR-100: 32 × 32 pixels, 50,000 pictures to train on and 10,000 to test on.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import hashlib
import io
import json
import tempfile
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets

from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.data.pictures.files import UNREADABLE
from frostline.data.pictures.grey import Range
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.reading import to_rgb
from frostline.data.pictures.samples import ArraySamples
from frostline.data.pictures.sources import ArrayPictures
from frostline.data.reader import Found, Reader
from frostline.data.sample_cache import SampleCache
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError
from frostline.paths import at_home, remove_empty

SETS: dict[str, type[datasets.CIFAR10]] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
NUM_CLASSES_CIFAR10 = 10
MOST_CLASSES = 2**16  # in a file without class names


class Cifar(Reader):
    """Reads `train.parquet` and `test.parquet` in `dir`, in the Hugging Face image layout, or else torchvision's layout
    (`cifar-10-batches-py/`), which is downloaded if it is missing.

    Raises DataError.
    """

    modality = PictureModality

    def __init__(self, *, variant: Literal["cifar10", "cifar100"], dir: str) -> None:
        self.variant = variant
        self.dir = self.where = at_home(dir)
        self.name = variant

    def read(self, target: TargetType, known: Targets | None) -> Found:
        files = [self.dir / "train.parquet", self.dir / "test.parquet"]
        lacking = [file.name for file in files if not file.is_file()]
        if len(lacking) == 1:
            raise DataError(
                f"{lacking[0]} is missing", where=self.dir, next_step="put it beside the other parquet file"
            )
        if not lacking:
            train, test = map(read_parquet, files)
            if train.names != test.names:
                raise DataError(
                    "train.parquet and test.parquet name different classes",
                    where=self.dir,
                    next_step="take both files from one export of the data set",
                )
            if self.variant == "cifar10" and len(train.names) > NUM_CLASSES_CIFAR10:
                raise DataError(
                    f"these pictures have {len(train.names)} classes, so they are not CIFAR-10",
                    where=self.dir,
                    next_step="data=cifar100, or data.dir=<folder of CIFAR-10>",
                )
            return Found(train.names, train, None, test)
        return self._torchvision_layout()

    def _torchvision_layout(self) -> Found:
        dataset = SETS[self.variant]
        if not (self.dir / dataset.base_folder).is_dir():
            self._download(dataset)
        try:
            train, test = (dataset(str(self.dir), train=is_train) for is_train in (True, False))
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            raise DataError(
                f"the files of {self.variant} are broken: {error}",
                where=self.dir / dataset.base_folder,
                next_step="remove that folder, then run again to download it",
            ) from error
        return Found(list(train.classes), _from_torchvision(train), None, _from_torchvision(test))

    def _download(self, dataset: type[datasets.CIFAR10]) -> None:
        """Download into a temporary folder, then rename it: an interrupted download leaves nothing that looks
        complete."""
        missing = [folder for folder in [self.dir, *self.dir.parents] if not folder.exists()]
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.dir, prefix=".download-") as draft:
                dataset(draft, download=True)
                (Path(draft) / dataset.base_folder).replace(self.dir / dataset.base_folder)
        except (urllib.error.URLError, RuntimeError, OSError) as error:
            if (self.dir / dataset.base_folder).is_dir():
                return  # another process was faster
            remove_empty(missing)
            raise DataError(
                f"{self.variant} is missing and cannot be downloaded: {error}",
                where=self.dir,
                next_step=f"data.dir=<folder> with train.parquet and test.parquet, or with {dataset.base_folder}/; "
                "or data=digits, which needs no download",
            ) from error


class EncodedPictures:
    """Pictures of one size in a parquet file, not yet decoded. encoded: the bytes of each picture's file. digest: of
    the parquet file."""

    files: Sequence[Path] = ()

    def __init__(self, file: Path, encoded: pa.Array, labels: Tensor, names: list[str], digest: str) -> None:
        self.file = file
        self.encoded = encoded
        self.labels = labels
        self.names = names
        self.digest = digest

    def source(self, spec: ImageSpec, grey: Range | None, cache: SampleCache, name: str) -> ArrayPictures:
        """Decode all pictures. Raises DataError that names a row which does not decode, or if pictures differ in
        size."""
        file, encoded = self.file, self.encoded
        shape = tuple(_decode(file, 0, encoded).shape)

        def decode(row: int) -> Tensor:
            picture = _decode(file, row, encoded)
            if picture.shape != shape:
                raise _refused(f"the pictures have {len(_sizes(file, encoded))} different sizes", file)
            return picture

        folder = file.absolute().parent.name
        pixels, entry = cache.uniform({"parquet": self.digest}, shape, len(encoded), decode, folder)
        return ArrayPictures(pixels, self.labels, entry)


def read_parquet(file: Path) -> EncodedPictures:
    """Read the columns `image` (struct of bytes and path) and `label`. Raises DataError."""
    try:
        content = file.read_bytes()
        # without threads, see `frostline.runs.predictions.read`
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        encoded = table.column(_image_column(table)).combine_chunks().field("bytes")
        column = table.column(_label_column(table))
        if not len(encoded) or not pa.types.is_integer(column.type):
            raise ValueError(f"labels must be whole numbers, not {column.type}" if len(encoded) else "it has no rows")
        labels = torch.tensor(column.to_pylist(), dtype=torch.int64)
        names = _class_names(table, labels)
    except (pa.ArrowException, OSError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise DataError(
            f"the parquet file cannot be read as pictures: {error}",
            where=file,
            next_step="it needs the columns `image` or `img` (bytes and path) and `label`; if truncated, copy it again",
        ) from error
    if int(labels.min()) < 0 or int(labels.max()) >= len(names) or len(set(names)) < 2:
        raise _refused(f"the file has labels from {labels.min()} to {labels.max()}, and {len(names)} classes", file)
    digest = hashlib.blake2b(content, digest_size=20).hexdigest()
    return EncodedPictures(file, encoded, labels, names, digest)


def _refused(what: str, file: Path) -> DataError:
    return DataError(
        what,
        where=file,
        next_step="use pictures of one size with valid labels, or data=image_folder for others",
    )


def _image_column(table: pa.Table) -> str:
    """The column is `img` in the Hub's copies of CIFAR."""
    return "img" if "img" in table.column_names else "image"


def _label_column(table: pa.Table) -> str:
    """CIFAR-100 has `fine_label` and `coarse_label` in the Hugging Face layout."""
    return "fine_label" if "fine_label" in table.column_names else "label"


def _decode(file: Path, row: int, encoded: pa.Array) -> Tensor:
    """Decode the picture in a row, (3, H, W)."""
    with _named(file, row):
        picture = to_rgb(Image.open(io.BytesIO(encoded[row].as_py())))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _sizes(file: Path, encoded: pa.Array) -> set[tuple[int, int]]:
    found = set()
    for row in range(len(encoded)):
        with _named(file, row), Image.open(io.BytesIO(encoded[row].as_py())) as opened:
            found.add(opened.size)
    return found


@contextmanager
def _named(file: Path, row: int) -> Iterator[None]:
    """Raises DataError with the index of a row that cannot be read as a picture."""
    try:
        yield
    except UNREADABLE as error:
        raise DataError(
            f"picture {row} does not decode: {error}", where=file, next_step="copy the file again, or remove that row"
        ) from error


def _class_names(table: pa.Table, labels: Tensor) -> list[str]:
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = metadata.get("info", {}).get("features", {}).get(_label_column(table), {})
    names = feature.get("names")
    if names is None:
        names = range(min(int(labels.max()) + 1, MOST_CLASSES))
    if isinstance(names, str) or len(set(names)) < len(names):
        raise ValueError(f"class names must be a list of different names, not {names!r}")
    return [str(name) for name in names]


def _from_torchvision(dataset: datasets.CIFAR10) -> ArraySamples:
    pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return ArraySamples(pixels, torch.tensor(dataset.targets))
