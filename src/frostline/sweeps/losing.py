"""Drop settings that lose against the best on the seeds so far: Wilcoxon's signed-rank test (1945), paired by seed."""

import math
from collections.abc import Mapping, Sequence

from frostline.runs.sweeps import PRUNED, Note, Sweep

FEWEST = 4  # seeds: with fewer, no difference is significant
SIGNIFICANCE = 0.1  # of one comparison, as in Optuna's WilcoxonPruner


class Losing:
    """settings: for each setting its jobs, by what tells its repetitions apart, such as `seed=1`."""

    def __init__(self, sweep: Sweep, settings: Sequence[Mapping[str, int]]) -> None:
        self._sweep = sweep
        self._settings = settings
        self._own = {number: setting for setting in settings for number in setting.values()}
        self._ranks: dict[int, float] = {}

    def drop(self, number: int, typed: list[str]) -> str | None:
        """Note a job as pruned if its setting has lost before it began. Returns the reason. typed: its overrides."""
        why = self.why(number) if self._sweep.note(number) is None else None
        if why is not None:
            self._sweep.write_note(number, Note(str(number), typed, error=why, attempts=0, kind=PRUNED))
        return why

    def why(self, number: int) -> str | None:
        """Why a job is not worth its time; None if it is, or if it is too early to tell."""
        own = self._finished(self._own[number])
        if len(own) < FEWEST:
            return None
        others = [self._finished(other) for other in self._settings if other is not self._own[number]]
        rivals = [[other[seed] for seed in own] for other in others if own.keys() <= other.keys()]
        if not rivals:
            return None
        best, mine = min(rivals, key=math.fsum), [*own.values()]
        if math.fsum(best) >= math.fsum(mine) or not significant([a - b for a, b in zip(mine, best, strict=True)]):
            return None
        return f"the best setting was better on the {len(mine)} seeds so far"

    def _finished(self, setting: Mapping[str, int]) -> dict[str, float]:
        """Ranks of the finished runs, by seed; lower is better."""
        for number in setting.values():
            record = self._sweep.record(number) if number not in self._ranks else None
            if record is not None and math.isfinite(record.rank):
                self._ranks[number] = record.rank
        return {seed: self._ranks[number] for seed, number in setting.items() if number in self._ranks}


def significant(differences: Sequence[float]) -> bool:
    """Whether differences are larger than 0 by more than chance."""
    from scipy.stats import wilcoxon

    if not any(differences):
        return False
    found = wilcoxon(differences, alternative="greater", zero_method="zsplit")
    return bool(found.pvalue < SIGNIFICANCE)
