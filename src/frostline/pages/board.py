"""Pictures and tables for TensorBoard, from the stored predictions of the test split.

Shapes: pictures are uint8 (H, W, 3).
"""

import base64
import io
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, NamedTuple

from frostline.errors import shortened
from frostline.pages.card import plain
from frostline.pages.samples import SIDE, SMALL, Gallery, Sample
from frostline.pages.sections import Matrix
from frostline.report.calibration import classified, log_softmax
from frostline.report.resampling import Array
from frostline.runs.predictions import Predictions

# TensorBoard shows pictures about 340 pixels wide, whatever their own width.
CELL, GAP, LINE, LETTERS = 34, 8, 17, 13  # pixels: of a cell, between things, of a line of text, of its letters
LONGEST = 110  # pixels of a name
PER_ROW = 3
MOST_CURVES = 25
PAPER, INK, SOFT, GOOD, BAD = (255, 255, 255), (21, 32, 43), (213, 221, 229), (29, 122, 70), (179, 38, 30)


def confusion_picture(matrix: Matrix) -> Array | None:
    """Rows are true classes, columns answers; None if there are too many classes."""
    if matrix.counts is None:
        return None
    import numpy as np
    from PIL import Image, ImageDraw

    number, font = len(matrix.names), _font()
    names = [_fitted(name, font, LONGEST) for name in matrix.names]
    widest = ceil(max(font.getlength(name) for name in names))
    turns = widest > CELL - 6
    left, top = LINE + widest + 2 * GAP, LINE + (widest if turns else LINE) + 2 * GAP
    # "answered" needs room beside few classes.
    picture = Image.new("RGB", (left + max(CELL * number, 70) + GAP, top + max(CELL * number, 40) + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((left, GAP / 2), "answered", INK, font=font)
    _upright(picture, "true", (GAP // 2, top), font)
    for row, (name, counts) in enumerate(zip(names, matrix.counts, strict=True)):
        y = top + CELL * row
        draw.text((left - GAP, y + CELL / 2), name, INK, anchor="rm", font=font)
        middle = left + CELL * row + CELL // 2
        if turns:
            _upright(picture, name, (middle - LINE // 2, LINE + GAP), font, bottom=top - GAP)
        else:
            draw.text((middle, top - GAP), name, INK, anchor="ms", font=font)
        for column, count in enumerate(counts):
            x, share = left + CELL * column, count / max(sum(counts), 1)
            colour = _mixed(GOOD if row == column else BAD, share if row == column else min(1.0, 3 * share))
            draw.rectangle((x, y, x + CELL - 2, y + CELL - 2), colour)
            if count:
                draw.text((x + CELL / 2 - 1, y + CELL / 2 - 1), str(count), INK, anchor="mm", font=font)
    return np.asarray(picture)


def _upright(picture: Any, text: str, at: tuple[int, int], font: Any, bottom: int | None = None) -> None:
    """Write upwards. at: the left upper corner. bottom: where the text begins, in place of its upper end."""
    from PIL import Image, ImageDraw

    turned = Image.new("RGB", (ceil(font.getlength(text)) + 2, LINE), PAPER)
    ImageDraw.Draw(turned).text((0, 0), text, INK, font=font)
    x, y = at
    picture.paste(turned.rotate(90, expand=True), (x, y if bottom is None else bottom - turned.width))


def _mixed(colour: Sequence[int], share: float) -> tuple[int, ...]:
    return tuple(round(paper + 0.7 * share * (own - paper)) for own, paper in zip(colour, PAPER, strict=True))


def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(LETTERS)


def _fitted(text: str, font: Any, width: float, *, keep_end: bool = False) -> str:
    """Cut a text to a width in pixels. keep_end: at its beginning, as names of files differ at their ends."""
    if font.getlength(text) <= width:
        return text
    text = text[-100:] if keep_end else text[:100]
    while len(text) > 1 and font.getlength(f"{text}…") > width:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text}…"


def contact_sheet(gallery: Gallery) -> Array | None:
    """Thumbnails with answer, true class and file name below; None if the samples are no pictures."""
    samples = [sample for sample in gallery.samples if sample.picture]
    if not samples:
        return None
    import numpy as np
    from PIL import Image, ImageDraw

    font, width, height = _font(), SIDE + GAP, SIDE + 3 * LINE + GAP
    rows = -(-len(samples) // PER_ROW)
    sheet = Image.new("RGB", (PER_ROW * width + GAP, rows * height + GAP), PAPER)
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
        for at, (text, colour) in enumerate(_lines(sample)):
            shown = _fitted(text, font, SIDE, keep_end=text == sample.name)
            draw.text((x, y + SIDE + at * LINE), shown, colour, font=font)
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
    """A curve for each class, or label of several; none if there are more than MOST_CURVES, or the outputs are
    of another kind."""
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
