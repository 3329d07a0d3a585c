"""What an error says, and that it survives the way from a worker process."""

import ast
import copy
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch

from frostline import errors
from frostline.cli.main import main
from frostline.errors import (
    ConfigError,
    DataError,
    FrostlineError,
    PlanError,
    RunError,
    WeightsError,
    close_names,
    memory_is_short,
    one_line,
)

KINDS = [FrostlineError, ConfigError, PlanError, DataError, WeightsError, RunError]


def test_a_message_says_what_where_and_what_next() -> None:
    error = DataError("picture 7 does not decode", where=Path("a/b.jpg"), next_step="remove it")
    assert str(error) == "picture 7 does not decode\n  where: a/b.jpg\n  next:  remove it"


def test_a_value_error_of_our_own_code_is_no_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.cli.sweep_settings.resolved", lambda _: int("abc"))
    monkeypatch.setattr(sys, "argv", ["frostline", "train", "-m", "seed=0,1"])
    with pytest.raises(ValueError, match="invalid literal"):
        main()


def test_a_message_without_a_place_has_two_lines() -> None:
    assert str(RunError("it failed", next_step="try again")) == "it failed\n  next:  try again"


def test_an_error_cannot_be_made_without_a_next_step() -> None:
    with pytest.raises(TypeError, match="next_step"):
        ConfigError("it failed")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling_and_copying(kind: type[FrostlineError]) -> None:
    error = kind("what", where=Path("somewhere"), next_step="next")
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is kind
        assert (again.what, again.where, again.next_step) == ("what", Path("somewhere"), "next")
        assert str(again) == str(error)


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = re.findall(r"^(├── |└── |)(\w+Error) ", errors.__doc__ or "", re.MULTILINE)
    assert [name for branch, name in drawn if not branch] == ["FrostlineError"]
    assert [name for branch, name in drawn if branch] == [kind.__name__ for kind in FrostlineError.__subclasses__()]
    assert [kind for made in FrostlineError.__subclasses__() for kind in made.__subclasses__()] == []


def test_no_other_module_makes_errors_of_its_own() -> None:
    package = Path(errors.__file__).parent
    made = [
        f"{file.name}: {node.name}"
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and file != Path(errors.__file__)
        if any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert made == []


def test_close_names_come_closest_first_and_else_all_of_them() -> None:
    known = ["resnet50", "resnet18", "vgg16"]
    assert close_names("resnet5", known) == "did you mean resnet50, resnet18?"
    assert close_names("bert", known) == "available: resnet18, resnet50, vgg16"
    assert close_names("learning_rate", ["lr", "weight_decay", "eps"]) == "did you mean lr?"
    assert close_names("wd", ["lr", "weight_decay", "eps"]) == "did you mean weight_decay?"
    assert close_names("layer", [f"layer{number}" for number in range(9)]).count(",") == 2


def test_short_memory_is_told_apart_from_what_else_torch_raises() -> None:
    with pytest.raises(RuntimeError) as short:
        torch.empty(2**50)
    with pytest.raises(RuntimeError) as other:
        torch.zeros(2) + torch.zeros(3)
    assert [memory_is_short(error) for error in (short.value, torch.OutOfMemoryError(), MemoryError())] == [True] * 3
    assert not memory_is_short(other.value)


def test_of_many_names_the_first_are_told_and_a_long_one_by_its_beginning() -> None:
    assert close_names("q", [f"{n:03}" for n in range(1102)]).endswith(", 098, 099 and 1,002 more")
    assert close_names("q", ["a" * 5000]) == f"available: {'a' * 100}…"
    assert close_names("a" * 5000, ["a" * 4999]).startswith("available: aaa"), "and is not compared: that takes minutes"


def test_a_name_of_several_lines_is_one_cell_of_a_table() -> None:
    assert one_line("red\ncell\t\x1b") == "red\\ncell\\t\\x1b"


def test_a_class_of_two_lines_has_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    from frostline.report.summary import print_classes

    print_classes([{"class": "red\ncell", "map": 0.5, "n": 3.0}])
    assert [line.split() for line in capsys.readouterr().out.splitlines() if "red" in line] == [
        ["red\\ncell", "0.5000", "3.0"]
    ]
