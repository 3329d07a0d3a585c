"""Edit distance (Levenshtein): the fewest insertions, deletions and substitutions between two sequences."""

from collections.abc import Hashable, Sequence


def edits(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> int:
    """Bit-parallel, with a bit per item of `wanted` (Myers 1999, "A fast bit-vector algorithm", in the form of Hyyrö
    2003). `above` and `below` mark where the distance rises and falls by 1 along a column."""
    if not wanted:
        return len(given)
    places: dict[Hashable, int] = {}
    for place, item in enumerate(wanted):
        places[item] = places.get(item, 0) | 1 << place
    ones, last = (1 << len(wanted)) - 1, 1 << len(wanted) - 1
    above, below, distance = ones, 0, len(wanted)
    for item in given:
        same = places.get(item, 0)
        diagonal = (((same & above) + above) ^ above) | same | below  # where the distance does not rise
        rises, falls = below | ~(diagonal | above) & ones, above & diagonal
        distance += (rises & last != 0) - (falls & last != 0)
        rises, falls = (rises << 1 | 1) & ones, falls << 1 & ones
        above, below = falls | ~(rises | diagonal) & ones, rises & diagonal
    return distance
