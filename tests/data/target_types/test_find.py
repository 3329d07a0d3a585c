"""A target type is found by its kind, and a new file of one is all that it takes."""

import os
from pathlib import Path

import pytest

import frostline
from forked import ran
from frostline.data.composed import kinds_of
from frostline.data.pictures.digits import Digits
from frostline.data.pictures.image_csv import ImageCsv
from frostline.data.pictures.image_folder import ImageFolder
from frostline.data.pictures.image_masks import ImageMasks
from frostline.data.reader import Reader
from frostline.data.target_types.find import kinds_in_columns, probed, require_kind, target_type, target_types
from frostline.data.texts.readers import Conll, HfDataset, TextCsv
from frostline.errors import ConfigError

NEW = """
from frostline.data.target_types.classes import Classes

class Ranks(Classes):
    kind = "ranks"
"""


def test_every_type_is_found_under_the_kind_that_old_checkpoints_name() -> None:
    assert {"class", "labels", "numbers", "tags"} <= target_types().keys()
    assert all(target_type(kind).kind == kind for kind in target_types())


def test_an_unknown_kind_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"there is no target type 'lables': .*labels") as refused:
        target_type("lables")
    assert all(kind in refused.value.next_step for kind in target_types())


def test_a_task_that_does_not_go_with_the_data_is_refused() -> None:
    require_kind("class", ["numbers", "class"])
    with pytest.raises(ConfigError, match="learns from a tag for each word, but this data has one class") as refused:
        require_kind("tags", ["class", "numbers"])
    assert refused.value.next_step.startswith("task=classification or task=regression; ")


def test_probes_take_the_first_type_of_the_data_that_gives_rows() -> None:
    readers: list[tuple[type[Reader], str]] = [(ImageFolder, "class"), (ImageCsv, "class"), (TextCsv, "class")]
    readers += [(ImageMasks, "masks"), (Conll, "tags")]
    assert [probed(kinds_of(reader)).kind for reader, _ in readers] == [kind for _, kind in readers]
    assert probed(["numbers", "tags"]).kind == "tags"


@pytest.mark.parametrize("kind", ["boxes", "identities", "labels", "numbers", "transcripts"])
def test_types_without_rows_are_refused_as_data_without_classes(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"this data has {target_type(kind).described_as}"):
        require_kind(probed([kind]).kind, [kind])


def test_a_new_type_is_one_file(tmp_path: Path) -> None:
    package = Path(frostline.__file__).parent
    copy = tmp_path / "frostline"
    for file in package.rglob("*.py"):
        (copy / file.relative_to(package)).parent.mkdir(parents=True, exist_ok=True)
        (copy / file.relative_to(package)).write_bytes(file.read_bytes())
    (copy / "data" / "target_types" / "ranks.py").write_text(NEW)
    code = "from frostline.data.target_types.find import kinds_in_columns, target_type; t = target_type('ranks')\n"
    code += "print(type(t).__name__, 'ranks' in kinds_in_columns())"
    done = ran("-c", code, env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"})
    assert (done.stdout, done.stderr) == ("Ranks True\n", "")


def test_readers_of_tables_read_every_type_that_columns_give() -> None:
    assert {*kinds_in_columns()} == {*kinds_in_columns("pictures")} >= {"class", "identities", "labels", "numbers"}
    assert {*kinds_in_columns("sounds")} - {*kinds_in_columns()} == {"transcripts"}
    assert all(reader.reads_columns for reader in (ImageCsv, TextCsv, HfDataset))
    assert not any(reader.reads_columns for reader in (ImageFolder, ImageMasks, Conll, Digits))
