"""Write the page of a run: at the end of its training, or anew."""

import sys
import time
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from frostline.commands.checks import check
from frostline.data.module import Data
from frostline.errors import DataError, FrostlineError
from frostline.pages.page import write_page
from frostline.pages.samples import Shown
from frostline.runs.predictions import file_of
from frostline.runs.record import Record
from frostline.training.build import build

LEFT_OUT = "This page was built without samples (report.pictures=false)."


def page_of_training(settings: DictConfig, data: Data, record: Record, folder: Path) -> float | None:
    """Write the page of a run that has just ended, and return the seconds that it took; None if there is no page, by
    `report=false`. A full disk loses the page, but not the run."""
    if settings.get("report") is False:
        return None
    began = time.perf_counter()
    wanted = wants_samples(None, settings)
    try:
        write_page(folder, record, _shown(data) if wanted else None, "" if wanted else LEFT_OUT, private=not wanted)
    except OSError as error:
        print(f"frostline: report.html is not written: {error.strerror or error}", file=sys.stderr)
        return None
    return time.perf_counter() - began


def report(folder: Path, record: Record, settings: DictConfig, pictures: bool | None) -> None:
    """settings: of the run; `opened` if the page has samples. pictures: None for what the run says."""
    show: Shown | None = None
    why = LEFT_OUT
    wanted = wants_samples(pictures, settings)
    if wanted:
        stored = (folder / file_of("test")).is_file()
        show, why = _of_own_data(record, settings) if stored else (None, "")
    print(f"page  {write_page(folder, record, show, why, private=not wanted)}")


def wants_samples(pictures: bool | None, settings: DictConfig) -> bool:
    """Whether the page shows samples: as the command says, else as the run's settings do; a run before they existed
    says nothing against it."""
    if pictures is not None:
        return pictures
    return OmegaConf.select(settings, "report.pictures") is not False


def _of_own_data(record: Record, settings: DictConfig) -> tuple[Shown | None, str]:
    """Samples of the run's own data, or why there are none."""
    from frostline.commands.train import quiet

    quiet()
    try:
        settings = settings.copy()
        OmegaConf.update(settings, "trainer", {"devices": 1, "num_nodes": 1, "strategy": "auto"}, merge=True)
        check(settings, command=None)
        L.seed_everything(settings.seed, workers=True, verbose=False)
        data = build(settings, load_weights=False, logs=False).data
        changed = data.fingerprint != record.data.get("fingerprint")
    except FrostlineError as error:
        return None, f"The samples are left out: {error.what}."
    return (None, "The samples are left out: the data has changed.") if changed else (_shown(data), "")


def _shown(data: Data) -> Shown:
    source = data.test_split.source

    def shown(index: int) -> Tensor | str | None:
        try:
            return source.shown(index)
        except DataError:  # a file that was removed since
            return None

    return shown
