"""Compute the sections of a run's page as plain values for the template, from the run folder alone."""

from collections.abc import Iterator, Mapping
from math import ceil, isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError
from frostline.pages import drawing
from frostline.pages.events import Curve, curves
from frostline.quoting import command_of
from frostline.report.baselines import BASELINE, NAMES
from frostline.report.calibration import binned, classified, confidence_of
from frostline.report.score_intervals import without_bounds
from frostline.report.selective import errors_by_coverage, least_rate, threshold_of
from frostline.runs.predictions import Predictions, read
from frostline.runs.record import Record

MOST_CLASSES = 25  # in a confusion matrix; of more, the most frequent confusions are listed
MOST_CONFUSED = 20
MOST_LINES = 6  # in a chart
MOST_POINTS = 200  # of a curve over samples
USUAL_RATE = 0.05  # of wrong answers
RATES, VALIDATED = "lr/", "val/"


class Score(NamedTuple):
    """interval: `Record.intervals`, or None."""

    name: str
    value: float
    interval: Mapping[str, Any] | None


class Chart(NamedTuple):
    """names: of the lines, in the order of their colours. svg: markup, of which all texts are escaped. cut: `6 of 9
    shown`, if there are more lines."""

    title: str
    svg: str
    names: list[str]
    cut: str


def scores(record: Record) -> list[Score]:
    names = without_bounds(name for name in record.metrics if not name.endswith("/n"))
    return [Score(name, record.metrics[name], record.intervals.get(name)) for name in names]


def baselines(record: Record) -> str:
    """Bars of the baselines and of this run on validation; "" if there are none."""
    found = {label: record.baselines.get(name, {}).get(BASELINE) for name, label in NAMES.items()}
    rows = [(label, float(score), None) for label, score in found.items() if score is not None]
    own = record.metrics.get(BASELINE, nan)
    if not rows or not isfinite(own):
        return ""
    rows.append(("this run", own, None))
    values = ", ".join(f"{name} {value:.4f}" for name, value, _ in rows)
    return drawing.bars(rows, f"Accuracy on validation: {values}")


def charts(record: Record, folder: Path) -> list[Chart]:
    """Curves over epochs, from the event files; none if the run logged none, or has one epoch."""
    logged = curves(folder / "tensorboard")
    ends = logged.get(record.monitor)
    if ends is None or not record.phases or len(ends.steps) < 2:
        return []
    epochs = {step: number for number, step in enumerate(ends.steps, 1)}
    starts, first = [], 1
    for phase in record.phases:
        starts.append((float(first), str(phase["name"])))
        first += int(phase["epochs"])
    best = _best_epoch(record)
    made = []
    for title, tags, log in _charts(record, logged):
        first_lines = [*tags.items()][:MOST_LINES]
        series = {name: _by_epoch(logged[tag], ends.steps, epochs) for tag, name in first_lines}
        series = {name: points for name, points in series.items() if points}
        label = f"{title} by epoch: " + "; ".join(
            f"{name} from {drawing.number(own[0][1])} to {drawing.number(own[-1][1])}" for name, own in series.items()
        )
        if svg := drawing.curves(series, starts, len(epochs), best, log=log, label=label):
            cut = f"{MOST_LINES} of {len(tags)} shown" if len(tags) > MOST_LINES else ""
            made.append(Chart(title, svg, [*series], cut))
    return made


def _charts(record: Record, logged: Mapping[str, Curve]) -> Iterator[tuple[str, dict[str, str], bool]]:
    """Yield title, names of the lines by tag, and whether the axis is logarithmic."""
    score = record.monitor.removeprefix(VALIDATED)
    others = [tag for tag in logged if tag.startswith(VALIDATED) and tag not in (record.monitor, "val/n", "val/loss")]
    chosen = [record.monitor, *(tag for tag in others if 0 <= min(logged[tag].values) <= max(logged[tag].values) <= 1)]
    if record.monitor != "val/loss":
        yield f"Validation: {score}", {tag: tag.removeprefix(VALIDATED) for tag in chosen}, False
    losses = {"train/loss_epoch": "training", "val/loss": "validation"}
    found = {tag: name for tag, name in losses.items() if tag in logged}
    if found:
        yield "Loss", found, all(min(logged[tag].values) > 0 for tag in found)
    rates = [tag for tag in logged if tag.startswith(RATES)]
    if rates:
        yield "Learning rate", {tag: tag.removeprefix(RATES) for tag in rates}, True


