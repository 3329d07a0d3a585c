"""Intervals of scores over samples: of validation, by which settings are compared, and of the test split."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from frostline.errors import RunError, in_short
from frostline.report.bootstrap import Interval, intervals
from frostline.report.sample_scores import SampleScore
from frostline.report.score_intervals import interval_of_mean
from frostline.report.score_parts import parts_of
from frostline.report.trials import Setting
from frostline.runs.predictions import Predictions, read

# By index of the setting: its interval, how it compares with the best, and why it has none although it should.
Intervals = dict[int, tuple[Interval | None, str, str]]


def compared(folder: Path, settings: Sequence[Setting]) -> Intervals:
    """The intervals of the settings of each ranking, from the stored predictions of validation. A setting has none if
    it lacks them, or if it was not scored on the same samples as the others. settings: in the order of the table."""
    found: Intervals = {}
    for ranking in dict.fromkeys(setting.first.ranking for setting in settings):
        if ranking is None:
            continue
        own = [at for at, setting in enumerate(settings) if setting.first.ranking == ranking]
        scores: dict[int, list[SampleScore]] = {}
        for at in own:
            try:
                runs = [parts_of(it, ranking.monitor) for it in _predictions(folder, settings[at], "val")]
            except RunError as error:
                found[at] = None, "", in_short(error.what)
                continue
            known = [run for run in runs if run is not None]
            if len(known) == len(settings[at].trials) and not settings[at].missing:
                scores[at] = known
        samples = next((runs[0].samples for runs in scores.values()), None)
        alike = [at for at, runs in scores.items() if all(run.samples == samples for run in runs)]
        drawn = intervals([scores[at] for at in alike], ranking.mode, best=0) or []
        compared = len(alike) > 1 and alike[0] == own[0]
        for turn, (at, interval) in enumerate(zip(alike, drawn, strict=False)):
            mark = "best" if turn == 0 else "yes" if interval.as_good else "no"
            found[at] = interval, mark * compared, ""
    return found


def tested(folder: Path, setting: Setting, scores: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """By name of the test score: `low`, `high` and `caution`, of its mean over the runs of the setting. One run has
    those of its run.json; of several, the stored predictions are drawn again, each draw for all runs."""
    names = [name for name in scores if name.startswith("test/") and setting.score(name) is not None]
    if not names or setting.missing:
        return {}
    if len(setting.records) == 1:
        return {name: own for name in names if (own := setting.records[0].intervals.get(name)) is not None}
    try:
        runs = [*_predictions(folder, setting, "test")]
    except RunError:
        return {}
    if len(runs) < len(setting.trials):
        return {}
    return {name: own for name in names if (own := interval_of_mean(runs, name)) is not None}


def _predictions(folder: Path, setting: Setting, split: str) -> Iterator[Predictions]:
    """Raises RunError if predictions that a run stored were removed, or cannot be read."""
    for trial in setting.trials:
        if trial.record is not None and split in trial.record.predictions:
            yield read(folder / trial.run, split)
