"""How far a sweep is, in one line."""

import time

from frostline.runs.sweeps import DONE, Sweep


class Progress:
    """total: jobs of the sweep; 0 if it is not known. workers: processes that run jobs at any moment; 0 if this one
    does, between two looks. Jobs that were done before are not counted in the time that is left."""

    def __init__(self, sweep: Sweep, total: int, workers: int = 0) -> None:
        self._sweep = sweep
        self._total = total
        self._workers = workers
        self._ended: dict[int, str] = {}
        self._best: tuple[float, str] | None = None
        self._look()
        self._before, self._since = len(self._ended), time.monotonic()

    def line(self) -> str:
        """`5 of 8 done, 1 failed, 0 pruned; best val/accuracy 0.9310 (3); about 2 min left`"""
        self._look()
        states = [*self._ended.values()]
        counts = f"{states.count('failed')} failed, {states.count('pruned')} pruned"
        best = "" if self._best is None else f"; best {self._best[1]}"
        of = f" of {self._total}" if self._total else ""
        return f"{len(states)}{of} done, {counts}{best}{self._left()}"

    def _look(self) -> None:
        for number in self._sweep.numbers():
            if number in self._ended or (state := self._sweep.state(number)) not in DONE:
                continue
            self._ended[number] = state
            note, record = self._sweep.note(number), self._sweep.record(number)
            if state != "finished" or note is None or record is None or record.rank == float("inf"):
                continue
            if self._best is None or record.rank < self._best[0]:
                score = record.metrics[record.monitor]
                self._best = record.rank, f"{record.monitor} {score:.4f} ({note.run})"

    def _left(self) -> str:
        done, left = len(self._ended) - self._before, self._total - len(self._ended)
        if done < 1 or left < 1:
            return ""
        half = min(self._workers, left) / 2  # jobs that run now are half done, on the average
        seconds = (time.monotonic() - self._since) / (done + half) * (left - half)
        return f"; about {seconds / 60:.0f} min left" if seconds >= 90 else f"; about {seconds:.0f} s left"
