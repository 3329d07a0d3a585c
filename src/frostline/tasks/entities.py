"""Find entities in tags: `B-person` and `I-person` make one person. The rules are those of `conlleval` (Tjong Kim Sang
and Buchholz, 2000), the default of seqeval: sequences that are not legal give entities too.

Shapes: W words, of several sentences one after the other, C tags, T types of entities.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

OUTSIDE = "O"
PREFIXES = ("B", "I", "E", "S")  # begins, is inside, ends, is single
NAMELESS = "_"  # the type of a tag that is a prefix alone
NO_TYPE = -1


class Entities(NamedTuple):
    """begins (W,): whether an entity begins with this word. If so, types (W,): its type, sizes (W,): its length."""

    begins: Tensor
    types: Tensor
    sizes: Tensor


class Scheme(nn.Module):
    """The meaning of C tags. A tag is O, or a prefix and a type, or a type alone, which means the same as I-type. Tag
    index C, `untold`, is for words without a predicted tag: no entity, like O.

    types: of entities, in the order of their first tag.
    type_of: (C + 1,) index of a tag's type, NO_TYPE for none. opens: (C + 1,) whether an entity begins here whatever
        comes before. closes: (C + 1,) whether it ends here whatever follows.
    """

    type_of: Tensor
    opens: Tensor
    closes: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        parsed = [_read(name) for name in (*names, OUTSIDE)]
        self.untold = len(names)
        self.types = list(dict.fromkeys(kind for _, kind in parsed if kind is not None))
        place: dict[str | None, int] = {None: NO_TYPE} | {kind: number for number, kind in enumerate(self.types)}
        columns = {
            "type_of": torch.tensor([place[kind] for _, kind in parsed]),
            "opens": torch.tensor([prefix in ("B", "S") for prefix, _ in parsed]),
            "closes": torch.tensor([prefix in ("E", "S") for prefix, _ in parsed]),
        }
        for name, column in columns.items():
            self.register_buffer(name, column, persistent=False)  # it follows from the names

    def find(self, tags: Tensor, first: Tensor) -> Entities:
        """tags: (W,). first: (W,) bool, whether a sentence begins: no entity continues there."""
        types = self.type_of[tags]
        inside = types != NO_TYPE
        fresh = first | (types != types.roll(1)) | self.closes[tags].roll(1) | self.opens[tags]
        begins = inside & fresh
        number = begins.cumsum(0)  # of the entity, from 1
        sizes = number[inside].bincount(minlength=len(tags) + 1)
        return Entities(begins, types, sizes[number])

    def count(self, wanted: Tensor, given: Tensor, first: Tensor) -> Tensor:
        """(3, T) entities of each type: met, wanted, given. An entity is met if type, first and last word agree."""
        return torch.stack([begun.sum(0) for begun in self.begun(wanted, given, first)])

    def begun(self, wanted: Tensor, given: Tensor, first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(W, T) each: whether an entity of a type begins with a word, of those that are met, wanted, given."""
        a, b = self.find(wanted, first), self.find(given, first)
        met = a.begins & b.begins & (a.types == b.types) & (a.sizes == b.sizes)
        kinds = torch.arange(len(self.types), device=wanted.device)
        met, there, answered = (
            (types[:, None] == kinds) & begins[:, None]
            for types, begins in ((a.types, met), (a.types, a.begins), (b.types, b.begins))
        )
        return met, there, answered


def _read(name: str) -> tuple[str, str | None]:
    """Prefix and type of a tag."""
    prefix, _, kind = name.partition("-")
    if name == OUTSIDE:
        return OUTSIDE, None
    return (prefix, kind or NAMELESS) if prefix in PREFIXES else ("I", name)
