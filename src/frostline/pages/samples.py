"""Samples worth a look: the surest mistakes, the most uncertain answers, a random few; as pictures or texts.

Shapes: N samples, K classes, T numbers.
"""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from frostline.contracts.worst import LOWEST_OVERLAP, Worst
from frostline.pages.explained import Piece, pieces_of
from frostline.report.calibration import blocks, classified, log_softmax
from frostline.report.resampling import Array
from frostline.report.sample_values import values_of
from frostline.runs.predictions import Predictions
from frostline.saliency.look import Look, picture_of

EACH = 12  # samples of a kind
SIDE, QUALITY = 128, 82  # pixels of a thumbnail; JPEG
DRAWN_SIDE = 240  # of one with predictions drawn on it
SMALL = 48  # pixels up to which pictures are kept without loss
CHARACTERS = 400

# A sample by its index in its source: uint8 (3, H, W), a text, or None if it cannot be shown.
Shown = Callable[[int], Any]


# Indices in the source → looks by index, and why some are missing ("" if none is).
Looked = Callable[[Sequence[int]], tuple[Mapping[int, Look], str]]


class Sample(NamedTuple):
    """picture, heat, truth: data URIs, or "". answer: with its probability or the true number beside it. where: see
    `Look`. pieces: of the text, if it has shares."""

    name: str
    whole_name: str
    picture: str
    text: str
    target: str
    answer: str
    right: bool | None
    heat: str = ""
    truth: str = ""
    where: str = ""
    pieces: Sequence[Piece] = ()


class Gallery(NamedTuple):
    title: str
    what: str  # one sentence on how they were chosen
    samples: list[Sample]


class Galleries(NamedTuple):
    """shown: those that are not empty. why_no_looks: a sentence on missing looks, or ""."""

    shown: list[Gallery]
    why_no_looks: str = ""

    @property
    def have_heat(self) -> bool:
        return any(sample.heat for gallery in self.shown for sample in gallery.samples)

    @property
    def have_pieces(self) -> bool:
        return any(sample.pieces for gallery in self.shown for sample in gallery.samples)


def galleries(
    found: Predictions, shown: Shown, looked: Looked | None = None, seed: int = 0, temperature: float | None = None
) -> Galleries:
    """looked: None shows samples without looks. temperature: by which the logits of classes are divided, as
    predict does; None shows probabilities as trained."""
    chosen = [*_chosen(found, seed, temperature or 1.0)]
    index = found.columns["index"]
    wanted = [*dict.fromkeys(int(index[row]) for _, _, rows, _ in chosen for row in rows)]
    looks, why = ({}, "") if looked is None or not wanted else looked(wanted)
    made = [
        Gallery(title, what, [_sample(found.columns, row, answer_of(row), shown, looks) for row in rows])
        for title, what, rows, answer_of in chosen
        if rows
    ]
    return Galleries(made, why)


Answer = tuple[str, str, bool | None]  # target, answer, whether it is right
Chosen = tuple[str, str, list[int], Callable[[int], Answer]]


def _chosen(found: Predictions, seed: int, temperature: float) -> Iterator[Chosen]:
    import numpy as np

    columns = found.columns
    distinct, firsts = np.unique(columns["index"], return_index=True)
    if "word" in columns:
        return
    if len(distinct) < len(columns["index"]):  # a row for each box
        few = sorted(np.random.default_rng(seed).permutation(firsts)[:EACH].tolist())
        yield "A random few", "Drawn with a fixed seed.", few, lambda row: ("", "", None)
        return
    few = sorted(np.random.default_rng(seed).permutation(len(columns["index"]))[:EACH].tolist())
    names = [*map(str, found.about.get("names") or [])]
    worst = Worst.of(found.about["worst"]) if "worst" in found.about else LOWEST_OVERLAP  # of earlier versions
    if worst is not None and (values := values_of(found, worst.score)) is not None:
        yield from _of_worst(columns, worst, values, names, few)
    elif (classes := classified(found)) is not None and len(names) >= classes[1].shape[1]:
        yield from _of_classes(classes[0], classes[1] / temperature, names, few)
    elif _are_numbers(columns):
        yield from _of_numbers(columns, names, few)
    else:
        yield "A random few", "Drawn with a fixed seed.", few, lambda row: ("", "", None)


