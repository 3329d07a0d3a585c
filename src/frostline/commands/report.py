"""Build the page of a run anew from its folder."""

from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frostline.commands.checks import check
from frostline.commands.page import LEFT_OUT, shown_of, wants_samples
from frostline.commands.train import quiet
from frostline.errors import FrostlineError
from frostline.pages.card import CARD, write_card
from frostline.pages.page import write_page
from frostline.pages.samples import Shown
from frostline.runs.predictions import file_of
from frostline.runs.record import Record
from frostline.training.build import build


def report(folder: Path, record: Record, settings: DictConfig, pictures: bool | None) -> None:
    """settings: of the run; `opened` if the page has samples. pictures: None for what the run says."""
    show: Shown | None = None
    why = LEFT_OUT
    wanted = wants_samples(pictures, settings)
    if wanted:
        stored = (folder / file_of("test")).is_file()
        show, why = _of_own_data(record, settings) if stored else (None, "")
    print(f"page  {write_page(folder, record, show, why, private=not wanted)}")
    card = write_card(folder, record, private=not wanted)
    print(f"card  {card}" if card is not None else f"card  {folder / CARD} was edited, and stays as it is")


def _of_own_data(record: Record, settings: DictConfig) -> tuple[Shown | None, str]:
    """Samples of the run's own data, or why there are none."""
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
    return (None, "The samples are left out: the data has changed.") if changed else (shown_of(data), "")
