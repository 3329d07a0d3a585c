"""The decoder that a network for objects was pretrained with, as a head. Shapes: as in heads/detectors.py."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.ops import box_convert

from frostline.config.ranges import Positive
from frostline.contracts.features import Features, Form, Unit
from frostline.errors import ConfigError, RunError


class Detr(nn.Module):
    """A detection transformer (Carion et al. 2020, arXiv:2005.12872) behind its encoder, with new layers for the
    classes. Each query finds one object; the loss matches queries with objects, and is the library's own: that of all
    layers, query groups and denoising queries, which are drawn at random on each rank.

    detections: see conf/head/detr.yaml. Raises ConfigError if the backbone was not pretrained with a decoder.
    """

    takes: ClassVar[Mapping[Unit, Form]] = {"box": "pyramid"}

    def __init__(self, features: Features, num_outputs: int, *, detections: Positive[int]) -> None:
        super().__init__()
        if features.own_head is None:
            raise ConfigError(
                "this backbone was not pretrained with a decoder",
                where="head, model",
                next_step="head=faster_rcnn; or model=rt_detr_r18",
            )
        self.decoder = features.own_head(num_outputs)
        self.strides = features.strides
        self.detections = detections

    def forward(self, features: list[Tensor], targets: Tensor | None = None) -> dict[str, Tensor] | Tensor:
        maps = [x.float() for x in features]
        with torch.autocast(maps[0].device.type, enabled=False):  # in bfloat16 a box would be off by two pixels of 640
            if targets is not None:
                return self._losses(maps, targets.float())
            found = self.decoder(maps)
            return self._best(found.logits, found.boxes)

    def _losses(self, maps: list[Tensor], targets: Tensor) -> dict[str, Tensor]:
        """Terms of the loss by kind, as sums over objects divided by the mean number of objects: over ranks their mean
        is what one process computes. Raises RunError if boxes are not finite."""
        height, width = (side * self.strides[0] for side in maps[0].shape[-2:])
        sides = targets.new_tensor([width, height, width, height])
        labels = []
        for rows in targets:
            own = rows[rows[:, 4] >= 0]
            boxes = box_convert(own[:, :4], "xyxy", "cxcywh") / sides
            labels.append({"class_labels": own[:, 4].long(), "boxes": boxes})
        try:
            terms: Mapping[str, Tensor] = self.decoder(maps, labels).terms
        except ValueError as error:  # the library's: corners in the wrong order, which NaN are too
            raise RunError(
                "the boxes that the head returns are not finite",
                where="head",
                next_step="a smaller optimizer.lr, or trainer.gradient_clip_val=0.1",
            ) from error
        number = _mean_objects(labels, maps[0].device) * len(labels)
        found = {name: value / number for name, value in terms.items()}
        if not any(len(own["boxes"]) for own in labels):  # without denoising queries; ranks wait for each gradient
            found["none"] = torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum() * 0.0
        return found

    def _best(self, logits: Tensor, boxes: Tensor) -> Tensor:
        """(B, M, 6). A query may be there twice, with different classes."""
        classes = logits.shape[-1]
        scores = logits.float().sigmoid().flatten(1)
        best, place = scores.topk(min(self.detections, scores.shape[1]), 1)
        query = (place // classes)[..., None].expand(-1, -1, 4)
        edges = box_convert(boxes.float().gather(1, query), "cxcywh", "xyxy").clamp(0, 1)
        rows = torch.cat([edges, best[..., None], (place % classes)[..., None].to(best)], -1)
        return pad(rows, (0, 0, 0, self.detections - rows.shape[1]), value=-1)


def _mean_objects(labels: list[dict[str, Any]], device: torch.device) -> float:
    """Objects per picture in the batch of all ranks; of one object at least."""
    numbers = torch.tensor([sum(len(own["boxes"]) for own in labels), len(labels)], dtype=torch.float64, device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(numbers)
    objects, pictures = numbers.tolist()
    return float(max(objects, 1) / pictures)
