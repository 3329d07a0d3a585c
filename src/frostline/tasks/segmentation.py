"""A class for each pixel. Shapes: outputs (B, C, h, w) at the resolution of the finest features; masks (B, H, W) of
class indices or IGNORED. In training, masks have the size of the network's input; else that of the picture's file,
padded to the largest of the batch.
"""

import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, one_hot
from torchmetrics import Metric

from frostline.config.ranges import NonNegative
from frostline.contracts.batch import Batch
from frostline.contracts.ratios import OF_COUNTS
from frostline.contracts.targets import Targets
from frostline.contracts.worst import LOWEST_OVERLAP
from frostline.tasks.base import Metrics, Mode, Task, quotients
from frostline.tasks.classification import balanced_weights

SCORES: dict[str, Mode] = {"loss": "min", "accuracy": "max", "iou": "max"}
IGNORED = 255  # class index of pixels that do not count
SMOOTH = 1.0  # pixels, added to both sides of the Dice fraction: a class neither there nor predicted costs nothing


class Segmentation(Task):
    """dice: weight of the Dice loss beside cross-entropy. class_weights: `balanced` weights pixels by
    `balanced_weights` of their classes.
    """

    kind = "masks"
    hub_task = "image-segmentation"
    unit = "pixel"
    gives_files = True
    worst = LOWEST_OVERLAP
    ratios = OF_COUNTS
    saves_cheaply = False
    class_weights: Tensor | None

    def __init__(
        self,
        targets: Targets,
        *,
        dice: NonNegative[float],
        class_weights: Literal["none", "balanced"],
        l1: NonNegative[float],
        monitor: str,
        mode: Literal["max", "min"],
    ) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES)
        self.classes = targets.names
        self.palette: list[int] = targets.about["palette"]
        self.values = torch.tensor(targets.about["values"], dtype=torch.uint8)
        self.dice = dice
        balanced = balanced_weights(targets.counts) if class_weights == "balanced" else None
        self.register_buffer("class_weights", balanced, persistent=False)

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`cross_entropy`: the sum over pixels divided by the pixels of the batch, ignored ones included, so that the
        mean over shares of a batch is the mean over the whole batch. `dice`: the mean over samples."""
        logits = _enlarged(outputs.float(), batch.targets.shape[1:])
        masks = batch.targets.long()
        # The sum inside torch's cross_entropy has no deterministic kernel on a GPU.
        each = cross_entropy(logits, masks, self.class_weights, ignore_index=IGNORED, reduction="none")
        terms = {"cross_entropy": each.sum() / masks.numel()}
        return terms | ({"dice": self.dice * _dice_loss(logits, masks)} if self.dice else {})

    def metrics(self) -> "SegmentationMetrics":
        return SegmentationMetrics(self.classes)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        """(H, W) uint8 class indices per picture, at its own size."""
        return [logits.argmax(1)[0].to(torch.uint8).cpu() for logits in _of_pictures(outputs, batch)]

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Pixels of each class, (B, C) int64, without ignored ones: true (`target`), `predicted`, and both (`right`).
        `loss` (B,), the sum of their cross-entropy. The logits of all pixels would take more space than the pictures.
        """
        rows, losses = [], []
        for logits, mask in _scored(outputs, batch):
            losses.append(cross_entropy(logits, mask, ignore_index=IGNORED, reduction="none").sum())
            counted = mask != IGNORED
            truth, given = mask[counted], logits.argmax(1)[counted]
            found = [it.bincount(minlength=len(self.classes)) for it in (truth, given, truth[truth == given])]
            rows.append(torch.stack(found))
        target, predicted, right = torch.stack(rows).unbind(1)
        return {"target": target, "predicted": predicted, "right": right, "loss": torch.stack(losses)}

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """`label`, the most frequent class of a picture, and its `share` of the pixels; then `label_2`, `share_2`."""
        columns: dict[str, list[str]] = {}
        counts = [mask.flatten().bincount(minlength=len(self.classes)).double() for mask in predictions]
        best = [count.div(count.sum()).topk(min(top_k, len(self.classes))) for count in counts]
        for rank in range(min(top_k, len(self.classes))):
            end = f"_{rank + 1}" if rank else ""
            columns[f"label{end}"] = [self.classes[int(it.indices[rank])] for it in best]
            columns[f"share{end}"] = [f"{float(it.values[rank]):.6f}" for it in best]
        return columns

    def files(self, prediction: Tensor) -> dict[str, bytes]:
        """`.png`: the mask with the values and the palette of the training masks."""
        return {".png": _png(self._coloured(prediction))}

    def drawn(self, picture: Image.Image, prediction: Tensor) -> Image.Image:
        """Half of the picture's colours and half of the mask's; the picture alone where pixels are ignored."""
        picture, known = picture.convert("RGB"), prediction != IGNORED
        mask = self._coloured(prediction.where(known, 0)).convert("RGB")
        shown = Image.fromarray((known * 255).to(torch.uint8).numpy())
        return Image.composite(Image.blend(picture, mask, 0.5), picture, shown)

    def truths(self, batch: Batch) -> list[Tensor]:
        """(H, W) uint8 masks, with IGNORED pixels."""
        assert batch.own_sizes is not None
        pairs = zip(batch.targets.cpu(), batch.own_sizes.tolist(), strict=True)
        return [mask[:height, :width].to(torch.uint8) for mask, (height, width) in pairs]

    def _coloured(self, prediction: Tensor) -> Image.Image:
        mask = Image.fromarray(self.values[prediction.long()].numpy())
        mask.putpalette(self.palette)
        return mask


