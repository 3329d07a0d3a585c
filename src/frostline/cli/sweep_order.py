"""The order in which the jobs of a grid run."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from frostline.quoting import key_of
from frostline.runs.sweep_names import REPEATS
from frostline.runs.sweeps import DONE, Sweep
from frostline.sweeps.lengths import Lengths

# Settings on which outputs of frozen blocks depend, beside those of the plan.
SHARED = ("model", "data", "adapter")


def in_order(
    sweep: Sweep, jobs: Sequence[Sequence[str]], lengths: Lengths | None = None
) -> Callable[[list[int]], list[int]]:
    """A function that sorts job numbers. Jobs of one model on the same data follow each other, so that they find its
    frozen outputs in the cache. Each setting runs once first; its repetitions follow, those of the best settings first.

    lengths: of the jobs, if other processes take some. The longest then come first, so that these processes end at
    about the same time; and last those whose frozen outputs another process computes for the first time, which would
    wait for it.
    """
    settings = [_without(job, _is_repeat) for job in jobs]
    prefixes = [_only(job, _is_shared) for job in jobs]
    first = {prefix: number for number, prefix in reversed([*enumerate(prefixes)])}
    times: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, setting in enumerate(settings):
        times[setting].append(number)
    repetition = {number: turn for numbers in times.values() for turn, number in enumerate(numbers)}
    found: dict[int, float] = {}

    def score(number: int) -> float:
        """Rank of the setting's finished runs; lower is better."""
        ranks = [_rank(sweep, other, found) for other in times[settings[number]] if repetition[other] == 0]
        return min(ranks, default=math.inf)

    def sort(numbers: list[int]) -> list[int]:
        repeats = any(repetition[number] for number in numbers)
        filling = {} if lengths is None else _filling(sweep, prefixes, lengths.look())
        return sorted(
            numbers,
            key=lambda number: (
                repetition[number],
                score(number) if repeats and repetition[number] else 0.0,
                filling.get(prefixes[number], number) != number,
                (0, 0.0) if lengths is None else lengths.rank(number),
                first[prefixes[number]],
                number,
            ),
        )

    return sort


def _filling(
    sweep: Sweep, prefixes: Sequence[tuple[str, ...]], finished: Collection[int]
) -> dict[tuple[str, ...], int]:
    """By prefix, the job that computes its frozen outputs for the first time: it has begun, and none with this prefix
    has finished."""
    begun = [number for number in sweep.numbers() if number < len(prefixes)]
    filled = {prefixes[number] for number in finished}
    left = [number for number in begun if prefixes[number] not in filled and sweep.state(number) not in DONE]
    return {prefixes[number]: number for number in reversed(left)}


def repetitions(jobs: Sequence[Sequence[str]]) -> list[dict[str, int]]:
    """For each setting its jobs, by what tells its repetitions apart."""
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for number, job in enumerate(jobs):
        found[_without(job, _is_repeat)][" ".join(_only(job, _is_repeat))] = number
    return [*found.values()]


def _rank(sweep: Sweep, number: int, found: dict[int, float]) -> float:
    if number not in found:
        record = sweep.record(number)
        if record is None or record.status in ("running", "interrupted"):
            return math.inf
        found[number] = record.rank
    return found[number]


def _is_repeat(key: str) -> bool:
    return key in REPEATS


def _is_shared(key: str) -> bool:
    return key not in REPEATS and key.partition(".")[0] in SHARED


def _without(job: Sequence[str], leave_out: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(setting for setting in job if not leave_out(key_of(setting)))


def _only(job: Sequence[str], keep: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(setting for setting in job if keep(key_of(setting)))
