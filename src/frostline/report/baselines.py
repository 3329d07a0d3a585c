"""Lines of a run's summary on its baselines: scores beside the run's own, and what each column of a table adds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.errors import shown
from frostline.runs.record import Record

BASELINE = "val/accuracy"
SCORES = (BASELINE, "val/rmse", "val/ndcg_10")  # by which baselines and runs are compared
LOWER = {"val/rmse"}  # better if lower
NAMES = {
    **{"majority": "majority", "knn": "k-NN", "linear_probe": "linear probe"},
    **{"mean": "mean", "bias": "bias", "logistic": "logistic", "ridge": "ridge", "pairs": "pairs", "trees": "trees"},
}
LEARNED = ("bias", "logistic", "ridge", "pairs", "trees")  # on the columns of a table


def baseline_lines(record: Record, program: str) -> list[str]:
    """`base  majority 0.59   k-NN 0.91   linear probe 0.93   this run 0.97 (val/accuracy)`, what each column adds, and
    advice. program: the command to type."""
    found = {name: record.baselines[name] for name in NAMES if name in record.baselines}
    lines = [_scores(record, found, score) for score in _shared(record, [*found.values()])]
    why_not = record.baselines.get("why_not")
    if why_not is not None:
        lines[0] += f"; no k-NN and no linear probe: {why_not}"
    lines += [*record.baselines.get("notes", []), *_advice(record, program)]
    lines = [f"{'base' if place == 0 else '':4}  {shown(line)}" for place, line in enumerate(lines)]
    return [*lines, *_adds(record)]


def _shared(record: Record, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The scores of SCORES that all rows have; if there is none, the score that chose the epoch, if all have it."""
    shared = [score for score in SCORES if all(score in row for row in rows)]
    return shared or [score for score in (record.monitor,) if all(score in row for row in rows)]


def _scores(record: Record, found: dict[str, Any], score: str) -> str:
    values = {NAMES[name]: row[score] for name, row in found.items()}
    if score in record.metrics:
        values["this run"] = record.metrics[score]
    return "   ".join(f"{name} {value:.4f}" for name, value in values.items()) + f" ({score})"


def _adds(record: Record) -> list[str]:
    """`adds  about 0.0612   user 0.2011   colour nothing clear (val/rmse of pairs, with and without it)`."""
    baselines = record.baselines
    shared = _shared(record, [baselines["pairs"]]) if "adds" in baselines else []
    if not shared:
        return []
    score, whole = shared[0], baselines["pairs"][shared[0]]
    sign = -1 if _is_lower(record, score) else 1
    # What shows in the squared error of classes may leave the accuracy as it is, or lower it.
    gains = {name: sign * (whole - own["without"][score]) for name, own in baselines["adds"].items()}
    shows = {name: own["shows"] and gains[name] > 0 for name, own in baselines["adds"].items()}
    each = [f"{name} {gain:.4f}" if shows[name] else f"{name} nothing clear" for name, gain in gains.items()]
    return [shown(f"adds  {'   '.join(each)} ({score} of pairs, with and without it)")]


def _advice(record: Record, program: str) -> list[str]:
    """Suggest a remedy if the run scored below a model of its features, or not above one that looks at nothing."""
    than = _worse_than(record)
    if not than:
        return []
    phase = record.phases[-1]
    if phase.get("solved"):
        return [f"{than}; try a plan that thaws (schedule=two_stage)"]
    setting = phase["name"].removesuffix(f"-{phase['learns'][-1]}")  # `thaw: each` appends the block to the name
    more = f"schedule.phases.{setting}.epochs={2 * phase['epochs']}"
    return [f"{than}; try {more}, a smaller data.batch_size, or another rate ({program} lr_find)"]


def _worse_than(record: Record) -> str:
    if _is_below(record, "majority"):
        return "not above the majority class"
    if _is_below(record, "linear_probe"):
        return "clearly below the linear probe"
    better = [name for name in ("mean", *LEARNED) if _is_below(record, name)]
    score = _compared_by(record)
    sign = -1 if _is_lower(record, score) else 1
    best = max(better, key=lambda name: sign * record.baselines[name][score], default=None)
    return "" if best is None else f"clearly worse than {NAMES[best]}"


def _compared_by(record: Record) -> str:
    if "mean" not in record.baselines:
        return BASELINE
    return "val/rmse" if "val/rmse" in record.metrics else record.monitor


def _is_lower(record: Record, score: str) -> bool:
    """Whether the lower score is the better one."""
    return score in LOWER or (score not in SCORES and record.mode == "min")


def _is_below(record: Record, name: str) -> bool:
    """Whether the run is worse than a baseline by more than its standard error, or not above the majority."""
    score = _compared_by(record)
    if score not in record.baselines.get(name, {}) or score not in record.metrics:
        return False
    own: float = record.metrics[score]
    baseline: float = record.baselines[name][score]
    number = record.data["num_val"]
    if name == "majority":  # half a sample: equal scores may differ by float32 rounding
        return own < baseline + 0.5 / number and baseline < 1  # validation of one class tells nothing
    if _is_lower(record, score):
        return own > baseline * (1 + 1 / math.sqrt(2 * number))  # of a deviation; about that of other errors
    if score not in SCORES:
        return False  # nothing is known of its standard error
    return own < baseline - math.sqrt(baseline * (1 - baseline) / number)
