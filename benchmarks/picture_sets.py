"""Create the picture sets of `picture_worth.py` and the recipes from the data folder's archives, one folder per class;
and one with boxes.

    python benchmarks/picture_sets.py <data folder> <output folder>

wbc         cropped white blood cells, 4 classes (the 2 basophils are left out)
bccd        blood cells of three kinds, cropped by their boxes, every sixth of the red ones; the source's own splits
bccd_boxes  the whole pictures of bccd, with boxes in COCO's format
cifar_1k    the first 1,000 training rows of CIFAR-10, the next 110 for validation, the first 1,000 test rows
cifar_5k    the first 5,000, the next 550 for validation, the first 1,000 test rows
sounds      log spectrograms of spoken digits by six speakers, one picture per recording
fsdd        all recordings of the spoken digits, with the table that names their digits and splits

The archives hold: pictures and boxes of github.com/Shenggan/BCCD_Dataset (MIT), as COCO annotations of its own splits;
its white blood cells, cut out with a margin of a tenth and sorted by the types of github.com/dhruvp/wbc-classification;
CIFAR-10 (Krizhevsky 2009), a Parquet file of JPEGs per split; the recordings of
github.com/Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0).
"""

import io
import json
import shutil
import sys
import wave
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

Cut = tuple[str, str, Image.Image]  # split, class, picture


def wbc(data: Path, output: Path) -> None:
    with zipfile.ZipFile(data / "wbc_types" / "wbc_crops.zip") as archive:
        for name in archive.namelist():
            if name.endswith(".jpg") and "basophil" not in name:
                target = output / "wbc" / Path(name).parent.name / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def bccd(data: Path, output: Path) -> None:
    for number, (part, name, picture) in enumerate(_cells(data / "bccd" / "bccd.zip")):
        folder = output / "bccd" / part / name
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number:05d}.png")


def _cells(archive_path: Path) -> Iterator[Cut]:
    with zipfile.ZipFile(archive_path) as archive:
        for part in ("train", "val", "test"):
            said = json.loads(archive.read(f"annotations/instances_{part}.json"))
            files = {picture["id"]: picture["file_name"] for picture in said["images"]}
            names = {kind["id"]: kind["name"] for kind in said["categories"]}
            open_id, picture = None, None
            for number, box in enumerate(said["annotations"]):
                if names[box["category_id"]] == "RBC" and number % 6:
                    continue
                if box["image_id"] != open_id:
                    content = archive.read(f"{part}/{files[box['image_id']]}")
                    open_id, picture = box["image_id"], Image.open(io.BytesIO(content)).convert("RGB")
                assert picture is not None
                left, top, width, height = box["bbox"]
                yield part, names[box["category_id"]], picture.crop((left, top, left + width, top + height))


def cifar(data: Path, output: Path, name: str, train: int, val: int) -> None:
    for part, file, start, rows in (
        ("train", "train", 0, train), ("val", "train", train, val), ("test", "test", 0, 1000)
    ):  # fmt: skip
        table = pq.read_table(data / "cifar10" / f"{file}.parquet")
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
        for number, row in enumerate(table.slice(start, rows).to_pylist()):
            target = output / name / part / names[row["label"]] / f"{number:05d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(row["image"]["bytes"])


def sounds(data: Path, output: Path) -> None:
    with zipfile.ZipFile(data / "fsdd" / "recordings.zip") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".wav"):
                digit, _, take = Path(name).stem.split("_")
                if int(take) >= 12:  # 12 takes per digit and speaker: 720 recordings
                    continue
                folder = output / "sounds" / digit
                folder.mkdir(parents=True, exist_ok=True)
                spectrogram(archive.read(name)).save(folder / f"{Path(name).stem}.png")


def spectrogram(content: bytes) -> Image.Image:
    """Time runs to the right, frequency upwards; black to white spans 80 dB."""
    with wave.open(io.BytesIO(content)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 2**15
    sound = np.pad(sound, (0, max(0, 512 - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, 256)[::64] * np.hanning(256)
    power = 20 * np.log10(np.abs(np.fft.rfft(frames)).T[::-1] + 1e-6)
    grey = np.clip((power - power.max() + 80) / 80, 0, 1) * 255
    return Image.fromarray(grey.astype(np.uint8))


def main(data: Path, output: Path) -> None:
    wbc(data, output)
    bccd(data, output)
    with zipfile.ZipFile(data / "bccd" / "bccd.zip") as archive:
        archive.extractall(output / "bccd_boxes")
    cifar(data, output, "cifar_1k", 1000, 110)
    cifar(data, output, "cifar_5k", 5000, 550)
    sounds(data, output)
    with zipfile.ZipFile(data / "fsdd" / "recordings.zip") as archive:
        archive.extractall(output / "fsdd")
    shutil.copyfile(data / "fsdd" / "metadata.csv", output / "fsdd" / "metadata.csv")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
