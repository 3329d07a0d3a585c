"""Backbones of one, three and five small blocks, and a few digits, for what would take long with real ones:
model._target_=tiny.Tiny, tiny.Chain or tiny.Levels, data._target_=tiny.FewDigits. A command that opens such a run needs
trust=true.
"""

from itertools import accumulate

from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec
from frostline.contracts.targets import Targets
from frostline.data.pictures.digits import Digits
from frostline.data.pictures.samples import ArraySamples
from frostline.data.reader import Found
from frostline.data.target_types.base import TargetType

SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), min_size=8)
TRAIN, VAL, TEST = 40, 21, 23  # pictures; odd numbers, of which two ranks get unequal shares
FEW_STEPS = "schedule.every_phase.min_steps=0"  # the epochs of the plans, however few steps they have
FEW = [
    FEW_STEPS,
    "data._target_=tiny.FewDigits",
    f"data.train_limit={TRAIN}",
    "data.batch_size=10",
    "data.image_size=8",
]  # 4 batches
# More than one chunk of a frozen pass, and batches that are no multiple of a chunk.
MORE = [FEW_STEPS, "data._target_=tiny.MoreDigits", "data.train_limit=90", "data.batch_size=23", "data.image_size=16"]
CHAIN = ["model._target_=tiny.Chain", *FEW]


class Tiny(Backbone):
    """weights, load: as configured for the bundled one; there are none."""

    def __init__(self, *, weights: str | None, load: bool = True, form: Form = "vector") -> None:
        super().__init__(
            name="tiny",
            blocks={"stem": _block(3, 6)},
            pool=Mean(),
            width=6,
            spec=SPEC,
            loaded="random, from scratch",
            form=form,
        )


class Chain(Backbone):
    """Three blocks. weights, load: as of Tiny."""

    def __init__(self, *, weights: str | None, load: bool = True, form: Form = "vector") -> None:
        super().__init__(
            name="chain",
            blocks={"stem": _block(3, 6), "stage1": _block(6, 8, stride=2), "stage2": _block(8, 12, stride=2)},
            pool=Mean(),
            width=12,
            spec=SPEC,
            loaded="random, from scratch",
            form=form,
        )


class Levels(Backbone):
    """A pyramid of four levels; stage2 gives none, as stage3 has its stride. weights, load: as of Tiny."""

    def __init__(self, *, weights: str | None, load: bool = True, form: Form = "vector") -> None:
        strides = {"stem": 4, "stage1": 2, "stage2": 2, "stage3": 1, "stage4": 2}
        super().__init__(
            name="levels",
            blocks={name: _block(3 if name == "stem" else 8, 8, stride) for name, stride in strides.items()},
            pool=Mean(),
            width=8,
            spec=SPEC,
            loaded="random, from scratch",
            form=form,
        )


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class FewDigits(Digits):
    """The first digits, divided into parts of TRAIN, VAL and TEST pictures."""

    sizes = (TRAIN, VAL, TEST)

    def read(self, target: TargetType, known: Targets | None) -> Found:
        names, every, *_ = super().read(target, known)
        ends = [*accumulate(self.sizes)]
        splits = [
            ArraySamples(every.pixels[start:end], every.labels[start:end])
            for start, end in zip([0, *ends], ends, strict=False)
        ]
        return Found(names, *splits)


class MoreDigits(FewDigits):
    sizes = (90, 66, 67)
