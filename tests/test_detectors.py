"""Heads that find objects: torchvision's whole detectors are the outside truth."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN as WholeFasterRcnn
from torchvision.models.detection import RetinaNet as WholeRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import MultiScaleRoIAlign

from frostline.contracts.features import Features
from frostline.errors import ConfigError
from frostline.heads.detectors import OCTAVE, RATIOS, Detector, FasterRcnn, RetinaNet

FEATURES = Features("pyramid", (4, 6, 8, 10), (4, 8, 16, 32))
SIDES = (64, 96)
COMMON: dict[str, Any] = {"anchor_scale": 4.0, "score": 0.05, "nms": 0.5, "detections": 20}


def head(kind: type[Detector], features: Features = FEATURES, **settings: Any) -> Detector:
    torch.manual_seed(0)
    own = {"channels": 32} | ({"hidden": 16, "regions": 512, "proposals": 1000} if kind is FasterRcnn else {})
    made: Any = kind
    return made(features, 3, **COMMON | own | settings)  # type: ignore[no-any-return]


def maps(number: int = 2, features: Features = FEATURES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    pairs = zip(features.widths, features.strides, strict=True)
    return [torch.randn(number, width, *(-(-side // stride) for side in SIDES), generator=generator)
            for width, stride in pairs]  # fmt: skip


# left, top, right, bottom, class; the second picture has fewer
TARGETS = torch.tensor([[[5.0, 6, 30, 40, 0], [50, 10, 90, 60, 2]], [[20.0, 20, 44, 50, 1], [-1.0] * 5]])


class Given(nn.Module):
    """A backbone that returns the head's own maps, whatever the pictures."""

    def __init__(self, detector: Detector, features: list[Tensor], out_channels: int = 32) -> None:
        super().__init__()
        self.fpn = detector.fpn
        self.features = {str(place): it for place, it in enumerate(features[-len(detector.strides) :])}
        self.out_channels = out_channels

    def forward(self, pictures: Tensor) -> Any:
        return self.fpn(self.features)


