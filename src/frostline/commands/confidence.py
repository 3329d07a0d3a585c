"""How sure a prediction is, by the stored predictions of validation: answers that are left out, sets of classes and
intervals of numbers.

Shapes: K classes, T numbers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from frostline.commands.calibrated import SAME_DATA, is_tested
from frostline.data.predicting import Columns, cells
from frostline.errors import ConfigError, RunError, counted
from frostline.report.calibration import classified, not_finite
from frostline.report.conformal import half_widths, least_miss, least_probability
from frostline.report.selective import DOUBT, Threshold, least_rate, threshold_of
from frostline.runs.predictions import Predictions, file_of, read
from frostline.runs.record import Record
from frostline.tasks.base import Task
from frostline.tasks.multi_label import BETWEEN

SAME_TWICE = "validation also chose the epoch and the temperature, so it may fail more often"
ALIKE = "samples like those of validation"  # for others, nothing is promised


class Confidence(NamedTuple):
    """abstain_threshold: of the `sureness` of an answer. set_threshold: the least probability of a class in a set.
    half_widths: half of the interval of each number. notes: sentences for the user."""

    task: Task
    abstain_threshold: Threshold | None = None
    set_threshold: float | None = None
    half_widths: Sequence[float] | None = None
    notes: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it adds nothing."""
        return self.abstain_threshold is None and self.set_threshold is None and self.half_widths is None

    def of_one(self, predicted: dict[str, Any], values: Tensor) -> dict[str, Any]:
        """`columns` of one sample, with its set as a list."""
        columns = self.columns({name: [cell] for name, cell in predicted.items()}, [values])
        found: dict[str, Any] = cells(columns)
        return found | ({} if self.set_threshold is None else {"set": self.sets([values])[0]})

    def columns(self, predicted: Columns, values: Sequence[Tensor]) -> Columns:
        """Add columns to those of predictions. For abstention `abstained` and `guess`, the most probable class; `label`
        is then empty. For sets `set`, for intervals `<name>_low` and `<name>_high`. values: (K,) or (T,) each."""
        found = dict(predicted)
        if self.abstain_threshold is not None:
            names: list[str] = [*self.task.classes]  # type: ignore[misc]
            unsure = self._unsure(values)
            guesses = [names[int(row.argmax())] for row in values]
            labels = ["" if no else guess for no, guess in zip(unsure, guesses, strict=True)]
            found = {"label": labels, "abstained": ["yes" if no else "no" for no in unsure], "guess": guesses} | {
                name: column for name, column in found.items() if name != "label"
            }
        if self.set_threshold is not None:
            found["set"] = [_cell(names) for names in self.sets(values)]
        return self._with_intervals(found, values) if self.half_widths is not None else found

    def _unsure(self, values: Sequence[Tensor]) -> list[bool]:
        assert self.abstain_threshold is not None
        unsure: list[bool] = (sureness(torch.stack([*values])) < self.abstain_threshold.value).tolist()
        return unsure

    def sets(self, values: Sequence[Tensor]) -> list[list[str]]:
        """The classes of each sample's set, the most probable first."""
        assert self.set_threshold is not None
        names: list[str] = [*self.task.classes]  # type: ignore[misc]
        orders = [row.argsort(descending=True, stable=True).tolist() for row in values]
        return [
            [names[at] for at in order if float(row[at]) >= self.set_threshold]
            for order, row in zip(orders, values, strict=True)
        ]

    def _with_intervals(self, predicted: Columns, values: Sequence[Tensor]) -> Columns:
        assert self.half_widths is not None
        found: Columns = {}
        for at, (name, column) in enumerate(predicted.items()):
            found[name] = column
            for end, sign in (("low", -1), ("high", 1)):
                header = f"{name}_{end}"
                while header in predicted or header in found:
                    header += " (interval)"
                found[header] = [f"{float(row[at]) + sign * self.half_widths[at]:.8g}" for row in values]
        return found

    def outcome(self, values: Sequence[Tensor]) -> list[str]:
        """Sentences on how often the network abstained, and how large the sets are. values: as for `columns`."""
        found = []
        if self.abstain_threshold is not None:
            number, of = sum(self._unsure(values)), len(values)
            found.append(f"abstained on {number:,} of {of:,} ({number / of:.0%}): their label is empty")
        if self.set_threshold is not None:
            sizes = [len(names) for names in self.sets(values)]
            empty, single = sizes.count(0), sizes.count(1)
            mean = sum(sizes) / len(sizes)
            found.append(f"sets: {empty:,} empty, {single:,} of one class, {mean:.2f} classes on average")
        return found


