"""Score and time object detection: Frostline's plans next to torchvision's reference loop.

    python benchmarks/detection_worth.py <folder> [--seeds 0,1,2] [--epochs 4] [--pixels 224] [--ways head,loop]

The folder holds train, val and test with COCO's annotations, such as BCCD. All start from the ImageNet weights of
EfficientNet-Lite0 and train Faster R-CNN on a pyramid of the same maps and widths, on the same training pictures at the
same size for the same number of epochs, in sequence on one machine, and are scored on the same test pictures by COCO's
average precision:

head, two_stage, full   `frostline train task=detection`: the head alone; the head, then all of it; all of it
loop, loop_frozen       torchvision's FasterRCNN, all of it, and with a frozen backbone in eval mode

The loops are those of torchvision's references/detection: SGD at 0.02 for 16 pictures, momentum 0.9, weight decay 1e-4,
linear warm-up over the first epoch, rates divided by ten after two thirds and eight ninths; half of the pictures are
mirrored. They hold decoded pictures in memory; their last epoch is scored. `epoch` is the seconds of a training epoch
without validation: of the loops the median after the first, of Frostline the mean of the last phase.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from frostline.backbones.efficientnet_lite import packaged_weights, timm_names
from frostline.backbones.weights import read_weights
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.boxes.reader import BoxedPictures
from frostline.data.composed import data_of
from frostline.data.module import Data
from frostline.tasks.average_precision import DetectionMetrics
from jobs import frostline_run
from machine import write_result

NAME, BATCH, RATE = "tf_efficientnet_lite0", 8, 0.02 * 8 / 16
CHANNELS, HIDDEN, REGIONS, PROPOSALS, SCALE = 64, 256, 128, 300, 4
SPEC = ImageSpec(size=224, resize=256, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
HEAD = [f"head.channels={CHANNELS}", f"head.hidden={HIDDEN}", f"head.regions={REGIONS}", f"head.proposals={PROPOSALS}"]
PLANS = {
    "head": lambda epochs: ["schedule=head_only", f"schedule.phases.head.epochs={epochs}"],
    "two_stage": lambda epochs: [
        "schedule=two_stage",
        f"schedule.phases.head.epochs={epochs // 2}",
        f"schedule.phases.all.epochs={epochs - epochs // 2}",
    ],
    "full": lambda epochs: ["schedule=full", f"schedule.phases.all.epochs={epochs}"],
}
LOOPS = {"loop": False, "loop_frozen": True}


class Outcome(NamedTuple):
    map: float
    map_50: float
    seconds: float
    epoch: float


class Pyramid(nn.Module):
    """The maps of strides 4 to 32, joined by torchvision's feature pyramid network."""

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        network: Any = timm.create_model(NAME, features_only=True, out_indices=(1, 2, 3, 4))
        self.network: nn.Module = network
        found = timm_names(read_weights(packaged_weights(0)), 0)
        self.network.load_state_dict({name: found[name] for name in self.network.state_dict()})
        self.network.requires_grad_(not frozen)
        self.frozen = frozen
        self.fpn = FeaturePyramidNetwork(network.feature_info.channels(), CHANNELS, LastLevelMaxPool())
        self.out_channels = CHANNELS

    def train(self, mode: bool = True) -> "Pyramid":
        super().train(mode)
        self.network.train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.fpn({str(level): it for level, it in enumerate(self.network(x))})
        return maps


def detector(classes: int, sides: tuple[int, int], *, frozen: bool) -> nn.Module:
    strides = (4, 8, 16, 32, 64)
    network: nn.Module = FasterRCNN(
        Pyramid(frozen=frozen),
        rpn_anchor_generator=AnchorGenerator(tuple((SCALE * it,) for it in strides), ((0.5, 1.0, 2.0),) * 5),
        rpn_head=RPNHead(CHANNELS, 3),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2, canonical_scale=224 * SCALE / 8),
        box_head=TwoMLPHead(CHANNELS * 49, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, classes + 1),
        box_batch_size_per_image=REGIONS,
        rpn_post_nms_top_n_test=PROPOSALS,
        min_size=min(sides),
        max_size=max(sides),
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return network


def blood_cells(folder: Path, pixels: int, seed: int) -> Data:
    settings = {
        "dir": str(folder), "format": "coco", "classes": None, "group_pattern": None, "sides": None, "grey_range": None,
        "image_size": pixels, "augment": "none", "flip": False, "erase": 0.0, "num_workers": 0, "batch_size": BATCH,
        "train_limit": None, "val_fraction": 0.1, "test_fraction": 0.2, "folds": None, "fold": 0,
        "per_identity": None, "split_seed": 0,
        "seed": seed,
    }  # fmt: skip
    return data_of(BoxedPictures, SPEC, settings, target_kind="boxes")


