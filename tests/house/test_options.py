"""docs/options.md and README.md name options of conf/ that exist. `--help` lists all, those of a new YAML too."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from frostline.paths import conf_dir

ROOT = Path(__file__).resolve().parents[2]
QUESTION = re.compile(r"`(\w+)=`")
OPTION = re.compile(r"`(\w+)(?: [^`]*)?`")  # `timm model.name=<name>` is the option timm; `task=retrieval` is none


def options_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each question of a table in Markdown with its options. A row with several questions divides their options by
    semicolons."""
    for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE):
        asked, _, answers = row.partition(" | ")
        questions = QUESTION.findall(asked)
        parts = answers.split(";") if len(questions) > 1 else [answers]
        yield from zip(questions, [OPTION.findall(part) for part in parts], strict=bool(questions))


OPTIONS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml") if not file.stem.startswith("_"))
    for folder in conf_dir().iterdir()
    if folder.is_dir()
}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("| question | options |", []),
        ("| `model=` | boxes: `a`, `b model.name=<name>`; texts: `c` ([all](x.md)) |", [("model", ["a", "b", "c"])]),
        ("| `head=` | `a`; with `model=fusion` `b` |", [("head", ["a", "b"])]),
        ("| `x=`, `y=` (with `-m`) | `a`, `b`; `c` |", [("x", ["a", "b"]), ("y", ["c"])]),
    ],
)
def test_options_are_read_from_a_row(row: str, found: list[tuple[str, list[str]]]) -> None:
    assert list(options_in(row)) == found


@pytest.mark.parametrize("page", ["README.md", "docs/options.md"])
def test_a_page_names_options_that_exist_and_each_of_them_once(page: str) -> None:
    found = list(options_in((ROOT / page).read_text("utf-8")))
    assert len(found) > 8
    named = [f"{question}={it}" for question, options in found for it in options]
    assert sorted(set(named) - {f"{question}={it}" for question, options in OPTIONS.items() for it in options}) == []
    assert sorted(named) == sorted(set(named))
