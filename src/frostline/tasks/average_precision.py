"""COCO's scores of boxes. Shapes: outputs (B, M, 6) and targets (B, N, 7), as in tasks/detection.py."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.utilities import dim_zero_cat

from frostline.contracts.batch import Batch
from frostline.errors import needs
from frostline.tasks.base import Metrics, Mode

# COCO's twelve scores by the names of torchmetrics (https://cocodataset.org/#detection-eval). Those by size are left
# out if no object has that size.
SCORES: dict[str, Mode] = {"map": "max", "map_50": "max", "map_75": "max", "mar_100": "max"}
BY_SIZE = ("map_small", "map_medium", "map_large", "mar_small", "mar_medium", "mar_large")
NAMES = (*SCORES, "mar_1", "mar_10", *BY_SIZE)
# Thresholds as in pycocotools. torchmetrics' own are rounded to float32, so that a recall of exactly 0.3 misses its
# threshold: in tests/tasks/test_detection.py that moved an AP by 0.001.
IOU: list[float] = np.linspace(0.5, 0.95, 10).tolist()
RECALL: list[float] = np.linspace(0.0, 1.0, 101).tolist()
SCORE, CLASS = 4, 5  # columns of predictions
TRUE_CLASS, CROWD, AREA = 4, 5, 6  # columns of targets


def in_pixels(outputs: Tensor, batch: Batch) -> Tensor:
    """(B, M, 6) of a detector, with left, top, right and bottom in pixels of the pictures."""
    assert batch.own_sizes is not None
    sides = batch.own_sizes.flip(1).repeat(1, 2).to(outputs.device)  # (B, 4): width, height, width, height
    return torch.cat([outputs[..., :SCORE].float() * sides[:, None], outputs[..., SCORE:].float()], -1)


class FoundBoxes(Metric):
    """Predicted and true boxes of all batches and ranks, with the index of the sample of each, and all samples. They
    are sorted by sample, so that a score does not depend on the number of ranks."""

    full_state_update = False
    given: list[Tensor]
    given_of: list[Tensor]
    there: list[Tensor]
    there_of: list[Tensor]
    seen: list[Tensor]
    STATES = ("given", "given_of", "there", "there_of", "seen")

    def __init__(self) -> None:
        super().__init__()
        for state in self.STATES:
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, batch: Batch) -> None:
        rows = in_pixels(outputs, batch)
        sample = batch.sample.to(outputs.device)
        for tables, of, table, label in (
            (self.given, self.given_of, rows, CLASS),
            (self.there, self.there_of, batch.targets.float(), TRUE_CLASS),
        ):
            used = table[..., label] >= 0
            tables.append(table[used].detach())
            of.append(sample.repeat_interleave(used.sum(1)))
        self.seen.append(sample)

    def compute(self) -> list[tuple[Tensor, Tensor]]:
        """Predicted (M, 6) and true boxes (N, 7) of each sample, on the CPU."""
        given, given_of, there, there_of, seen = (dim_zero_cat(getattr(self, name)).cpu() for name in self.STATES)
        samples = seen.sort().values
        tables = []
        for rows, of in ((given, given_of), (there, there_of)):
            numbers = torch.searchsorted(samples, of).bincount(minlength=len(samples)).tolist()
            tables.append(rows[of.argsort(stable=True)].split(numbers))
        return [*zip(*tables, strict=True)]


class DetectionMetrics(Metrics):
    """COCO's scores over all pictures of a split, in pixels of the pictures."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        self.found = FoundBoxes()
        _evaluator()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        self.found.update(outputs, batch)

    def compute(self) -> dict[str, float]:
        """COCO's twelve scores, without those of a size that no object has, and `n` pictures."""
        pictures = self.found.compute()
        scores = {name: float(score) for name, score in _precision(pictures, by_class=False).items() if name in NAMES}
        return {name: score for name, score in scores.items() if score >= 0 or name in SCORES} | {"n": len(pictures)}

    def per_class(self) -> list[dict[str, Any]]:
        """`n` is the number of true boxes; `ap` (COCO's mean over IoU thresholds) and `recall` (with 100 boxes a
        picture) are None for a class without one."""
        pictures = self.found.compute()
        scores = _precision(pictures, by_class=True)
        truth = torch.cat([there for _, there in pictures])
        counts = truth[truth[:, CROWD] == 0][:, TRUE_CLASS].long().bincount(minlength=len(self.classes)).tolist()
        classes = scores["classes"].reshape(-1).tolist()
        rows = []
        for place, name in enumerate(self.classes):
            own = {"class": name, "n": counts[place], "ap": None, "recall": None}
            for key, score in (("ap", "map_per_class"), ("recall", "mar_100_per_class")):
                if counts[place]:
                    own[key] = float(scores[score].reshape(-1)[classes.index(place)])
            rows.append(own)
        return rows

    def reset(self) -> None:
        self.found.reset()


def _evaluator() -> None:
    with needs(
        "faster-coco-eval",
        "which computes average precision",
        where="task",
        extra="detection",
        otherwise="another task",
    ):
        import faster_coco_eval  # noqa: F401  # which torchmetrics imports later, with a message that names no extra
    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # it logs each score of each evaluation


def _precision(pictures: Sequence[tuple[Tensor, Tensor]], *, by_class: bool) -> dict[str, Tensor]:
    """Scores of torchmetrics. pictures: as from `FoundBoxes.compute`."""
    metric = MeanAveragePrecision(
        backend="faster_coco_eval",
        iou_thresholds=IOU,
        rec_thresholds=RECALL,
        class_metrics=by_class,
        sync_on_compute=False,  # ranks have gathered their boxes already
    )
    metric.warn_on_many_detections = False
    metric.update(
        [{"boxes": it[:, :4], "scores": it[:, SCORE], "labels": it[:, CLASS].long()} for it, _ in pictures],
        [
            {
                "boxes": it[:, :4],
                "labels": it[:, TRUE_CLASS].long(),
                "iscrowd": it[:, CROWD].long(),
                "area": it[:, AREA],
            }
            for _, it in pictures
        ],
    )
    found: dict[str, Tensor] = metric.compute()
    return found
