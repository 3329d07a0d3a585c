"""The table of what is kept says names as they are."""

from pathlib import Path

import pytest

from frostline.frozen_cache.entry import Kept
from frostline.report.kept import print_kept

NAMES = ["[/b] blood", "[red]cells", "[v2]", "a:x:b", "зёрна ☃"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """To rich, brackets are styles and words between colons pictures."""
    said = {"model": "m", "blocks": ["stem"], "data": name, "rows": 3}
    print_kept([Kept(Path("/kept/frozen/k"), 10, 0.0, said)], Path(f"/home/{name}/kept"))
    printed = capsys.readouterr().out
    assert f"MB in /home/{name}/kept" in printed
    assert f"   {name}   " in printed
