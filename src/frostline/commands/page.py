"""Write the page and the model card of a run at the end of its training."""

import sys
import time
from pathlib import Path

from torch import Tensor

from frostline.commands.looks import allowance_of, looks_elsewhere, looks_of
from frostline.config.plain import Config, selected
from frostline.data.module import Data
from frostline.errors import DataError
from frostline.pages.card import write_card
from frostline.pages.page import write_page
from frostline.pages.samples import Shown
from frostline.runs.record import Record
from frostline.training.build import Built

LEFT_OUT = "This page was built without samples (report.pictures=false)."


def page_of_training(
    settings: Config, built: Built, record: Record, folder: Path, *, looks_in: Path | None = None
) -> float | None:
    """Write page and card of a run that has just ended, and return the seconds that they took; None if `report=false`
    leaves them out. A full disk loses them, but not the run.

    looks_in: folder of a run of the same setting with another seed, whose page shows what speaks for the answers, so
    that this one need not."""
    if settings.get("report") is False:
        return None
    began = time.perf_counter()
    wanted = wants_samples(None, settings)
    show, why = (shown_of(built.data), "") if wanted else (None, LEFT_OUT)
    look = None
    if wanted and wants_saliency(None, settings):
        allowance, draws = allowance_of(record, folder), built.model.task.draws
        look = looks_of(built, allowance) if looks_in is None or draws else looks_elsewhere(looks_in, allowance)
    try:
        write_page(folder, record, show, why, private=not wanted, look=look)
        write_card(folder, record, private=not wanted)
    except OSError as error:
        print(f"frostline: report.html is not written: {error.strerror or error}", file=sys.stderr)
        return None
    return time.perf_counter() - began


def wants_samples(pictures: bool | None, settings: Config) -> bool:
    """Whether the page shows samples: as the command says, else as the run's settings do; a run before they existed
    says nothing against it."""
    if pictures is not None:
        return pictures
    return selected(settings, "report.pictures") is not False


def wants_saliency(saliency: bool | None, settings: Config) -> bool:
    """The same of maps of what speaks for the answers, and of predictions drawn on pictures."""
    return saliency if saliency is not None else selected(settings, "report.saliency") is not False


def shown_of(data: Data) -> Shown:
    source = data.test_split.source

    def shown(index: int) -> Tensor | str | None:
        try:
            return source.shown(index)
        except DataError:  # a file that was removed since
            return None

    return shown
