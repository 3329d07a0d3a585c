"""Configs against constructors that are only read: wrong keys and values, in words."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.config.signatures import problems, value_problem

MODULE = '''
from dataclasses import dataclass
from typing import Any, Literal, Optional, Union
from frostline.config.ranges import Fraction, NonNegative, Positive, Probability

class Base:
    def __init__(
        self, spec, *, whole: int, number: float, text: str, flag: bool, size: Positive[int], times: NonNegative[float],
        share: Fraction, chance: Probability, colour: Literal["red", "green"], level: Literal[1, "all"],
        names: list[str], sizes: list[Positive[int]], maybe: int | None, either: Union[int, str], old: Optional[float],
        later: "int | None", table: dict, anything: Any, unknown: SomeType, bare,
    ): ...

class Child(Base):
    def __init__(self, spec, *, extra: bool, **common: Any): super().__init__(spec, **common)

class Silent(Child):
    """No constructor of its own."""

class Closed(Base):
    def __init__(self, *, only: int): ...

class Reader:
    sampling: type = Row

class Joined(Reader):
    modality = Closed

    def __init__(self, *, folder: str): ...

class JoinedAgain(Joined):
    modality = Base

class Plain(Reader):
    modality = Closed

class Unresolved(Reader):
    modality = somewhere.Closed

class FromElsewhere(Reader):
    modality = NotHere

@dataclass
class Row:
    first: int
    second: NonNegative[float] = 0.0

@dataclass
class LongerRow(Row):
    third: str = ""

def function(x: int, /, y: str, *, z: bool = False): ...
'''

# What each parameter of Base takes, what it does not, and how a refusal says what it takes.
PARAMETERS: dict[str, tuple[list[Any], list[Any], str]] = {
    "whole": ([0, -3, 10**20], [1.0, "1", True, None, [1]], "a whole number"),
    "number": ([0, 1.5, -2], [math.inf, math.nan, 10**400, "1.5", False, None, [1.0]], "a number"),
    "text": (["", "a", "1"], [1, None, True, ["a"]], "text"),
    "flag": ([True, False], [0, 1, "true", None], "true or false"),
    "size": ([1, 512], [0, -1, 1.5, True, None], "a whole number x with x > 0"),
    "times": ([0, 0.0, 3], [-0.1, math.nan, "0", True], "a number x with x >= 0"),
    "share": ([0.1, 0.999], [0, 1, 1.0, -0.5, "0.5", True], "a number x with 0 < x < 1"),
    "chance": ([0, 0.0, 0.999], [1, -0.1, True, None], "a number x with 0 <= x < 1"),
    "colour": (["red", "green"], ["blue", "Red", 1, None], "one of red, green"),
    "level": ([1, "all"], [True, 1.0, "1", 2], "one of 1, all"),
    "names": ([[], ["a", "b"]], ["a", "", 1, [1], ["a", None], None], "a list of text"),
    "sizes": ([[], [1, 2]], [[0], [1, True], 1, ["1"]], "a list of a whole number x with x > 0"),
    "maybe": ([None, 3], ["none", 1.0, True], "a whole number or null"),
    "either": ([3, "a"], [1.5, None, True, [3]], "Union[int, str]"),
    "old": ([None, 1, 1.5], ["1", True], "Optional[float]"),
    "later": ([None, 3], ["3", 1.5], ""),
    "table": ([{}, {"a": 1}], [[], 1, "a"], "settings"),
    "anything": ([None, 1, "a", [], {}, True], [], ""),
    "unknown": ([None, 1, "a", [], {}, True], [], ""),
    "bare": ([None, 1, "a", [], {}, True], [], ""),
}


@pytest.fixture(scope="module", autouse=True)
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A module that can be found and is never imported: it could not be."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "made_up.py").write_text(MODULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    assert "made_up" not in sys.modules


def said(target: str, **settings: Any) -> list[str]:
    return list(problems({"node": {"_target_": target, **settings}}))


# --- values ---


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (good, *_) in PARAMETERS.items() for value in good]
)
def test_a_value_that_the_annotation_allows_is_fine(name: str, value: Any) -> None:
    assert said("made_up.Base", **{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "words"), [(name, bad, words) for name, (_, bads, words) in PARAMETERS.items() for bad in bads]
)
def test_a_value_that_it_does_not_allow_is_told_with_what_it_does(name: str, value: Any, words: str) -> None:
    (line,) = said("made_up.Base", **{name: value})
    assert line.startswith(f"node.{name}: {value!r} is not {words}")


def test_one_value_that_should_be_a_list_is_told_with_its_brackets() -> None:
    (line,) = said("made_up.Base", names="a")
    assert line == "node.names: 'a' is not a list of text; write a list in brackets: [a]"
    assert said("made_up.Base", sizes=1)[0].endswith("brackets: [1]")
    for others in ({"names": 1}, {"names": ""}, {"sizes": "1"}, {"size": "1"}):
        assert "brackets" not in said("made_up.Base", **others)[0]


def test_a_value_that_is_still_to_be_given_is_another_checks_business() -> None:
    assert said("made_up.Base", whole="???") == []


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["", "a", "none", "1", "all"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


def is_int(value: Any) -> bool:
    return type(value) is int


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def each(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


REFERENCE: dict[str, Callable[[Any], bool]] = {
    "int": is_int,
    "float": is_number,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
    "int | None": lambda value: is_int(value) or value is None,
    "bool | str | None": lambda value: isinstance(value, bool | str) or value is None,
    "Positive[int]": lambda value: is_int(value) and value > 0,
    "NonNegative[float] | None": lambda value: value is None or (is_number(value) and value >= 0),
    "Fraction": lambda value: is_number(value) and 0 < value < 1,
    "Probability": lambda value: is_number(value) and 0 <= value < 1,
    "Literal['none', 'all', 1]": lambda value: value in ("none", "all") or (is_int(value) and value == 1),
    "list[str]": each(lambda value: isinstance(value, str)),
    "list[Positive[int]]": each(lambda value: is_int(value) and value > 0),
    "list[list[int | None]]": each(each(lambda value: is_int(value) or value is None)),
    "int | str | list[int]": lambda value: is_int(value) or isinstance(value, str) or each(is_int)(value),
}


@pytest.mark.parametrize("annotation", REFERENCE)
@given(value=plain)
def test_any_value_is_judged_as_isinstance_would(annotation: str, value: Any) -> None:
    problem = value_problem("key", value, annotation)
    assert (problem is None) == REFERENCE[annotation](value)
    assert problem is None or problem.startswith(f"{value!r} is not ")


# --- keys ---


def test_an_unknown_key_is_told_with_the_close_ones() -> None:
    assert said("made_up.Base", flags=True) == ["node.flags: made_up.Base has no such setting; did you mean flag?"]


def test_a_child_hands_on_what_it_does_not_know_and_a_closed_one_does_not() -> None:
    for target in ("made_up.Child", "made_up.Silent"):
        assert said(target, extra=True, size=1, flag=False) == []
        assert [line.split(":")[0] for line in said(target, extra=1, size=0, sise=1)] == [
            "node.extra", "node.size", "node.sise",
        ]  # fmt: skip
    assert said("made_up.Closed", only=1, size=1) == [
        "node.size: made_up.Closed has no such setting; available: only"
    ]  # fmt: skip


def test_classes_that_share_a_node_share_its_settings() -> None:
    assert said("made_up.Joined", folder="a", only=1, first=2, second=0.5) == []
    assert [line.split(":")[0] for line in said("made_up.Joined", folder=1, only="a", first=0.5, third="")] == [
        "node.folder", "node.only", "node.first", "node.third",
    ]  # fmt: skip
    assert said("made_up.JoinedAgain", folder="a", whole=1, first=2) == []
    assert "has no such setting" in said("made_up.JoinedAgain", only=1)[0]
    assert said("made_up.Plain", only=1, first=2) == []
    assert "has no such setting" in said("made_up.Plain", folder=1)[0]
    for target in ("made_up.Unresolved", "made_up.FromElsewhere"):
        assert said(target, anything=1) == [], "what is not found allows everything"
    missing = problems({"node": {"_target_": "made_up.Joined", "first": 1}}, supplied={"node": ["only"]})
    assert list(missing) == ["node.folder is missing"]


def test_dataclasses_and_functions_have_parameters_too() -> None:
    assert said("made_up.LongerRow", first=1, second=0, third="a") == []
    assert len(said("made_up.LongerRow", first=1.5, second=-1, third=3, fourth=4)) == 4
    assert said("made_up.function", x=1, y="a", z=True) == []
    assert len(said("made_up.function", x="1", y=1, z=1, w=1)) == 4


def test_nodes_are_found_wherever_they_lie_and_the_key_says_where() -> None:
    node = {"_target_": "made_up.Row", "first": "a"}
    config = {"a": {"b": node}, "list": [1, {"c": node}], "plain": {"first": "a"}, "table": {"_target_": None}}
    row = "'a' is not a whole number"
    assert list(problems(config)) == [f"a.b.first: {row}", f"list[1].c.first: {row}"]
    assert list(problems({"_target_": "made_up.Base", "anything": node})) == [f"anything.first: {row}"]


def test_a_node_inside_a_node_is_checked_as_well_as_the_node() -> None:
    inner = {"_target_": "made_up.Row", "first": "a", "_partial_": True, "_convert_": "all", "_recursive_": False}
    assert [line.split(":")[0] for line in said("made_up.Base", whole="b", anything=inner)] == [
        "node.whole", "node.anything.first",
    ]  # fmt: skip


def test_keys_of_hydra_are_checked_too() -> None:
    node = {"_target_": "made_up.Row", "_partial_": 3, "_convert_": "bogus", "_recursive_": "no", "_args_": [1]}
    assert list(problems({"node": node}, supplied={"node": ["first"]})) == [
        "node._partial_: 3 is not true or false",
        "node._convert_: 'bogus' is not one of none, partial, object, all",
        "node._recursive_: 'no' is not true or false",
        "node._args_: positional arguments are not supported; use the names of made_up.Row",
    ]
    later = {"_target_": "made_up.Row", "_partial_": True}
    assert list(problems({"node": later}, supplied={})) == [], "it is called later, with the rest"
    assert list(problems({"node": {**later, "_partial_": False}}, supplied={})) == ["node.first is missing"]
    component: dict[str, list[str]] = {"node": []}
    assert list(problems({"node": later}, supplied=component)) == ["node.first is missing"], "Frostline calls it"
    plain = {"node": {"_target_": "made_up.Row", "first": 1, "_convert_": "none"}}
    assert list(problems(plain, supplied=component)) == ["node._convert_: set by Frostline, to all; remove it"]


@pytest.mark.parametrize("target", ["nowhere.Thing", "made_up.Absent", "builtins.dict", "math.sqrt", "Thing"])
def test_a_target_whose_source_cannot_be_read_is_left_to_the_one_who_makes_it(target: str) -> None:
    assert said(target, anything=1) == []


# --- the constructors that configs name, in a process that has not seen torch ---

REAL = {
    "digits": {
        "_target_": "frostline.data.pictures.digits.Digits",
        "flipp": True,
        "batch_size": 0,
        "augment": "stronk",
    },
    "cifar": {"_target_": "frostline.data.pictures.cifar.Cifar", "variant": "cifar11", "dir": 3, "val_part": 0.1},
    "sgd": {"_target_": "torch.optim.sgd.SGD", "lr": 0.1, "momentun": 0.9, "nesterov": "yes"},
    "trainer": {"_target_": "lightning.pytorch.trainer.trainer.Trainer", "devices": 1.5, "max_epoch": 3,
                "gradient_clip_val": 0.5, "limit_val_batches": None},
    "fine": {"_target_": "torch.optim.adamw.AdamW", "lr": 0.1, "betas": [0.9, 0.99], "weight_decay": 0},
}  # fmt: skip
HEAVY = {"torch", "lightning", "numpy", "torchvision", "sklearn"}


@pytest.fixture(scope="module")
def without_torch() -> dict[str, str]:
    """The lines about REAL, by key, from a process that has to end without torch."""
    code = f"""
