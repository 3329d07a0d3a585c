"""Pictures per second of the loader alone, next to torchvision's datasets, transforms and DataLoader.

python benchmarks/data_path.py <folder of CIFAR-10> <zip with JPEGs> [rounds]

Two sets: the test split of CIFAR-10 at 32 pixels, in memory on both sides (torchvision's: Pillow pictures and a
DataLoader without workers), and a folder of the zip's JPEGs at 224 pixels (torchvision's side: one worker per core).
Two preprocessings: `none` (resize and centre crop) and `standard` (random crop and mirror), both normalised. Medians of
alternating rounds of an epoch each; float32 on the CPU.

`loader` yields what Frostline's loader passes to the training device, uint8; `to CPU` also augments and normalises it
on the CPU, in one thread. The row `decoding` is the first run on a folder. Aim: ten times torchvision.
"""

import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from torchvision import datasets
from torchvision import transforms as T

from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.loader import EpochBatches
from frostline.data.pictures.augment import Augment, Level
from frostline.data.pictures.cifar import read_parquet
from frostline.data.pictures.preprocess import evaluation_view
from frostline.data.pictures.sources import FilePictures, Pictures
from frostline.data.sample_cache import SampleCache
from frostline.data.split import Split, loader
from frostline.data.target_types.find import target_type
from frostline.storage.store import Store
from machine import write_result

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL, LARGE = ImageSpec(32, 32, MEAN, STD), ImageSpec(224, 232, MEAN, STD)
BATCH = 64
REPEATS = 3  # how often an epoch repeats the few JPEGs
Way = Callable[[], Iterable[Any]]


class InMemory(Dataset[tuple[Any, int]]):
    """Decoded Pillow pictures, transformed one by one, as in torchvision's CIFAR10."""

    def __init__(self, pictures: Pictures, transform: T.Compose) -> None:
        pixels = pictures.fetch(range(len(pictures.labels)), whole=True)[0]
        self.pictures = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pixels]
        self.labels = pictures.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        return self.transform(self.pictures[place]), self.labels[place]


def main(cifar: Path, archive: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as draft:
        cache = SampleCache(Store(Path(draft) / "cache", 10**10, "decoded"))
        small = read_parquet(cifar / "test.parquet").source(SMALL, None, cache, "cifar10")
        files = unpacked(archive, Path(draft) / "pictures" / "all")
        large = FilePictures(files, torch.zeros(len(files), dtype=torch.long), root=Path(draft), spec=LARGE)
        begun = time.perf_counter()
        large.keep(cache, "pictures")
        rows.append({"job": "decoding", "pictures_per_second": len(files) / (time.perf_counter() - begun)})
        print(f"decoding, once for all runs: {rows[0]['pictures_per_second']:,.0f} pictures/s")
        for level in ("none", "standard"):
            rows.append(measured("CIFAR-10, 32 pixels", level, rounds, memory_ways(small, level)))
            rows.append(measured("JPEGs, 224 pixels", level, rounds, folder_ways(large, Path(draft), level)))
    print(write_result("data_path", rows))


def unpacked(archive: Path, folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.lower().endswith((".jpg", ".jpeg")):
                (folder / name.replace("/", "-")).write_bytes(opened.read(name))
    return sorted(folder.iterdir())


def measured(job: str, level: str, rounds: int, ways: dict[str, Way]) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            number = sum(len(batch[0]) for batch in way())
            rates[name].append(number / (time.perf_counter() - begun))
    medians = {name: statistics.median(values[1:]) for name, values in rates.items()}  # the first round warms up
    theirs = medians["torchvision"]
    shown = "   ".join(f"{name} {rate:>9,.0f}/s ({rate / theirs:.1f} x)" for name, rate in medians.items())
    print(f"{job:20} {level:9} {shown}", flush=True)
    return {"job": job, "augment": level, "pictures_per_second": medians, "rounds": rates}


def memory_ways(pictures: Pictures, level: str) -> dict[str, Way]:
    own = [T.RandomCrop(32, 4, padding_mode="reflect"), T.RandomHorizontalFlip()] if level == "standard" else []
    theirs = InMemory(pictures, T.Compose([*own, T.ToTensor(), T.Normalize(MEAN, STD)]))
    peer = DataLoader(theirs, BATCH, shuffle=True, num_workers=0)
    return {"torchvision": lambda: peer} | our_ways(pictures, SMALL, level, 1)


def folder_ways(pictures: FilePictures, root: Path, level: str) -> dict[str, Way]:
    cut = [T.RandomResizedCrop(224, (0.6, 1.0)), T.RandomHorizontalFlip()]
    own = cut if level == "standard" else [T.Resize(232), T.CenterCrop(224)]
    transform = T.Compose([*own, T.ToTensor(), T.Normalize(MEAN, STD)])
    theirs: Dataset[Any] = ConcatDataset([datasets.ImageFolder(str(root / "pictures"), transform)] * REPEATS)
    peer = DataLoader(theirs, BATCH, shuffle=True, num_workers=torch.multiprocessing.cpu_count(),
                      persistent_workers=True)  # fmt: skip
    return {"torchvision": lambda: peer} | our_ways(pictures, LARGE, level, REPEATS)


def our_ways(pictures: Pictures, spec: ImageSpec, level: str, repeats: int) -> dict[str, Way]:
    index = torch.arange(len(pictures.labels)).repeat(repeats)
    part = Split(pictures, index, whole=level != "none")
    ours = loader(part, EpochBatches(len(part), BATCH, shuffle=True, seed=0), 0)
    augment = Augment(cast(Level, level), flip=True, erase=0.0, spec=spec, seed=0, target=target_type("class"),
                      num_classes=10, cut=pictures.cut)  # fmt: skip

    def viewed(batch: Batch) -> Batch:
        if level == "none":
            return batch._replace(inputs=evaluation_view(batch.inputs, spec, cut=pictures.cut))
        return augment(batch, 0)

    return {"loader": lambda: ours, "to CPU": lambda: map(viewed, cast(Iterable[Batch], ours))}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5)
