"""Scores that a task declares as ratios of sums over samples, so that reports can draw the samples again."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard

Factors = Mapping[str, float]
LARGEST = 1e9  # of a factor, so that sums stay finite


class Ratio(NamedTuple):
    """The sum of `above` over all samples, divided by that of `below`.

    above, below: factors of the columns of `Task.saved`, (R,) or (R, K), that are added, at most LARGEST; without any,
    `below` is the number of values above, so that the score is their mean. by_class: divide class by class, (K,), and
    take the mean over the classes whose divisor is above 0; otherwise a column is added over its classes first.
    """

    above: Factors
    below: Factors = MappingProxyType({})
    by_class: bool = False

    def stored(self) -> dict[str, Any]:
        return {"above": {**self.above}, "below": {**self.below}, "by_class": self.by_class}

    @classmethod
    def of(cls, stored: object) -> "Ratio | None":
        """stored: as `stored` returns it. None for any other form."""
        if not isinstance(stored, Mapping) or not isinstance(stored.get("by_class"), bool):
            return None
        above, below = stored.get("above"), stored.get("below")
        if not _are_factors(above) or not _are_factors(below) or not above:
            return None
        return cls(above, below, stored["by_class"])


def _are_factors(stored: object) -> TypeGuard[Factors]:
    return isinstance(stored, Mapping) and all(
        type(factor) in (int, float) and abs(factor) <= LARGEST for factor in stored.values()
    )


# Ratios of counts by class, `right`, `target` and `predicted`. Earlier versions stored the counts alone.
OF_COUNTS: Mapping[str, Ratio] = {
    "accuracy": Ratio({"right": 1}, {"target": 1}),
    "loss": Ratio({"loss": 1}, {"target": 1}),
    "iou": Ratio({"right": 1}, {"target": 1, "predicted": 1, "right": -1}, by_class=True),
}
