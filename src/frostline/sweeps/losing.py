"""Drop settings that lose against the best on the seeds so far, by a permutation test (report/seed_ranks.py). Each look
spends an equal share of the chance to drop a setting that is equal to all others."""

import math
from collections.abc import Mapping, Sequence

from frostline.runs.sweep_names import PRUNED
from frostline.runs.sweeps import Note, Sweep

FEWEST = 4  # seeds before the first look
CHANCE = 0.05  # at most, of dropping a setting that is equal to all others, over all looks


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
        mine = [*own.values()]
        if not rivals or math.fsum(mine) <= min(map(math.fsum, rivals)):
            return None
        from frostline.report.seed_ranks import chance_of

        found = chance_of(rivals, mine)
        if found > level_of(len(self._own[number])):
            return None
        return f"the best of {len(rivals) + 1} settings was better on the {len(own)} seeds so far (p = {found:.2g})"

    def _finished(self, setting: Mapping[str, int]) -> dict[str, float]:
        """Ranks of the finished runs, by seed; lower is better."""
        for number in setting.values():
            record = self._sweep.record(number) if number not in self._ranks else None
            if record is not None and math.isfinite(record.rank):
                self._ranks[number] = record.rank
        return {seed: self._ranks[number] for seed, number in setting.items() if number in self._ranks}


def level_of(seeds: int) -> float:
    """The largest chance that drops a setting at one look. seeds: with which it would run, if it is never dropped."""
    return CHANCE / max(1, seeds - FEWEST)


def seeds_needed(settings: int) -> int | None:
    """The smallest number of seeds with which the worst of the settings can be dropped; None for a single one."""
    if settings < 2:
        return None
    seeds = FEWEST + 1
    while (settings - 1) / float(settings * (settings - 1)) ** (seeds - 1) > level_of(seeds):
        seeds += 1  # the best first and this one last with each seed, for each that may be the best
    return seeds
