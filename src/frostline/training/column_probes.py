"""Predict targets from the columns of a table without a network: biases of ids, ridge regression, boosted trees.

Shapes: N training rows, M validation rows, T targets; a class is a target of 0 and 1. All functions are deterministic.
Strengths, and the number of trees, are those that are best on validation, as the best epoch of a run is.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # penalties; a block of columns without one has variance 1
SWEEPS, CLOSE = 200, 1e-9  # most turns of `biases`, and the change of a bias at which they end
ITERATIONS = 200  # most, of a logistic regression
TREES = 100  # most
LEAST = 1e-9  # probability
# Principal directions of features that trees and pairs see: trees look at each value of each, and a user's taste in all
# of 384 would be noise.
DIRECTIONS = 16
MOST_CODES = 255  # that scikit-learn's trees take for a category


class Block(NamedTuple):
    """What one column of a table gives. train: (N, w) numbers, or (N,) int64 codes from 0, -1 if unknown; val: the same
    of the validation rows."""

    name: str
    train: Tensor
    val: Tensor

    @property
    def coded(self) -> bool:
        return self.train.ndim == 1

    @property
    def codes(self) -> int:
        return int(self.train.max()) + 1 if len(self.train) else 0

    @property
    def width(self) -> int:
        return self.codes if self.coded else self.train.shape[1]


# --- biases ---


def biases(blocks: Sequence[Block], targets: Tensor, wanted: Tensor) -> Tensor:
    """(M, T) predicted by a bias for each code of each block, added to the mean. wanted: (M, T), which chooses the
    penalty.

    Codes that training lacks have none. The penalised sum of squares has one minimum, which turns over the blocks
    approach: each sets its biases to the best ones beside those of the others.
    """
    return _best([_biases(blocks, targets.double(), strength) for strength in STRENGTHS], wanted)


def _biases(blocks: Sequence[Block], targets: Tensor, strength: float) -> Tensor:
    centre = targets.mean(0)
    tables = [targets.new_zeros(block.codes, targets.shape[1]) for block in blocks]
    counts = [block.train.clamp(min=0).bincount((block.train >= 0).double(), minlength=block.codes) for block in blocks]
    rest = targets - centre
    for _ in range(SWEEPS):
        change = 0.0
        for table, block, count in zip(tables, blocks, counts, strict=True):
            rest = rest + _taken(table, block.train)
            sums = torch.zeros_like(table).index_add_(0, block.train.clamp(min=0), rest * (block.train >= 0)[:, None])
            found = sums / (count + strength)[:, None]
            change = max(change, float((found - table).abs().max()))
            table.copy_(found)
            rest = rest - _taken(table, block.train)
        if change < CLOSE:
            break
    rows = len(blocks[0].val)
    return centre.expand(rows, -1) + sum(_taken(table, it.val) for table, it in zip(tables, blocks, strict=True))


def _taken(table: Tensor, codes: Tensor) -> Tensor:
    """(N, T); 0 for codes that are unknown, or from the table's length on."""
    known = (codes >= 0) & (codes < len(table))
    return torch.where(known[:, None], table[torch.where(known, codes, 0)], 0.0)


# --- linear models of all columns ---


