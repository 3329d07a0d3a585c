"""Find settings that made no difference."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from frostline.errors import few
from frostline.report.trials import Trial, differing

MOST_EQUAL = 6  # groups of equal runs to name


def without_effect(trials: Sequence[Trial]) -> dict[tuple[str, ...], list[list[Trial]]]:
    """Group finished runs whose scores are bit-identical in every phase, by the settings in which they differ. A sweep
    scores the test split with its best setting only: test scores are compared between the runs that have them."""
    alike: dict[str, list[Trial]] = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: (len(trial.run), trial.run)):
        if trial.record is not None and trial.ranking is not None and trial.record.phases:
            scores: list[Any] = [trial.scores, *(phase.get("val") for phase in trial.record.phases)]
            alike[repr(scores)].append(trial)
    found: dict[tuple[str, ...], list[list[Trial]]] = defaultdict(list)
    for validated in alike.values():
        for equal in _by_test(validated):
            if names := differing(equal):
                found[tuple(names)].append(equal)
    return found


def _by_test(trials: list[Trial]) -> list[list[Trial]]:
    """Split runs by their test scores. Runs without any belong to all others if these agree."""
    tested: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        metrics = {} if trial.record is None else trial.record.metrics
        scores = {name: score for name, score in metrics.items() if name.startswith("test/")}
        tested[repr(scores) if scores else ""].append(trial)
    return [trials] if len({*tested} - {""}) < 2 else [*tested.values()]


def equal_runs(names: Sequence[str], groups: Sequence[Sequence[Trial]]) -> str:
    runs = few([" = ".join(trial.run for trial in group) for group in groups], MOST_EQUAL)
    message = f"runs {runs}: {' and '.join(names)} made no difference to any score"
    phases = [phase for group in groups for trial in group if trial.record is not None for phase in trial.record.phases]
    if all(phase.get("solved") for phase in phases) and all(name.partition(".")[0] == "optimizer" for name in names):
        message += "; a solved head uses no optimizer (schedule.every_phase.solve=false trains it step by step)"
    return message
