"""The table of cached entries: names as they are, and no end where an entry does not say what it is."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from frostline.report.kept import print_kept
from frostline.storage.entry import Kept

NAMES = ["[/b] blood", "[red]cells", "[v2]", "a:x:b", "зёрна ☃"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """rich reads brackets as styles, and words between colons as emoji."""
    said = {"model": "m", "blocks": ["stem"], "data": name, "rows": 3}
    print_kept([Kept(Path("/kept/frozen/k"), 10, 0.0, said)], Path(f"/home/{name}/kept"), [])
    printed = capsys.readouterr().out
    assert f"MB in /home/{name}/kept" in printed
    assert f"   {name}   " in printed


@pytest.mark.parametrize(
    "said",
    [{"dat": "d", "model": "m", "blocks": ["a"], "rows": 3}, {"data": "d", "model": "m", "blocks": [], "rows": 3},
     {"data": "d", "model": "m", "blocks": ["a"], "rows": "many"}, "text", None],
)  # fmt: skip
def test_an_entry_whose_words_are_damaged_is_listed_all_the_same(said: Any, capsys: pytest.CaptureFixture[str]) -> None:
    good = {"data": "digits", "model": "m", "blocks": ["a"], "rows": 3}
    print_kept(
        [Kept(Path(f"/kept/frozen/{key * 5}"), 10, 0.0, it) for key, it in (("ab", said), ("cd", good))], Path(), []
    )
    lines = capsys.readouterr().out.splitlines()
    assert any("unreadable" in line and "abababab" in line for line in lines)
    assert any("digits" in line for line in lines)


def test_what_clears_the_folder_that_was_shown_is_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    """Without `dir=` it would clear the user's cache folder."""
    said = {"data": "d", "model": "m", "blocks": ["a"], "rows": 3}
    print_kept([Kept(Path("/kept/frozen/k"), 10, 0.0, said)], Path("/my kept"), ["dir='/my kept'"])
    *_, following = capsys.readouterr().out.splitlines()
    _, *command = shlex.split(following.removeprefix("next"))
    assert command == ["cache", "dir='/my kept'", "clear=true"]
