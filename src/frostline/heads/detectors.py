"""Heads that find objects, on a pyramid of maps: torchvision's feature pyramid network, anchors, RPN and RoI heads.

Shapes: maps (B, D, H, W) from fine to coarse. In training, targets (B, N, 5): left, top, right and bottom in pixels of
the network's input, and the class, -1 in rows that only fill up → terms of the loss by name. Else → (B, M, 6): left,
top, right and bottom as shares of the input's width and height, the score, and the class, -1 in rows that only fill up;
M = detections, the best first.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from frostline.config.ranges import Cells, Positive, Probability
from frostline.contracts.features import Features, Form, Unit
from frostline.errors import ConfigError

RATIOS = (0.5, 1.0, 2.0)  # height / width of anchors, as published
OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))  # sides of RetinaNet's anchors per cell, in `anchor_scale`
POOLED = 7  # cells per side of a region (Faster R-CNN)
GROUP = 8  # channels of a group, in RetinaNet's GroupNorm: 32 groups of the published 256
PUBLISHED_SCALE = 8  # sides of anchors in cells in both papers
LEAST_STRIDE = 8  # of the levels that RetinaNet uses

Boxes = list[dict[str, Tensor]]


class Detector(nn.Module):
    """`_losses` and `_found` of a subclass work in pixels. strides: of the maps that the subclass uses, which are the
    last ones of the pyramid."""

    takes: ClassVar[Mapping[Unit, Form]] = {"box": "pyramid"}

    def __init__(self, fpn: FeaturePyramidNetwork, strides: Sequence[int], detections: int) -> None:
        super().__init__()
        self.fpn = fpn
        self.strides = strides
        self.detections = detections

    def forward(self, features: list[Tensor], targets: Tensor | None = None) -> dict[str, Tensor] | Tensor:
        features = features[-len(self.strides) :]
        maps: dict[str, Tensor] = self.fpn({str(level): it for level, it in enumerate(features)})
        height, width = (side * self.strides[0] for side in features[0].shape[-2:])
        # The library reads nothing of the pictures but their size.
        canvas = features[0].new_empty(len(features[0]), 0, height, width, dtype=torch.float32)
        images = ImageList(canvas, [(height, width)] * len(canvas))
        if targets is not None:
            return self._losses(images, maps, [_boxes_of(rows) for rows in targets.float()])
        return self._padded(self._found(images, maps), canvas.new_tensor([width, height] * 2))

    def _losses(self, images: ImageList, maps: dict[str, Tensor], targets: Boxes) -> dict[str, Tensor]:
        """targets: `boxes` (N, 4) and `labels` (N,) of each picture."""
        raise NotImplementedError

    def _found(self, images: ImageList, maps: dict[str, Tensor]) -> Boxes:
        """`boxes` (M, 4), `scores` (M,) and `labels` (M,) of each picture."""
        raise NotImplementedError

    def _padded(self, found: Boxes, sides: Tensor) -> Tensor:
        """sides: (4,), width, height, width, height."""
        rows = []
        for one in found:
            own = torch.cat([one["boxes"] / sides, one["scores"][:, None], one["labels"][:, None].to(sides)], 1)
            own = own[one["scores"].argsort(descending=True, stable=True)]
            rows.append(pad(own, (0, 0, 0, self.detections - len(own)), value=-1))
        return torch.stack(rows)


class RetinaNet(Detector):
    """Lin et al. 2017, arXiv:1708.02002, with GroupNorm and GIoU loss, as torchvision's `retinanet_resnet50_fpn_v2`. It
    uses the levels from stride 8 on, and two coarser ones of its own.

    channels: width of all maps, a multiple of 8. anchor_scale: side of the smallest anchor of each level, in cells.
    score, nms: see conf/head/retinanet.yaml. Raises ConfigError for other channels, or a pyramid without such levels.
    """

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        *,
        channels: Positive[int],
        anchor_scale: Cells,
        score: Probability,
        nms: Probability,
        detections: Positive[int],
    ) -> None:
        if channels % GROUP:
            raise ConfigError(
                f"the channels must be a multiple of {GROUP}, not {channels}",
                where="head.channels",
                next_step=f"head.channels={-(-channels // GROUP) * GROUP}",
            )
        used = [place for place, stride in enumerate(features.strides) if stride >= LEAST_STRIDE]
        if not used:
            raise ConfigError(
                f"this backbone's coarsest map has a stride of {features.strides[-1]} pixels, and this head needs "
                f"{LEAST_STRIDE}",
                where="head, model",
                next_step="head=faster_rcnn; or model=resnet50",
            )
        strides = [features.strides[place] for place in used]
        fpn = FeaturePyramidNetwork(
            [features.widths[place] for place in used], channels, extra_blocks=LastLevelP6P7(channels, channels)
        )
        super().__init__(fpn, strides, detections)
        sides = [anchor_scale * stride for stride in (*strides, 2 * strides[-1], 4 * strides[-1])]
        anchors = _Anchors(tuple(tuple(side * octave for octave in OCTAVE) for side in sides), (RATIOS,) * len(sides))
        norm = partial(nn.GroupNorm, channels // GROUP)
        head = RetinaNetHead(channels, len(OCTAVE) * len(RATIOS), num_outputs, norm_layer=norm)
        head.regression_head._loss_type = "giou"
        self.net = TorchvisionRetinaNet(
            _Nothing(channels),
            num_outputs,
            anchor_generator=anchors,
            head=head,
            score_thresh=score,
            nms_thresh=nms,
            detections_per_img=detections,
        )

    def _losses(self, images: ImageList, maps: dict[str, Tensor], targets: Boxes) -> dict[str, Tensor]:
        """`classification` and `bbox_regression`: means over pictures of sums over anchors per object."""
        levels = [*maps.values()]
        terms: dict[str, Tensor] = self.net.compute_loss(
            targets, self._outputs(levels), self.net.anchor_generator(images, levels)
        )
        return terms

    def _found(self, images: ImageList, maps: dict[str, Tensor]) -> Boxes:
        levels = [*maps.values()]
        anchors = self.net.anchor_generator(images, levels)
        per_level = [it.shape[-2] * it.shape[-1] * len(OCTAVE) * len(RATIOS) for it in levels]
        outputs = {name: [*it.split(per_level, 1)] for name, it in self._outputs(levels).items()}
        found: Boxes = self.net.postprocess_detections(
            outputs, [[*it.split(per_level)] for it in anchors], images.image_sizes
        )
        return found

    def _outputs(self, levels: list[Tensor]) -> dict[str, Tensor]:
        return {name: it.float() for name, it in self.net.head(levels).items()}


class FasterRcnn(Detector):
    """Ren et al. 2015, arXiv:1506.01497, on a feature pyramid (Lin et al. 2017, arXiv:1612.03144), as torchvision's
    `fasterrcnn_resnet50_fpn`. It draws anchors and regions at random on each rank, so that two ranks learn what one
    process does in the mean only.

    channels: width of all maps. hidden: width of the layers that classify a region. regions: most per picture that are
    learned from. proposals: most per picture that are classified in prediction. anchor_scale: side of the anchors of
    each level, in cells. score, nms: see conf/head/faster_rcnn.yaml.
    """

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        *,
        channels: Positive[int],
        hidden: Positive[int],
        regions: Positive[int],
        proposals: Positive[int],
        anchor_scale: Cells,
        score: Probability,
        nms: Probability,
        detections: Positive[int],
    ) -> None:
        fpn = FeaturePyramidNetwork([*features.widths], channels, extra_blocks=LastLevelMaxPool())
        super().__init__(fpn, features.strides, detections)
        strides = [*features.strides, 2 * features.strides[-1]]
        names = [str(level) for level in range(len(features.widths))]
        # The paper assigns regions of 224 pixels to stride 16, for anchors of PUBLISHED_SCALE.
        pool = MultiScaleRoIAlign(names, POOLED, 2, canonical_scale=224 * anchor_scale / PUBLISHED_SCALE)
        net = TorchvisionFasterRCNN(
            _Nothing(channels),
            rpn_anchor_generator=_Anchors(
                tuple((anchor_scale * stride,) for stride in strides), (RATIOS,) * len(strides)
            ),
            rpn_head=_Rpn(channels, len(RATIOS)),
            box_roi_pool=pool,
            box_head=TwoMLPHead(channels * POOLED**2, hidden),
            box_predictor=_Predictor(hidden, num_outputs + 1),  # 0 is the background
            rpn_post_nms_top_n_test=proposals,
            box_batch_size_per_image=regions,
            box_score_thresh=score,
            box_nms_thresh=nms,
            box_detections_per_img=detections,
        )
        self.rpn, self.regions = net.rpn, net.roi_heads

    def _losses(self, images: ImageList, maps: dict[str, Tensor], targets: Boxes) -> dict[str, Tensor]:
        """`objectness`, `rpn_box_reg`, `classifier` and `box_reg`: means over anchors and regions, which are drawn at
        random, with an object in a quarter of the regions at most."""
        own = [{"boxes": it["boxes"], "labels": it["labels"] + 1} for it in targets]
        proposals, first = self.rpn(images, maps, own)
        _, second = self.regions(_whole(maps), proposals, images.image_sizes, own)
        return {name.removeprefix("loss_"): it for name, it in (first | second).items()}

    def _found(self, images: ImageList, maps: dict[str, Tensor]) -> Boxes:
        proposals, _ = self.rpn(images, maps)
        found, _ = self.regions(_whole(maps), proposals, images.image_sizes)
        return [it | {"labels": it["labels"] - 1} for it in found]


def _boxes_of(rows: Tensor) -> dict[str, Tensor]:
    """The targets of one picture (N, 5), without rows that only fill up."""
    own = rows[rows[:, 4] >= 0]
    return {"boxes": own[:, :4], "labels": own[:, 4].long()}


def _whole(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Maps in float32: regions are float32, and pooling needs one type."""
    return {name: it.float() for name, it in maps.items()}


class _Nothing(nn.Module):
    """Stands in for a backbone: torchvision's detectors read only its width."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels


class _Anchors(AnchorGenerator):
    """Anchors in float32 for maps of any type: in bfloat16 they would be off by up to two pixels at 512."""

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> Any:
        like = [it.new_empty(0, 0, *it.shape[-2:], dtype=torch.float32) for it in feature_maps]
        return super().forward(image_list, like)


class _Rpn(RPNHead):
    """Outputs in float32, in which boxes are decoded."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        objectness, deltas = super().forward(x)
        return [it.float() for it in objectness], [it.float() for it in deltas]


class _Predictor(FastRCNNPredictor):
    """Outputs in float32, in which boxes are decoded."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = super().forward(x)
        return scores.float(), deltas.float()
