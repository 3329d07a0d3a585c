"""The job that Hydra composed: its overrides, and the folder of its sweep."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf


def overrides() -> list[str]:
    """The overrides as typed; in a sweep, those of the current job. Interpolations are not resolved."""
    typed = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(typed, list)
    return [str(override) for override in typed]


def sweep_folder() -> Path | None:
    """The folder of the sweep, or None outside a sweep."""
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.get().mode == RunMode.MULTIRUN else None
