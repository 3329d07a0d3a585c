"""Jobs of a sweep are composed as Hydra composes them, from files that are merged once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from frostline.cli.sweep_composing import ComposesAhead
from frostline.paths import conf_dir
from test_hydra_cached import nodes

JOBS = [
    [],
    ["seed=3", "optimizer.lr=0.1", "model=resnet18", "head.dropout=0.5", "head=mlp"],
    ["seed=4", "optimizer.lr=0.01", "model=resnet18", "head.dropout=0.1", "head=mlp"],
    ["schedule.phases.head.epochs=3", "schedule=gradual", "data=cifar10"],
    ["data.train_limit=5", "+data.own=1", "optimizer.lr=0.1"],
    ["~logger", "seed=1"],
    ["data={_target_: it}", "seed=1"],
    ["optimizer.lr=0.3", "optimizer=sgd", "optimizer.lr=0.2"],
    ["schedule.phases.head={epochs: 2}", "run_dir='${logs_dir}/a b'"],
]


@pytest.fixture(scope="module")
def loader() -> ComposesAhead:
    return ComposesAhead(ConfigLoaderImpl(create_config_search_path(str(conf_dir()))))


@pytest.fixture(scope="module")
def master(loader: ComposesAhead) -> DictConfig:
    own = ["hydra.sweep.dir=it", "hydra.sweep.subdir=${seed}/${hydra:job.num}"]  # resolved within a job only
    return loader.load_configuration("train", own, RunMode.MULTIRUN)


def by_hydra(loader: ComposesAhead, master: DictConfig, job: list[str]) -> DictConfig:
    return ConfigLoaderImpl.load_sweep_config(loader, master, job)


@pytest.mark.parametrize("job", JOBS, ids=" ".join)
@pytest.mark.parametrize("again", [False, True])
def test_a_job_is_composed_as_hydra_composes_it(
    job: list[str], again: bool, loader: ComposesAhead, master: DictConfig
) -> None:
    assert nodes(loader.load_sweep_config(master, job)) == nodes(by_hydra(loader, master, job))


def test_options_of_another_folder_are_composed_as_hydra_composes_them(loader: ComposesAhead, tmp_path: Path) -> None:
    for name in ("mine", "optimizer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.yaml").write_text("lr: 0.25\n")
    master = loader.load_configuration("train", [f"hydra.searchpath=[file://{tmp_path}]"], RunMode.MULTIRUN)
    for job in (["optimizer=own", "seed=1"], ["+mine=own", "seed=1"]):
        config = loader.load_sweep_config(master, job)
        assert nodes(config) == nodes(by_hydra(loader, master, job))
        assert (config.optimizer if job[0] == "optimizer=own" else config.mine).lr == 0.25


def test_files_are_merged_once_per_choice_of_options(master: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, merged = ComposesAhead(ConfigLoaderImpl(create_config_search_path(str(conf_dir())))), []
    merge: Callable[..., Any] = ConfigLoaderImpl._compose_config_from_defaults_list

    def counted(self: ConfigLoaderImpl, defaults: Any, repo: Any) -> DictConfig:
        merged.append(1)
        return merge(self, defaults, repo)

    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", counted)
    for head in ("linear", "mlp"):
        for rate in (0.1, 0.01, 0.001):
            config = loader.load_sweep_config(master, [f"head={head}", f"optimizer.lr={rate}"])
            assert config.optimizer.lr == rate
    assert len(merged) == 2


def test_a_job_that_changes_its_config_changes_no_other(loader: ComposesAhead, master: DictConfig) -> None:
    first = loader.load_sweep_config(master, ["seed=1"])
    OmegaConf.update(first, "trainer.devices", 7)
    assert loader.load_sweep_config(master, ["seed=1"]).trainer.devices != 7


@pytest.mark.parametrize("job", [["seeed=1"], ["head.no.such=1", "head=mlp"], ["head=no_such"]], ids=" ".join)
def test_a_job_that_hydra_refuses_is_refused_alike(job: list[str], loader: ComposesAhead, master: DictConfig) -> None:
    with pytest.raises(ConfigCompositionException) as by_it:
        by_hydra(loader, master, job)
    with pytest.raises(ConfigCompositionException) as ours:
        loader.load_sweep_config(master, job)
    assert str(ours.value) == str(by_it.value)


def test_a_held_job_is_handed_out_once(loader: ComposesAhead, master: DictConfig, tmp_path: Path) -> None:
    held = loader.compose_ahead(master, ["seed=1"])
    assert loader.ahead(["seed=1"]) is held
    assert loader.load_sweep_config(master, ["seed=1"]) is held
    assert loader.ahead(["seed=1"]) is None
    assert loader.load_sweep_config(master, ["seed=1"]) is not held
