"""Intervals of scores over samples: of validation, by which settings are compared, and of the test split."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frostline.errors import RunError, in_short
from frostline.report.bootstrap import intervals
from frostline.report.sample_scores import SampleScore, samples_of
from frostline.report.score_intervals import interval_of_mean, intervals_of
from frostline.report.score_parts import parts_of
from frostline.report.trials import Setting
from frostline.runs.predictions import Predictions, read

OTHERS = "its runs were scored on different samples"
NOT_TOLD = "the stored predictions do not give the recorded score"
Ends = Mapping[str, Any]  # `low`, `high` and `caution`


class Compared(NamedTuple):
    """The comparison of a setting with the best one. ends: the interval of the score that ranks. mark: `best`; `yes` or
    `no` for as good as the best one; "" if it was not compared. problem: why it has no interval although it should,
    else ""."""

    ends: Ends | None
    mark: str
    problem: str


def compared(folder: Path, settings: Sequence[Setting]) -> dict[int, Compared]:
    """The settings of each ranking, by their index, from the stored predictions of validation. A setting has no
    interval if it lacks them, and no mark if it was not scored on the same samples as the others. settings: in the
    order of the table."""
    found: dict[int, Compared] = {}
    for ranking in dict.fromkeys(setting.first.ranking for setting in settings):
        if ranking is None:
            continue
        own = [at for at, setting in enumerate(settings) if setting.first.ranking == ranking]
        scores: dict[int, list[SampleScore]] = {}
        for at in own:
            try:
                stored = [*_predictions(folder, settings[at], "val")]
            except RunError as error:
                found[at] = Compared(None, "", in_short(error.what))
                continue
            known = [run for it in stored if (run := parts_of(it, ranking.monitor)) is not None]
            if len(known) == len(settings[at].trials) and not settings[at].missing:
                scores[at] = known
                ends = interval_of_mean(stored, ranking.monitor)
                found[at] = Compared(ends, "", "" if ends is not None else OTHERS)
            elif len(stored) == len(settings[at].trials):
                found[at] = Compared(None, "", NOT_TOLD)
        samples = next((runs[0].samples for runs in scores.values()), None)
        alike = [at for at, runs in scores.items() if all(run.samples == samples for run in runs)]
        if len(alike) > 1 and alike[0] == own[0]:
            drawn = intervals([scores[at] for at in alike], ranking.mode, best=0) or []
            for turn, (at, interval) in enumerate(zip(alike, drawn, strict=False)):
                found[at] = found[at]._replace(mark="best" if turn == 0 else "yes" if interval.as_good else "no")
    return found


def tested(folder: Path, setting: Setting, scores: Sequence[str]) -> tuple[dict[str, Ends], str]:
    """By name of the test score, the interval of its mean over the runs of the setting; and why there is none although
    there should be, else "". One run has those of its run.json, or of its predictions if an earlier version wrote it;
    of several, the stored predictions are drawn again, each draw for all runs."""
    names = [name for name in scores if name.startswith("test/") and setting.score(name) is not None]
    if not names or setting.missing:
        return {}, ""
    if len(setting.records) == 1 and setting.first.record is not None and setting.first.record.intervals:
        recorded = setting.first.record.intervals
        return {name: recorded[name] for name in names if name in recorded}, ""
    try:
        runs = [*_predictions(folder, setting, "test")]
    except RunError as error:
        return {}, in_short(error.what)
    if not runs or len(runs) < len(setting.trials):
        return {}, ""
    if len(runs) == 1:
        every = intervals_of(runs[0])
        return {name: every[name] for name in names if name in every}, ""
    found: dict[str, Ends] = {name: own for name in names if (own := interval_of_mean(runs, name)) is not None}
    return found, "" if found else OTHERS if len({tuple(samples_of(it.columns)[0]) for it in runs}) > 1 else NOT_TOLD


def _predictions(folder: Path, setting: Setting, split: str) -> Iterator[Predictions]:
    """Raises RunError if predictions that a run stored were removed, or cannot be read."""
    for trial in setting.trials:
        if trial.record is not None and split in trial.record.predictions:
            yield read(folder / trial.run, split)
