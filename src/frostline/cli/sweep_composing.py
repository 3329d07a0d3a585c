"""Compose the config of a job once: for the check before the first job, and not again when the job begins."""

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

MOST_HELD = 500  # configs of jobs to come, 0.2 MB each


class ComposesAhead(ConfigLoaderImpl):
    """Hydra's config loader, which can hold the configs of jobs until they begin."""

    def __init__(self, like: ConfigLoader) -> None:
        super().__init__(like.get_search_path())
        self._held: dict[tuple[str, ...], DictConfig] = {}

    def compose_ahead(self, master_config: DictConfig, job: list[str]) -> None:
        config = self.load_sweep_config(master_config, job)
        if len(self._held) < MOST_HELD:
            self._held[tuple(job)] = config

    def ahead(self, job: list[str]) -> DictConfig | None:
        """The config of a job to come, if it is held; do not change it."""
        return self._held.get(tuple(job))

    def forget(self) -> None:
        """Drop what is held: another process runs the jobs, or a search lists others."""
        self._held.clear()

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        held = self._held.pop(tuple(sweep_overrides), None)  # handed out once: Hydra changes it
        if held is None:
            return super().load_sweep_config(master_config, sweep_overrides)
        OmegaConf.copy_cache(from_config=master_config, to_config=held)  # the same values of `now` and `reserved`
        return held
