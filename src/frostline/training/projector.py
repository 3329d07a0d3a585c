"""Features of the frozen network for TensorBoard's projector.

Shapes: N samples, D features.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn.functional import interpolate

from frostline.errors import DataError, one_line
from frostline.training.build import Built

MOST_SAMPLES = 300  # of the validation split: decoding their pictures takes most of the time
WIDTH = 64  # principal components: the projector reads them as text
SIDE = 32  # pixels of a thumbnail; the sprite has at most ⌈√N⌉ · SIDE ≤ 8192 a side
TAG = "frozen features"
STEP, CONFIG = "00000", "projector_config.pbtxt"  # torch.utils.tensorboard writes features of step 0 there


def log_projector(built: Built, *, pictures: bool) -> None:
    """Write cached features of validation samples, with their labels, and with thumbnails if samples are `pictures` and
    may be shown. Nothing is written if features are no vectors. A full disk loses them, but not the run."""
    logger = built.trainer.logger
    if not isinstance(logger, TensorBoardLogger) or built.data.modality.has_columns:
        return
    if built.model.backbone.features.form == "vector":
        try:
            folder = Path(logger.log_dir)
            if not _has_features(folder):
                remove_features(folder)  # parts that a kill left; torch would warn of them
                _write(logger.experiment, built, pictures=pictures)
        except OSError as error:
            print(f"frostline: no features for TensorBoard: {error.strerror or error}", file=sys.stderr)


def _has_features(folder: Path) -> bool:
    """Whether the folder has all features, as that of a resumed run does: their config is written last."""
    config = folder / CONFIG
    return config.is_file() and TAG in config.read_text(errors="replace")


def remove_features(folder: Path) -> None:
    (folder / CONFIG).unlink(missing_ok=True)
    shutil.rmtree(folder / STEP, ignore_errors=True)


def _write(writer: Any, built: Built, *, pictures: bool) -> None:
    split = built.data.val_split
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:MOST_SAMPLES].sort().values
    rows = built.frozen.features(split).rows[chosen].float()
    if len(rows) < 3 or not bool(rows.isfinite().all()):
        return
    labels = [_label(built, int(at)) for at in split.index[chosen]]
    thumbnails = _thumbnails(built, split.index[chosen].tolist()) if pictures else None
    writer.add_embedding(reduced(rows), metadata=labels, label_img=thumbnails, tag=TAG)


def reduced(rows: Tensor) -> Tensor:
    """(N, D) → (N, ≤ WIDTH): the first principal components."""
    if rows.shape[1] <= WIDTH:
        return rows
    torch.manual_seed(0)
    u, s, _ = torch.pca_lowrank(rows, q=min(WIDTH, *rows.shape))
    return u * s


def _label(built: Built, index: int) -> str:
    target = built.data.val_split.source.labels[index]
    names = built.data.names
    return one_line(names[int(target)]) if target.ndim == 0 and not target.is_floating_point() else str(target.tolist())


def _thumbnails(built: Built, index: list[int]) -> Tensor | None:
    """(N, 3, SIDE, SIDE) from 0 to 1; None if samples are no pictures or cannot be read."""
    found = []
    for at in index:
        try:
            pixels = built.data.val_split.source.shown(at)
        except DataError:
            return None
        if not isinstance(pixels, Tensor):
            return None
        found.append(interpolate(pixels[None].float() / 255, (SIDE, SIDE), mode="area")[0])
    return torch.stack(found)