class Linear:
    """Linear models on all blocks. Each block is scaled so that its rows have a mean squared length of 1: with equal
    penalties, 384 features of a text then weigh as much as one number or one id."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        """blocks: at least one."""
        sides = [scaled_columns(block) for block in blocks]
        self.train = torch.cat([train for train, _ in sides], 1)
        self.val = torch.cat([val for _, val in sides], 1)

    def ridge(self, targets: Tensor, wanted: Tensor) -> Tensor:
        """(M, T). wanted: (M, T), which chooses the penalty."""
        targets = targets.double()
        centre = targets.mean(0)
        gram, crossed = self.train.T @ self.train, self.train.T @ (targets - centre)
        found = [centre + self.val @ solved(gram, crossed, strength) for strength in STRENGTHS]
        return _best(found, wanted)

    def logistic(self, labels: Tensor, wanted: Tensor, classes: int) -> Tensor:
        """(M, classes) logits of scikit-learn's LogisticRegression. labels: (N,), see `of_classes`. wanted: (M,), which
        chooses the penalty."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if len(labels.unique()) == 1:
            return only_class(labels, len(wanted), classes)
        train, val, found = self.train.numpy(), self.val.numpy(), []
        for strength in STRENGTHS:
            model = LogisticRegression(C=1 / strength, max_iter=ITERATIONS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(train, labels.numpy())
            logits = torch.from_numpy(model.decision_function(val))
            logits = logits if logits.ndim == 2 else torch.stack([torch.zeros_like(logits), logits], 1)  # two classes
            found.append(of_classes(logits.log_softmax(1), model.classes_, classes))  # predict_log_proba has log(0)
        return _likeliest(found, wanted)


def solved(gram: Tensor, crossed: Tensor, strength: float) -> Tensor:
    penalised = gram + strength * torch.eye(len(gram), dtype=gram.dtype)
    return torch.cholesky_solve(crossed, torch.linalg.cholesky(penalised))


def scaled_columns(block: Block) -> tuple[Tensor, Tensor]:
    """Centred and scaled columns of training and validation."""
    if block.coded:
        train, val = (_one_hot(codes, block.codes) for codes in (block.train, block.val))
        middle = train.mean(0)
        return train - middle, val - middle
    train, val = block.train.double(), block.val.double()
    middle, spread = train.mean(0), train.std(0, correction=0)
    varies = spread > CLOSE * (1 + middle.abs())  # the others would amplify rounding errors
    scale = torch.where(varies, spread * varies.sum() ** 0.5, torch.inf)
    return (train - middle) / scale, (val - middle) / scale


def _one_hot(codes: Tensor, number: int) -> Tensor:
    """(N,) → (N, number) float64; rows of zeros for unknown codes, and for those from `number` on."""
    known = ((codes >= 0) & (codes < number)).nonzero().flatten()
    rows = torch.zeros(len(codes), number, dtype=torch.float64)
    rows[known, codes[known]] = 1.0
    return rows


def principal(train: Tensor, val: Tensor) -> tuple[Tensor, Tensor]:
    """The DIRECTIONS principal directions of the training rows, centred."""
    middle = train.mean(0)
    directions = torch.linalg.eigh((train - middle).T @ (train - middle)).eigenvectors[:, -DIRECTIONS:]
    return (train - middle) @ directions, (val - middle) @ directions


def _best(found: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """The prediction with the least squared error; among equals, that of the strongest penalty."""
    return min(reversed(found), key=lambda predicted: float((predicted - wanted).square().mean()))


def of_classes(logits: Tensor, known: Any, classes: int) -> Tensor:
    """(M, K) log-probabilities of the K `known` classes, those among the labels that a model saw → (M, classes). A draw
    of rows may lack a rare class: it gets the probability LEAST."""
    every = logits.new_full((len(logits), classes), LEAST).log()
    every[:, torch.as_tensor(known)] = logits
    return every


def only_class(labels: Tensor, rows: int, classes: int) -> Tensor:
    """(rows, classes) logits where all labels are equal, of which scikit-learn's logistic regression learns nothing."""
    return of_classes(torch.zeros(rows, 1, dtype=torch.float64), labels[:1], classes)


def _likeliest(found: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """The log-probabilities of which `wanted` (M,) is the likeliest; among equals, those of the strongest penalty."""
    return min(reversed(found), key=lambda logits: float(nll_loss(logits, wanted)))


# --- boosted trees ---


class Trees:
    """scikit-learn's gradient boosting by histograms. Of more than DIRECTIONS features it sees the principal
    directions; of codes, those of columns with at most MOST_CODES: `left_out` are the others' names."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        own = [block for block in blocks if not block.coded or block.codes <= MOST_CODES]
        self.left_out = [block.name for block in blocks if block.coded and block.codes > MOST_CODES]
        self.sees = bool(own)
        sides = [_of_tree(block) for block in own]
        self.train: Any = torch.cat([train for train, _ in sides], 1).numpy() if own else None
        self.val: Any = torch.cat([val for _, val in sides], 1).numpy() if own else None
        coded = [block.coded for block, (train, _) in zip(own, sides, strict=True) for _ in range(train.shape[1])]
        self.settings: dict[str, Any] = {"max_iter": TREES, "early_stopping": False, "random_state": 0}
        self.settings["categorical_features"] = coded

    def regress(self, targets: Tensor, wanted: Tensor) -> Tensor:
        """(M, T), each target by trees of its own. wanted: (M, T), which chooses the number of trees."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        predicted = []
        for target, best in zip(targets.double().T, wanted.double().T, strict=True):
            model = HistGradientBoostingRegressor(**self.settings).fit(self.train, target.numpy())
            predicted.append(_best([torch.from_numpy(stage) for stage in model.staged_predict(self.val)][::-1], best))
        return torch.stack(predicted, 1)

    def classify(self, labels: Tensor, wanted: Tensor, classes: int) -> Tensor:
        """(M, classes) logits. labels: (N,), see `of_classes`. wanted: (M,), which chooses the number of trees."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        if len(labels.unique()) == 1:
            return only_class(labels, len(wanted), classes)
        model = HistGradientBoostingClassifier(**self.settings).fit(self.train, labels.numpy())
        stages = [torch.from_numpy(stage).clamp(min=LEAST).log() for stage in model.staged_predict_proba(self.val)]
        return _likeliest([of_classes(stage, model.classes_, classes) for stage in stages[::-1]], wanted)


def _of_tree(block: Block) -> tuple[Tensor, Tensor]:
    """(N, w), (M, w) float64; NaN for unknown codes."""
    train, val = block.train.double(), block.val.double()
    if block.coded:
        lacks = block.val >= block.codes
        return train.where(block.train >= 0, torch.nan)[:, None], val.where((block.val >= 0) & ~lacks, torch.nan)[
            :, None
        ]
    if block.width <= DIRECTIONS:
        return train, val
    return principal(train, val)
