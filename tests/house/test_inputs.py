"""Kinds of inputs are told apart by their specs: only the files of a kind ask whether an object is of its class."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "frostline"
CLASSES = {"ImageSpec", "TextSpec", "WaveSpec", "PartsSpec", "Tokens"}
# Folders and files of a kind, and what they may ask for.
OWN = {
    "contracts/": CLASSES,
    "data/pictures/": {"ImageSpec"},
    "data/boxes/": {"ImageSpec"},
    "data/sounds/": {"ImageSpec", "WaveSpec", "Tokens"},
    "data/texts/": {"TextSpec", "Tokens"},
    "data/rows/": {"ImageSpec", "TextSpec", "PartsSpec"},
    "saliency/pictures.py": {"ImageSpec"},
    "saliency/texts.py": {"TextSpec"},
}
OTHERS = {
    "backbones/base.py": {"ImageSpec"},  # maps of several resolutions are those of pictures
    "frozen/blocks.py": {"Tokens"},  # chunks of one width, in place of chunks of one number of samples
}


def asked(tree: ast.AST) -> Iterator[str]:
    """Classes of contracts/ for which a file asks by isinstance, issubclass, type() or match."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = {
        alias.name for node in imports if (node.module or "").startswith("frostline.contracts") for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, wanted]):
                found: ast.AST = wanted
            case ast.Compare(left=ast.Call(func=ast.Name(id="type")), comparators=[wanted]):
                found = wanted
            case ast.MatchClass(cls=wanted):
                found = wanted
            case _:
                continue
        yield from {it.id for it in ast.walk(found) if isinstance(it, ast.Name)} & ours & CLASSES


def may_ask(file: str) -> set[str]:
    return {name for start, names in (OWN | OTHERS).items() if file.startswith(start) for name in names}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("isinstance(it, TextSpec)", ["TextSpec"]),
        ("isinstance(it, (str, Tokens))", ["Tokens"]),
        ("issubclass(it, str | Tokens)", ["Tokens"]),
        ("type(it) is TextSpec", ["TextSpec"]),
        ("match it:\n    case Tokens(): pass", ["Tokens"]),
        ("TextSpec('a', 1); it.spec.kind; isinstance(it, str)", []),
    ],
)
def test_a_question_for_a_class_is_found(source: str, found: list[str]) -> None:
    imports = "from frostline.contracts.specs import TextSpec\nfrom frostline.contracts.tokens import Tokens\n"
    assert [*asked(ast.parse(imports + source))] == found
    assert [*asked(ast.parse(source))] == [], "a class of the same name from elsewhere"


def test_only_the_files_of_a_kind_ask_for_its_class() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    found = {str(it.relative_to(PACKAGE)): {*asked(ast.parse(it.read_text(encoding="utf-8")))} for it in files}
    assert {file: names - may_ask(file) for file, names in found.items() if names - may_ask(file)} == {}
    assert {file: found[file] for file in OTHERS} == OTHERS
