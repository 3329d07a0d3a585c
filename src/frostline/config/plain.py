"""Convert a composed config to plain values."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.errors import ConfigError, first_line

# Frostline's own keys, beside those of a library's constructor.
OURS = {"trainer": {"compile"}}


class Settings(dict[str, Any]):
    """A composed config without interpolations, whose keys are attributes too. A DictConfig of the same content takes
    16 ms to make instead of 0.1 (a busy AMD EPYC), and resolves a value at each use."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @classmethod
    def of(cls, cfg: "Config") -> "Settings":
        """Raises ConfigError if an interpolation cannot be resolved."""
        settings: Settings = cfg if isinstance(cfg, Settings) else _copied(resolved(cfg), cls)
        return settings


Config = DictConfig | Settings


def _copied(node: Any, kind: type[dict[str, Any]]) -> Any:
    """Plain values with dicts of this kind."""
    if isinstance(node, dict):
        return kind({name: _copied(value, kind) for name, value in node.items()})
    return [_copied(value, kind) for value in node] if isinstance(node, list) else node


def resolved(cfg: Config) -> dict[str, Any]:
    """Plain dicts and lists without interpolations. Raises ConfigError if an interpolation cannot be resolved."""
    if isinstance(cfg, Settings):
        plain: dict[str, Any] = _copied(cfg, dict)
        return plain
    try:
        content = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"the configuration has an interpolation that cannot be resolved: {first_line(error)}",
            where="command line, or YAML under conf/",
            next_step="correct the `${...}`",
        ) from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def without_ours(plain: dict[str, Any]) -> dict[str, Any]:
    """Leave out Frostline's own keys, which constructors of libraries do not take."""
    return plain | {
        group: {name: value for name, value in plain[group].items() if name not in names}
        for group, names in OURS.items()
        if isinstance(plain.get(group), dict)
    }
