"""CONTRIBUTING.md lists the files that segmentation needed: no other file knows of it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# `Tokens.mask` and masks of attention are another thing.
WORDS = re.compile(
    r"segmentation|\bMasks\b|MaskedPictures|MaskPairs|ImageMasks|\bIGNORED\b|[\"']masks[\"']|image_masks"
)
HEADING = "## Files that segmentation needed"


def that_mention(*folders: str) -> set[str]:
    files = [file for folder in folders for kind in ("*.py", "*.yaml") for file in (ROOT / folder).rglob(kind)]
    assert len(files) > 100
    return {str(file.relative_to(ROOT)) for file in files if WORDS.search(file.read_text("utf-8") + f"\n{file.stem}")}


def test_the_list_is_exactly_the_files_that_mention_segmentation() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition(HEADING)[2].partition("\n## ")[0]
    listed = re.findall(r"`((?:src|conf)/[\w./]+)`", section)
    assert len(listed) == len({*listed})
    assert {*listed} == that_mention("src/frostline", "conf")


def test_commands_and_training_are_free_of_it() -> None:
    rooms = ("commands", "training", "frozen", "plan", "contracts", "config", "backbones", "runs", "cli", "report")
    prefixes = tuple(f"src/frostline/{room}/" for room in rooms)
    assert [name for name in that_mention("src/frostline", "conf") if name.startswith(prefixes)] == []
