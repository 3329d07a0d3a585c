"""A backbone of one small block, for what would take long with a real one: model._target_=tiny.Tiny"""

from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec

SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), min_size=8)


class Tiny(Backbone):
    """weights, load: as configured for the bundled one; there are none."""

    def __init__(self, *, weights: str | None, load: bool = True, form: Form = "vector") -> None:
        stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        super().__init__(
            name="tiny",
            blocks={"stem": stem},
            pool=Mean(),
            width=6,
            spec=SPEC,
            loaded="random, from scratch",
            form=form,
        )


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