def _of_classes(target: Array, logits: Array, names: list[str], few: list[int]) -> Iterator[Chosen]:
    import numpy as np

    given = logits.argmax(1)
    best = np.empty((len(logits), 2))
    for rows in blocks(logits):
        best[rows] = np.partition(log_softmax(logits[rows]), -2, axis=1)[:, -2:]
    second, confidence = np.exp(best).T
    margin = confidence - second

    def answer_of(row: int) -> Answer:
        answer = f"{names[given[row]]} ({confidence[row]:.0%})"
        return names[target[row]], answer, bool(given[row] == target[row])

    wrong = [row for row in np.argsort(-confidence, kind="stable").tolist() if given[row] != target[row]]
    number = f"{EACH} of {len(wrong):,}" if len(wrong) > EACH else f"{len(wrong)} in all"
    yield "Surest mistakes", f"Wrong answers, the most confident first: {number}.", wrong[:EACH], answer_of
    close = np.argsort(margin, kind="stable")[:EACH].tolist()
    yield (
        "Most uncertain",
        "Those whose two best classes differ least in probability, the closest first.",
        close,
        answer_of,
    )
    yield "A random few", "Drawn with a fixed seed.", few, answer_of


def _are_numbers(columns: Mapping[str, Array]) -> bool:
    target, given = columns.get("target"), columns.get("predicted")
    return target is not None and given is not None and target.dtype.kind == "f" and target.shape == given.shape


def _of_numbers(columns: Mapping[str, Array], names: list[str], few: list[int]) -> Iterator[Chosen]:
    import numpy as np

    target, given = (columns[name].reshape(len(columns["index"]), -1).astype(float) for name in ("target", "predicted"))
    spread = target.std(0)
    gaps = (abs(target - given) / np.where(spread > 0, spread, 1)).max(1)

    def answer_of(row: int) -> Answer:
        return _numbers(target[row], names), _numbers(given[row], names), None

    largest = np.argsort(-gaps, kind="stable")[:EACH].tolist()
    yield "Largest errors", "In standard deviations of the true numbers, the largest first.", largest, answer_of
    yield "A random few", "Drawn with a fixed seed.", few, answer_of


def _of_worst(
    columns: Mapping[str, Array], worst: Worst, values: Array, names: list[str], few: list[int]
) -> Iterator[Chosen]:
    """values: (N,) the score of each sample; NaN for one that has none."""
    import numpy as np

    target, given = (_formatted_by(columns.get(name), names) for name in ("target", "predicted"))

    def answer_of(row: int) -> Answer:
        value = f"{worst.word} {values[row]:.2f}" if np.isfinite(values[row]) else ""
        return target(row), ", ".join(filter(None, (given(row), value))), None

    order = np.argsort(values if worst.mode == "max" else -values, kind="stable").tolist()
    yield worst.title, worst.what, [row for row in order if np.isfinite(values[row])][:EACH], answer_of
    yield "A random few", "Drawn with a fixed seed.", few, answer_of


def _formatted_by(column: Array | None, names: list[str]) -> Callable[[int], str]:
    """What to write for the value of a row: the name of a class, or numbers; "" for values of another form."""
    if column is not None and column.dtype.kind == "f" and column.ndim <= 2:
        return lambda row: _numbers(column[row].reshape(-1), names)
    if column is not None and column.dtype.kind in "iu" and column.ndim == 1:
        return lambda row: names[column[row]] if 0 <= column[row] < len(names) else ""
    return lambda row: ""


def _numbers(values: Array, names: list[str]) -> str:
    shown = [f"{value:.4g}" for value in values[:4]]
    return shown[0] if len(values) == 1 else ", ".join(f"{name} {one}" for name, one in zip(names, shown, strict=False))


def _sample(columns: Mapping[str, Array], row: int, answer: Answer, shown: Shown, looks: Mapping[int, Look]) -> Sample:
    name, index = str(columns["sample"][row]), int(columns["index"][row])
    look = looks.get(index)
    if look is not None and look.picture is not None:
        wide = SIDE if look.truth is None else DRAWN_SIDE
        truth = "" if look.truth is None else thumbnail(look.truth, wide)
        heat = "" if look.heat is None else _uri(look.heat, "PNG")
        return Sample(PurePath(name).name, name, thumbnail(look.picture, wide), "", *answer, heat, truth, look.where)
    seen = shown(index)
    if isinstance(seen, str):
        cut = seen if len(seen) <= CHARACTERS else f"{seen[:CHARACTERS]}…"
        pieces = pieces_of(seen, look.words) if look is not None else ()
        return Sample(PurePath(name).name, name, "", cut, *answer, pieces=pieces)
    return Sample(PurePath(name).name, name, "" if seen is None else thumbnail(picture_of(seen), SIDE), "", *answer)


def thumbnail(picture: Any, side: int) -> str:
    """A data URI of a picture, at most `side` pixels wide and high."""
    picture = picture.convert("RGB")
    picture.thumbnail((side, side))
    is_small = max(picture.size) <= SMALL
    return _uri(picture, "PNG") if is_small else _uri(picture, "JPEG", quality=QUALITY)


def _uri(picture: Any, kind: str, **settings: Any) -> str:
    with io.BytesIO() as file:
        picture.save(file, format=kind, **settings)
        encoded = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{encoded}"
