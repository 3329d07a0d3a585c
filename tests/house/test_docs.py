"""What is written down: no address or name that does not belong here, and a next step in every error."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = ("claude", "anthropic", "chatgpt", "/work/")
ONLY_IN_INSTRUCTIONS = ("pypi.org", "pythonhosted", "huggingface.co/", "../shared")
INSTRUCTIONS = ("README.md", "CONTRIBUTING.md", "conf/experiment/", "tests/")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every file that git knows or would add, except this one, as lower-case text."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout, so nobody knows which files are the project's")
    files = {
        name: ROOT / name for name in listed.stdout.split("\0") if name and ROOT / name != Path(__file__).resolve()
    }
    return {name: file.read_text("utf-8", errors="ignore").lower() for name, file in files.items() if file.is_file()}


@pytest.mark.parametrize("word", NOWHERE)
def test_a_word_that_belongs_nowhere_is_nowhere(texts: dict[str, str], word: str) -> None:
    assert "src/frostline/cli/main.py" in texts
    assert [name for name, text in texts.items() if word in text] == []


@pytest.mark.parametrize("word", ONLY_IN_INSTRUCTIONS)
def test_an_address_stands_only_where_people_are_told_what_to_do(texts: dict[str, str], word: str) -> None:
    assert [name for name, text in texts.items() if word in text and not name.startswith(INSTRUCTIONS)] == []


def error_calls() -> dict[str, ast.Call]:
    """Every place in src that makes a FrostlineError, by `file:line`."""
    source = (ROOT / "src/frostline/errors.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r"^class (\w+Error)\(", source, re.MULTILINE))
    assert len(kinds) == 7
    return {
        f"{file.relative_to(ROOT)}:{node.lineno}": node
        for file in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
    }


def test_every_error_names_the_next_step() -> None:
    calls = error_calls()
    assert len(calls) >= 50
    given = {place: {keyword.arg: keyword.value for keyword in call.keywords} for place, call in calls.items()}
    assert [place for place, keywords in given.items() if "next_step" not in keywords] == []
    empty = [place for place, keywords in given.items() if ast.unparse(keywords["next_step"]) in ("''", "None")]
    assert empty == []


def test_nothing_in_src_raises_a_bare_exception() -> None:
    bare = {"Exception", "BaseException", "AssertionError", "SystemExit"}
    raised = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in bare
    ]
    assert raised == []
