"""The contract of a backbone: an ordered chain of named blocks, stem first, that maps a batch to features.

Shapes: pictures (B, 3, H, W) → any shape between blocks → features as described in `Features`.
Text: Tokens of (B, L, 2) → after each block Tokens of (B, L, D) → features.
Sound: Tokens of (B, T, 1) → after each block Tokens of (B, L, D) → features.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.contracts.features import Features, Form
from frostline.contracts.specs import ImageSpec, Spec
from frostline.contracts.tokens import Tokens, values_of
from frostline.errors import ConfigError

STRIDES = (4, 8, 16, 32)  # of a pyramid; a level of stride 2 would cost more than all others together
SIDE = 64  # pixels, height of the picture in `_levels`; its width is 32 more, to tell sides from channels


class Level(NamedTuple):
    """A map (B, D, H, W) that a block returns; (B, H, W, D) if channels_last. width: D. stride: pixels per cell."""

    block: str
    width: int
    stride: int
    channels_last: bool


class ChannelsFirst(nn.Module):
    """(B, H, W, D) → (B, D, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class Backbone(nn.Module):
    """`blocks`: each parameter of the network is in exactly one. `pool`: the last block's output → (B, D); it has no
    parameters, so it is not a block. `width`: D of the vector and of tokens. `form`: of the features; only a vector
    passes the pool.

    `loaded`: a sentence on the source of the weights and on what was left out of them.
    `levels`: the maps that make up a pyramid, with their blocks; empty for other forms.
    Raises ConfigError that lists the possible forms if `form` is none of them.
    """

    def __init__(
        self,
        *,
        name: str,
        blocks: Mapping[str, nn.Module],
        pool: nn.Module,
        width: int,
        spec: Spec,
        loaded: str,
        form: Form = "vector",
    ) -> None:
        super().__init__()
        if any(True for _ in pool.parameters()):
            raise ValueError(f"the pool of {name} has parameters; they belong in a block")
        self.name = name
        self.blocks = nn.ModuleDict(blocks)
        self.pool = pool
        self.features = Features(form, (width,))
        self.spec = spec
        self.loaded = loaded
        self.levels: list[Level] = []
        if form != "vector":
            self._give(form)

    def _give(self, form: Form) -> None:
        found = _levels(self.blocks, self.spec) if isinstance(self.spec, ImageSpec) else []
        last = [level for level in found if level.block == list(self.blocks)[-1]]
        pyramid = [level for level in found if level.stride in STRIDES] if last else []
        able = {"vector": True, "tokens": self.spec.ragged, "map": last, "pyramid": len(pyramid) > 1}
        forms = [it for it, is_able in able.items() if is_able]
        if form not in forms:
            raise ConfigError(
                f"{self.name} returns features as {' or '.join(forms)}, but this head or task needs {form}",
                where="model, head, task",
                next_step=NEXT[form] + (", or head=linear" if form == "pyramid" and last else ""),
            )
        self.pool = ChannelsFirst() if form == "map" and last[0].channels_last else nn.Identity()
        if form in ("map", "pyramid"):
            levels = last if form == "map" else pyramid
            self.features = Features(form, tuple(it.width for it in levels), tuple(it.stride for it in levels))
        self.levels = pyramid if form == "pyramid" else []

    @property
    def pools(self) -> list[tuple[str, nn.Module]]:
        """Each pool, with the name of the block before it."""
        return [(list(self.blocks)[-1], self.pool)]

    def features_for(self, about: Mapping[str, Any]) -> Features:
        """The features of this backbone for data with `Targets.about`."""
        return self.features

    @property
    def structure(self) -> str:
        """A text that is equal only for backbones of the same cost and output shapes. Shapes of the state dict are
        included, because the repr of modules does not show bare parameters."""
        return f"{self.name} {self} {[tuple(value.shape) for value in self.state_dict().values()]}"

    def extra_repr(self) -> str:
        return f"levels={[level.block for level in self.levels]}" if self.levels else ""

    def held_at(self, number: int) -> list[int]:
        """The outputs that the rest of the network needs after `number` blocks: k stands for the output of the first k
        blocks."""
        if not self.levels:
            return [number]
        names = list(self.blocks)
        taps = [place for place in (names.index(level.block) + 1 for level in self.levels) if place <= number]
        return taps if number == len(names) else sorted({*taps, number})

    def forward(self, inputs: Tensor | Tokens) -> Any:
        return self.to_head(self.through(inputs, 0, len(self.blocks)))

    def steps(self, x: Any, start: int, stop: int) -> Any:
        """Run blocks[start:stop], and the pool after the last block."""
        for block in list(self.blocks.values())[start:stop]:
            x = block(x)
        return self.pool(x) if start < stop == len(self.blocks) else x

    def through(self, x: Any, start: int, stop: int, steps: Callable[[Any, int, int], Any] | None = None) -> Any:
        """Run blocks[start:stop] and return what the rest of the network needs: the last output, or for a pyramid the
        outputs of `held_at(stop)` by block name. x: what this returned for `start` blocks; the input for 0. steps: used
        in place of `self.steps`."""
        steps = steps or self.steps
        if not self.levels:
            return steps(x, start, stop)
        if start == stop:
            return x
        names = list(self.blocks)
        held = dict(x) if start else {}
        at, value = start, held[names[start - 1]] if start else x
        for number in self.held_at(stop):
            if number > at:
                value, at = steps(value, at, number), number
                held[names[number - 1]] = value
        return {names[number - 1]: held[names[number - 1]] for number in self.held_at(stop)}

    def to_head(self, x: Any) -> Any:
        """Turn what `through` returned for all blocks into the features that a head takes."""
        if not self.levels:
            return values_of(x)
        return [x[it.block].permute(0, 3, 1, 2) if it.channels_last else x[it.block] for it in self.levels]


NEXT: dict[Form, str] = {
    "vector": "another model",
    "tokens": "a text backbone (model=distilbert), one for sounds (model=wav2vec2_base), or another task "
    "(task=classification)",
    "map": "a convolutional network (model=resnet50)",
    "pyramid": "a convolutional network (model=resnet50)",
    "parts": "another head (head=linear)",
}


def _levels(blocks: nn.ModuleDict, spec: ImageSpec) -> list[Level]:
    """Find the last map of each stride by passing a picture through the blocks."""
    height = spec.size if spec.sizes == "fixed" else max(SIDE, spec.min_size)
    width = height if spec.sizes == "fixed" else height + 32
    modes = {module: module.training for module in blocks.modules()}
    x: Any = torch.zeros(1, 3, height, width)
    found: dict[int, Level] = {}
    blocks.eval()
    with torch.inference_mode():
        for name, block in blocks.items():
            x = block(x)
            level = _level(name, tuple(x.shape) if isinstance(x, Tensor) else (), height, width)
            if level is not None:
                found.pop(level.stride, None)
                found[level.stride] = level
    for module, mode in modes.items():
        module.training = mode
    return list(found.values())


def _level(block: str, shape: tuple[int, ...], height: int, width: int) -> Level | None:
    if len(shape) != 4:
        return None
    for stride in (1, 2, *STRIDES):
        sides = (-(-height // stride), -(-width // stride))
        if shape[2:] == sides:
            return Level(block, shape[1], stride, channels_last=False)
        if shape[1:3] == sides:
            return Level(block, shape[3], stride, channels_last=True)
    return None
