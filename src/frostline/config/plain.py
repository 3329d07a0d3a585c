"""Convert a composed config to plain values."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.errors import ConfigError, first_line

# Frostline's own keys, beside those of a library's constructor.
OURS = {"trainer": {"compile"}}


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain dicts and lists without interpolations. Raises ConfigError if an interpolation cannot be resolved."""
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"the configuration has an interpolation that cannot be resolved: {first_line(error)}",
            where="command line, or YAML under conf/",
            next_step="correct the `${...}`",
        ) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def without_ours(plain: dict[str, Any]) -> dict[str, Any]:
    """Leave out Frostline's own keys, which constructors of libraries do not take."""
    return plain | {
        group: {name: value for name, value in plain[group].items() if name not in names}
        for group, names in OURS.items()
        if isinstance(plain.get(group), dict)
    }
