"""Run what `plans.decide` chooses, one run after the other, and print each decision."""

import math
from collections.abc import Generator
from typing import Any

from frostline.errors import RunError
from frostline.quoting import key_of
from frostline.runs.sweeps import DONE, FILE, Sweep
from frostline.sweeps.plans import Choice, Space, Tried, decide, left_of, needed

KEYS = ("model", "head", "schedule", "optimizer.lr")  # of the parts of a choice


class Planning:
    """fixed: overrides of every run."""

    def __init__(self, sweep: Sweep, space: Space, fixed: list[str]) -> None:
        self.sweep = sweep
        self.space = space
        self.fixed = fixed
        self._tried: list[Tried] = []
        self._choice: Choice | None = None  # of the current run

    @classmethod
    def stored(cls, sweep: Sweep) -> "Planning":
        """Raises RunError if sweep.json holds no such search."""
        try:
            return cls(sweep, Space(**sweep.search["plans"]), [*sweep.search["fixed"]])
        except (TypeError, KeyError) as error:
            raise RunError(
                f"the search of {FILE} cannot be read: {error}",
                where=sweep.folder / FILE,
                next_step="restore the file, or start a new sweep",
            ) from error

    @property
    def content(self) -> dict[str, Any]:
        """As stored in sweep.json."""
        return {"plans": self.space.content, "fixed": self.fixed}

    @property
    def size(self) -> int:
        """0: how many runs there will be is not known."""
        return 0

    def left(self) -> float:
        """Seconds that are left for the current run."""
        return left_of(self.space, self._tried)

    def needed(self, planned: float) -> float:
        """Seconds of the current run. planned: its own estimate."""
        assert self._choice is not None, "a run that `decide` chose"
        return needed(self._choice, planned, self._tried)

    def jobs(self) -> Generator[tuple[list[str], int]]:
        """Yield the overrides and the number of each run."""
        tried = self._tried = list[Tried]()
        while True:
            number = len(tried)
            if self.sweep.state(number) in DONE:
                tried.append(self._ended(number))
                continue
            choice, why = decide(self.space, tried)
            self._choice = choice
            spent = f"{sum(it.seconds for it in tried) / 60:.1f} of {self.space.minutes:g} min"
            if choice is None:
                print(f"\nplans  the search ends: {why} ({number} runs, {spent})", flush=True)
                return
            print(f"\nplans  {why} ({spent})", flush=True)
            yield self._overrides(choice), number
            if self.sweep.state(number) not in DONE:
                return  # nothing was run

    def _overrides(self, choice: Choice) -> list[str]:
        return [*self.fixed, *(f"{key}={value}" for key, value in zip(KEYS, choice, strict=True) if value)]

    def _ended(self, number: int) -> Tried:
        note, record = self.sweep.note(number), self.sweep.record(number)
        typed = {} if note is None else {key_of(it): it.partition("=")[2] for it in note.typed}
        choice = Choice(*(typed.get(key, "") for key in KEYS))
        if record is None:
            return Tried(choice, None, "", 0.0)
        score = None if math.isinf(record.rank) else record.metrics[record.monitor]
        return Tried(choice, score, record.mode, record.seconds["total"], record.planned_seconds)