def _by_epoch(curve: Curve, ends: list[int], epochs: Mapping[int, int]) -> list[tuple[float, float]]:
    """The last value of each epoch. ends: steps at which epochs end."""
    found, at = {}, 0
    for step, value in zip(curve.steps, curve.values, strict=True):
        while at < len(ends) and ends[at] < step:
            at += 1
        if at < len(ends) and isfinite(value):
            found[epochs[ends[at]]] = value
    return [(float(epoch), value) for epoch, value in found.items()]


def _best_epoch(record: Record) -> float | None:
    best, first = record.best or {}, 0
    for phase in record.phases:
        if best.get("phase") == phase["name"] and isinstance(best.get("epoch"), int) and not best.get("average"):
            return float(first + best["epoch"])
        first += int(phase["epochs"])
    return None


# --- answers ---


class Matrix(NamedTuple):
    """counts: (K, K) rows are true classes, columns answers; None if there are too many. confused: true class, answer
    and number, the most frequent first."""

    names: list[str]
    counts: list[list[int]] | None
    confused: list[tuple[str, str, int]]


def confusion(found: Predictions) -> Matrix | None:
    """None if samples do not have one class each."""
    import numpy as np

    classes = classified(found)
    names = [*map(str, found.about.get("names") or [])]
    if classes is None or len(names) < classes[1].shape[1]:
        return None
    target, given, number = classes[0], classes[1].argmax(1), len(names)
    wrong = target != given
    cells, sizes = np.unique(target[wrong] * number + given[wrong], return_counts=True)
    order = np.argsort(-sizes, kind="stable")[:MOST_CONFUSED]
    pairs = [(names[cells[at] // number], names[cells[at] % number], int(sizes[at])) for at in order]
    if number > MOST_CLASSES:
        return Matrix(names, None, pairs)
    counts = np.bincount(target * number + given, minlength=number**2).reshape(number, number)
    return Matrix(names, counts.tolist(), pairs)


def reliability(found: Predictions) -> str:
    """The diagram of calibration; "" if samples do not have one class each."""
    if (classes := classified(found)) is None:
        return ""
    bins = binned(*classes)
    values = ", ".join(f"{accuracy:.2f} at {confidence:.2f}" for confidence, accuracy, _ in bins)
    return drawing.reliability(bins, f"Accuracy by confidence: {values}")


def risk(found: Predictions, temperature: float | None) -> str:
    """The error rate by the share of samples that are answered; "" if samples do not have one class each."""
    if (classes := classified(found)) is None:
        return ""
    coverages, errors = errors_by_coverage(*confidence_of(*classes, temperature or 1.0))
    number = len(errors)
    rows = sorted({min(number, ceil(number * turn / MOST_POINTS)) - 1 for turn in range(1, MOST_POINTS + 1)})
    values = ", ".join(f"{errors[ceil(number * share) - 1]:.4f} at {share:.0%}" for share in (0.5, 0.8, 0.9, 1.0))
    points = [(float(coverages[row]), float(errors[row])) for row in rows]
    return drawing.risk(points, f"Error rate by the share of samples that are answered, the surest first: {values}")


def abstention(folder: Path, temperature: float | None) -> tuple[str, str]:
    """The setting of `predict` that leaves out unsure answers, with the lowest error rate from USUAL_RATE on that
    validation can promise; or "" and why there is none. Both "" if validation stored nothing that tells it."""
    try:
        classes = classified(read(folder, "val"))
    except RunError:  # nothing is stored, or it is damaged
        return "", ""
    if classes is None or not isfinite(float(classes[1].sum())):
        return "", ""
    confidence, right = confidence_of(*classes, temperature or 1.0)
    rate = USUAL_RATE if threshold_of(confidence, right, USUAL_RATE) else least_rate(confidence, right, USUAL_RATE)
    number = f"{len(right):,} validation samples with {int(len(right) - right.sum()):,} errors"
    return ("", f"{number} promise no error rate.") if rate is None else (f"abstain={rate:g}", "")


# --- commands ---


def commands(record: Record, folder: Path) -> list[tuple[str, str]]:
    """Descriptions and commands that use the run. The folder is absolute, because the page is opened from anywhere."""
    run = folder.absolute()
    found = []
    if record.status != "finished":
        found.append(("go on", command_of("train", *record.trusting(trains=True), resume=run)))
    if (weights := record.weights_settings) is not None:
        found += [
            ("score the test split again", command_of("evaluate", *weights, run=run)),
            ("predict", command_of("predict", *weights, run=run, input="new_samples")),
            ("export the weights", command_of("export", *weights, run=run, output="weights.safetensors")),
        ]
    if record.predictions:
        found.append(("compare with another run", command_of("compare", first=run, second="other_run")))
    return [*found, ("build this page anew", command_of("report", *record.trusting(trains=False), run=run))]
