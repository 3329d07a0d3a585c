"""Compose the config of a job once: for the check before the first job, and not again when the job begins."""

import pickle
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

MOST_HELD = 500  # configs of jobs to come, 0.2 MB each
MOST_CHOICES = 50  # merged configs of a choice of options, 0.1 MB each


class ComposesAhead(ConfigLoaderImpl):
    """Hydra's config loader, which can hold the configs of jobs until they begin. Files are read and merged once for
    all jobs that choose the same options, as they are when the first of these jobs is composed: who changes them,
    changes no job of a sweep that runs. Values of a job come on top of a copy."""

    def __init__(self, like: ConfigLoader) -> None:
        super().__init__(like.get_search_path())
        self._held: dict[tuple[str, ...], DictConfig] = {}
        self._merged: dict[str, bytes] = {}

    def compose_ahead(self, master_config: DictConfig, job: list[str]) -> DictConfig:
        """Return the config of a job to come, and hold it if there is room; do not change it."""
        config = self.load_sweep_config(master_config, job)
        if len(self._held) < MOST_HELD:
            self._held[tuple(job)] = config
        return config

    def ahead(self, job: list[str]) -> DictConfig | None:
        """The config of a job to come, if it is held; do not change it."""
        return self._held.get(tuple(job))

    def forget(self) -> None:
        """Drop what is held: another process runs the jobs, or a search lists others."""
        self._held.clear()

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        held = self._held.pop(tuple(sweep_overrides), None)  # handed out once: Hydra changes it
        if held is None:
            held = self._composed(master_config, sweep_overrides)
        OmegaConf.copy_cache(from_config=master_config, to_config=held)  # the same values of `now` and `reserved`
        return held

    def _composed(self, master_config: DictConfig, job: list[str]) -> DictConfig:
        """What Hydra composes. Only a choice of options selects files; a plain value never does. Options of
        `hydra.searchpath` are known to Hydra alone."""
        settings = OverridesParser.create().parse_overrides(job)
        values = [it for it in settings if self._is_value(it)]
        choices = [it for it in settings if not self._is_value(it)]
        alone = all(map(self._is_choice, choices))  # unlike `+key=value`, which may come before or after a value
        if not alone or master_config.hydra.searchpath:
            return super().load_sweep_config(master_config, job)
        chosen = [str(it.input_line) for it in choices]
        key = str([OmegaConf.to_container(master_config.hydra.overrides.hydra, resolve=False), chosen])
        if key not in self._merged:
            merged = super().load_sweep_config(master_config, chosen)
            if len(self._merged) >= MOST_CHOICES:
                self._merged.clear()
            self._merged[key] = pickle.dumps(merged)
        config: DictConfig = pickle.loads(self._merged[key])
        self._apply_overrides_to_config(values, config)
        _name(config, settings)
        return config

    def _is_value(self, setting: Override) -> bool:
        """Whether the setting is `key=value`, and neither a choice nor Hydra's own: those say which files are read."""
        plain = not (setting.is_add() or setting.is_force_add() or setting.is_delete() or setting.is_hydra_override())
        return plain and setting.package is None and not self.repository.group_exists(setting.key_or_group)

    def _is_choice(self, setting: Override) -> bool:
        return self.repository.group_exists(setting.key_or_group) and not isinstance(setting.value(), dict)


def _name(config: DictConfig, settings: Sequence[Override]) -> None:
    """List the settings of a job in its config, as Hydra does."""
    own = config.hydra.job
    config.hydra.overrides.task = [str(it.input_line) for it in settings]
    own.override_dirname = get_overrides_dirname([*settings], **own.config.override_dirname)