import json, sys
from frostline.config.signatures import problems
print(json.dumps([list(problems({REAL!r})), sorted({HEAVY!r} & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines, loaded = json.loads(done.stdout)
    assert loaded == []
    return dict(line.split(": ", 1) for line in lines)


def test_data_of_ours_is_checked_down_to_what_all_picture_data_has(without_torch: dict[str, str]) -> None:
    about = {key: line for key, line in without_torch.items() if key.startswith(("digits.", "cifar."))}
    assert about == {
        "digits.flipp": "frostline.data.pictures.digits.Digits has no such setting; did you mean flip?",
        "digits.batch_size": "0 is not a whole number x with x > 0 or one of auto or null",
        "digits.augment": "'stronk' is not one of none, standard, strong",
        "cifar.variant": "'cifar11' is not one of cifar10, cifar100",
        "cifar.dir": "3 is not text",
        "cifar.val_part": "frostline.data.pictures.cifar.Cifar has no such setting; did you mean val_fraction?",
    }


def test_an_optimizer_of_torch_and_the_trainer_of_lightning_are_checked_too(without_torch: dict[str, str]) -> None:
    about = {key: line for key, line in without_torch.items() if not key.startswith(("digits.", "cifar."))}
    assert set(about) == {"sgd.momentun", "sgd.nesterov", "trainer.devices", "trainer.max_epoch"}
    assert about["sgd.momentun"] == "torch.optim.sgd.SGD has no such setting; did you mean momentum?"
    assert about["sgd.nesterov"] == "'yes' is not true or false"
    assert "did you mean max_epochs" in about["trainer.max_epoch"]


def test_names_that_yaml_takes_for_other_values_are_proposed_in_quotes() -> None:
    problem = value_problem("data.classes", ["cat", None, True, 1.5], "list[str] | None")
    assert problem is not None
    assert problem.endswith("""names in quotes: "data.classes=[cat,'null','true','1.5']\"""")
