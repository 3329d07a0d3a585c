"""Docstrings and comments begin with their subject or their verb, and prose is plain English."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [file for folder in ("src", "tests", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]
PROSE = [
    file
    for pattern in ("*.md", "conf/**/*.yaml", "docs/*.md", "benchmarks/*.md", "src/**/*.md", "src/**/*.html")
    for file in sorted(ROOT.glob(pattern))
    if file.name != "CHANGELOG.md"
]
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
PHRASES = re.compile(
    r"\b(?:(?:is|are|was|were|be)\s+(?:also\s+)?told(?!\s+(?:apart|to)\b)|(?:is|are|was|were)\s+said|so\s+many|what\s+is\s+kept)\b",
    re.IGNORECASE,
)


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


def dialect(source: str, *, strings: bool) -> Iterator[int]:
    """Lines of Python whose docstring, comment or, with `strings`, other text has one of PHRASES."""
    tree = ast.parse(source)
    documented = [node.body[0] for node in ast.walk(tree) if isinstance(node, DOCUMENTED) and ast.get_docstring(node)]
    docstrings = {id(it.value) for it in documented if isinstance(it, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (strings or id(node) in docstrings):
            yield from (node.lineno + line for line in in_prose(node.value))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and PHRASES.search(token.string):
            yield token.start[0]


def in_prose(text: str) -> list[int]:
    """Lines, from 0, at which one of PHRASES begins."""
    return [text.count("\n", 0, found.start()) for found in PHRASES.finditer(text)]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('"""What is told."""\n', [1]),
        ('def f():\n    """One.\n\n    What cannot be\n    told is told."""\n', [4, 5]),
        ("x = 1  # as is said of it\n", [1]),
        ('x = f"so many {x}"\n', [1]),
        ("# So that classes are told apart; what was told to stop; what can be said\n", []),
        ('"""Kept, and as many as there are."""\n', []),
    ],
)
def test_dialect_is_found(source: str, lines: list[int]) -> None:
    assert list(dialect(source, strings=True)) == lines
    assert list(dialect(source, strings=False)) == ([] if source.startswith("x = f") else lines)


def test_docstrings_comments_messages_and_pages_are_plain_english() -> None:
    assert len(PROSE) > 150
    found = {
        f"{file.relative_to(ROOT)}:{line}"
        for file in FILES
        for line in dialect(file.read_text("utf-8"), strings="src" in file.relative_to(ROOT).parts)
    }
    found |= {f"{file.relative_to(ROOT)}:{line + 1}" for file in PROSE for line in in_prose(file.read_text("utf-8"))}
    assert found == set()
