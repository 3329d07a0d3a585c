"""Several backbones side by side, each for one part of a sample, as one chain of blocks.

Shapes: inputs by name, `<part>/<column>` → (B, ...) of that part's spec; the other inputs pass unchanged to the head.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.contracts.features import Features
from frostline.contracts.specs import PartsSpec
from frostline.contracts.targets import inputs_in
from frostline.contracts.tokens import values_of
from frostline.contracts.tree import part_of

Steps = Callable[[Any, int, int], Any]  # see `Backbone.steps`


class Towers(Backbone):
    """towers: backbones of vectors by part. Blocks are called `<part>_<block>` and ordered by relative depth, stems
    first and tops last. So `thaw: 2` thaws the tops of two towers, more blocks thaw the same share of each, and
    `layer_decay` gives blocks of about one relative depth about one rate. In an order of one tower after the other, the
    last would thaw whole before the first begins: `first` asks for that, the part whose tower comes first.
    """

    def __init__(self, towers: Mapping[str, Backbone], *, name: str, first: str | None = None) -> None:
        order = interleaved({part: len(tower.blocks) for part, tower in towers.items()}, first)
        names = {part: list(tower.blocks) for part, tower in towers.items()}
        super().__init__(
            name=f"{name}({'+'.join(tower.name for tower in towers.values())})",
            blocks={f"{part}_{names[part][place]}": towers[part].blocks[names[part][place]] for part, place in order},
            pool=nn.ModuleDict({part: tower.pool for part, tower in towers.items()}),
            width=max((tower.features.width for tower in towers.values()), default=0),
            spec=PartsSpec({part: tower.spec for part, tower in towers.items()}),
            loaded="; ".join(f"{part}: {tower.loaded}" for part, tower in towers.items()) or "no pretrained network",
        )
        self.features = Features("parts", ())
        # A tower shares its modules with `blocks` and `pool`. In a dict it is no submodule: no weight has two names.
        self.towers = dict(towers)
        self.order = order

    def passed(self, part: str, number: int) -> int:
        """How many blocks of a tower are among the first `number` of the chain."""
        return sum(own == part for own, _ in self.order[:number])

    def place(self, part: str, passed: int) -> int:
        """How many blocks the chain has up to a tower's block number `passed`, from 1; 0 for 0."""
        return self.order.index((part, passed - 1)) + 1 if passed else 0

    def held_at(self, number: int) -> list[int]:
        """The last block of each tower, if it is among the first `number`."""
        return sorted({self.place(part, self.passed(part, number)) for part in self.towers} - {0})

    @property
    def pools(self) -> list[tuple[str, nn.Module]]:
        return [(f"{part}_{list(it.blocks)[-1]}", it.pool) for part, it in self.towers.items()]

    def features_for(self, about: Mapping[str, Any]) -> Features:
        inputs = inputs_in(about)
        widths = {name: self.towers[part].features.width for part, name in inputs["columns"]}
        return Features("parts", tuple(widths.values()), columns=tuple(widths), row=inputs["row"])

    def through(self, x: Any, start: int, stop: int, steps: Steps | None = None) -> Any:
        """Values by name. steps: not taken, see `by_tower`."""
        assert steps is None
        return self.by_tower(x, start, stop, {part: tower.steps for part, tower in self.towers.items()})

    def by_tower(self, x: Mapping[str, Any], start: int, stop: int, steps: Mapping[str, Steps]) -> dict[str, Any]:
        """`through` with the steps of each tower, which count its own blocks."""
        found = {}
        for name, value in x.items():
            part = part_of(name)
            begin, end = (self.passed(part, number) if part in steps else 0 for number in (start, stop))
            found[name] = steps[part](value, begin, end) if begin < end else value
        return found

    def to_head(self, x: Mapping[str, Any]) -> dict[str, Tensor]:
        return {name: values_of(value) if part_of(name) in self.towers else value for name, value in x.items()}


def interleaved(lengths: Mapping[str, int], first: str | None = None) -> list[tuple[str, int]]:
    """Order the blocks of chains by relative depth, from 0 for a stem to 1 for a top: (part, index in its chain).
    first: a chain that comes whole before the others."""
    depths = [
        (first not in (None, part), index / (number - 1) if number > 1 else 1.0, turn, part, index)
        for turn, (part, number) in enumerate(lengths.items())
        for index in range(number)
    ]
    return [(part, index) for *_, part, index in sorted(depths)]
