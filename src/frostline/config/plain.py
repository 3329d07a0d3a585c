"""Convert a composed config to plain values."""

from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.errors import ConfigError, first_line
from frostline.quoting import escaped

# Frostline's own keys, beside those of a library's constructor.
OURS = {"trainer": {"compile"}}


class Settings(dict[str, Any]):
    """A composed config without interpolations, whose keys are attributes too. A DictConfig of the same content takes
    16 ms to make instead of 0.1 (a busy AMD EPYC), and resolves a value at each use."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the settings have no key '{name}'") from None

    def put(self, key: str, value: Any) -> None:
        """Set the value at a key such as `model.nets[0].weights`, creating missing mappings."""
        *groups, name = _steps(key)
        node: Any = self
        for group in groups:
            if isinstance(node, dict) and not isinstance(node.get(group), dict | list):
                node[group] = Settings()
            node = node[group]
        node[name] = value

    def deep_copy(self) -> "Settings":
        copied: Settings = _copied(self, Settings)
        return copied

    @classmethod
    def of(cls, cfg: "Config") -> "Settings":
        """Raises ConfigError if an interpolation cannot be resolved."""
        settings: Settings = cfg if isinstance(cfg, Settings) else _copied(resolved(cfg), cls)
        return settings


Config = DictConfig | Settings


NEWLINES = {"\x85", "\u2028", "\u2029"}  # PyYAML writes them as they are and reads them as blanks


class _Dumper(yaml.SafeDumper):
    """Write what `OmegaConf.to_yaml` writes, of plain values: no aliases, and quotes where a reader could take a string
    for something else. `${` is escaped."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _written(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    text = escaped(text)
    style = '"' if NEWLINES & {*text} else "'" if _needs_quotes(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _needs_quotes(text: str) -> bool:
    """Whether a reader takes this for a number or a boolean: OmegaConf reads 1e-3 as a number, and YAML 1.1, though not
    PyYAML, y and n as booleans. PyYAML itself quotes what it would read as another type."""
    try:
        float(text)
    except ValueError:
        return text.lower() in ("y", "n")
    return True


_Dumper.add_representer(str, _written)
_Dumper.add_representer(Settings, yaml.SafeDumper.represent_dict)


def yaml_of(settings: Settings) -> str:
    return yaml.dump(settings, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


def selected(cfg: Config, key: str) -> Any:
    """The value at a key such as `model.nets[0].weights`; None if it is missing or `???`."""
    if isinstance(cfg, DictConfig):
        return OmegaConf.select(cfg, key)
    node: Any = cfg
    for step in _steps(key):
        if isinstance(node, list) and isinstance(step, int):
            node = node[step] if step < len(node) else None
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return None if node == "???" else node


def _steps(key: str) -> list[str | int]:
    """Keys and indices on the way to a value."""
    names = key.replace("[", ".[").replace("]", "").split(".")
    return [int(name[1:]) if name.startswith("[") else name for name in names]


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
