"""CONTRIBUTING.md lists the files that a family needed: no other file knows of it."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORDS = {
    # `Tokens.mask`, a name in code, and attention masks are another thing: only prose says "a mask".
    "segmentation": r"segmentation|(?<!attention )(?<![A-Za-z])[Mm]asks(?![A-Za-z])"
    r"|\b(an?|its|the|their|each|one|true|predicted) mask\b"
    r"|MaskedPictures|MaskPairs|ImageMasks|\bIGNORED\b|image_masks",
    "detection": r"[Dd]etect(ion|or)|[\"']boxes[\"']|\bBoxe[sd]|\b(coco|voc|yolo)\b|COCO|faster_rcnn|retinanet"
    r"|\b[Dd]etr\b",
    "sound": r"\b[Ss]ounds?\b|[Aa]udio|[Ss]pectrogram|soundfile|sound_transformer|[Tt]ranscript",
    "fusion": r"(?<![Cc]on)[Ff]usion|frostline\.data\.rows|TableRows|\bKinds[(.]|[Cc]olumns of several kinds",
    "retrieval": r"[Rr]etrieval|\bIdentities\b|[\"']identities[\"']|EmbeddingHead|IdentityHead",
    "ranking": r"NDCG|RankedMetrics|name_users|ranking_notes|\bUsers\b",
}
OWN_COMMANDS = "src/frostline/commands/neighbours/"
OF_BACKBONES = {"detection", "sound", "fusion"}  # families that some backbones take directly
FAMILIES = pytest.mark.parametrize("family", WORDS)


def builds_on(file: str) -> set[str]:
    """The files of the options that a YAML without a class of its own builds on; none for other files."""
    content = yaml.safe_load((ROOT / file).read_text("utf-8")) if file.endswith(".yaml") else {}
    if "_target_" in content:
        return set()
    found = set()
    for item in content.get("defaults", []):
        group, name = (Path(file).parent.name, item) if isinstance(item, str) else next(iter(item.items()))
        found.add(f"conf/{group.removeprefix('override ').strip('/').partition('@')[0]}/{name}.yaml")
    return found


def that_mention(family: str, *folders: str) -> set[str]:
    files = [file for folder in folders for kind in ("*.py", "*.yaml") for file in (ROOT / folder).rglob(kind)]
    assert len(files) > 100
    words = re.compile(WORDS[family])
    return {str(file.relative_to(ROOT)) for file in files if words.search(file.read_text("utf-8") + f"\n{file.stem}")}


@FAMILIES
def test_the_list_is_exactly_the_files_that_mention_the_family(family: str) -> None:
    """Recipes of what is listed, such as another model of a family, need no line."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition(f"## Files that {family} needed")[2].partition("\n## ")[0]
    listed = re.findall(r"`((?:src|conf)/[\w./]+)`", section)
    assert len(listed) == len({*listed})
    mention = that_mention(family, "src/frostline", "conf")
    assert {*listed} - mention == set()
    assert {file for file in mention - {*listed} if not builds_on(file) & mention} == set()


@FAMILIES
def test_commands_and_training_are_free_of_it(family: str) -> None:
    rooms = ("commands", "training", "plan", "config", "runs", "cli", "report")
    rooms += () if family in OF_BACKBONES else ("frozen", "contracts", "backbones")
    prefixes = tuple(f"src/frostline/{room}/" for room in rooms)
    others = {name for name in that_mention(family, "src/frostline", "conf") if not name.startswith(OWN_COMMANDS)}
    assert [name for name in others if name.startswith(prefixes)] == []
