"""Replace Hydra's sweeper by Frostline's."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SweepFolder(Callback):
    """Hydra callback that puts `Jobs` in place of the sweeper before Hydra creates it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        from frostline.cli.sweep_jobs import Jobs  # Hydra creates its callbacks for single runs, too

        Jobs.stand_in()
