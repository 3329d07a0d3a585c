"""What a training part says of its targets, and whether anything can be learned from them. Shapes: N samples; classes
(N,) int64, labels and numbers (N, C) float32, tags (N, W) int64 of up to W words, NO_TAG where a sample has no further
one.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from math import fsum, isfinite, sqrt

import torch
from torch import Tensor

from frostline.contracts.targets import BEGINS, NO_TAG, SAID, Kind, Targets
from frostline.errors import ConfigError, DataError, few

# Of float32, in which targets come: numbers that differ by less from their mean keep two digits of that difference.
LEAST_DEVIATION = 1e-5
SHOWN = 3
BETWEEN = re.compile(r"(?<=\w)[-_](?=\w)")  # what stands between words, as blanks do
TASKS: dict[Kind, str] = {
    "class": "classification",
    "labels": "multi_label",
    "numbers": "regression",
    "tags": "token_classification",
}


def counts_of(kind: Kind, names: list[str], targets: Tensor) -> dict[str, int]:
    """Samples of each class, or with each label, or with each entity; nothing of numbers. Of entities the B- tags are
    counted: one whose mentions are all of one word has no I- at all."""
    if kind == "numbers":
        return {}
    if kind == "class":
        counted = Counter(targets.tolist())
        return {name: counted[number] for number, name in enumerate(names)}
    has = targets if kind == "labels" else tags_in(targets, len(names))
    counts = dict(zip(names, has.count_nonzero(0).tolist(), strict=True))
    if kind == "labels":
        return counts
    return {name.removeprefix(BEGINS): count for name, count in counts.items() if name.startswith(BEGINS)}


def tags_in(targets: Tensor, number: int) -> Tensor:
    """(N, W) of `number` tags → (N, C) bool: which of them a sample has."""
    has = torch.zeros(len(targets), number + 1, dtype=torch.bool)
    has.scatter_(1, targets.masked_fill(targets == NO_TAG, number), True)
    return has[:, :number]


def targets_of(kind: Kind, names: list[str], targets: Tensor) -> Targets:
    """targets: of the training part. Sums are exact, and so the same on every machine: a resume compares them."""
    if kind == "tags":
        words = targets[targets != NO_TAG]
        counts = words.bincount(minlength=len(names)).tolist()
        return Targets(kind, names, counts, [len(words) / len(targets)], [])
    counts = list(counts_of(kind, names, targets).values())
    if kind != "numbers":
        return Targets(kind, names, counts, [], [])
    columns = targets.double().T.tolist()
    means = [fsum(column) / len(column) for column in columns]
    variances = [
        fsum((x - mean) ** 2 for x in column) / len(column) for column, mean in zip(columns, means, strict=True)
    ]
    return Targets(kind, names, counts, means, [sqrt(variance) for variance in variances])


def frequencies_said(targets: Targets, samples: int) -> str:
    """`4 classes, the most frequent 'a' (59 %)`: of the samples, which are as many in training, or of the words where
    these have tags. Of the first SHOWN columns of numbers mean and standard deviation."""
    if targets.kind == "numbers":
        columns = list(zip(targets.names, targets.mean, targets.std, strict=True))
        said = [f"'{name}' {mean:.4g} ± {std:.4g}" for name, mean, std in columns[:SHOWN]]
        return ", ".join([*said, *(["..."] if len(columns) > SHOWN else [])])
    most = max(targets.counts)
    share = most / (sum(targets.counts) if targets.kind == "tags" else samples)
    plural = "classes" if targets.kind == "class" else targets.kind
    name = targets.names[targets.counts.index(most)]
    return f"{len(targets.names)} {plural}, the most frequent '{name}' ({100 * share:.0f} %)"


def alike_notes(targets: Targets) -> list[str]:
    """A sentence on classes, labels or tags whose names differ by case, blanks or invisible characters alone, or write
    the same number, truth or missing value."""
    groups: dict[str, list[str]] = {}
    for name in targets.names if targets.kind != "numbers" else ():
        groups.setdefault(_plain(name), []).append(name)
    alike = [" and ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    plural = "classes" if targets.kind == "class" else targets.kind
    return [f"{plural} that may be one, by their names: {few(alike, SHOWN)}"] if alike else []


def _plain(name: str) -> str:
    visible = "".join(it for it in unicodedata.normalize("NFKC", name) if unicodedata.category(it) != "Cf")
    plain = " ".join(BETWEEN.sub(" ", visible.casefold()).split())
    if plain in ("nan", "none", "null", "n/a", "na"):
        return "nothing"
    try:
        number = float(visible)
    except ValueError:
        return {"true": "1.0", "false": "0.0"}.get(plain, plain)
    return str(number) if isfinite(number) else "nothing"


def require_learnable(targets: Targets, samples: int, where: object) -> None:
    """samples: of the training part. Raises DataError that names labels which all samples have, a tag that all words
    have, or numbers that are the same everywhere."""
    if targets.kind == "labels":
        _require_differences(targets, samples, "sample", "leave that label out, or add samples without it", where)
    elif targets.kind == "tags":
        _require_differences(targets, sum(targets.counts), "word", "add samples that have words with other tags", where)
    elif targets.kind == "numbers":
        _require_numbers_that_vary(targets, where)


def _require_differences(targets: Targets, everything: int, one: str, next_step: str, where: object) -> None:
    """everything: what is counted, one of which is called `one`."""
    always = [name for name, count in zip(targets.names, targets.counts, strict=True) if count == everything]
    if always:
        raise DataError(
            f"every training {one} has the {targets.kind.removesuffix('s')} '{always[0]}', so that there is nothing to "
            "learn about it",
            where=where,
            next_step=next_step,
        )


def _require_numbers_that_vary(targets: Targets, where: object) -> None:
    for name, mean, std in zip(targets.names, targets.mean, targets.std, strict=True):
        if std <= LEAST_DEVIATION * abs(mean):
            raise DataError(
                f"the numbers of '{name}' are the same for every training sample, or nearly: {mean:g} ± {std:g}",
                where=where,
                next_step="leave that column out, or subtract what its numbers have in common",
            )


def require_kind(wanted: Kind, kinds: Sequence[Kind]) -> None:
    """kinds: of targets that there are. Raises ConfigError where the task does not go with the data."""
    if wanted not in kinds:
        tasks = " or ".join(f"task={TASKS[kind]}" for kind in kinds)
        raise ConfigError(
            f"this task learns from {SAID[wanted]}, and this data has {SAID[kinds[0]]}",
            where="task, data",
            next_step=f"{tasks}; or data with targets for this task (data=image_csv and data=text_csv read most kinds)",
        )
