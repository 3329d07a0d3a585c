"""The head of columns, in float32: a vector for each, their pairwise products, and a small MLP.

Shapes: C inputs of towers, (B, D) each; n numbers, f flags, c names; W = width, K = num_outputs.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from frostline.config.ranges import Positive, Probability
from frostline.contracts.features import FIRST_KNOWN, UNKNOWN, Features, Form, Unit

SPREAD = 0.1  # standard deviation of new embeddings


class FusionHead(nn.Module):
    """Each column gets a vector (B, W): a linear map and LayerNorm for a tower's features, a linear map for all numbers
    together, an embedding for a name. The vectors side by side, and the sum of their pairwise products (He and Chua
    2017, arXiv:1708.05027, equation 3), go through hidden layers with GELU. Numbers and names also act on the outputs
    directly, as in wide and deep models (Cheng et al. 2016, arXiv:1606.07792): each name has an offset of its own.

    An empty picture or text is replaced by a learned vector. drop_columns, drop_names: shares that count as empty and
    as unknown while training, so that both are learned.
    """

    takes: ClassVar[Mapping[Unit, Form]] = {"sample": "parts"}

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        *,
        width: Positive[int],
        hidden: list[Positive[int]],
        dropout: Probability,
        drop_columns: Probability,
        drop_names: Probability,
    ) -> None:
        super().__init__()
        self.columns = features.columns
        self.drop_columns = drop_columns
        self.drop_names = drop_names
        self.projections = nn.ModuleList(_normed(own, width) for own in features.widths)
        # DDP waits for the gradient of every parameter, also of one without elements.
        self.absent = nn.Parameter(torch.zeros(len(features.columns), width)) if features.columns else None
        numbers = features.row["numbers"].values()
        measured = len(numbers) + sum(column["missing"] for column in numbers)
        self.numbers = nn.Linear(measured, width) if measured else None
        self.slopes = nn.Linear(measured, num_outputs, bias=False) if measured else None
        sizes = [len(column["known"]) + FIRST_KNOWN for column in features.row["names"].values()]
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.offsets = nn.ModuleList(nn.Embedding(size, num_outputs) for size in sizes)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=SPREAD)  # type: ignore[arg-type]
        for wide in (*self.offsets, *([] if self.slopes is None else [self.slopes])):
            nn.init.zeros_(wide.weight)
        vectors = len(features.columns) + len(sizes) + (self.numbers is not None)
        widths = [(vectors + (vectors > 1)) * width, *hidden]
        layers: list[nn.Module] = []
        for own, following in pairwise(widths):
            layers += [nn.Linear(own, following), nn.GELU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_outputs))

    def forward(self, features: Mapping[str, Any]) -> Tensor:
        with torch.autocast(features["row"]["numbers"].device.type, enabled=False):
            return self._of_row(features, features["row"])

    def _of_row(self, features: Mapping[str, Any], row: Mapping[str, Tensor]) -> Tensor:
        vectors = self._of_towers(features, row["absent"])
        measured = torch.cat([row["numbers"], row["flags"]], 1)
        if self.numbers is not None:
            vectors.append(self.numbers(measured))
        names = row["names"]
        if self.training and self.drop_names:
            names = torch.where(torch.rand(names.shape, device=names.device) < self.drop_names, UNKNOWN, names)
        vectors += [embedding(names[:, place]) for place, embedding in enumerate(self.embeddings)]
        outputs: Tensor = self.layers(torch.cat([*vectors, *_products(vectors)], 1))
        for place, offset in enumerate(self.offsets):
            outputs = outputs + offset(names[:, place])
        return outputs if self.slopes is None else outputs + self.slopes(measured)

    def _of_towers(self, features: Mapping[str, Any], absent: Tensor) -> list[Tensor]:
        """absent: (B, C) bool. An input is missing if no row of a prediction has it."""
        if self.training and self.drop_columns:
            absent = absent | (torch.rand(absent.shape, device=absent.device) < self.drop_columns)
        found = []
        for place, name in enumerate(self.columns):
            assert self.absent is not None
            empty = self.absent[place].expand(len(absent), -1)
            if name in features:
                own = self.projections[place](features[name].float())
                found.append(torch.where(absent[:, place, None], empty, own))
            else:
                found.append(empty)
        return found


def _normed(own: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(own, width), nn.LayerNorm(width))


def _products(vectors: list[Tensor]) -> list[Tensor]:
    """The sum of pairwise products (B, W), if there are pairs."""
    if len(vectors) < 2:
        return []
    together = torch.stack(vectors)
    return [(together.sum(0).square() - together.square().sum(0)) / 2]
