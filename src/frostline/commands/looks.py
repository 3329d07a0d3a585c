"""What the page of a run shows of pictures beside their pixels: maps of what speaks for answers, masks and boxes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frostline.commands.trained import Network
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.module import Data
from frostline.data.pictures.preprocess import pixels_of
from frostline.data.split import Split
from frostline.errors import DataError, FrostlineError
from frostline.pages.samples import Look, Looked, picture_of
from frostline.saliency.drawing import heat, where
from frostline.saliency.pictures import require_pictures, require_whole, saliency
from frostline.saliency.running import resting
from frostline.training.build import Built
from frostline.training.finetuner import FineTuner

Computing = Callable[[], AbstractContextManager[Any]]  # a context of the run's precision
AT_ONCE = 16  # pictures
SIDE = 32  # pixels of a map, which the browser enlarges


def looks_of(built: Built) -> Looked:
    """Of the network as it is after the test."""
    device = built.trainer.strategy.root_device
    computing = built.trainer.precision_plugin.forward_context
    return partial(_looks, built.model, built.data, device, computing)


def looks_of_run(network: Network, data: Data) -> Looked:
    return partial(_looks, network.model, data, network.device, network.computing)


def _looks(
    model: FineTuner, data: Data, device: torch.device, computing: Computing, index: Sequence[int]
) -> tuple[Mapping[int, Look], str]:
    """Looks at samples of the test split, by their index in its source; or why there are none."""
    found: dict[int, Look] = {}
    split = Split(data.test_split.source, torch.tensor([*index]), scored=True)
    try:
        require_whole(model.backbone)
        with _on(model, device), torch.no_grad():
            for places in torch.arange(len(split)).split(AT_ONCE):
                loaded = split.__getitems__(places.tolist())
                if isinstance(loaded, DataError):
                    raise loaded
                batch: Batch = data.views.plain(data.transfer_batch_to_device(loaded, device, 0))
                draws = model.task.draws
                looks = _drawn(model, batch, split, computing) if draws else _explained(model, batch, computing)
                found |= dict(zip(split.index[places].tolist(), looks, strict=True))
    except FrostlineError as error:
        return {}, error.what
    return found, ""


@contextmanager
def _on(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model on a device: after a training it may have been moved to the CPU."""
    before = next(model.parameters()).device
    model.to(device)
    try:
        yield
    finally:
        model.to(before)


def _explained(model: FineTuner, batch: Batch, computing: Computing) -> list[Look]:
    model.task.evidence(torch.zeros(1, model.task.num_outputs))  # raises if this task has none
    require_pictures(model.backbone)
    spec = model.backbone.spec
    assert isinstance(spec, ImageSpec)
    with computing():
        made = saliency(model.backbone, model.head, model.task.evidence, batch.pictures, quick=True)
    pixels = pixels_of(batch.pictures, spec).cpu()
    return [
        Look(picture_of(own), heat(cells, (SIDE, SIDE)), where(cells))
        for own, cells in zip(pixels, made.maps.cpu(), strict=True)
    ]


def _drawn(model: FineTuner, batch: Batch, split: Split, computing: Computing) -> list[Look]:
    """Predictions and targets on the pictures, at their own size."""
    with resting(model), computing():
        predictions = model.task.decode(model(batch.inputs), batch)
    truths = model.task.truths(batch)
    assert batch.own_sizes is not None
    looks = []
    for index, sides, *both in zip(batch.sample.tolist(), batch.own_sizes.tolist(), predictions, truths, strict=True):
        pixels = split.source.shown(index)
        assert isinstance(pixels, Tensor)
        picture = picture_of(pixels).resize(sides[::-1])
        given, truth = (model.task.drawn(picture, it.cpu()) for it in both)
        looks.append(Look(given, truth=truth))
    return looks
