"""Every YAML under conf/ composes, passes the checks, and says what the constructor that it names asks for."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from frostline.cli.nested import NONE
from frostline.commands.checks import check
from frostline.config.constructors import JOINED
from frostline.config.plain import resolved, without_ours
from frostline.config.signatures import problems
from frostline.data.modality import Modality
from frostline.paths import conf_dir

CONF = conf_dir()
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "experiment")
HYDRAS = {"_target_", "_recursive_"}  # keys for Hydra, not for the constructor
BY_BUILD = {  # what build.py adds to a constructor's settings
    "model": {"load", "form"},
    "data": {"spec"},
    "task": {"targets"},
    "head": {"features", "num_outputs"},
    "adapter": set(),
    "sweep": set(),
    "launcher": set(),
}

Composed = Callable[..., DictConfig]


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if not file.stem.startswith("_"))


OPTIONS = [f"{group}/{option}" for group in GROUPS for option in options(group)]
EXPERIMENTS = options("experiment")
OURS = [option for option in OPTIONS if option.split("/")[0] in BY_BUILD]


def train_with(composed: Composed, option: str) -> DictConfig:
    """With a value of the right type wherever YAML says ???. Composed once per option: tests only read it."""
    if option not in COMPOSED:
        COMPOSED[option] = _complete(composed, option)
    return COMPOSED[option]


COMPOSED: dict[str, DictConfig] = {}


def _complete(composed: Composed, option: str) -> DictConfig:
    group, name = option.split("/")
    asked = composed(f"{group}={name}", "run_dir=logs/it")
    missing = [key for key in OmegaConf.missing_keys(asked) if key != f"{group}._target_"]
    if not missing:
        return asked
    declared = inspect.signature(target_class(asked[group]._target_)).parameters
    lists = {key: "list" in str(declared[key.rpartition(".")[2]].annotation) for key in missing}
    values = [f"{key}={'[it]' if is_list else 'it'}" for key, is_list in lists.items()]
    return composed(f"{group}={name}", *values, "run_dir=logs/it")


def targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
        for value in node.values():
            yield from targets(value)


def target_class(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def parameters(made: type) -> list[str]:
    """In order; those that `**kwargs` hands on to the class above come after its own, then those of the classes that
    share its node."""
    joined = [getattr(made, name) for name in JOINED if hasattr(made, name)]
    if joined:
        return [*parameters_of(made), *(name for it in joined for name in parameters_of(it))]
    return parameters_of(made)


def parameters_of(made: type) -> list[str]:
    names: list[str] = []
    for cls in made.__mro__:
        if "__init__" in vars(cls) and cls is not object:
            own = list(inspect.signature(cls.__init__).parameters.values())[1:]
            names += [it.name for it in own if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)]
            if all(parameter.kind != parameter.VAR_KEYWORD for parameter in own):
                return names
    return names


def assert_in_order(keys: list[str], made: type) -> None:
    known = parameters(made)
    assert set(keys) <= set(known)
    assert keys == sorted(keys, key=known.index), f"{made.__name__} declares {known}"


# --- groups ---


def test_every_group_has_options() -> None:
    assert {"model", "head", "adapter", "data", "task", "schedule", "optimizer", "cache", "trainer"} <= set(GROUPS)
    assert all(options(group) for group in GROUPS)
    assert EXPERIMENTS


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_composes_and_passes_the_checks(composed: Composed, option: str) -> None:
    cfg = train_with(composed, option)
    check(cfg)
    assert list(problems(without_ours(resolved(cfg)))) == []


@pytest.mark.parametrize("option", OPTIONS)
def test_a_target_is_imported_from_where_it_is_written(composed: Composed, option: str) -> None:
    for name in targets(resolved(train_with(composed, option))[option.split("/")[0]]):
        made = target_class(name)
        assert isinstance(made, type)
        assert f"{made.__module__}.{made.__qualname__}" == name


@pytest.mark.parametrize("option", OURS)
def test_yaml_keys_are_the_constructors_parameters_in_its_order(composed: Composed, option: str) -> None:
    group = option.split("/")[0]
    made = target_class(train_with(composed, option)[group]._target_)
    own = [str(key) for key in OmegaConf.load(CONF / f"{option}.yaml") if key not in ("defaults", *HYDRAS)]
    assert_in_order(own, made)
    assert BY_BUILD[group].isdisjoint(own)


@pytest.mark.parametrize("option", [option for option in OURS if option.startswith("data/")])
def test_the_keys_of_all_data_of_a_modality_are_its_parameters_then_those_of_sampling(
    composed: Composed, option: str
) -> None:
    reader = target_class(train_with(composed, option).data._target_)
    below = option
    while not below.rpartition("/")[2].startswith("_"):
        (below, *_) = (f"data/{name}" for name in OmegaConf.load(CONF / f"{below}.yaml").defaults if name != "_self_")
    shared = [*OmegaConf.load(CONF / f"{below}.yaml")]
    modality = reader.modality  # type: ignore[attr-defined]
    plain = next(cls for cls in reversed(modality.__mro__) if issubclass(cls, Modality) and cls is not Modality)
    known = [*parameters(plain), *parameters(reader.sampling)]  # type: ignore[attr-defined]
    assert [name for name in known if name not in BY_BUILD["data"]] == shared
    assert {*parameters(reader.sampling)} <= {*shared}  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", OURS)
def test_every_parameter_gets_its_value_from_yaml_or_from_build(composed: Composed, option: str) -> None:
    group = option.split("/")[0]
    node = train_with(composed, option)[group]
    assert set(parameters(target_class(node._target_))) == (set(node) - HYDRAS) | BY_BUILD[group]


@pytest.mark.parametrize("option", OURS)
def test_a_default_stands_in_yaml_and_not_in_code_as_well(composed: Composed, option: str) -> None:
    group = option.split("/")[0]
    made = target_class(train_with(composed, option)[group]._target_)
    classes = [made, *(getattr(made, name) for name in JOINED if hasattr(made, name))]
    settings = [it for cls in classes for it in inspect.signature(cls).parameters.values()]
    assert [it.name for it in settings if it.default is not it.empty and it.name not in BY_BUILD[group]] == []


def test_the_constructors_of_callbacks_of_ours_take_what_yaml_gives(composed: Composed) -> None:
    for node in composed("run_dir=logs/it").callbacks.values():
        if node._target_.startswith("frostline."):
            assert_in_order([str(key) for key in node if key != "_target_"], target_class(node._target_))


# --- experiments, and the other two commands ---


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_and_passes_the_checks(composed: Composed, name: str) -> None:
    cfg = composed(f"experiment={name}", "run_dir=logs/it")
    check(cfg)
    assert list(problems(without_ours(resolved(cfg)))) == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_its_command(name: str) -> None:
    lines = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = lines[: next(number for number, line in enumerate(lines) if line and not line.startswith("#"))]
    words = [line.removeprefix("#").split() for line in header]
    command = ["python", "train.py", f"experiment={name}"]
    assert any(line[at : at + 3] == command for line in words for at in range(len(line))), " ".join(command)


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ("evaluate", ["run=logs/it"]),
        ("predict", ["run=logs/it"]),
        ("explain", ["run=logs/it"]),
        ("export", ["run=logs/it", "output=it.safetensors"]),
        ("index", ["run=logs/it", "input=it", "output=its"]),
        ("search", ["run=logs/it", "index=its"]),
        ("cache", []),
        ("leaderboard", ["folder=logs"]),
        ("report", ["run=logs/it"]),
        ("compare", ["first=logs/a", "second=logs/b"]),
        ("rank", ["models=[bundled,resnet18]"]),
    ],
)
def test_the_other_commands_compose(composed: Composed, config: str, overrides: list[str]) -> None:
    asked = {override.partition("=")[0] for override in overrides}
    assert OmegaConf.missing_keys(composed(config=config)) == asked
    check(composed(*overrides, config=config), command=config)


def test_lr_find_takes_what_train_takes_and_settings_of_its_own(composed: Composed) -> None:
    cfg = composed("experiment=quickstart", "run_dir=logs/it", "lr_find.output=logs/rates", config="lr_find")
    check(cfg, "lr_find", command="lr_find")
    rest = composed("experiment=quickstart", "run_dir=logs/it")
    assert {key: value for key, value in resolved(cfg).items() if key != "lr_find"} == resolved(rest)
    assert [*cfg.lr_find] == ["steps", "lowest", "highest", "output"]


def test_no_yaml_lies_outside_what_is_tested() -> None:
    known = {f"{option}.yaml" for option in OPTIONS} | {f"experiment/{name}.yaml" for name in EXPERIMENTS}
    commands = ("train", "resume", "lr_find", "evaluate", "predict", "export", "index", "search", "cache", "rank",
                "leaderboard", "compare", "report", "explain")  # fmt: skip
    known |= {f"{command}.yaml" for command in commands}
    for option in OPTIONS:  # files that others build upon
        for item in OmegaConf.to_container(OmegaConf.load(CONF / f"{option}.yaml")).get("defaults", []):
            group, name = (option, item) if isinstance(item, str) else next(iter(item.items()))
            name = NONE if name is None else name  # an option within this one
            if str(name).startswith("_") and name != "_self_":
                known.add(f"{re.split('[/@]', group.removeprefix('override ').removeprefix('/'))[0]}/{name}.yaml")
    assert {str(Path(file).relative_to(CONF)) for file in CONF.rglob("*") if file.is_file()} == known
