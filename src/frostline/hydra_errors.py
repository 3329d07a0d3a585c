"""What Hydra and OmegaConf say of a command line, in Frostline's words: with the close names and the next step."""

from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from frostline.errors import ConfigError, close_names


def translated(error: Exception, command: str) -> ConfigError:
    if isinstance(error, MissingConfigException) and error.options:
        return _unknown_option(error)
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    parent, key = getattr(cause, "parent_node", None), str(getattr(cause, "key", ""))
    if isinstance(parent, DictConfig) and key and key not in parent:
        full = str(getattr(cause, "full_key", key) or key)
        return ConfigError(
            f"there is no setting '{full}': {close_names(key, map(str, parent))}",
            where="command line",
            next_step=f"correct it; to add a setting that is not there, +{full}=<value>",
        )
    if "Config group override must be" in str(error):
        return ConfigError(
            "a question is answered with the name of an option, and null is none",
            where="command line, or `defaults:` in YAML",
            next_step=f"frostline {command} --help lists the options: data=digits, say, or logger=none",
        )
    return ConfigError(
        str(error).strip().splitlines()[0],
        where="command line",
        next_step=f"frostline {command} --help shows what can be said; an option is left out with its `none`",
    )


def _unknown_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = [name for name in error.options or [] if not name.startswith("_")]
    return ConfigError(
        f"there is no {group} '{option}': {close_names(option, options)}",
        where=f"{group}={option}",
        next_step=f"{group}=<one of {', '.join(options)}>",
    )
