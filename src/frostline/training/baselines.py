"""Score cached features without fine-tuning. Scores are computed once, and stored beside the features."""

import hashlib
import json
import math
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frostline.data.module import Data
from frostline.errors import memory_is_short
from frostline.heads.probes import MAX_EVALUATIONS, accuracy, linear_probes, log_me, nearest_neighbours
from frostline.paths import write_atomically
from frostline.training.build import Built
from frostline.training.rows import Labelled, labelled
from frostline.training.table_baselines import table_baselines

VERSION = 2  # version of the stored scores and of the probes: a new number invalidates them
Scores = dict[str, float]

# Limits of the baselines of a training run: a share of the FLOPs of the pass that computed the features, but always a
# TFLOP, which takes some ten seconds on two cores; and bytes of features in float32.
SHARE, FLOPS, BYTES = 0.05, 1e12, 1e9


def baselines_of(built: Built, number: int) -> dict[str, Any]:
    """Baselines after the phase at index `number`. For tables, see `table_baselines`. For other data, tasks with
    one class for each sample only: the accuracy of the most frequent training class; and the scores of each probe, or
    `why_not`. Probes need the features of the backbone with which the run began, cached by that phase.
    """
    at_hand = features_at_hand(built, number)
    if built.data.modality.has_columns:
        return table_baselines(built, at_hand=at_hand)
    if not built.model.task.calibrates:
        return {}
    return {"majority": {"val/accuracy": _majority(built.data)}} | (_of_features(built) if at_hand else {})


def features_at_hand(built: Built, number: int) -> bool:
    """Whether the phase at index `number` cached the features of the backbone with which the run began."""
    thaw = built.plan.first_thaw(list(built.model.backbone.blocks))
    return built.frozen.keeps_features and (thaw is None or number < thaw)


def _majority(data: Data) -> float:
    """Validation accuracy of the class that is most frequent in training before `data.train_limit`, which balances
    classes."""
    most = data.unlimited.bincount().argmax()
    return float((data.val_split.labels == most).double().mean())


def _of_features(built: Built) -> dict[str, Any]:
    frozen, form = built.frozen, built.model.backbone.features.form
    if form != "vector":
        return {"why_not": f"baselines need features as vectors, and this head takes {form}"}
    train, val, classes = len(built.data.train_split), len(built.data.val_split), len(built.data.classes)
    why_not = too_much(train, val, built.model.backbone.features.width, classes, frozen.outputs[-1].flops)
    if why_not:
        return {"why_not": why_not}
    # After a fit Lightning leaves the weights on the CPU; the device needs them if the cached features are gone.
    frozen.backbone.to(built.trainer.strategy.root_device)
    splits = labelled(frozen)
    try:
        return scores_of(built.data, *splits, ["knn", "linear_probe"])
    except RuntimeError as error:
        if not memory_is_short(error):
            raise
        return {"why_not": "the device has too little memory for it"}


def too_much(train: int, val: int, width: int, classes: int, flops: float) -> str:
    """Why these are too many samples for k-NN and linear probe, or "". Depends on arithmetic alone, so that every
    machine decides the same. flops: of the backbone, per sample.
    """
    num_bytes = 4 * (train + val) * width
    if num_bytes > BYTES:
        return f"{num_bytes / 1e9:.1f} GB of features are more than the limit of {BYTES / 1e9:g} GB"
    # Products of few columns take as long as those of 16: they wait for memory.
    work = 2.0 * train * val * width + MAX_EVALUATIONS * 4.0 * train * width * max(classes, 16)
    allowed = max(FLOPS, SHARE * (train + val) * flops)
    if work > allowed:
        return f"they would take {work / 1e12:,.1f} TFLOP, more than the limit of {allowed / 1e12:,.1f}"
    return ""