def loop(data: Data, seed: int, epochs: int, *, frozen: bool) -> Outcome:
    torch.manual_seed(seed)
    sides = data.modality.spec.sides  # type: ignore[attr-defined]
    pictures, _ = data.train_split.source.fetch(data.train_split.index, whole=True)
    assert isinstance(pictures, Tensor)
    targets = [_target(rows) for rows in data.train_split.source.targets(data.train_split.index)]
    network = detector(len(data.classes), sides, frozen=frozen)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], RATE, 0.9, weight_decay=1e-4)
    per_epoch = len(pictures) // BATCH
    drops = [epochs * per_epoch * 2 // 3, epochs * per_epoch * 8 // 9]

    def curve(step: int) -> float:
        return min(1.0, (step + 1) / per_epoch) * 0.1 ** sum(step >= drop for drop in drops)

    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, curve)
    begun, ends = time.perf_counter(), []
    for _ in range(epochs):
        network.train()
        for index in torch.randperm(len(pictures))[: per_epoch * BATCH].split(BATCH):
            chosen = [_mirrored(pictures[it].float() / 255, targets[it]) for it in index.tolist()]
            terms = network([it for it, _ in chosen], [it for _, it in chosen])
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
            rates.step()
        ends.append(time.perf_counter())
    last = statistics.median(b - a for a, b in pairwise([begun, *ends][min(1, epochs - 1) :]))
    return _scored(network, data, sides, ends[-1] - begun, last)


def _target(rows: Tensor) -> dict[str, Tensor]:
    own = rows[rows[:, 4] >= 0]
    return {"boxes": own[:, :4], "labels": own[:, 4].long() + 1}


def _mirrored(picture: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    if torch.rand(()) < 0.5:
        return picture, target
    left, top, right, bottom = target["boxes"].unbind(1)
    width = picture.shape[2]
    return picture.flip(2), target | {"boxes": torch.stack([width - right, top, width - left, bottom], 1)}


def _scored(network: nn.Module, data: Data, sides: Sequence[int], seconds: float, epoch: float) -> Outcome:
    network.eval()
    metrics = DetectionMetrics(data.classes)
    scale = torch.tensor([sides[1], sides[0]] * 2)
    with torch.inference_mode():
        for places in torch.arange(len(data.test_split)).split(BATCH):
            batch = data.test_split.__getitems__(places.tolist())
            assert isinstance(batch, Batch)
            rows = torch.full((len(places), 100, 6), -1.0)
            for row, found in zip(rows, network([*(batch.pictures.float() / 255)]), strict=True):
                own = [found["boxes"] / scale, found["scores"][:, None], found["labels"][:, None] - 1.0]
                row[: len(found["boxes"])] = torch.cat(own, 1)
            metrics.update(rows, batch)
    scores = metrics.compute()
    return Outcome(scores["map"], scores["map_50"], seconds, epoch)


def ours(settings: list[str], folder: Path, pixels: int, seed: int) -> Outcome:
    common = ["task=detection", "model=efficientnet_lite0", "data=coco", f"data.dir={folder.absolute()}", *HEAD,
              f"head.anchor_scale={SCALE}", f"data.image_size={pixels}", f"data.batch_size={BATCH}", f"seed={seed}",
              "callbacks.progress=null"]  # fmt: skip
    with frostline_run(*common, *settings) as run:
        metrics, last = run.record["metrics"], run.record["phases"][-1]
        epoch = run.record["data"]["num_train"] / last["samples_per_second"]
        return Outcome(metrics["test/map"], metrics["test/map_50"], run.record["seconds"]["fit"], epoch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--pixels", type=int, default=224)
    parser.add_argument("--ways", default=",".join([*PLANS, *LOOPS]))
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in map(int, asked.seeds.split(",")):
        data = blood_cells(asked.folder, asked.pixels, seed)
        for way in asked.ways.split(","):
            outcome = (
                ours(PLANS[way](asked.epochs), asked.folder, asked.pixels, seed)
                if way in PLANS
                else loop(data, seed, asked.epochs, frozen=LOOPS[way])
            )
            rows.append({"way": way, "seed": seed, **outcome._asdict()})
            print(json.dumps(rows[-1]), flush=True)
            write_result("detection_worth", {"pixels": asked.pixels, "epochs": asked.epochs, "runs": rows})
    for way in asked.ways.split(","):
        own = [row for row in rows if row["way"] == way]
        means = {key: statistics.mean(row[key] for row in own) for key in ("map", "map_50", "seconds", "epoch")}
        print(f"{way:12}" + "".join(f"   {name} {value:.3f}" for name, value in means.items()))


if __name__ == "__main__":
    main()
