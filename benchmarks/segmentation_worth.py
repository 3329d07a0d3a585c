"""Score and time segmentation: Frostline's plans next to two plain loops.

    python benchmarks/segmentation_worth.py <folder> [--seeds 0,1,2] [--epochs 6] [--pixels 128] [--ignore 11]

The folder holds images/ and masks/ with train, val and test, such as CamVid. All start from the ImageNet weights of
EfficientNet-Lite0, see the same training pictures at the same size for the same number of epochs, in sequence on one
machine, and are scored on the same test pictures, each at its own size, by one confusion matrix over the data set:

head, two_stage, full   `frostline train head=unet`: the decoder alone; the decoder, then all of it; all of it
fcn                     torchvision's FCN head on the last map, trained with the whole network by a plain loop
unet                    segmentation-models-pytorch's U-Net of all five resolutions, trained by a plain loop

The loops hold decoded pictures in memory, mirror half of them, and train with AdamW at 5e-4, a warm-up of half an epoch
and a cosine; their last epoch is scored. Seconds are training time without imports and the scoring of the test split;
Frostline's include validation and checkpoints. segmentation-models-pytorch comes with the extra `segmentation`.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torchvision.models.segmentation.fcn import FCNHead

from frostline.backbones.efficientnet_lite import packaged_weights, timm_names
from frostline.backbones.weights import read_weights
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.composed import data_of
from frostline.data.module import Data
from frostline.data.pictures.image_masks import ImageMasks
from frostline.data.pictures.preprocess import evaluation_view
from frostline.data.split import Split
from frostline.tasks.segmentation import IGNORED, SegmentationMetrics
from jobs import frostline_run
from machine import write_result

NAME, BATCH, RATE = "tf_efficientnet_lite0", 16, 5e-4
SPEC = ImageSpec(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
PLANS = {
    "head": lambda epochs: ["schedule=head_only", f"schedule.phases.head.epochs={epochs}"],
    "two_stage": lambda epochs: [
        "schedule=two_stage",
        f"schedule.phases.head.epochs={epochs // 2}",
        f"schedule.phases.all.epochs={epochs - epochs // 2}",
    ],
    "full": lambda epochs: ["schedule=full", f"schedule.phases.all.epochs={epochs}"],
}


class Outcome(NamedTuple):
    iou: float
    accuracy: float
    seconds: float


class Fcn(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        network: Any = timm.create_model(NAME, features_only=True)
        self.network: nn.Module = network
        self.head = FCNHead(network.feature_info.channels()[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.network(x)[-1])
        return outputs


def fcn(classes: int) -> nn.Module:
    network = Fcn(classes)
    _load(network.network)
    return network


def unet(classes: int) -> nn.Module:
    network: nn.Module = smp.Unet(f"tu-{NAME}", encoder_weights=None, classes=classes)
    _load(network.encoder.model)  # type: ignore[union-attr, arg-type]
    return network


def _load(network: nn.Module) -> None:
    """Load the ImageNet weights of every layer of the network."""
    found = timm_names(read_weights(packaged_weights(0)), 0)
    network.load_state_dict({name: found[name] for name in network.state_dict()})


LOOPS: dict[str, Callable[[int], nn.Module]] = {"fcn": fcn, "unet": unet}


def camvid(folder: Path, pixels: int, ignore: list[int], seed: int) -> Data:
    settings = {
        "dir": str(folder),
        "classes": None,
        "ignore": ignore,
        "mask_suffix": "",
        "group_pattern": None,
        "folds": None,
        "fold": 0,
        "per_identity": None,
        "sides": None,
        "tile": None,
        "grey_range": None,
        "image_size": pixels,
        "augment": "none",
        "flip": False,
        "erase": 0.0,
        "num_workers": 0,
        "batch_size": BATCH,
        "train_limit": None,
        "val_fraction": 0.1,
        "test_fraction": 0.2,
        "split_seed": seed,
        "seed": seed,
    }
    return data_of(ImageMasks, SPEC, settings, target_kind="masks")


def loop(make: Callable[[int], nn.Module], data: Data, seed: int, epochs: int) -> Outcome:
    torch.manual_seed(seed)
    pictures, masks = _held(data, data.train_split)
    spec = data.modality.spec
    assert isinstance(spec, ImageSpec)
    network = make(len(data.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    per_epoch = len(pictures) // BATCH
    steps, warm = epochs * per_epoch, per_epoch / 2

    def curve(step: int) -> float:
        return min(1.0, (step + 1) / warm) * (1 + math.cos(math.pi * step / steps)) / 2

    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, curve)
    begun = time.perf_counter()
    network.train()
    for _ in range(epochs):
        for index in torch.randperm(len(pictures))[: per_epoch * BATCH].split(BATCH):
            x, y = pictures[index], masks[index].long()
            mirrored = (torch.rand(len(x)) < 0.5).view(-1, 1, 1, 1)
            x, y = torch.where(mirrored, x.flip(3), x), torch.where(mirrored[:, 0], y.flip(2), y)
            outputs = network(evaluation_view(x, spec, cut=True).contiguous(memory_format=torch.channels_last))
            logits = interpolate(outputs, y.shape[1:], mode="bilinear", align_corners=False)
            optimizer.zero_grad()
            cross_entropy(logits, y, ignore_index=IGNORED).backward()
            optimizer.step()
            rates.step()
    seconds = time.perf_counter() - begun
    return _scored(network, data, seconds)


def _held(data: Data, part: Split) -> tuple[Tensor, Tensor]:
    pictures, _ = part.source.fetch(part.index, whole=True)
    assert isinstance(pictures, Tensor)
    return pictures, part.source.targets(part.index)


def _scored(network: nn.Module, data: Data, seconds: float) -> Outcome:
    network.eval()
    metrics = SegmentationMetrics(data.classes)
    spec = data.modality.spec
    assert isinstance(spec, ImageSpec)
    with torch.inference_mode():
        for places in torch.arange(len(data.test_split)).split(BATCH):
            batch = data.test_split.__getitems__(places.tolist())
            assert isinstance(batch, Batch)
            metrics.update(network(evaluation_view(batch.pictures, spec, cut=True)), batch)
    scores = metrics.compute()
    return Outcome(scores["iou"], scores["accuracy"], seconds)


def ours(settings: list[str], folder: Path, pixels: int, ignore: list[int], seed: int) -> Outcome:
    common = [
        "task=segmentation",
        "head=unet",
        "model=efficientnet_lite0",
        "data=image_masks",
        f"data.dir={folder.absolute()}",
        f"data.ignore={ignore}".replace(" ", ""),
        f"data.image_size={pixels}",
        f"data.batch_size={BATCH}",
        f"seed={seed}",
    ]
    with frostline_run(*common, *settings) as run:
        metrics, seconds = run.record["metrics"], run.record["seconds"]["fit"]
    return Outcome(metrics["test/iou"], metrics["test/accuracy"], seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--ignore", default="11")
    asked = parser.parse_args()
    ignore = [int(value) for value in asked.ignore.split(",") if value]
    rows: list[dict[str, Any]] = []
    for seed in map(int, asked.seeds.split(",")):
        data = camvid(asked.folder, asked.pixels, ignore, seed)
        for way in (*PLANS, *LOOPS):
            outcome = (
                ours(PLANS[way](asked.epochs), asked.folder, asked.pixels, ignore, seed)
                if way in PLANS
                else loop(LOOPS[way], data, seed, asked.epochs)
            )
            rows.append({"way": way, "seed": seed, **outcome._asdict()})
            print(json.dumps(rows[-1]), flush=True)
            write_result("segmentation_worth", {"pixels": asked.pixels, "epochs": asked.epochs, "runs": rows})
    for way in (*PLANS, *LOOPS):
        own = [row for row in rows if row["way"] == way]
        means = {key: statistics.mean(row[key] for row in own) for key in ("iou", "accuracy", "seconds")}
        print(f"{way:12} iou {means['iou']:.3f}   accuracy {means['accuracy']:.3f}   {means['seconds']:.0f} s")


if __name__ == "__main__":
    main()
