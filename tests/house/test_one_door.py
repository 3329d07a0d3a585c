"""One door into a phase: what is shown, cached and trained changes together, in training/build.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "frostline"
BEHIND = {("data", "show"), ("frozen", "begin"), ("model", "enter")}
DOOR = "training/build.py"
# After the phases that it entered through the door, lr_find restores what the data showed before.
OTHERS = {"commands/lr_find/find.py": {("data", "show")}}


def called(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Object and method of each call that belongs behind the door."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=method)):
                if (owner.lstrip("_"), method) in BEHIND:
                    yield owner.lstrip("_"), method


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("built.frozen.begin(None, [], 0)", [("frozen", "begin")]),
        ("data.show(0, 0)", [("data", "show")]),
        ("self._model.enter(phase, 0, 0)", [("model", "enter")]),
        ("built.enter(0, 0); files.begin(); picture.show(); frozen.features(split)", []),
    ],
)
def test_a_call_behind_the_door_is_found(source: str, found: list[tuple[str, str]]) -> None:
    assert list(called(ast.parse(source))) == found


def test_phases_are_entered_through_one_door() -> None:
    found = {
        str(file.relative_to(PACKAGE)): calls
        for file in sorted(PACKAGE.rglob("*.py"))
        if (calls := {*called(ast.parse(file.read_text(encoding="utf-8")))})
    }
    assert found.pop(DOOR) == BEHIND
    assert found == OTHERS
