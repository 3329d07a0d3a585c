"""Sentences on rows: what is missing, what training does not know, and what is cut off."""

from collections.abc import Iterator, Mapping
from typing import Any

from frostline.contracts.features import UNKNOWN
from frostline.contracts.specs import PartsSpec, TextSpec
from frostline.data.rows.sources import TEXT, RowSource
from frostline.data.rows.statistics import STEPS
from frostline.data.split import Split
from frostline.errors import counted, shortened

WORDS = {"train": "training", "val": "validation", "test": "test"}


def notes_of(splits: Mapping[str, Split], row: Mapping[str, Any], spec: PartsSpec) -> list[str]:
    own = [*_missing(splits), *unknown(splits, row), *_repeated(splits), *_constant(row)]
    return [*own, *_far(splits, row), *_cut_off(splits, spec)]


def _missing(splits: Mapping[str, Split]) -> list[str]:
    """A sentence for each column with empty cells."""
    counts: dict[str, int] = {}
    for split in splits.values():
        source = split.source
        assert isinstance(source, RowSource)
        columns, index = source.columns, split.index.tolist()
        for cells in (columns.images, columns.texts, columns.names):
            for name, own in cells.items():
                counts[name] = counts.get(name, 0) + sum(not own[place] for place in index)
        for name, values in columns.numbers.items():
            counts[name] = counts.get(name, 0) + int(values[split.index].isnan().sum())
    missing = {name: number for name, number in counts.items() if number}
    return [f"'{shortened(name)}' is missing in {counted(it, 'row', 'rows')}" for name, it in missing.items()]


def unknown(splits: Mapping[str, Split], row: Mapping[str, Any]) -> list[str]:
    """A sentence for each split and column with names that training does not have."""
    notes = []
    for split_name, split in splits.items():
        source = split.source
        assert isinstance(source, RowSource)
        names = source.beside(split.index)["row"]["names"]  # type: ignore[call-overload, index]
        for place, name in enumerate(row["names"]):
            cells, codes = source.columns.names[name], names[:, place]
            new = [cells[it] for it in split.index[codes == UNKNOWN].tolist() if cells[it]]
            if new:
                own = counted(len(set(new)), "name", "names")
                rows = f"{WORDS.get(split_name, split_name)}: {counted(len(new), 'row', 'rows')}"
                notes.append(f"{rows} with {own} of '{shortened(name)}' that training does not have")
    return notes


def _repeated(splits: Mapping[str, Split]) -> list[str]:
    """A sentence for each later split that has rows of training: a network that remembers these scores well on them."""
    if "train" not in splits:
        return []
    train, notes = {*_inputs_of(splits["train"])}, []
    for name, split in splits.items():
        repeated = sum(inputs in train for inputs in _inputs_of(split)) if name != "train" else 0
        if repeated:
            rows = counted(repeated, "row has", "rows have")
            notes.append(f"{WORDS[name]}: {rows} the same cells as a training row in all columns that are learned from")
    return notes


def _inputs_of(split: Split) -> Iterator[tuple[Any, ...]]:
    """The cells of each row; None for a number that is missing."""
    source = split.source
    assert isinstance(source, RowSource)
    columns, index = source.columns, split.index.tolist()
    cells: list[list[Any]] = []
    for kind in (columns.images, columns.texts, columns.names):
        cells += [[own[place] for place in index] for own in kind.values()]
    for values in columns.numbers.values():
        cells.append([None if value != value else value for value in values[split.index].tolist()])
    return zip(*cells, strict=True)


def _constant(row: Mapping[str, Any]) -> list[str]:
    same = [name for name, learned in row["numbers"].items() if learned.get("scale") == 0.0]
    return [f"'{shortened(name)}' is the same in all training rows: it tells nothing" for name in same]


def _far(splits: Mapping[str, Split], row: Mapping[str, Any]) -> list[str]:
    """A sentence for each column with numbers that standardisation cuts off."""
    notes, advice = [], " (data.normalise=quantile uses ranks instead)" if "train" in splits else ""
    for name, learned in row["numbers"].items():
        if "mean" not in learned:
            continue
        number = 0
        for split in splits.values():
            source = split.source
            assert isinstance(source, RowSource)
            steps = (source.columns.numbers[name][split.index] - learned["mean"]) * learned["scale"]
            number += int((steps.abs() > STEPS).sum())
        if number:
            far = counted(number, "row is", "rows are")
            notes.append(
                f"'{shortened(name)}': {far} more than {STEPS:g} standard deviations away from the mean, and cut off "
                f"there{advice}"
            )
    return notes


def _cut_off(splits: Mapping[str, Split], spec: PartsSpec) -> list[str]:
    text, first = spec.parts.get(TEXT), next(iter(splits.values())).source
    assert isinstance(first, RowSource)
    if not isinstance(text, TextSpec) or TEXT not in first.parts:
        return []
    part = first.parts[TEXT]
    lengths = part.source.lengths
    assert lengths is not None
    number = int((lengths[part.used] >= text.max_length).sum())
    have = counted(number, "text has", "texts have")
    return [f"{have} {text.max_length} tokens or more: the rest is cut off"] if number else []
