"""Only the file of a target type knows what its kind means: no other compares a kind with a name, or maps kinds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from frostline.data.target_types.find import target_types

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "frostline"
OWN = PACKAGE / "data" / "target_types"
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if not file.is_relative_to(OWN)]
NAMES = {"kind", "target_kind"}
OF_TORCHVISION = {"boxes", "labels"}  # what its detectors call the columns of an object


def names_of(node: ast.AST) -> set[str]:
    """Kinds that stand in a node as texts, alone or in a list."""
    texts = {it.value for it in ast.walk(node) if isinstance(it, ast.Constant) and isinstance(it.value, str)}
    return texts & target_types().keys()


def is_kind(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id in NAMES) or (isinstance(node, ast.Attribute) and node.attr in NAMES)


def deciding(tree: ast.AST) -> Iterator[int]:
    """Lines that decide by a kind."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                if any(map(is_kind, sides)) and any(map(names_of, sides)):
                    yield node.lineno
            case ast.Match(subject=subject, cases=cases):
                if is_kind(subject) and any(names_of(it.pattern) for it in cases):
                    yield node.lineno
            case ast.Dict(keys=keys):
                found = {name for key in keys if isinstance(key, ast.Constant) for name in names_of(key)}
                if len(found) > 1 and found != OF_TORCHVISION:
                    yield node.lineno


@pytest.mark.parametrize(
    "source",
    [
        'if kind == "class": pass',
        'x = "tags" != self.target_kind',
        'x = targets.kind in ("labels", "numbers")',
        'match data.target.kind:\n    case "tags": pass',
        'READ = {"class": 1, "labels": 2}',
    ],
)
def test_a_decision_by_kind_is_found(source: str) -> None:
    assert list(deciding(ast.parse(source))) == [1]


@pytest.mark.parametrize(
    "source", ['kind == "decoded"', 'kind = "class"', 'f(kind="class")', 'kinds = ("class", "tags")']
)
def test_other_uses_of_the_words_are_none(source: str) -> None:
    assert list(deciding(ast.parse(source))) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_other_file_decides_by_the_kind_of_targets(file: Path) -> None:
    assert list(deciding(ast.parse(file.read_text(encoding="utf-8")))) == []
