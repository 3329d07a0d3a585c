"""What Hydra and OmegaConf say of a command line, in Frostline's words: with the close names and the next step."""

import re

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from frostline.errors import ConfigError, close_names, first_line
from frostline.paths import conf_dir

# A `+` before what is there already. The third is Hydra's failure to look at a value that refers to the run's folder.
TAKEN = re.compile(r"already at '(.+)'|Multiple values for (\S+)\.|merging override \+([^=]+)=")


def translated(error: Exception, command: str) -> ConfigError:
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_option(error)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    parent, key = getattr(cause, "parent_node", None), str(getattr(cause, "key", ""))
    if taken := TAKEN.search(str(error)):
        return _taken("".join(filter(None, taken.groups())))
    unknown = not isinstance(cause, InterpolationResolutionError)  # that is: not known before the run has a folder
    if isinstance(parent, DictConfig) and unknown and key and key not in parent:
        full = str(getattr(cause, "full_key", key) or key)
        options = _options_with(full)
        hint = f"it belongs to {', '.join(options)}: say that too" if options else "correct it"
        return ConfigError(
            f"there is no setting '{full}': {close_names(key, map(str, parent))}",
            where="command line",
            next_step=f"{hint}; to add a setting that is not there, +{full}=<value>",
        )
    if isinstance(error, OverrideParseException):
        return ConfigError(
            first_line(error),
            where="command line",
            next_step="key=value; quote what holds spaces or brackets: 'head.hidden=[64, 32]'",
        )
    if "Config group override must be" in str(error):
        return ConfigError(
            "a question is answered with the name of an option, and null is none",
            where="command line, or `defaults:` in YAML",
            next_step=f"frostline {command} --help lists the options: data=digits, say, or logger=none",
        )
    return ConfigError(
        first_line(error),
        where="command line",
        next_step=f"frostline {command} --help shows what can be said; an option is left out with its `none`",
    )


def _taken(added: str) -> ConfigError:
    return ConfigError(
        f"'{added}' is there already, and + is for what is not",
        where="command line",
        next_step=f"{added}=<value>, without the +",
    )


def _options_with(key: str) -> list[str]:
    """Options of the same question that have the setting: `head=mlp` for `head.hidden`."""
    group, _, name = key.partition(".")
    files = sorted((conf_dir() / group).glob("[!_]*.yaml")) if name else []
    return [f"{group}={file.stem}" for file in files if f"\n{name}:" in "\n" + file.read_text(encoding="utf-8")]


def _unknown_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = [name for name in error.options or [] if not name.startswith("_")]
    return ConfigError(
        f"there is no {group} '{option}': {close_names(option, options)}",
        where=f"{group}={option}",
        next_step=f"{group}=<one of {', '.join(options)}>",
    )