def whole(detector: Detector, features: list[Tensor]) -> nn.Module:
    """torchvision's detector with the head's weights; pictures pass unchanged."""
    backbone = Given(detector, features)
    same: dict[str, Any] = {
        "min_size": min(SIDES),
        "max_size": max(SIDES),
        "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3,
    }
    strides = [*detector.strides]
    if isinstance(detector, RetinaNet):
        sides = [4.0 * stride for stride in (*strides, 2 * strides[-1], 4 * strides[-1])]
        anchors = AnchorGenerator(tuple(tuple(side * it for it in OCTAVE) for side in sides), (RATIOS,) * len(sides))
        own = RetinaNetHead(32, 9, 3, norm_layer=lambda channels: nn.GroupNorm(channels // 8, channels))
        own.regression_head._loss_type = "giou"
        made: Any = WholeRetinaNet(backbone, 3, anchor_generator=anchors, head=own, score_thresh=0.05, nms_thresh=0.5,
                                   detections_per_img=20, **same)  # fmt: skip
        made.head.load_state_dict(detector.net.head.state_dict())
        return made  # type: ignore[no-any-return]
    assert isinstance(detector, FasterRcnn)
    anchors = AnchorGenerator(tuple((4.0 * stride,) for stride in (*strides, 64)), (RATIOS,) * 5)
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2, canonical_scale=112)
    made = WholeFasterRcnn(backbone, rpn_anchor_generator=anchors, box_roi_pool=pool, num_classes=None,
                           box_head=detector.regions.box_head, box_predictor=detector.regions.box_predictor,
                           box_score_thresh=0.05, box_nms_thresh=0.5, box_detections_per_img=20, **same)  # fmt: skip
    made.rpn.head.load_state_dict(detector.rpn.head.state_dict())
    return made  # type: ignore[no-any-return]


PICTURES = [torch.zeros(3, *SIDES)] * 2


@pytest.mark.parametrize("kind", [RetinaNet, FasterRcnn])
def test_boxes_are_those_of_torchvision(kind: type[Detector]) -> None:
    detector = head(kind)
    if isinstance(detector, RetinaNet):  # so that some anchors pass the least score
        nn.init.normal_(detector.net.head.classification_head.cls_logits.weight, std=1.0)
    found = detector.eval()(maps())
    truth = whole(detector, maps()).eval()(PICTURES)
    assert found.shape == (2, 20, 6)
    for rows, own in zip(found, truth, strict=True):
        number = len(own["boxes"])
        assert number > 0
        assert torch.allclose(rows[:number, :4] * torch.tensor([96, 64, 96, 64]), own["boxes"], atol=1e-4)
        assert torch.allclose(rows[:number, 4], own["scores"])
        shift = 1 if kind is FasterRcnn else 0
        assert torch.equal(rows[:number, 5].long(), own["labels"] - shift)
        assert (rows[number:] == -1).all()


@pytest.mark.parametrize("kind", [RetinaNet, FasterRcnn])
def test_losses_are_those_of_torchvision(kind: type[Detector]) -> None:
    detector, shift = head(kind), 1 if kind is FasterRcnn else 0
    targets = [
        {"boxes": rows[rows[:, 4] >= 0, :4], "labels": rows[rows[:, 4] >= 0, 4].long() + shift} for rows in TARGETS
    ]
    other: Any = whole(detector, maps()).train()
    other.transform.torch_choice = lambda sizes: sizes[0]  # it draws one of one
    torch.manual_seed(3)  # Faster R-CNN draws anchors and regions
    found = detector.train()(maps(), TARGETS)
    torch.manual_seed(3)
    truth = other(PICTURES, targets)
    assert {name: float(it.detach()) for name, it in found.items()} == pytest.approx(
        {name.removeprefix("loss_"): float(it.detach()) for name, it in truth.items()}, rel=1e-5
    )


@pytest.mark.parametrize("kind", [RetinaNet, FasterRcnn])
def test_pictures_without_boxes_have_a_loss_with_gradients(kind: type[Detector]) -> None:
    """A batch without any box still gives every parameter a gradient: ranks wait for each other's."""
    detector = head(kind).train()
    terms = detector(maps(), torch.full((2, 1, 5), -1.0))
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    terms = detector(maps(), torch.zeros(2, 0, 5))
    assert all(it.isfinite() for it in terms.values())


@pytest.mark.parametrize("kind", [RetinaNet, FasterRcnn])
def test_anchors_and_outputs_are_float32_in_lower_precision(kind: type[Detector]) -> None:
    """Coordinates near 300 pixels would be multiples of two in bfloat16."""
    detector = head(kind).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        terms = detector([it.bfloat16() for it in maps()], TARGETS)
        found = detector.eval()([it.bfloat16() for it in maps()])
    assert {it.dtype for it in terms.values()} == {torch.float32}
    assert found.dtype == torch.float32
    torch.manual_seed(0)
    alone = {name: float(it.detach()) for name, it in detector.train()(maps(), TARGETS).items()}
    assert {name: float(it.detach()) for name, it in terms.items()} == pytest.approx(alone, rel=0.1, abs=0.02)


def test_retinanet_uses_the_levels_from_stride_8_on() -> None:
    detector = head(RetinaNet)
    assert detector.strides == [8, 16, 32]
    coarse = Features("pyramid", (6, 8), (8, 16))
    assert head(RetinaNet, coarse).strides == [8, 16]
    found = head(RetinaNet, coarse).eval()(maps(features=coarse))
    assert math.isfinite(float(found.detach().sum()))


def test_what_retinanet_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 8, not 60") as caught:
        head(RetinaNet, channels=60)
    assert caught.value.next_step == "head.channels=64"
    with pytest.raises(ConfigError, match="coarsest map has a stride of 4 pixels"):
        head(RetinaNet, Features("pyramid", (4,), (4,)))
