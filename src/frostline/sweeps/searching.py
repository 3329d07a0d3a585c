"""Run the trials of a search: draw one, run it with each seed, report its score."""

import statistics
import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any, NamedTuple

from frostline.config.keys import PLACES
from frostline.errors import RunError
from frostline.quoting import key_of, plain_value
from frostline.runs.sweeps import DONE, FILE, PAUSE, Sweep
from frostline.sweeps.losing import Losing
from frostline.sweeps.space import Dimension
from frostline.sweeps.study import Trials


class Plan(NamedTuple):
    """What a search needs, as stored in sweep.json. study: its name in the storage. fixed: overrides of every job.
    seeds: overrides that repeat a setting; empty for none."""

    study: str
    mode: str
    space: list[Dimension]
    fixed: list[str]
    seeds: list[str]

    @property
    def content(self) -> dict[str, Any]:
        return {**self._asdict(), "space": [dimension.content for dimension in self.space]}

    @classmethod
    def stored(cls, sweep: Sweep) -> "Plan":
        """Raises RunError if sweep.json holds no plan."""
        try:
            return cls(**{**sweep.search, "space": [Dimension.stored(it) for it in sweep.search["space"]]})
        except (TypeError, KeyError) as error:
            raise RunError(
                f"the search of {FILE} cannot be read: {error}",
                where=sweep.folder / FILE,
                next_step="restore the file, or start a new sweep",
            ) from error


class Searching:
    """total: trials in all. drop: whether settings that lose get no more seeds. A trial n with S seeds has the jobs n S
    to n S + S - 1."""

    def __init__(self, sweep: Sweep, trials: Trials, plan: Plan, total: int, *, drop: bool = False) -> None:
        self.sweep = sweep
        self.trials = trials
        self.plan = plan
        self.total = total
        self.drop = drop
        self.current: int | None = None  # the trial that this process runs, with its first seed

    def jobs(self) -> Generator[tuple[list[str], int]]:
        """Yield the overrides and the number of each job to run. Trials of processes that died are taken over; those of
        living ones are awaited, as their scores belong to the result."""
        while True:
            with ExitStack() as held:
                number = self._next(held)
                if number is None and not self.trials.unfinished():
                    return
                if number is not None:
                    yield from self._of(number)
                    self._tell(number)
                    continue
            time.sleep(PAUSE)

    @property
    def size(self) -> int:
        """The number of jobs, if none is pruned or fails."""
        return self.total * max(1, len(self.plan.seeds))

    def left(self) -> int:
        """The number of trials that have not ended."""
        return max(0, self.total - len(self.trials.all())) + len(self.trials.unfinished())

    def report(self, step: int, score: float) -> bool:
        """Note a score of the current job. Returns whether it is to be pruned: a setting's first seed decides."""
        return self.current is not None and self.trials.report(self.current, step, score)

    def numbers(self, trial: int) -> list[int]:
        times = max(1, len(self.plan.seeds))
        return [*range(trial * times, (trial + 1) * times)]

    def _next(self, held: ExitStack) -> int | None:
        """Return a trial and hold its lock: an abandoned one or a new one; None if all are taken."""
        with self.sweep.locked("study", wait=True):
            again = [number for number in self.trials.failed() if self._runs_again(number)]
            for number in [*self.trials.unfinished(), *again]:
                if self._hold(number, held):
                    return number
            if len(self.trials.all()) >= self.total:
                return None
            number = self.trials.ask()
            return number if self._hold(number, held) else None

    def _hold(self, number: int, held: ExitStack) -> bool:
        attempt = ExitStack()
        if attempt.enter_context(self.sweep.locked(f"trial-{number}")):
            held.push(attempt)
            return True
        attempt.close()
        return False

    def _runs_again(self, trial: int) -> bool:
        return any(self.sweep.state(number) == "open" for number in self.numbers(trial))

    def _of(self, trial: int) -> Generator[tuple[list[str], int]]:
        drawn = self.trials.settings(trial)
        self._require_own_runs(trial, drawn)
        settings = [*self.plan.fixed, *drawn]
        seeds: list[list[str]] = [[seed] for seed in self.plan.seeds] or [[]]
        for number, seed in zip(self.numbers(trial), seeds, strict=True):
            if self.sweep.state(number) not in DONE and not self._dropped(trial, number, [*settings, *seed]):
                self.current = trial if number == self.numbers(trial)[0] else None
                yield [*settings, *seed], number
            if self.sweep.state(number) != "finished":
                return

    def _require_own_runs(self, trial: int, drawn: list[str]) -> None:
        """Raise RunError if a run of this trial was made with other settings: the study is another one, or it was lost
        and drew others."""
        for number in self.numbers(trial):
            note = self.sweep.note(number)
            typed = {} if note is None else {key_of(it): it.partition("=")[2] for it in note.typed}
            for setting in drawn:
                key, value = key_of(setting), setting.partition("=")[2]
                if key.rpartition(".")[2] not in PLACES and plain_value(typed.get(key, value)) != plain_value(value):
                    raise RunError(
                        f"the study is not that of this sweep: run {number} has {key}={typed[key]}, its trial {value}",
                        where=self.sweep.folder,
                        next_step=f"restore the study from a copy; or {self.sweep.anew()}",
                    )

    def _dropped(self, trial: int, number: int, typed: list[str]) -> bool:
        if not self.drop:
            return False
        names = self.plan.seeds or [""]
        others = [dict(zip(names, self.numbers(other), strict=True)) for other in range(trial + 1)]
        why = Losing(self.sweep, others).drop(number, typed)
        if why is not None:
            print(f"\n[{number}]  {' '.join(typed)}\npruned: {why}", flush=True)
        return why is not None

    def _tell(self, trial: int) -> None:
        """Report the outcome: the mean score over the seeds. A setting that was dropped has that of the seeds that it
        had: it lost against the best, and may still be better than others."""
        states = [self.sweep.state(number) for number in self.numbers(trial)]
        if self._was_dropped(trial):
            states = states[: states.index("pruned")]
        outcome = next((state for state in states if state != "finished"), "finished")
        scores = []
        for number in self.numbers(trial)[: len(states)] if outcome == "finished" else ():
            record = self.sweep.record(number)
            score = None if record is None or record.rank == float("inf") else record.metrics[record.monitor]
            scores += [] if score is None else [score]
        whole = len(scores) == len(states)
        self.trials.tell(trial, outcome if outcome == "pruned" else "finished" if whole else "failed",
                         statistics.fmean(scores) if whole else None)  # fmt: skip

    def _was_dropped(self, trial: int) -> bool:
        """Whether seeds of the trial were not run because it had lost on those before them."""
        return any(self.sweep.state(it) == "pruned" and self.sweep.record(it) is None for it in self.numbers(trial))
