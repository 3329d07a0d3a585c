"""Run what `plans.decide` chooses, one run after the other, and print each decision."""

import math
from collections.abc import Generator
from typing import Any

from frostline.errors import RunError
from frostline.quoting import key_of
from frostline.runs.sweeps import DONE, FILE, Sweep
from frostline.sweeps.plans import Choice, Space, Tried, decide, expected, share_of_estimate

KEYS = ("model", "head", "schedule", "optimizer.lr")  # of the parts of a choice


class Planning:
    """fixed: overrides of every run."""

    def __init__(self, sweep: Sweep, space: Space, fixed: list[str]) -> None:
        self.sweep = sweep
        self.space = space
        self.fixed = fixed
        self._spent = 0.0
        self._known: float | None = None  # seconds of the current run, by an earlier one
        self._share = 1.0  # of its estimate, that a plan takes

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
        return max(60 * self.space.minutes - self._spent, 1.0)

    def needed(self, planned: float) -> float:
        """Seconds of the current run: by an earlier one of its model and plan, which knows what is cached; else by its
        own estimate, corrected by the latest run that thawed."""
        return planned * self._share if self._known is None else self._known

    def jobs(self) -> Generator[tuple[list[str], int]]:
        """Yield the overrides and the number of each run."""
        tried: list[Tried] = []
        while True:
            number = len(tried)
            if self.sweep.state(number) in DONE:
                tried.append(self._tried(number))
                continue
            self._spent = sum(it.seconds for it in tried)
            choice, why = decide(self.space, tried)
            self._known, self._share = None if choice is None else expected(choice, tried), share_of_estimate(tried)
            spent = f"{self._spent / 60:.1f} of {self.space.minutes:g} min"
            if choice is None:
                print(f"\nplans  the search ends: {why} ({number} runs, {spent})", flush=True)
                return
            print(f"\nplans  {why} ({spent})", flush=True)
            yield self._overrides(choice), number
            if self.sweep.state(number) not in DONE:
                return  # nothing was run

    def _overrides(self, choice: Choice) -> list[str]:
        return [*self.fixed, *(f"{key}={value}" for key, value in zip(KEYS, choice, strict=True) if value)]

    def _tried(self, number: int) -> Tried:
        note, record = self.sweep.note(number), self.sweep.record(number)
        typed = {} if note is None else {key_of(it): it.partition("=")[2] for it in note.typed}
        choice = Choice(*(typed.get(key, "") for key in KEYS))
        if record is None:
            return Tried(choice, None, "", 0.0)
        score = None if math.isinf(record.rank) else record.metrics[record.monitor]
        return Tried(choice, score, record.mode, record.seconds["total"], record.planned_seconds)
