"""Components are made as Hydra makes them, whether or not their node is left to Hydra."""

from functools import partial
from typing import Any

import pytest
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, OmegaConf

from frostline.config.instantiate import called, class_of, instantiate, maker_of, maker_settings
from frostline.config.plain import Settings, resolved
from frostline.errors import ConfigError

HERE = __name__


class Made:
    def __init__(self, *given: Any, **settings: Any) -> None:
        self.given, self.settings = given, settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and (self.given, self.settings) == (other.given, other.settings)

    __hash__ = None  # type: ignore[assignment]


def function(**settings: Any) -> Made:
    return Made("by a function", **settings)


def node(text: str) -> DictConfig:
    root = OmegaConf.create({"shared": 3, "it": OmegaConf.create(text.replace("HERE", HERE))})
    assert isinstance(root.it, DictConfig)
    return root.it


NODES = [
    "{_target_: HERE.Made}",
    "{_target_: HERE.Made, a: 1, b: 2.5, c: null, d: text, e: true}",
    "{_target_: HERE.Made, a: [1, {b: [2]}], c: {d: {e: 3}}}",
    "{_target_: HERE.Made, a: '${shared}', b: ['${shared}'], c: '${.a}'}",
    "{_target_: HERE.Made, a: {_target_: HERE.Made, b: 1}}",
    "{_target_: HERE.Made, a: [{_target_: HERE.function, b: 1}]}",
    "{_target_: HERE.Made, a: {_target_: HERE.Made, b: 1}, _recursive_: false}",
    "{_target_: HERE.Made, a: 1, _partial_: true}",
    "{_target_: HERE.Made, a: 1, _partial_: false}",
    "{_target_: HERE.Made, a: {b: 1}, _convert_: all}",
    "{_target_: HERE.Made, _args_: [1, 2], a: 3}",
    "{_target_: HERE.Made, a: '???', b: 1}",
    "{_target_: HERE.function, a: 1}",
]


@pytest.mark.parametrize("text", NODES)
def test_a_component_is_what_hydra_makes(text: str) -> None:
    expected = hydra_instantiate(node(text), _partial_=True, _convert_="all")()
    assert instantiate(node(text), "it", Made) == expected
    plain = OmegaConf.to_container(node(text), resolve=True)
    assert isinstance(plain, dict)
    assert instantiate({str(key): value for key, value in plain.items()}, "it", Made) == expected
    assert instantiate(node(text), "it", Made, b=7).settings["b"] == 7, "what Frostline adds comes last"


def test_the_class_and_its_settings_can_be_read() -> None:
    assert maker_settings(node("{_target_: HERE.Made, a: '${shared}'}"), "it", Made) == (Made, {"a": 3})
    assert class_of(node("{_target_: HERE.Made, a: {_target_: HERE.Made}}"), "it", Made) is Made
    assert called(partial(maker_of(node("{_target_: HERE.function}"), "it"), b=1)) is function
    with pytest.raises(ConfigError, match=r"it must be a Made, but .*function is not"):
        class_of(node("{_target_: HERE.function}"), "it", Made)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{_target_: HERE.Absent}", "it cannot be made: .*Absent"),
        ("{_target_: absent.Made}", "it cannot be made: .*absent"),
        ("{_target_: os.system, command: 'true'}", "it cannot be made: .*os.system"),
        ("{_target_: hydra.utils.get_method, path: os.system}", "it cannot be made: .*os.system"),
        ("{a: 1}", "it has no `_target_`"),
        ("{}", "it has no `_target_`"),
        ("{_target_: HERE.function, a: 1, given: 2, _args_: 3}", "it cannot be made"),
        ("{_target_: fractions.Fraction}", "it must be a Made, but fractions.Fraction returns a Fraction"),
    ],
)
def test_what_cannot_be_made_is_refused(given: str, said: str) -> None:
    for _ in range(2):  # a path that was not found is looked for again
        with pytest.raises(ConfigError, match=said):
            instantiate(node(given), "it", Made)


@pytest.mark.parametrize("given", ["adamw", None, ["adamw"], 3])
def test_what_is_no_node_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"is .*, not settings with a `_target_`"):
        maker_of(given, "schedule.phases.all.optimizer")


def test_settings_are_plain_again_where_a_component_takes_them() -> None:
    cfg = OmegaConf.create({"a": 1, "b": {"c": "${a}", "d": [{"e": "${b.c}"}]}, "it": {"_target_": f"{HERE}.Made"}})
    settings = Settings.of(cfg)
    assert settings == {"a": 1, "b": {"c": 1, "d": [{"e": 1}]}, "it": {"_target_": f"{HERE}.Made"}}
    assert (settings.b.c, settings.b.d[0].e) == (1, 1)
    assert Settings.of(settings) is settings
    with pytest.raises(AttributeError, match="absent"):
        _ = settings.absent
    for plain in (resolved(settings), instantiate(Settings(settings.it, b=settings.b), "it", Made).settings):
        assert type(plain["b"]) is type(plain["b"]["d"][0]) is dict, "a checkpoint holds nothing else"
    assert "b" not in settings["it"]
