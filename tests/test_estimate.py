"""Estimated cost of a phase, with a fake clock."""

import itertools

import pytest
import torch
from torch import nn

from frostline.training import costs as estimate
from frostline.training.costs import SHORT, Costs, measured_costs
from tiny import SPEC, Tiny

SPLITS, LOOKS = 2, 3  # stem and head; looks at the clock in each pass


def counted(tick: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Costs, int]:
    """Costs where the clock goes on by `tick` seconds between two looks, and how many passes there were."""
    clock = itertools.count()
    monkeypatch.setattr(estimate, "_now", lambda device: next(clock) * tick)
    sample = torch.zeros(1, 3, SPEC.size, SPEC.size)
    costs = measured_costs(Tiny(weights=None), nn.Linear(6, 2), sample, device=torch.device("cpu"))
    return costs, next(clock) // LOOKS


@pytest.mark.parametrize(("tick", "passes"), [(SHORT, 2), (SHORT / 4, 3)])
def test_short_passes_are_measured_once_more(tick: float, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    costs, passed = counted(tick, monkeypatch)
    assert passed == SPLITS * passes
    assert costs.keys() == {"stem", "head"}
    for cost in costs.values():
        assert cost.forward == pytest.approx(cost.backward) == pytest.approx(tick / estimate.MOST_SAMPLES)


@pytest.mark.parametrize(("side", "samples"), [(8, 32), (112, 16), (224, 4), (320, 1), (448, 1)])
def test_no_more_is_computed_at_once_than_four_pictures_of_224_pixels_but_one(
    side: int, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the estimate of a run would take more memory than the run."""
    seen = []
    monkeypatch.setattr(estimate, "MOST_SAMPLES", 32)  # as it is outside tests

    class Seen(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return super().forward(x)

    measured_costs(Tiny(weights=None), Seen(6, 2), torch.zeros(1, 3, side, side), device=torch.device("cpu"))
    assert set(seen) == {samples}
