"""The contract of a backbone: an ordered chain of named blocks, stem first, that maps a batch to features.

Shapes: pictures (B, 3, H, W) → after each block whatever it gives → features (B, D).
Text: Tokens of (B, L, 2) → after each block Tokens of (B, L, D) → features (B, D).
"""

from collections.abc import Mapping
from typing import overload

from torch import Tensor, nn

from frostline.contracts.specs import Spec, TextSpec
from frostline.contracts.tokens import Tokens
from frostline.errors import ConfigError


class Backbone(nn.Module):
    """`blocks`: every parameter of the network lies in exactly one of them. `pool`: the last block's output → (B, D);
    it has no parameters, so it needs no place in the order of blocks.

    `loaded` says which weights these are and what was left out of them, for people.
    """

    def __init__(
        self,
        *,
        name: str,
        blocks: Mapping[str, nn.Module],
        pool: nn.Module,
        out_features: int,
        spec: Spec,
        loaded: str,
    ) -> None:
        super().__init__()
        if any(True for _ in pool.parameters()):
            raise ValueError(f"the pool of {name} has parameters; they belong in a block")
        self.name = name
        self.blocks = nn.ModuleDict(blocks)
        self.pool = pool
        self.out_features = out_features
        self.spec = spec
        self.loaded = loaded

    @property
    def structure(self) -> str:
        """Two of the same cost alike, and give outputs of the same shapes. No module's text shows a bare parameter."""
        return f"{self.name} {self} {[tuple(value.shape) for value in self.state_dict().values()]}"

    def per_token(self) -> None:
        """From here on all blocks give Tokens of (B, L, D), which are features of each token. Raises ConfigError where
        the inputs have no tokens."""
        if not isinstance(self.spec, TextSpec):
            raise ConfigError(
                f"{self.name} takes pictures, and this task says something of each token of a text",
                where="model, task",
                next_step="choose a text backbone (model=distilbert), or another task (task=classification)",
            )
        self.pool = nn.Identity()

    @overload
    def forward(self, inputs: Tensor) -> Tensor: ...
    @overload
    def forward(self, inputs: Tokens) -> Tensor | Tokens: ...
    def forward(self, inputs: Tensor | Tokens) -> Tensor | Tokens:
        return self.through(inputs, 0, len(self.blocks))

    @overload
    def through(self, x: Tensor, start: int, stop: int) -> Tensor: ...
    @overload
    def through(self, x: Tokens, start: int, stop: int) -> Tensor | Tokens: ...
    def through(self, x: Tensor | Tokens, start: int, stop: int) -> Tensor | Tokens:
        """What `stop` blocks give, from what `start` blocks gave; all of them give features."""
        for block in list(self.blocks.values())[start:stop]:
            x = block(x)
        return self.pool(x) if start < stop == len(self.blocks) else x
