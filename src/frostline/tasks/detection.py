"""Boxes around objects. Shapes: outputs (B, M, 6) of a detector (heads/detectors.py) and targets (B, N, 7) of pictures
that are scored; both have rows of -1 that only fill up. A prediction is (M, 6): left, top, right and bottom in pixels
of the picture, score, class, the best first.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from frostline.config.ranges import NonNegative, Probability
from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.errors import counted, one_line
from frostline.tasks.average_precision import AREA, CLASS, CROWD, SCORE, SCORES, TRUE_CLASS, DetectionMetrics, in_pixels
from frostline.tasks.base import Task

TRUE = math.inf  # in place of the score of a true box
SAVED = (*["box"] * 4, "label", "score", "crowd", "area", "is_target", "sample")  # columns of `saved`
LEAST_DRAWN = 480  # pixels, longer side of a drawn picture
HEADERS = ("objects", "prediction", "drawn")  # of columns that are no classes
# Colours of boxes by class, in turn: Okabe and Ito 2008, "Color Universal Design", without black and yellow.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


class Detection(Task):
    """threshold: see conf/task/detection.yaml."""

    kind = "boxes"
    saves_cheaply = False
    hub_task = "object-detection"
    unit = "box"
    usual_head = "faster_rcnn"
    guides_head = True
    gives_files = True
    stands_alone = False

    def __init__(
        self,
        targets: Targets,
        *,
        threshold: Probability,
        l1: NonNegative[float],
        monitor: str,
        mode: Literal["max", "min"],
    ) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES)
        self.classes = targets.names
        self.threshold = threshold
        self.most = 0  # boxes of a picture that the head returns; set by the first outputs

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    def loss(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """The terms that the head returned."""
        terms: dict[str, Tensor] = outputs
        return terms

    def metrics(self) -> "DetectionMetrics":
        return DetectionMetrics(self.classes)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        self.most = outputs.shape[1]
        return [own[own[:, CLASS] >= 0].cpu() for own in in_pixels(outputs, batch)]

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Rows of true boxes (`is_target`), then of predicted ones, for each picture: `box` (4), `label`, `score`,
        `crowd` and `area`, NaN where a box has none. A picture without boxes has a row of the label -1."""
        tables = []
        for place, (own, truth) in enumerate(zip(self.decode(outputs, batch), _true(batch), strict=True)):
            rows = torch.full((max(1, len(truth) + len(own)), len(SAVED)), torch.nan)
            rows[:, 4] = -1
            there, given = rows[: len(truth)], rows[len(truth) : len(truth) + len(own)]
            there[:, :5], there[:, 6:8] = truth[:, : TRUE_CLASS + 1], truth[:, [CROWD, AREA]]
            given[:, :6] = own[:, [0, 1, 2, 3, CLASS, SCORE]]
            rows[:, 8], rows[:, 9] = torch.arange(len(rows)) < len(truth), place
            tables.append(rows)
        columns = dict(zip(SAVED[4:], torch.cat(tables)[:, 4:].unbind(1), strict=True))
        whole = {"label": columns["label"].long(), "is_target": columns["is_target"].bool()}
        return {"box": torch.cat(tables)[:, :4], **columns, **whole, "sample": columns["sample"].long()}

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """Number of `objects` from the threshold on, and of those of each class."""
        counts = [self._shown(own)[:, CLASS].long().bincount(minlength=len(self.classes)) for own in predictions]
        columns = {"objects": [str(int(count.sum())) for count in counts]}
        for place, name in enumerate(self.classes):
            header = f"{name} (class)" if name in HEADERS else name
            columns[header] = [str(int(count[place])) for count in counts]
        return columns

    def notes(self, predictions: Sequence[Tensor]) -> list[str]:
        """On pictures whose boxes are all below the threshold, and on those with as many above it as the head returns,
        which may have more."""
        full = [own for own in predictions if self.most and len(self._shown(own)) >= self.most]
        empty = [own for own in predictions if len(own) and not len(self._shown(own))]
        highest = max((float(own[:, SCORE].max()) for own in empty), default=0.0)
        have = counted(len(empty), "picture has", "pictures have")
        notes = [f"{have} boxes below threshold={self.threshold:g} alone, up to {highest:.3f}"] if empty else []
        have = counted(len(full), "picture has", "pictures have")
        cut = f"{have} {self.most} boxes, the most that this run returns (head.detections), and may have more objects"
        return [*notes, *([cut] if full else [])]

    def files_of_all(self, names: Sequence[str], predictions: Sequence[Tensor]) -> dict[str, Callable[[], bytes]]:
        """`detections.json`: all boxes in COCO's format, with scores. Ids count from 1, categories as the classes."""
        return {"detections.json": partial(self._as_coco, names, predictions)}

    def _as_coco(self, names: Sequence[str], predictions: Sequence[Tensor]) -> bytes:
        pairs = [(place, row) for place, own in enumerate(predictions, 1) for row in own.tolist()]
        rows = []
        for number, (place, (left, top, right, bottom, score, label)) in enumerate(pairs, 1):
            width, height = right - left, bottom - top
            row = {
                "id": number,
                "image_id": place,
                "category_id": int(label) + 1,
                "bbox": [round(value, 2) for value in (left, top, width, height)],
                "area": round(width * height, 2),
                "iscrowd": 0,
                "score": round(score, 6),
            }
            rows.append(json.dumps(row))  # text takes less memory than the objects of many pictures
        images = json.dumps([{"id": place, "file_name": name} for place, name in enumerate(names, 1)])
        categories = json.dumps([{"id": place, "name": name} for place, name in enumerate(self.classes, 1)])
        lines = ",\n".join(rows)
        return f'{{"images": {images},\n"categories": {categories},\n"annotations": [{lines}]}}\n'.encode()

    def drawn(self, picture: Image.Image, prediction: Tensor) -> Image.Image:
        """The boxes from the threshold on, with class and score; true boxes have none."""
        times = -(-LEAST_DRAWN // max(picture.size))  # small pictures are enlarged, for letters to fit
        canvas = picture.convert("RGB").resize((picture.width * times, picture.height * times))
        draw = ImageDraw.Draw(canvas)
        unit = max(1, round(max(canvas.size) / 320))  # pixels; lines and letters grow with the picture
        scale = prediction.new_tensor([times] * SCORE + [1, 1])
        rows = (self._shown(prediction) * scale).flip(0).tolist()  # the best on top
        for *edges, _, label in rows:
            draw.rectangle(edges, outline=COLOURS[int(label) % len(COLOURS)], width=unit)
        for left, top, _, _, score, label in rows:
            name, size = one_line(self.classes[int(label)]), 8 * unit
            text = name if score == TRUE else f"{name} {score:.2f}"
            at = max(0, min(left, canvas.width - draw.textlength(text, font_size=size))), max(0, top - size - 2 * unit)
            first, second, third, last = draw.textbbox(at, text, font_size=size)
            under = (first - unit, second - unit, third + unit, last + unit)
            draw.rectangle(under, fill=COLOURS[int(label) % len(COLOURS)])
            draw.text(at, text, fill="white", font_size=size)
        return canvas

    def truths(self, batch: Batch) -> list[Tensor]:
        """(N, 6) boxes with a score of TRUE, crowds included."""
        return [
            torch.cat(
                [rows[:, :TRUE_CLASS], rows.new_full((len(rows), 1), TRUE), rows[:, TRUE_CLASS : TRUE_CLASS + 1]], 1
            )
            for rows in _true(batch)
        ]

    def _shown(self, prediction: Tensor) -> Tensor:
        return prediction[prediction[:, SCORE] >= self.threshold]


def _true(batch: Batch) -> Iterator[Tensor]:
    """The true boxes (N, 7) of each picture."""
    for rows in batch.targets.cpu():
        yield rows[rows[:, TRUE_CLASS] >= 0]
