"""The models that `frostline rank` compares: the config of each."""

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf

from frostline.cli.help import RANKED_ON
from frostline.cli.hydra_messages import UNASKED
from frostline.cli.job import overrides
from frostline.commands.checks import check
from frostline.errors import ConfigError, close_names


def of_each_model(cfg: DictConfig) -> dict[str, DictConfig]:
    """Compose the config once per model. Raises ConfigError if there is no such model, or if its YAML lacks a required
    value (`???`)."""
    options = [name for name in GlobalHydra.instance().config_loader().get_group_options("model") if name[:1] != "_"]
    if not cfg.models:
        raise ConfigError("no models are given", where="models", next_step="models=[resnet18,resnet50]")
    for name in cfg.models:
        if name not in options:
            raise ConfigError(
                f"there is no model '{name}': {close_names(name, options)}",
                where="models",
                next_step=f"choose among {', '.join(options)}; or write a YAML of your own, "
                f"<folder>/model/{name}.yaml, and add --config-dir <folder>",
            )
    chosen = {name: _with_model(name) for name in cfg.models}
    for name, settings in chosen.items():
        if missing := OmegaConf.missing_keys(settings.model):
            raise ConfigError(
                f"model '{name}' needs values for: {', '.join(sorted(missing))}",
                where="models",
                next_step="set them in a YAML of your own, <folder>/model/mine.yaml, and add --config-dir <folder>",
            )
        check(settings, *RANKED_ON, "model", command="rank")
    return chosen


def _with_model(name: str) -> DictConfig:
    """The config of `rank` for one model. Raises ConfigError if its YAML chooses what rank does not have."""
    try:
        return compose("rank", [*overrides(), f"+model={name}"])
    except ConfigCompositionException as error:
        group = UNASKED.search(str(error))
        if group is None:
            raise
        raise ConfigError(
            f"model '{name}' has its own {group[1]}, but rank compares models by classes",
            where="models",
            next_step=f"leave {name} out; or train it on data for its task",
        ) from error
