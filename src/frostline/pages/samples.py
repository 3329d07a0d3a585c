"""Samples worth a look: the surest mistakes, the most uncertain answers, a random few; as pictures or texts.

Shapes: N samples, K classes, T numbers.
"""

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from frostline.report.calibration import classified, log_softmax
from frostline.report.resampling import Array
from frostline.runs.predictions import Predictions

EACH = 12  # samples of a kind
SIDE, QUALITY = 128, 82  # pixels of a thumbnail; JPEG
SMALL = 48  # pixels up to which pictures are kept without loss
CHARACTERS = 400

# A sample by its index in its source: uint8 (3, H, W), a text, or None if it cannot be shown.
Shown = Callable[[int], Any]


class Sample(NamedTuple):
    """picture: a data URI, or "". answer: with its probability or the true number beside it."""

    name: str
    whole_name: str
    picture: str
    text: str
    target: str
    answer: str
    right: bool | None


class Gallery(NamedTuple):
    title: str
    what: str  # one sentence on how they were chosen
    samples: list[Sample]


def galleries(found: Predictions, shown: Shown, seed: int = 0) -> list[Gallery]:
    """Those that are not empty."""
    return [
        Gallery(title, what, samples)
        for title, what, rows, said in _chosen(found, seed)
        if (samples := [_sample(found.columns, row, said(row), shown) for row in rows])
    ]


Said = tuple[str, str, bool | None]  # target, answer, whether it is right
Chosen = tuple[str, str, list[int], Callable[[int], Said]]


def _chosen(found: Predictions, seed: int) -> Iterator[Chosen]:
    import numpy as np

    columns = found.columns
    if "word" in columns or len(np.unique(columns["index"])) < len(columns["index"]):
        return
    few = sorted(np.random.default_rng(seed).permutation(len(columns["index"]))[:EACH].tolist())
    names = [*map(str, found.about.get("names") or [])]
    if (classes := classified(found)) is not None and len(names) >= classes[1].shape[1]:
        yield from _of_classes(*classes, names, few)
    elif _are_numbers(columns):
        yield from _of_numbers(columns, names, few)
    else:
        yield "A random few", "Drawn with a fixed seed.", few, lambda row: ("", "", None)


def _of_classes(target: Array, logits: Array, names: list[str], few: list[int]) -> Iterator[Chosen]:
    import numpy as np

    shares = np.exp(log_softmax(logits))
    given = logits.argmax(1)
    sorted_shares = np.sort(shares, axis=1)
    confidence, margin = sorted_shares[:, -1], sorted_shares[:, -1] - sorted_shares[:, -2]

    def said(row: int) -> Said:
        answer = f"{names[given[row]]} ({confidence[row]:.0%})"
        return names[target[row]], answer, bool(given[row] == target[row])

    wrong = [row for row in np.argsort(-confidence, kind="stable").tolist() if given[row] != target[row]]
    yield "Surest mistakes", f"Wrong answers, the most confident first; {len(wrong):,} in all.", wrong[:EACH], said
    close = np.argsort(margin, kind="stable")[:EACH].tolist()
    yield "Most uncertain", "The two best classes have nearly the same probability.", close, said
    yield "A random few", "Drawn with a fixed seed.", few, said


def _are_numbers(columns: Mapping[str, Array]) -> bool:
    target, given = columns.get("target"), columns.get("predicted")
    return target is not None and given is not None and target.dtype.kind == "f" and target.shape == given.shape


def _of_numbers(columns: Mapping[str, Array], names: list[str], few: list[int]) -> Iterator[Chosen]:
    import numpy as np

    target, given = (columns[name].reshape(len(columns["index"]), -1).astype(float) for name in ("target", "predicted"))
    spread = target.std(0)
    gaps = (abs(target - given) / np.where(spread > 0, spread, 1)).max(1)

    def said(row: int) -> Said:
        return _numbers(target[row], names), _numbers(given[row], names), None

    largest = np.argsort(-gaps, kind="stable")[:EACH].tolist()
    yield "Largest errors", "In standard deviations of the true numbers, the largest first.", largest, said
    yield "A random few", "Drawn with a fixed seed.", few, said


def _numbers(values: Array, names: list[str]) -> str:
    said = [f"{value:.4g}" for value in values[:4]]
    return said[0] if len(values) == 1 else ", ".join(f"{name} {one}" for name, one in zip(names, said, strict=False))


def _sample(columns: Mapping[str, Array], row: int, said: Said, shown: Shown) -> Sample:
    name, seen = str(columns["sample"][row]), shown(int(columns["index"][row]))
    if isinstance(seen, str):
        text = seen if len(seen) <= CHARACTERS else f"{seen[:CHARACTERS]}…"
        return Sample(PurePath(name).name, name, "", text, *said)
    return Sample(PurePath(name).name, name, "" if seen is None else thumbnail(seen), "", *said)


def thumbnail(pixels: Any) -> str:
    """pixels: uint8 (3, H, W), with `permute` and `numpy` as tensors have. A data URI."""
    from PIL import Image

    picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((SIDE, SIDE))
    is_small = max(picture.size) <= SMALL
    with io.BytesIO() as file:
        picture.save(file, format="PNG" if is_small else "JPEG", **({} if is_small else {"quality": QUALITY}))
        encoded = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{'png' if is_small else 'jpeg'};base64,{encoded}"
