"""Hydra's work that is the same for many command lines, done once per process: files of conf/ parsed, the defaults list
of a choice of groups resolved, the files of that list merged. Values of a command line are set on a copy. Hydra's own
node, two thirds of a config, is not copied for each job: once set, it is read-only.

Hydra does all of that itself wherever a search path leads elsewhere than to conf/ and to Hydra's own files.
"""

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import hydra
import omegaconf
from hydra._internal import config_loader_impl, config_repository, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra.core.default_element import InputDefault
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from frostline.paths import conf_dir

KNOWN = {f"file://{conf_dir()}", "pkg://hydra.conf", "structured://"}


def _sources(repo: Any) -> tuple[str, ...] | None:
    """None where one is not known to stay as it is."""
    places = tuple(source.full_path() for source in repo.get_sources())
    return places if KNOWN.issuperset(places) else None


parsed: dict[str, bytes] = {}
parse = OmegaConf.load


def parse_once(file: Any) -> Any:
    name = str(file if isinstance(file, str | Path) else getattr(file, "name", ""))
    if not Path(name).is_relative_to(conf_dir()):
        return parse(file)
    if name not in parsed:
        parsed[name] = pickle.dumps(parse(file))
    return pickle.loads(parsed[name])


resolved: dict[Any, DefaultsList] = {}


def resolve(repo: Any, config_name: Any, overrides_list: Any, prepend_hydra: bool, skip_missing: bool) -> DefaultsList:
    overrides = Overrides(repo=repo, overrides_list=overrides_list)
    values = {id(override) for override in overrides.config_overrides}
    groups = tuple(override.input_line for override in overrides_list if id(override) not in values)
    key = (_sources(repo), config_name, groups, prepend_hydra, skip_missing)
    if key[0] is None or key not in resolved:
        found = create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        if key[0] is None:
            return found
        resolved[key] = found
    same = resolved[key]
    return replace(same, defaults=[*same.defaults], config_overrides=overrides.config_overrides)


# Hydra makes a config of all choices for each entry of a defaults list; entries with an interpolation read it.
choices = getattr(defaults_list, "_create_interpolation_map", None)  # None: Hydra 1.4 or newer
interpolate = InputDefault._resolve_interpolation_impl


def choices_when_read(*known: Any) -> Any:
    return partial(choices, *known)


def interpolate_from(self: InputDefault, known: Any, value: str | None) -> str:
    return interpolate(self, known(), value)


merged: dict[Any, bytes] = {}
merge = ConfigLoaderImpl._compose_config_from_defaults_list


def merge_once(self: ConfigLoaderImpl, defaults: Any, repo: Any) -> DictConfig:
    sources = _sources(repo)
    if sources is None:
        return merge(self, defaults, repo)
    key = (sources, tuple((it.config_path, it.package, it.primary, it.is_self) for it in defaults))
    if key not in merged:
        merged[key] = pickle.dumps(merge(self, defaults, repo))
    config: DictConfig = pickle.loads(merged[key])
    return config


settings: dict[tuple[str, str], Any] = {}
parse_setting = OverridesParser.parse_rule


def parse_setting_once(self: OverridesParser, typed: str, rule: str) -> Any:
    """A setting of a command line. Hydra adds to what it gets."""
    if (typed, rule) not in settings:
        settings[typed, rule] = parse_setting(self, typed, rule)
    return copy.copy(settings[typed, rule])


deep = DictConfig.__deepcopy__


def copied(self: DictConfig, memo: dict[int, Any]) -> DictConfig:
    """The copy of a whole config, which pickle makes in a third of the time."""
    if memo or self._get_parent() is not None:
        return deep(self, memo)
    try:
        config: DictConfig = pickle.loads(pickle.dumps(self))
    except (pickle.PicklingError, AttributeError, TypeError):
        return deep(self, memo)
    return config


keep = HydraConfig.set_config


def set_config(self: HydraConfig, cfg: DictConfig) -> None:
    """Hydra keeps a copy of its node. Here the config of HydraConfig has the node itself."""
    OmegaConf.set_readonly(cfg.hydra, True)
    alone = DictConfig({})
    _content(alone)["hydra"] = cfg._get_node("hydra")
    self.cfg = alone  # type: ignore[assignment]


def copied_for_job(config: DictConfig) -> DictConfig:
    """A copy that shares Hydra's node, which Hydra takes out of the copy that a task gets."""
    whole = _content(config)
    config.__dict__["_content"] = {key: node for key, node in whole.items() if key != "hydra"}
    try:
        job = copied(config, {})
    finally:
        config.__dict__["_content"] = whole
    _content(job)["hydra"] = whole["hydra"]
    return job


def _content(config: DictConfig) -> dict[Any, Any]:
    content: dict[Any, Any] = config.__dict__["_content"]
    return content


search = ConfigLoaderImpl._process_config_searchpath
unsearched: set[Any] = set()


def search_once(self: ConfigLoaderImpl, config_name: Any, overrides: Any, repo: Any) -> None:
    """Hydra parses the main file to look for further search paths, which no file of conf/ has."""
    key = (_sources(repo), config_name)
    if key in unsearched and not any(override.get_key_element() == "hydra.searchpath" for override in overrides):
        return
    search(self, config_name, overrides, repo)
    if key[0] is not None and _sources(repo) == key[0]:
        unsearched.add(key)


@contextmanager
def cached() -> Iterator[None]:
    if choices is None:
        yield  # the internals that are replaced below are those of Hydra 1.3
        return
    with (
        patch.object(OmegaConf, "load", staticmethod(parse_once)),  # Hydra imports its sources of files anew
        patch.object(omegaconf.base, "parse", cache(omegaconf.base.parse)),  # a tree of an interpolation, read alone
        patch.object(config_loader_impl, "create_defaults_list", resolve),
        patch.object(OverridesParser, "parse_rule", parse_setting_once),
        patch.object(DictConfig, "__deepcopy__", copied),
        patch.object(defaults_list, "_create_interpolation_map", choices_when_read),
        patch.object(InputDefault, "_resolve_interpolation_impl", interpolate_from),
        patch.object(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once),
        patch.object(ConfigLoaderImpl, "_process_config_searchpath", search_once),
        patch.object(config_repository, "copy", SimpleNamespace(deepcopy=copy.copy)),  # which gets new sources
        patch.object(hydra.core.utils, "copy", SimpleNamespace(deepcopy=copied_for_job)),
        patch.object(hydra.version, "_get_version", cache(hydra.version._get_version)),
        patch.object(HydraConfig, "set_config", set_config),
    ):
        yield
