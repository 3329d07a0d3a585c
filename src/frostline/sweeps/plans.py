"""Which model, head, plan and rate next? Each answer follows from the runs so far, so that a resumed search goes on as
an undisturbed one.

1. The probe of each model, on frozen outputs: a linear head, which is solved; without one among the heads, the first
   of them, at the rate of the model.
2. Other heads of the best models, on the outputs that the probes left in the cache.
3. Plans that thaw, of the best head; the best of these plans, of the second-best model.
4. Other rates of the best plan so far; other heads, if it leads.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

FROZEN = "head_only"
MOST_OF_HEADS = 0.4  # of the time; then plans that thaw get their turn
USUAL = 0.5  # of its estimate, what a plan takes, before a run has shown it: see training/costs.py


class Choice(NamedTuple):
    """One run. rate: as typed; "" for that of the model, and for a solved head, which has none."""

    model: str
    head: str
    schedule: str
    rate: str

    @property
    def thaws(self) -> bool:
        return self.schedule != FROZEN

    def __str__(self) -> str:
        return " ".join(word for word in (*self[:3], self.rate and f"at {self.rate}") if word)


class Tried(NamedTuple):
    """A run that has ended. score: of its monitor; None without one. mode: max or min. planned: seconds of its plan, as
    estimated; None if they were not."""

    choice: Choice
    score: float | None
    mode: str
    seconds: float
    planned: float | None = None

    @property
    def rank(self) -> float:
        """Lower is better; inf if there is no finite score."""
        if self.score is None or not math.isfinite(self.score):
            return math.inf
        return -self.score if self.mode == "max" else self.score


@dataclass(frozen=True)
class Space:
    """What is chosen from. rates: of each model. probe: the head of the first runs. most: models that go on after the
    probe. minutes: of all runs together."""

    rates: dict[str, list[str]]
    heads: list[str]
    schedules: list[str]
    probe: str
    most: int
    minutes: float

    @property
    def content(self) -> dict[str, Any]:
        return asdict(self)


class Next(NamedTuple):
    """choice: None if the search ends. why: the reason, for the terminal."""

    choice: Choice | None
    why: str


def decide(space: Space, tried: Sequence[Tried]) -> Next:
    """The next run, from those that have ended, in their order. One that was refused for its time is tried again if a
    later run has shown that it takes less."""
    refused = _refused(space, tried)
    seen = {it.choice for it in tried} - {*refused}
    left = left_of(space, tried)
    if left <= 0:
        return Next(None, f"{space.minutes:g} min are spent")
    skipped = 0
    for choice, why in _wanted(space, tried):
        if choice in seen:
            continue
        if needed(choice, refused.get(choice, 0.0), tried) > left:
            skipped += 1
            continue
        return Next(choice, why)
    if skipped:
        return Next(None, f"what is left would take longer than the {left:.0f} s that are left")
    return Next(None, "nothing is left to try")


def _wanted(space: Space, tried: Sequence[Tried]) -> Iterator[tuple[Choice, str]]:
    """What to try, in order, with the reason. Choices that were tried stay in the list."""
    for model in space.rates:
        yield Choice(model, space.probe, FROZEN, ""), f"the probe of {model}"
    models = _by_probe(space, tried)
    if not models:
        return
    if _share(space, tried) < MOST_OF_HEADS:
        yield from _heads(space, tried, models)
    leader = _best([it for it in tried if not it.choice.thaws])
    if leader is None:
        return
    head = leader.choice
    for schedule in space.schedules:
        choice = head._replace(schedule=schedule, rate=head.rate or space.rates[head.model][0])
        yield choice, f"{_with_score(leader)} leads: thaw it"
    best = _best([it for it in tried if it.choice.thaws])
    if best is None:
        return
    second = _best([it for it in tried if not it.choice.thaws and it.choice.model != head.model])
    if second is not None:
        other = second.choice
        choice = other._replace(schedule=best.choice.schedule, rate=other.rate or space.rates[other.model][0])
        yield choice, f"{best.choice.schedule} is the best plan: thaw the second model, too"
    best = _best([it for it in tried if it.choice.thaws])
    assert best is not None
    for rate in space.rates[best.choice.model]:
        yield best.choice._replace(rate=rate), f"{_with_score(best)} is the best that thaws: another rate"
    for head_name in space.heads if best == _best(tried) else ():
        yield best.choice._replace(head=head_name), f"{_with_score(best)} leads: another head"


def _heads(space: Space, tried: Sequence[Tried], models: Sequence[str]) -> Iterator[tuple[Choice, str]]:
    """Other heads on frozen outputs: each rate for the first model, the best of these for the others."""
    for head in space.heads:
        if head == space.probe:
            continue
        for number, model in enumerate(models):
            done = [it for it in tried if it.choice[:3] == (models[0], head, FROZEN)]
            best = _best(done)
            rates = space.rates[model]
            if number and best is not None:
                rates = [rates[space.rates[models[0]].index(best.choice.rate)]]
            for turn, rate in enumerate(rates):
                why = f"another rate of {head}" if turn else "another head"
                yield Choice(model, head, FROZEN, rate), f"{model} is number {number + 1} of the probes: {why}"


def _by_probe(space: Space, tried: Sequence[Tried]) -> list[str]:
    """The models that go on, the best first."""
    probes = [it for it in tried if it.choice[1:] == (space.probe, FROZEN, "") and math.isfinite(it.rank)]
    return [it.choice.model for it in sorted(probes, key=lambda it: it.rank)][: space.most]


def _share(space: Space, tried: Sequence[Tried]) -> float:
    """The share of the time that runs on frozen outputs have taken."""
    return sum(it.seconds for it in tried if not it.choice.thaws) / (60 * space.minutes)


def needed(choice: Choice, planned: float, tried: Sequence[Tried]) -> float:
    """Seconds of a run: by the latest one of its model and plan that has a score, which knows what is cached; else by
    its own estimate, corrected by what others took of theirs. planned: its estimate."""
    alike = (it for it in reversed(tried) if it.choice[::2] == choice[::2] and it.score is not None)
    known = next((it.seconds for it in alike), None)
    return planned * share_of_estimate(tried, thaws=choice.thaws) if known is None else known


def share_of_estimate(tried: Sequence[Tried], *, thaws: bool) -> float:
    """The share of its estimated time that a plan takes, from the latest run that thawed, or the latest on frozen
    outputs that were not cached before. Without one that thawed, half, or less if frozen runs took less. 0 without any
    run to go by: a bound that may be far too high would refuse the first one, and one that takes too long is ended
    anyway.

    Estimates are upper bounds. A plan of a few seconds takes longer for other reasons, which tells nothing of others.
    """
    shares: dict[bool, float] = {}  # of plans that thaw, and of others
    for number, it in enumerate(tried):
        first = all(other.choice[::2] != it.choice[::2] for other in tried[:number] if other.score is not None)
        if it.score is not None and it.planned and (first or it.choice.thaws):
            shares[it.choice.thaws] = min(1.0, it.seconds / it.planned)
    if thaws and True not in shares and any(it.score is not None for it in tried):
        return min(USUAL, shares.get(False, USUAL))
    return shares.get(thaws, 0.0)


def left_of(space: Space, tried: Sequence[Tried]) -> float:
    """Seconds that no run has spent."""
    return 60 * space.minutes - sum(it.seconds for it in tried)


def _refused(space: Space, tried: Sequence[Tried]) -> dict[Choice, float]:
    """The latest estimates of runs that did not begin, as these would have taken too long by what was known then."""
    found: dict[Choice, float] = {}
    for number, (choice, score, _, _, planned) in enumerate(tried):
        earlier = tried[:number]
        late = planned is not None and needed(choice, planned, earlier) > left_of(space, earlier)
        if score is None and late and planned is not None:
            found[choice] = planned
        else:
            found.pop(choice, None)
    return found


def _best(tried: Sequence[Tried]) -> Tried | None:
    """The first of the best runs with a score."""
    return min((it for it in tried if math.isfinite(it.rank)), key=lambda it: it.rank, default=None)


def _with_score(tried: Tried) -> str:
    assert tried.score is not None, "the best of runs that have a score"
    return f"{tried.choice} ({tried.score:.4f})"