def sureness(probabilities: Tensor) -> Tensor:
    """(N, K) → (N,) in float32: minus the sum of the probabilities of all classes but the most probable one. Its order
    is that of the highest probability, which float32 rounds to 1 where this differs still."""
    others = probabilities.double().scatter(1, probabilities.argmax(1, keepdim=True), 0.0)
    return -others.sum(1).float()


def _cell(names: Sequence[str]) -> str:
    """The names of a set, joined; as JSON if joined they could be read as another set."""
    joined = BETWEEN.join(names)
    is_plain = not any(BETWEEN in name or not name for name in names) and not joined.startswith('["')
    return joined if is_plain else json.dumps(names, ensure_ascii=False)


def is_by_time(settings: DictConfig) -> bool:
    """Whether the latest samples of a run are its validation and test splits. settings: of the run."""
    return bool(OmegaConf.select(settings, "data.split_by") == "time")


def confidence(
    folder: Path,
    record: Record,
    task: Task,
    checkpoint: str,
    *,
    abstain: float | None,
    conformal: float | None,
    by_time: bool = False,
) -> Confidence:
    """abstain: the highest error rate of the answers that are given. conformal: the share of samples whose truth may
    lie outside of their set or interval. by_time: whether the latest samples were validation and test. Raises
    ConfigError if this task has none, or if validation has too few samples; RunError if the run stored no
    predictions."""
    typed = "abstain" if abstain is not None else "conformal"
    if abstain is None and conformal is None:
        return Confidence(task)
    takes_numbers = task.gives_numbers and abstain is None
    if not task.calibrates and not takes_numbers:
        needs = "one class for each sample" if abstain is not None else "one class for each sample, or numbers"
        raise ConfigError(
            f"{typed} needs a run that predicts {needs}; this one predicts {task.kind}",
            where=typed,
            next_step=f"leave {typed}= out",
        )
    if not is_tested(record, checkpoint):
        raise ConfigError(
            f"{typed} goes by the stored predictions of validation, which are of the best weights",
            where="checkpoint",
            next_step="checkpoint=best",
        )
    found = read(folder, "val")
    _require_own(found, folder, record, task)
    sure = _of_numbers(found, task, conformal) if takes_numbers else _of_classes(found, task, abstain, conformal)
    return sure._replace(notes=[*sure.notes, *_cautions(found, by_time=by_time)])


def _cautions(found: Predictions, *, by_time: bool) -> list[str]:
    """Why a promise may not hold: it takes samples of validation to be exchangeable with new ones."""
    groups = len({*found.columns["group"].tolist()}) if "group" in found.columns else 0
    grouped = f"validation has {counted(groups, 'group', 'groups')}, whose samples are not independent"
    later = "new samples are later than those of validation (data.split_by=time), and may be of another kind"
    whys = [*([grouped] if groups else []), *([later] if by_time else [])]
    return [f"{why}: the promise may fail more often" for why in whys]


def _of_numbers(found: Predictions, task: Task, miss: float | None) -> Confidence:
    assert miss is not None
    _require_finite(found, "conformal")
    target, predicted = (found.columns[name].astype(float) for name in ("target", "predicted"))
    target, predicted = (it.reshape(len(it), -1) for it in (target, predicted))
    widths = half_widths(target, predicted, miss)
    if widths is None:
        raise _too_few(len(target), miss)
    each = " (each number alone)" if len(widths) > 1 else ""
    return Confidence(task, half_widths=widths, notes=[_note("intervals", each, miss, found)])


