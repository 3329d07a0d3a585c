"""Docstrings and comments begin with their subject or their verb."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [file for folder in ("src", "tests", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def fronted(source: str) -> Iterator[int]:
    """Lines with a docstring or a comment that begins with a fronted "Of ..."."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (ast.get_docstring(node) or "").startswith("Of "):
            yield node.body[0].lineno
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.string.lstrip("# ").startswith("Of "):
            yield token.start[0]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('"""Of one."""\n', [1]),
        ('def f():\n    """Of one."""\n', [2]),
        ("x = 1  # Of one\n", [1]),
        ("# Of one\n", [1]),
        ('def f():\n    """One. Of two, the first."""\n', []),
        ('x = "Of one"  # of one\n', []),
    ],
)
def test_a_fronted_of_is_found(source: str, lines: list[int]) -> None:
    assert list(fronted(source)) == lines


def test_no_docstring_or_comment_begins_with_of() -> None:
    assert len(FILES) > 400
    found = {f"{file.relative_to(ROOT)}:{line}" for file in FILES for line in fronted(file.read_text("utf-8"))}
    assert found == set()
