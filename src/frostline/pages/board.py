"""Pictures and tables for TensorBoard, from the stored predictions of the test split.

Shapes: pictures are uint8 (H, W, 3).
"""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from frostline.errors import shortened
from frostline.pages.card import plain
from frostline.pages.samples import SIDE, SMALL, Gallery, Sample
from frostline.pages.sections import Matrix
from frostline.report.calibration import classified, log_softmax
from frostline.report.resampling import Array
from frostline.runs.predictions import Predictions

CELL, MARGIN, GAP, LINE = 34, 110, 8, 13  # pixels
LONGEST = 16  # characters of a name in a picture
PER_ROW = 6
MOST_CURVES = 25
PAPER, INK, SOFT, GOOD, BAD = (255, 255, 255), (21, 32, 43), (213, 221, 229), (29, 122, 70), (179, 38, 30)


def confusion_picture(matrix: Matrix) -> Array | None:
    """Rows are true classes, columns answers; None if there are too many classes."""
    if matrix.counts is None:
        return None
    import numpy as np
    from PIL import Image, ImageDraw

    number = len(matrix.names)
    picture = Image.new("RGB", (MARGIN + CELL * number + GAP, MARGIN + CELL * number + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, MARGIN - 2 * LINE), "true", INK)
    draw.text((MARGIN, GAP), "answered", INK)
    for row, (name, counts) in enumerate(zip(matrix.names, matrix.counts, strict=True)):
        y = MARGIN + CELL * row
        draw.text((MARGIN - 6, y + CELL / 2), _short(name), INK, anchor="rm")
        upright = Image.new("RGB", (MARGIN - 2 * LINE, LINE), PAPER)
        ImageDraw.Draw(upright).text((0, 0), _short(name), INK)
        picture.paste(upright.rotate(90, expand=True), (MARGIN + CELL * row + CELL // 2 - LINE // 2, 2 * LINE))
        for column, count in enumerate(counts):
            x, share = MARGIN + CELL * column, count / max(sum(counts), 1)
            colour = _mixed(GOOD if row == column else BAD, share if row == column else min(1.0, 3 * share))
            draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), colour)
            if count:
                draw.text((x + CELL / 2 - 1, y + CELL / 2 - 1), str(count), INK, anchor="mm")
    return np.asarray(picture)


def _mixed(colour: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(round(paper + 0.7 * share * (own - paper)) for own, paper in zip(colour, PAPER, strict=True))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def contact_sheet(gallery: Gallery) -> Array | None:
    """Thumbnails with answer, true class and file name below; None if the samples are no pictures."""
    samples = [sample for sample in gallery.samples if sample.picture]
    if not samples:
        return None
    import numpy as np
    from PIL import Image, ImageDraw

    width, height = SIDE + GAP, SIDE + 3 * LINE + GAP
    rows = -(-len(samples) // PER_ROW)
    sheet = Image.new("RGB", (min(len(samples), PER_ROW) * width + GAP, rows * height + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for turn, sample in enumerate(samples):
        x, y = GAP + turn % PER_ROW * width, GAP + turn // PER_ROW * height
        with Image.open(io.BytesIO(base64.b64decode(sample.picture.partition(",")[2]))) as opened:
            picture = opened.convert("RGB")
        scale = SIDE / max(picture.size)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        # Pixels of small pictures stay what they are, and few distinct values are encoded faster.
        picture = picture.resize(size, Image.Resampling.NEAREST if max(picture.size) <= SMALL else None)
        sheet.paste(picture, (x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2))
        for at, (said, colour) in enumerate(_lines(sample)):
            draw.text((x, y + SIDE + at * LINE), said[:22], colour)
    return np.asarray(sheet)


def _lines(sample: Sample) -> Iterator[tuple[str, tuple[int, ...]]]:
    if sample.target:
        yield sample.answer, INK if sample.right is None else GOOD if sample.right else BAD
        yield f"true: {sample.target}", INK
    yield sample.name, (81, 96, 111)


def text_table(gallery: Gallery) -> str:
    """A table in Markdown of samples that are texts; "" if they are none."""
    samples = [sample for sample in gallery.samples if sample.text]
    if not samples:
        return ""
    rows = [f"| {plain(it.target)} | {plain(it.answer)} | {plain(shortened(it.text))} |" for it in samples]
    return "\n".join([plain(gallery.what), "", "| true | answer | text |", "|---|---|---|", *rows])


class Curve(NamedTuple):
    """A class or label against all others. right: (N,) 0 or 1. probabilities: (N,)."""

    name: str
    right: Array
    probabilities: Array


def precision_recall(found: Predictions) -> list[Curve]:
    """Of each class, or label of several; none if there are more than MOST_CURVES, or outputs are others."""
    import numpy as np

    names = [*map(str, found.about.get("names") or [])]
    target, logits = found.columns.get("target"), found.columns.get("logits")
    if logits is None or logits.ndim != 2 or logits.shape[1] > MOST_CURVES or len(names) < logits.shape[1]:
        return []
    if (classes := classified(found)) is not None:
        right = np.eye(classes[1].shape[1], dtype=int)[classes[0]]
        probabilities = np.exp(log_softmax(classes[1]))
    elif target is not None and target.ndim == 2 and target.shape == logits.shape:
        right, probabilities = (target > 0.5).astype(int), 1 / (1 + np.exp(-logits.astype(float)))
    else:
        return []
    return [Curve(names[at], right[:, at], probabilities[:, at]) for at in range(right.shape[1])]
