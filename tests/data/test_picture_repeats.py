"""Repeated pictures are compared once for the runs of a process, as each run sees them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.contracts.specs import ImageSpec
from frostline.data.pictures import repeats
from frostline.data.pictures.repeats import picture_repeats
from frostline.data.pictures.sources import FilePictures
from frostline.data.split import Split


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two pictures that differ in one pixel, which disappears where they are seen small."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    for name in ("one", "other"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        pixels[3, 3] = 1
    return [tmp_path / "one.png", tmp_path / "other.png"]


def train_split(files: list[Path], size: int, labels: tuple[int, int] = (0, 1)) -> dict[str, Split]:
    spec = ImageSpec(size=size, resize=size, mean=(0.5,) * 3, std=(0.5,) * 3)
    source = FilePictures(files, torch.tensor(labels), root=files[0].parent, spec=spec)
    source.hold()
    return {"train": Split(source, torch.arange(2))}


def test_pictures_are_compared_as_each_run_sees_them(files: list[Path]) -> None:
    small, whole = (picture_repeats(train_split(files, size)) for size in (16, 256))
    assert (small.within, len(small.contradicting)) == (1, 1)
    assert (whole.within, whole.contradicting) == (0, [])
    alike = picture_repeats(train_split(files, 16, labels=(1, 1)))
    assert (alike.within, alike.contradicting) == (1, [])


def test_the_same_splits_are_compared_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = picture_repeats(train_split(files, 16))
    monkeypatch.setattr(repeats, "_compared", None)
    assert picture_repeats(train_split(files, 16)) is first
