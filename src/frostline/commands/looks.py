"""What the page of a run shows of samples beside themselves: what speaks for answers, predictions on pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.commands.trained import Network
from frostline.contracts.batch import Batch
from frostline.data.module import Data
from frostline.data.split import Split
from frostline.errors import Costly, FrostlineError, counted
from frostline.pages.samples import Looked
from frostline.quoting import command_of
from frostline.runs.record import Record
from frostline.saliency.explainer import Answering, LeftOut, explainer_of, loaded
from frostline.saliency.look import Look, picture_of
from frostline.saliency.running import require_whole, resting
from frostline.training.build import Built
from frostline.training.finetuner import FineTuner

Computing = Callable[[], AbstractContextManager[Any]]  # a context of the run's precision
AT_ONCE = 16  # pictures in a batch on which predictions are drawn
SHARE = 0.01  # of the seconds of a training, that maps may take where two passes are not enough


class Allowance(NamedTuple):
    """Seconds that may be spent on looks where two passes are not enough. again: how to have the others."""

    seconds: float
    again: str


class Explaining(NamedTuple):
    """What looks are made with."""

    model: FineTuner
    data: Data
    device: torch.device
    computing: Computing


def allowance_of(record: Record, folder: Path) -> Allowance:
    """What a page may cost that a training writes."""
    return Allowance(
        SHARE * record.seconds.get("total", 0.0),
        command_of("report", *record.trusting(trains=False), "saliency=true", run=folder.absolute()),
    )


def looks_of(built: Built, allowance: Allowance | None) -> Looked:
    """How to look at samples with the network as it is after the test. allowance: None for any time."""
    device = built.trainer.strategy.root_device
    computing = built.trainer.precision_plugin.forward_context
    return partial(_looks, Explaining(built.model, built.data, device, computing), allowance)


def looks_elsewhere(folder: Path, allowance: Allowance) -> Looked:
    """No looks: for each seed of a setting they would cost as much as a short training."""
    reason = f"they are on the page of run {folder.name}, with another seed; {allowance.again} makes them here, too"
    return lambda _: ({}, reason)


def looks_of_run(network: Network, data: Data, allowance: Allowance | None) -> Looked:
    return partial(_looks, Explaining(network.model, data, network.device, network.computing), allowance)


def _looks(explaining: Explaining, allowance: Allowance | None, index: Sequence[int]) -> tuple[Mapping[int, Look], str]:
    """Looks at samples of the test split, by their index in its source, those at the front first; and why some lack."""
    found: dict[int, Look] = {}
    split = Split(explaining.data.test_split.source, torch.tensor([*index]), scored=True)
    left_out, costly = LeftOut(), ""
    try:
        require_whole(explaining.model.backbone)
        with _on(explaining.model, explaining.device), torch.no_grad():
            for place, look in _each(explaining, split, None if allowance is None else allowance.seconds, left_out):
                found[place] = look
    except Costly:
        assert allowance is not None
        number = counted(len(split) - len(found) - left_out.total(), "sample", "samples")
        costly = f"for {number} it would take more than {100 * SHARE:g} % of the training; {allowance.again} makes them"
    except FrostlineError as error:
        return {}, error.what
    whys = [counted(number, *why) for why, number in left_out.items()]
    return found, "; ".join([*whys, *([costly] if costly else [])])


def _each(explaining: Explaining, split: Split, seconds: float | None, left_out: LeftOut) -> Iterator[tuple[int, Look]]:
    """Yield looks by index. Raises Costly if the rest would take longer."""
    model, data, device = explaining.model, explaining.data, explaining.device
    if model.task.draws:
        yield from _drawn_on(explaining, split)
        return
    model.task.evidence(torch.zeros(1, model.task.num_outputs))  # raises if this task has none
    network = Answering(model.backbone, model.head, model.task.evidence, explaining.computing)
    yield from explainer_of(model.backbone).looks(network, data, split, device, seconds, left_out)


def _drawn_on(explaining: Explaining, split: Split) -> Iterator[tuple[int, Look]]:
    model, data = explaining.model, explaining.data
    for start in range(0, len(split), AT_ONCE):
        places = range(start, min(start + AT_ONCE, len(split)))
        batch: Batch = data.views.plain(loaded(data, split, places, explaining.device))
        yield from zip(split.index[[*places]].tolist(), _drawn(model, batch, split, explaining.computing), strict=True)


@contextmanager
def _on(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model on a device: after a training it may have been moved to the CPU."""
    before = next(model.parameters()).device
    model.to(device)
    try:
        yield
    finally:
        model.to(before)


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
