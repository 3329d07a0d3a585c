"""Baselines of tables: what simple models predict from the same columns, and what each column adds.

They see the rows' numbers, categories and ids, and the features of the frozen towers, if these are cached.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric

from frostline.contracts.batch import Batch
from frostline.data.module import Data
from frostline.data.split import Split
from frostline.errors import few
from frostline.frozen.parts import PartedOutputs
from frostline.tasks.base import Task
from frostline.training.build import Built
from frostline.training.column_pairs import Pairs
from frostline.training.column_probes import LEAST, STRENGTHS, Block, Linear, Trees, biases

MOST_ROWS, MOST_PAIRED = 20_000, 1_500  # of training; the kernels of pairs take a GFLOP for each of some 30 solutions
FLOPS = 3e11  # of linear models, some ten seconds of one core
MOST_TARGETS = 10  # numbers or classes for which trees are grown: each needs trees of its own
SURE = 2.0  # standard errors of a difference from which it is shown


class Asked(NamedTuple):
    """What is to be predicted: one class for each row if the task calibrates, else numbers. train: (N,) or (N, T)
    targets. unlimited: those before `data.train_limit`, which balances classes. val: a batch of all validation rows,
    without inputs."""

    task: Task
    train: Tensor
    unlimited: Tensor
    val: Batch

    @property
    def classes(self) -> bool:
        return self.task.calibrates

    @property
    def numbers(self) -> tuple[Tensor, Tensor]:
        """(N, T) and (M, T) float64 targets; classes as 0 and 1."""
        if not self.classes:
            return self.train.double(), self.val.targets.double()
        train, val = (one_hot(side, self.task.num_outputs).double() for side in (self.train, self.val.targets))
        return train, val

    @property
    def mean(self) -> Tensor:
        """(1, T) float64: the mean of the numbers, or the shares of the classes."""
        if not self.classes:
            return self.train.double().mean(0, keepdim=True)
        return self.unlimited.bincount(minlength=self.task.num_outputs)[None].double() / len(self.unlimited)

    def scores(self, predicted: Tensor, *, logits: bool = False) -> dict[str, float]:
        """Validation scores of predictions (M, T). logits: of classes; else these are about 0 and 1."""
        if not logits:
            predicted = self.task.encode(predicted.clamp(LEAST, 1) if self.classes else predicted)
        metrics = self.task.metrics()
        for metric in metrics.modules():
            if isinstance(metric, Metric):
                metric.distributed_available_fn = _never  # rank 0 has the whole split
        metrics.update(predicted, self.val)
        return {f"val/{name}": value for name, value in metrics.compute().items() if name != "n"}


def table_baselines(built: Built, *, at_hand: bool) -> dict[str, Any]:
    """Scores of each baseline, by name; `adds`, see `with_pairs`; `notes`, what was left out. Empty for other data and
    other tasks. at_hand: whether features of the towers are cached."""
    task, data = built.model.task, built.data
    if not data.modality.has_columns or not (task.encodes and (task.calibrates or task.gives_numbers)):
        return {}
    rows = _subset(len(data.train_split), MOST_ROWS)
    train = Split(data.train_split.source, data.train_split.index[rows])
    asked = Asked(task, train.labels, data.unlimited, _whole(data.val_split))
    blocks, ids = _of_rows(data, train)
    notes = [] if len(rows) == len(data.train_split) else [f"they learn from {len(rows):,} training rows"]
    if at_hand:
        blocks = [*_of_towers(built, rows), *blocks]
    elif built.model.backbone.blocks:
        notes.append("they do not see what the towers see, whose features are not cached")
    return _scored(asked, blocks, ids, notes)


def _scored(asked: Asked, blocks: list[Block], ids: list[str], notes: list[str]) -> dict[str, Any]:
    """blocks: of all columns. ids: names of those that are ids. notes: on what was left out so far."""
    train, val = asked.numbers
    found: dict[str, Any] = {}

    def timed(name: str, predict: Callable[[], Tensor], *, logits: bool = False) -> None:
        begun = time.perf_counter()
        scores = asked.scores(predict(), logits=logits)
        found[name] = scores | {"seconds": round(time.perf_counter() - begun, 3)}

    timed("majority" if asked.classes else "mean", lambda: asked.mean.expand(len(val), -1))
    if ids:
        timed("bias", lambda: biases([block for block in blocks if block.name in ids], train, val))
    used, left_out = affordable(blocks, len(train))
    if left_out:
        notes.append(f"linear models do not see {few(left_out)}: too many names")
    if used:
        linear = Linear(used)
        if asked.classes:
            timed("logistic", lambda: linear.logistic(asked.train, asked.val.targets, train.shape[1]), logits=True)
        else:
            timed("ridge", lambda: linear.ridge(train, val))
    found |= with_pairs(asked, blocks, notes)
    trees = Trees(blocks)
    if trees.left_out:
        notes.append(f"trees do not see {few(trees.left_out)}: too many names")
    if train.shape[1] > MOST_TARGETS:
        notes.append(f"no trees for {train.shape[1]} {'classes' if asked.classes else 'numbers'}")
    elif trees.sees:
        if asked.classes:
            timed("trees", lambda: trees.classify(asked.train, asked.val.targets, train.shape[1]), logits=True)
        else:
            timed("trees", lambda: trees.regress(train, val))
    return found | ({"notes": notes} if notes else {})


def with_pairs(asked: Asked, blocks: list[Block], notes: list[str]) -> dict[str, Any]:
    """`pairs`: scores of `Pairs` on at most MOST_PAIRED rows. `adds`: by column, the scores `without` it, and whether
    the difference `shows`: whether the mean squared error is higher without it, by more than SURE standard errors over
    the validation rows."""
    if not blocks:
        return {}
    begun = time.perf_counter()
    train, val = asked.numbers
    if len(train) > MOST_PAIRED:
        rows = _subset(len(train), MOST_PAIRED)
        train, blocks = train[rows], [block._replace(train=block.train[rows]) for block in blocks]
        notes.append(f"pairs of columns, and what each column adds, are learned from {MOST_PAIRED:,} training rows")
    pairs = Pairs(blocks)
    whole = pairs.fit(train, val)
    adds = {}
    for at, block in enumerate(blocks):
        without = pairs.fit(train, val, without=at, near=whole).predicted
        worse = ((without - val).square() - (whole.predicted - val).square()).mean(1)
        error = float(worse.std()) / len(worse) ** 0.5 if len(worse) > 1 else torch.inf
        adds[block.name] = {"without": asked.scores(without), "shows": float(worse.mean()) > SURE * error}
    seconds = {"seconds": round(time.perf_counter() - begun, 3)}
    return {"pairs": asked.scores(whole.predicted) | seconds, "adds": adds}


def affordable(blocks: list[Block], rows: int) -> tuple[list[Block], list[str]]:
    """The blocks that linear models can see within FLOPS, and the names of the others: of those with codes, the widest
    are left out first; if no codes are left and the rest is too wide, all."""
    used, left_out = [block for block in blocks if block.width], []
    while used and _work(sum(block.width for block in used), rows) > FLOPS:
        coded = [block for block in used if block.coded] or used
        widest = max(coded, key=lambda block: block.width)
        used = [block for block in used if block is not widest]
        left_out.append(widest.name)
    return used, left_out


def _work(width: int, rows: int) -> float:
    """Products of all columns, then one factorisation for each penalty."""
    return 2.0 * rows * width**2 + len(STRENGTHS) * width**3 / 3


def _subset(number: int, most: int) -> Tensor:
    """Indices of at most `most` of `number` rows, in ascending order."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _whole(split: Split) -> Batch:
    return Batch(None, split.labels, split.index, user=split.source.users_of(split.index))