def scores_of(data: Data, train: Labelled, val: Labelled, probes: Sequence[str]) -> dict[str, Any]:
    """Scores of `probes` (knn, linear_probe, logme), fitted on the training split: `val/accuracy` or `evidence`, and
    the seconds of the first computation. Or `why_not`."""
    if not len(train.labels) or not len(val.labels):
        return {"why_not": f"training or validation has no {data.target.rows_are} that count"}
    file = _file(data, train, val)
    kept = _read(file)
    if all(name in kept for name in probes):
        return {name: kept[name] for name in probes}
    assert data.trainer is not None
    device = data.trainer.strategy.root_device
    splits = _on(device, train), _on(device, val)
    if not all(bool(split.features.isfinite().all()) for split in splits):
        return {"why_not": "the features are not finite"}
    for name in probes:
        if name not in kept:
            begun = time.perf_counter()
            kept[name] = PROBES[name](*splits, len(data.classes))
            kept[name]["seconds"] = round(time.perf_counter() - begun, 3)
    if file is not None:
        with suppress(OSError):  # no room, or removed by another process: computed again when needed
            write_atomically(file, json.dumps({"checksum": _checksum(kept), "scores": kept}))
    return {name: kept[name] for name in probes}


def _file(data: Data, train: Labelled, val: Labelled) -> Path | None:
    """The file beside the training features, for these labels and these validation features."""
    if train.folder is None or val.folder is None:
        return None
    digest = hashlib.blake2b(val.folder.name.encode(), digest_size=16)
    for split in (train, val):
        digest.update(split.labels.cpu().numpy().data)
        if split.found > len(split.labels):
            digest.update(f"{data.seed}".encode())  # by which rows were drawn
    return train.folder / f"scores-{digest.hexdigest()}.json"


def _on(device: torch.device, rows: Labelled) -> Labelled:
    return rows._replace(features=rows.features.to(device, torch.float32), labels=rows.labels.to(device))


def _read(file: Path | None) -> dict[str, Scores]:
    try:
        content = json.loads(file.read_text()) if file is not None else {}
        scores: dict[str, Scores] = content["scores"]
        return scores if content["checksum"] == _checksum(scores) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _checksum(scores: dict[str, Scores]) -> int:
    """Includes VERSION, so that files of another version count as damaged."""
    return zlib.crc32(json.dumps([VERSION, scores]).encode())


def _knn(train: Labelled, val: Labelled, num_classes: int) -> Scores:
    predicted = nearest_neighbours(train.features, train.labels, val.features, num_classes)
    return {"val/accuracy": accuracy(predicted, val.labels)}


def _linear_probe(train: Labelled, val: Labelled, num_classes: int) -> Scores:
    """Choose the strength by validation, like the run's best epoch, to which the probe is compared; among equals, the
    strongest. `standard_error` if samples have several rows."""
    found: list[tuple[float, float, Scores]] = []
    for probe in linear_probes(train.features, train.labels, num_classes):
        predicted = probe(val.features)
        error = {} if val.sample is None else {"standard_error": standard_error(predicted == val.labels, val.sample)}
        found.append((accuracy(predicted, val.labels), probe.l2, error))
    score, l2, error = max(found, key=itemgetter(0, 1))
    return {"val/accuracy": score, "l2": l2} | error


def _logme(train: Labelled, val: Labelled, num_classes: int) -> Scores:
    return {"evidence": log_me(train.features, train.labels, num_classes)}


def standard_error(right: Tensor, sample: Tensor) -> float:
    """Standard error of the share of rows that are right, where rows of one sample resemble each other (Cochran 1977,
    Sampling Techniques, section 3.12). NaN for one sample. right: (R,) bool. sample: (R,)."""
    sample, right = sample.cpu(), right.cpu()  # on a GPU sums of weights have no deterministic kernel
    rows, hits = sample.bincount().double(), sample.bincount(right.double())
    number, share = int((rows > 0).sum()), float(hits.sum() / rows.sum())
    if number < 2:
        return math.nan
    squares = float((hits - share * rows).square().sum())
    return math.sqrt(squares * number / (number - 1)) / len(right)


PROBES: dict[str, Callable[[Labelled, Labelled, int], Scores]] = {
    "knn": _knn,
    "linear_probe": _linear_probe,
    "logme": _logme,
}
