"""Small files, small functions."""

import ast
from pathlib import Path
from statistics import median, quantiles

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "frostline"
FILES = sorted(PACKAGE.rglob("*.py"))


def function_lengths() -> dict[str, int]:
    """Lines from `def` to the end, by `file:line name`."""
    return {
        f"{file.relative_to(PACKAGE)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {str(file.relative_to(PACKAGE)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert len(lengths) >= 35
    assert {file: lines for file, lines in lengths.items() if lines > 300} == {}


def test_no_function_is_longer_than_50_lines() -> None:
    assert {function: lines for function, lines in function_lengths().items() if lines > 50} == {}


def test_most_functions_are_short() -> None:
    lengths = list(function_lengths().values())
    middle, ninth_decile = median(lengths), quantiles(lengths, n=10)[-1]
    assert len(lengths) >= 150
    assert middle <= 10, f"median {middle}, p90 {ninth_decile} of {len(lengths)} functions"
    assert ninth_decile <= 25, f"median {middle}, p90 {ninth_decile} of {len(lengths)} functions"
