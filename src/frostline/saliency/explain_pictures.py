"""Explain answers for pictures by a map. Shapes: B pictures."""

import time
from collections.abc import Iterator

import torch

from frostline.contracts.batch import Batch
from frostline.data.module import Data
from frostline.data.pictures.preprocess import pixels_of
from frostline.data.predicting import Predicted, Predicting
from frostline.data.split import Split
from frostline.saliency.drawing import explained, heat, where
from frostline.saliency.explainer import Answering, Explainer, Explanation, LeftOut, loaded
from frostline.saliency.look import Look, picture_of
from frostline.saliency.pictures import require_pictures, saliency

AT_ONCE, FIRST = 16, 4  # pictures in a batch: where two passes are enough, and before this is known
SIDE = 32  # pixels of a map, which the browser enlarges


class PictureExplainer(Explainer):
    example_input = "input=<one file>"
    suffix = ".png"

    def explain(
        self, network: Answering, predicting: Predicting, batch: Batch, found: Predicted, chosen: int | None
    ) -> Explanation:
        spec = require_pictures(network.backbone)
        wanted = None if chosen is None else torch.tensor([chosen])
        with network.computing():
            made = saliency(network.backbone, network.head, network.evidence, batch.pictures, wanted)
        picture = explained(pixels_of(batch.pictures, spec)[0], made.maps[0])
        place = where(made.maps[0])
        summary = f"by {made.how}; most of it is at the {place}" if place != "nowhere" else "nothing speaks for it"
        return Explanation(int(made.chosen[0]), ("where", summary), picture)

    def looks(
        self,
        network: Answering,
        data: Data,
        split: Split,
        device: torch.device,
        seconds: float | None,
        left_out: LeftOut,
    ) -> Iterator[tuple[int, Look]]:
        require_pictures(network.backbone)
        began, start, size = time.perf_counter(), 0, FIRST
        while start < len(split):
            places = range(start, min(start + size, len(split)))
            batch: Batch = data.views.plain(loaded(data, split, places, device))
            left = None if seconds is None else seconds - (time.perf_counter() - began)
            looks, is_quick = _looks(network, batch, left)
            size = AT_ONCE if is_quick else FIRST
            yield from zip(split.index[[*places]].tolist(), looks, strict=True)
            start = places.stop


def _looks(network: Answering, batch: Batch, seconds: float | None) -> tuple[list[Look], bool]:
    """Also return whether two passes are enough. seconds: see `saliency`."""
    with network.computing():
        made = saliency(network.backbone, network.head, network.evidence, batch.pictures, seconds=seconds)
    pixels = pixels_of(batch.pictures, require_pictures(network.backbone)).cpu()
    looks = [
        Look(picture_of(own), heat(cells, (SIDE, SIDE)), where(cells))
        for own, cells in zip(pixels, made.maps.cpu(), strict=True)
    ]
    return looks, made.is_quick