def _png(picture: Image.Image) -> bytes:
    with io.BytesIO() as file:
        picture.save(file, format="PNG")
        return file.getvalue()


def _enlarged(outputs: Tensor, sides: Sequence[int]) -> Tensor:
    return interpolate(outputs, tuple(sides), mode="bilinear", align_corners=False)


def _of_pictures(outputs: Tensor, batch: Batch) -> Iterator[Tensor]:
    """Logits (1, C, H, W) of each picture, at its own size."""
    assert batch.own_sizes is not None
    for each, sides in zip(outputs.float().split(1), batch.own_sizes.tolist(), strict=True):
        yield _enlarged(each, sides)


def _scored(outputs: Tensor, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (1, C, H, W) and mask (1, H, W) of each picture, without the padding of the batch."""
    for logits, mask in zip(_of_pictures(outputs, batch), batch.targets.split(1), strict=True):
        height, width = logits.shape[2:]
        yield logits, mask[:, :height, :width].long()


def _dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the Dice coefficient, the mean over samples and classes (Milletari et al. 2016, arXiv:1606.04797, with
    plain sums)."""
    counted = (masks != IGNORED).unsqueeze(1)
    truth = one_hot(masks.masked_fill(masks == IGNORED, 0), logits.shape[1]).movedim(-1, 1) * counted
    given = logits.softmax(1) * counted
    met = (given * truth).sum((2, 3))
    return 1 - ((2 * met + SMOOTH) / ((given + truth).sum((2, 3)) + SMOOTH)).mean()


class Confusion(Metric):
    """Pixels by true and predicted class, and the sum of their cross-entropy, over all batches and ranks."""

    full_state_update = False
    matrix: Tensor
    loss: Tensor
    samples: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("matrix", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("samples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, mask: Tensor) -> None:
        """logits (1, C, H, W), mask (1, H, W)."""
        seen = mask != IGNORED
        number = len(self.matrix)
        pairs = mask[seen] * number + logits.argmax(1)[seen]
        self.matrix = self.matrix + pairs.bincount(minlength=number**2).view(number, number)
        self.loss = self.loss + cross_entropy(logits, mask, ignore_index=IGNORED, reduction="none").sum()
        self.samples = self.samples + 1

    def compute(self) -> tuple[Tensor, float, int]:
        return self.matrix.cpu().double(), float(self.loss), int(self.samples)


class SegmentationMetrics(Metrics):
    """Scores over all pixels of a data split, each picture at its own size. The loss is plain cross-entropy, the mean
    over pixels."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes
        self.confusion = Confusion(len(classes))

    def update(self, outputs: Tensor, batch: Batch) -> None:
        for logits, mask in _scored(outputs, batch):
            self.confusion.update(logits, mask)

    def compute(self) -> dict[str, float]:
        """`loss`, `accuracy` of pixels, `iou`, the mean over the classes that occur in truth or predictions, and `n`
        pictures."""
        matrix, loss, samples = self.confusion.compute()
        pixels = max(float(matrix.sum()), 1.0)
        iou, occurs = _iou(matrix)
        return {
            "loss": loss / pixels,
            "accuracy": float(matrix.diag().sum()) / pixels,
            "iou": float(iou[occurs].mean()) if bool(occurs.any()) else 0.0,
            "n": samples,
        }

    def per_class(self) -> list[dict[str, Any]]:
        """`n` is the number of true pixels of the class; `iou` is None for a class that does not occur, `recall`
        for one without true pixels."""
        matrix, _, _ = self.confusion.compute()
        iou, occurs = _iou(matrix)
        recall, true = quotients(matrix.diag(), matrix.sum(1)), matrix.sum(1)
        return [
            {
                "class": name,
                "n": int(true[row]),
                "iou": float(iou[row]) if bool(occurs[row]) else None,
                "recall": recall[row],
            }
            for row, name in enumerate(self.classes)
        ]

    def reset(self) -> None:
        self.confusion.reset()


def _iou(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) intersection over union, and which classes occur."""
    union = matrix.sum(0) + matrix.sum(1) - matrix.diag()
    return matrix.diag() / union.clamp(min=1), union > 0
