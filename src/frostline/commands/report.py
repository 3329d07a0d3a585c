"""Build the page of a run anew from its folder."""

from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frostline.commands.checks import check
from frostline.commands.looks import Allowance, allowance_of, looks_of_run
from frostline.commands.page import LEFT_OUT, shown_of, wants_saliency, wants_samples
from frostline.commands.train import quiet
from frostline.commands.trained import Network
from frostline.data.module import Data
from frostline.errors import FrostlineError
from frostline.pages.card import CARD, write_card
from frostline.pages.page import write_page
from frostline.pages.samples import Looked, Shown
from frostline.runs.predictions import file_of
from frostline.runs.record import Record
from frostline.training.build import build

ALONE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}


def report(
    folder: Path, record: Record, settings: DictConfig, pictures: bool | None, saliency: bool | None = None
) -> None:
    """settings: of the run; `opened` if the page has samples. pictures, saliency: None for what the run says."""
    show: Shown | None = None
    look: Looked | None = None
    why = LEFT_OUT
    wanted = wants_samples(pictures, settings)
    if wanted:
        stored = (folder / file_of("test")).is_file()
        data, why = _own_data(record, settings) if stored else (None, "")
        show = None if data is None else shown_of(data)
        if data is not None and wants_saliency(saliency, settings) and record.checkpoints.get("best") is not None:
            look = _look_of(folder, settings, data, None if saliency else allowance_of(record, folder))
    print(f"page  {write_page(folder, record, show, why, private=not wanted, look=look)}")
    card = write_card(folder, record, private=not wanted)
    print(f"card  {card}" if card is not None else f"card  {folder / CARD} was edited, and stays as it is")


def _own_data(record: Record, settings: DictConfig) -> tuple[Data | None, str]:
    """The run's own data, or why samples are left out."""
    quiet()
    try:
        settings = settings.copy()
        OmegaConf.update(settings, "trainer", ALONE, merge=True)
        check(settings, command=None)
        L.seed_everything(settings.seed, workers=True, verbose=False)
        data = build(settings, load_weights=False, logs=False).data
        changed = data.fingerprint != record.data.get("fingerprint")
    except FrostlineError as error:
        return None, f"The samples are left out: {error.what}."
    return (None, "The samples are left out: the data has changed.") if changed else (data, "")


def _look_of(folder: Path, settings: DictConfig, data: Data, allowance: Allowance | None) -> Looked:
    """With the run's best weights, or with none if they cannot be read."""
    settings = settings.copy()
    OmegaConf.update(settings, "trainer", ALONE, merge=True)
    try:
        return looks_of_run(Network(settings, folder, "best"), data, allowance)
    except FrostlineError as error:
        what = error.what
        return lambda index: ({}, what)
