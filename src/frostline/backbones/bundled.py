"""The small residual network for 32-pixel pictures whose weights ship with Frostline: no download.

The shape is that of the nine-layer residual networks of the DAWNBench CIFAR-10 entries (D. Page, "How to train your
ResNet", 2018), narrow, with a residual pair in every stage. Shapes: (B, 3, 32, 32) → stem (B, 16, 32, 32) → stage1
(B, 48, 16, 16) → stage2 (B, 112, 8, 8) → stage3 (B, 208, 4, 4) → features (B, 208).
"""

from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.backbones.weights import load_weights, read_weights
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec
from frostline.paths import at_home, bundled_weights

WIDTHS = {"stem": 16, "stage1": 48, "stage2": 112, "stage3": 208}

# Mean and standard deviation per channel of the CIFAR-10 training pictures, on which the network was trained.
SPEC = ImageSpec(size=32, resize=32, mean=(0.4913, 0.4821, 0.4465), std=(0.2452, 0.2428, 0.2606), min_size=8)


class BundledBackbone(Backbone):
    """`weights`: `bundled`, a file, or null for random ones. `load=False`: random ones in any case.

    Raises WeightsError if the file cannot be loaded.
    """

    def __init__(self, *, weights: str | None, load: bool = True, form: Form = "vector") -> None:
        stem, *stages = WIDTHS
        blocks: dict[str, nn.Module] = {stem: _conv(3, WIDTHS[stem])}
        below = WIDTHS[stem]
        for name in stages:
            blocks[name] = Stage(below, WIDTHS[name])
            below = WIDTHS[name]
        super().__init__(
            name="bundled",
            blocks=blocks,
            pool=Mean(),
            width=below,
            spec=SPEC,
            loaded="random, from scratch",
            form=form,
        )
        if weights is not None and load:
            path = bundled_weights() if weights == "bundled" else at_home(weights)
            self.loaded = load_weights(self.blocks, read_weights(path), (), source=path)


class Mean(nn.Module):
    """(B, D, H, W) → (B, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Stage(nn.Module):
    """Widen, halve the sides, then add the output of two convolutions."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.widen = _conv(width_in, width)
        self.halve = nn.MaxPool2d(2)
        self.pair = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.halve(self.widen(x))
        residual: Tensor = self.pair(x)
        return x + residual


def _conv(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
