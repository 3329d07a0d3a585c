"""What tests compose is what Hydra composes: files are merged once, and the values of a command line come on top."""

import copy
import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl, config_repository, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import InputDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, ListConfig, OmegaConf

import hydra_cached
from frostline.paths import conf_dir

LINES = [
    [],
    ["seed=3", "model=resnet18", "optimizer=sgd", "schedule.phases.head.epochs=7"],
    ["seed=4", "model=resnet18", "optimizer=sgd", "+callbacks.mine={_target_: it}"],
    ["data=cifar10", "schedule=gradual", "~logger"],
    ["model=resnet18", "seed=3", "optimizer=adamw"],
]


def composed(line: list[str]) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=line, return_hydra_config=True)


def nodes(config: Any, place: str = "") -> dict[str, Any]:
    """By place: the type of each node, its flags, and the value of a leaf."""
    found = {place: (type(config), config._metadata.flags, config._metadata.ref_type)}
    if isinstance(config, DictConfig | ListConfig) and not (config._is_missing() or config._is_none()):
        keys = config.keys() if isinstance(config, DictConfig) else range(len(config))
        for key in keys:
            found |= nodes(config._get_node(key), f"{place}.{key}")
    else:
        found[place] += (config._value(),)
    return found


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_command_line_composes_as_hydra_composes_it(
    line: list[str], again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = composed(line)
    assert config_loader_impl.create_defaults_list is hydra_cached.resolve
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", hydra_cached.merge)
    monkeypatch.setattr(OmegaConf, "load", staticmethod(hydra_cached.parse))
    twin = copy.deepcopy(found)
    assert nodes(twin) == nodes(found)
    monkeypatch.setattr(OverridesParser, "parse_rule", hydra_cached.parse_setting)
    monkeypatch.setattr(DictConfig, "__deepcopy__", hydra_cached.deep)
    assert nodes(copy.deepcopy(found)) == nodes(twin)
    monkeypatch.setattr(defaults_list, "_create_interpolation_map", hydra_cached.choices)
    monkeypatch.setattr(InputDefault, "_resolve_interpolation_impl", hydra_cached.interpolate)
    monkeypatch.setattr(config_repository, "copy", copy)
    monkeypatch.setattr(ConfigLoaderImpl, "_process_config_searchpath", hydra_cached.search)
    assert nodes(found) == nodes(composed(line))


def received(line: list[str]) -> list[dict[str, Any]]:
    """For each job: what the task gets and, of what Hydra keeps beside it, its own node."""
    found: list[dict[str, Any]] = []

    def task(config: DictConfig) -> None:
        config.seed = 5  # a task may change what it gets
        found.append(nodes(config) | nodes(HydraConfig.get(), "hydra"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train", *line])
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(task)()
    GlobalHydra.instance().clear()
    return found


@pytest.mark.parametrize(("line", "jobs"), [(LINES[1], 1), (["-m", "seed=1,2"], 2)])
def test_a_job_gets_what_hydra_gives_it(
    line: list[str], jobs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = ["~hydra.callbacks.sweep_folder", "hydra/sweeper=basic", "hydra/launcher=basic"]
    line = [*line, *plain, f"hydra.sweep.dir={tmp_path}"]
    found = received(line)
    assert len(found) == jobs
    monkeypatch.setattr(hydra.core.utils, "copy", copy)
    monkeypatch.setattr(HydraConfig, "set_config", hydra_cached.keep)
    assert found == received(line)


def test_a_copy_that_is_changed_changes_no_other() -> None:
    first = composed([])
    OmegaConf.set_struct(first, False)
    first.model.mine = 1
    assert "mine" not in composed([]).model
