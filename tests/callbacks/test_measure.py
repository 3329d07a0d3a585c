"""Samples per second: of training steps alone."""

from types import SimpleNamespace
from typing import Any

import pytest

from frostline.training.callbacks.measure import Measure


@pytest.mark.parametrize("ranks", [1, 2])
def test_samples_per_second_leave_the_validation_out(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs: 60 samples in 4 seconds, 40 in 2 and 1 after the validation, which takes 100 seconds in each."""
    clock, logged = SimpleNamespace(now=50.0), list[dict[str, float]]()
    monkeypatch.setattr("frostline.training.callbacks.measure.time.perf_counter", lambda: clock.now)
    measure, trainer = Measure(), SimpleNamespace(world_size=ranks)
    phase = SimpleNamespace(frost_line=lambda blocks: len(blocks) - 1)
    module: Any = SimpleNamespace(
        trained=True,
        phase_number=3,
        phase=phase,
        backbone=SimpleNamespace(blocks=dict.fromkeys("abc")),
        log_dict=logged.append,
    )
    clock.now += 1000  # before
    measure.on_train_start(trainer, module)  # type: ignore[arg-type]
    for batches, seconds, rest in (([20, 20, 20], 4, 0), ([20, 20], 2, 1)):
        clock.now += 500  # between epochs
        measure.on_train_epoch_start(trainer, module)  # type: ignore[arg-type]
        for size in batches:
            measure.on_train_batch_end(trainer, module, None, SimpleNamespace(size=size), 0)  # type: ignore[arg-type]
        clock.now += seconds
        measure.on_validation_start(trainer, module)  # type: ignore[arg-type]
        clock.now += 100
        measure.on_validation_end(trainer, module)  # type: ignore[arg-type]
        clock.now += rest
        measure.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert [row["throughput/samples_per_second"] for row in logged] == pytest.approx([15 * ranks, 40 / 3 * ranks])
    assert {(row["phase"], row["frost_line"]) for row in logged} == {(3.0, 2.0)}
    assert (measure.seconds, measure.samples) == (7, 100 * ranks)
    assert measure.samples_per_second == pytest.approx(100 * ranks / 7)
    measure.on_train_start(trainer, module)  # type: ignore[arg-type]
    assert measure.samples_per_second == 0, "a phase begins with nothing"


def test_an_epoch_that_did_not_end_is_not_counted() -> None:
    """A resume continues after the last step of an epoch."""
    measure: Any = Measure()
    module: Any = SimpleNamespace(trained=False)
    measure.on_train_start(None, module)
    measure.on_train_batch_end(SimpleNamespace(world_size=1), module, None, SimpleNamespace(size=5), 0)
    measure.on_train_epoch_end(None, module)
    assert (measure.seconds, measure.samples) == (0, 0)