def _of_rows(data: Data, train: Split) -> tuple[list[Block], list[str]]:
    """Blocks of the rows' own columns, and the names of those that are ids."""
    sides = [data.modality.columns(split) for split in (train, data.val_split)]
    blocks = [Block(own.name, own.values, its.values) for own, its in zip(*sides, strict=True)]
    return blocks, [own.name for own in sides[0] if own.is_id]


def _of_towers(built: Built, rows: Tensor) -> list[Block]:
    """Blocks of the features of each picture and text. rows: places in the training split."""
    built.frozen.backbone.to(built.trainer.strategy.root_device)  # after a fit Lightning leaves the weights on the CPU
    assert isinstance(built.frozen, PartedOutputs)
    splits = built.data.train_split, built.data.val_split
    features = [built.frozen.features_by_input(split) for split in splits]
    absent = [built.data.modality.absent(split) for split in splits]
    blocks = []
    for name, values in features[0].items():
        train, val = values[rows].float().cpu(), features[1][name].float().cpu()
        lacks = absent[0][name][rows], absent[1][name]
        blocks.append(Block(name.partition("/")[2], *_without_absent(train, val, *lacks)))
    return blocks


def _without_absent(train: Tensor, val: Tensor, lacks: Tensor, val_lacks: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the features of rows that lack a picture or text by the mean of training, and mark these rows in a
    further column. lacks: (N,) bool."""
    if not bool(lacks.any() or val_lacks.any()) or bool(lacks.all()):
        return train, val
    middle = train[~lacks].mean(0)
    sides = ((train, lacks), (val, val_lacks))
    filled = [torch.cat([side.where(~off[:, None], middle), off[:, None].float()], 1) for side, off in sides]
    return filled[0], filled[1]


def _never() -> bool:
    return False