def _of_classes(found: Predictions, task: Task, abstain: float | None, miss: float | None) -> Confidence:
    _require_finite(found, "abstain" if abstain is not None else "conformal")
    classes = classified(found)
    assert classes is not None, "a task with probabilities has one class for each sample"
    target, logits = classes
    probabilities = task.probabilities(torch.from_numpy(logits))  # rounded as those of predictions are
    threshold, least, notes = None, None, []
    if abstain is not None:
        sure = sureness(probabilities).numpy(), (probabilities.argmax(1).numpy() == target).astype(float)
        threshold = threshold_of(*sure, abstain)
        if threshold is None:
            raise _never_sure(sure, abstain)
        notes.append(_promise(threshold))
    if miss is not None:
        least = least_probability(target, probabilities.double().numpy(), miss)
        if least is None:
            raise _too_few(len(target), miss)
        notes.append(_note("sets", "", miss, found))
    return Confidence(task, threshold, least, notes=notes)


def _promise(threshold: Threshold) -> str:
    return (
        f"the other classes of an answer have a probability of {-threshold.value:.3g} or less together: on validation "
        f"{threshold.coverage:.1%} were answered with an error rate of {threshold.error:.1%}, at most "
        f"{threshold.bound:.1%} with {1 - DOUBT:.0%} confidence (Clopper-Pearson bound of all thresholds tried); "
        f"this assumes {ALIKE}; {SAME_TWICE}"
    )


def _note(what: str, besides: str, miss: float, found: Predictions) -> str:
    number = len(found.columns["target"])
    return (
        f"{what} hold the truth of {1 - miss:.4g} of further {ALIKE}{besides}: split conformal, from "
        f"{counted(number, 'validation sample', 'validation samples')}, {SAME_DATA}"
    )


def _require_own(found: Predictions, folder: Path, record: Record, task: Task) -> None:
    """Raise RunError if the file lacks columns or rows, or has those of another run: its promise would be wrong."""
    columns, wanted = found.columns, "predicted" if task.gives_numbers else "logits"
    names: list[str] = [] if task.gives_numbers else [*task.classes]  # type: ignore[misc]
    rows, most = len(columns.get("target", ())), record.data.get("num_val")  # trainer.limit_val_batches leaves some out
    fitted = record.calibration.get("samples") if names else None
    missing = [name for name in ("target", wanted) if name not in columns]
    told = [*map(str, found.about.get("names") or names)][: len(names)]
    if missing:
        problem = f"have no column '{missing[0]}'"
    elif not rows or (fitted and rows != fitted) or (most is not None and rows > most):
        known = fitted or most
        problem = f"have {counted(rows, 'row', 'rows')}" + (f", and run.json tells of {known:,}" if known else "")
    elif names and (columns[wanted].ndim != 2 or columns[wanted].shape[1] != len(names) or told != names):
        problem = "have other classes than the run"
    else:
        return
    raise RunError(
        f"the stored predictions of validation {problem}",
        where=folder / file_of("val"),
        next_step="restore the file, or leave abstain= and conformal= out",
    )


def _require_finite(found: Predictions, typed: str) -> None:
    if number := not_finite(found):
        raise ConfigError(
            f"{counted(number, 'validation sample has', 'validation samples have')} a stored prediction that is not "
            f"finite, so that {typed} can promise nothing",
            where=typed,
            next_step=f"leave {typed}= out",
        )


def _too_few(number: int, miss: float) -> ConfigError:
    least = least_miss(number)
    proposed = next(miss for miss in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if miss > least or miss == 0.5)
    return ConfigError(
        f"{counted(number, 'validation sample', 'validation samples')} cannot promise that {1 - miss:.4g} of further "
        f"samples are covered: {1 - least:.4g} at most",
        where="conformal",
        next_step=f"conformal={proposed:g}",
    )


def _never_sure(confidences: tuple[Any, Any], most: float) -> ConfigError:
    number = len(confidences[0])
    works = least_rate(*confidences, above=most)
    samples = counted(number, "validation sample", "validation samples")
    return ConfigError(
        f"no threshold promises an error rate of {most:g} by {samples} (Clopper-Pearson bound, {1 - DOUBT:.0%} "
        "confidence): more samples or a better network are needed",
        where="abstain",
        next_step="leave abstain= out" if works is None else f"abstain={works:g}",
    )
