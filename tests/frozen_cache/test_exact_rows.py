"""Rows of several kinds of columns: caching outputs of the frozen blocks of each tower, and stopping and resuming,
change no bit of a result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import compared
from compared import cached_phases, kept_and_never, require_equal, require_equal_if_stopped
from conftest import Answer, short_form
from tiny_rows import COLUMNS, HEAD, SHORT, TWO_STAGE, put_pets, towers

Program = Callable[..., Answer]

# Frost lines within the towers, also below the first block of one of them, and one that leaves texts frozen
# above it.
LINES = {
    "stems": "1",
    "one_stem": "5",
    "middle": "3",
    "tops": "2",
    "pictures_alone": "[image_stage1,image_stage2]",
    "texts_alone": "[text_layer_1]",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pets")
    return [*towers(folder / "tokenizer"), *SHORT, *COLUMNS, f"data.file={put_pets(folder)}"]


@pytest.mark.long
def test_the_head_and_everything_end_in_the_same_bits(pets: list[str], program: Program, tmp_path: Path) -> None:
    first, _ = kept_and_never(program, tmp_path, *pets, *TWO_STAGE, "data.augment=none")
    assert cached_phases(first) == ["head"]
    texts = {row.split(",")[1] for row in (_file(pets)).read_text().splitlines()[1:]} - {""}
    assert [row["cache"]["made"] for row in first["phases"]] == [7 + len(texts), 0], "one for each distinct input"


def _file(own: list[str]) -> Path:
    return Path(next(it for it in own if it.startswith("data.file=")).partition("=")[2])


@pytest.mark.long
@pytest.mark.parametrize("name", LINES)
def test_every_frost_line_ends_in_the_same_bits(name: str, pets: list[str], program: Program, tmp_path: Path) -> None:
    line = f"+schedule.phases.top={{thaw: {LINES[name]}, epochs: 2}}"
    kept_and_never(program, tmp_path, *pets, *HEAD, line, "data.augment=none")


def test_one_tower_can_stay_frozen_and_cached_while_the_other_thaws(
    pets: list[str], program: Program, tmp_path: Path
) -> None:
    own = [*pets, "model.order=image_first", "schedule=last_block", "schedule.phases.last.thaw=2", "data.augment=none"]
    own += ["schedule.phases.head.epochs=1", "schedule.phases.last.epochs=2"]
    first, _ = kept_and_never(program, tmp_path, *own)
    assert first["phases"][1]["learns"] == ["head", "text_layer_1", "text_layer_0"]


def test_augmented_views_in_turn_end_in_the_same_bits(pets: list[str], program: Program, tmp_path: Path) -> None:
    """Samples that share a picture share its view of an epoch, kept or not."""
    own = [*HEAD, "schedule.phases.head.epochs=3", "+schedule.phases.top={thaw: 5, epochs: 2}", "data.augment=strong"]
    first, _ = kept_and_never(program, tmp_path, *pets, *own, "schedule.every_phase.views=2")
    assert cached_phases(first) == ["head", "top"]
    fresh = compared.trained(program, tmp_path / "fresh", *pets, *own, "schedule.every_phase.views=fresh")
    assert fresh["metrics"] != first["metrics"]


@pytest.mark.parametrize("moment", short_form(["train 2", "train 7", "train 14", "validate 3"], "train 14"))
@pytest.mark.parametrize("cache", short_form(["always", "never"], "always"))
def test_a_run_that_is_stopped_ends_in_the_same_bits(
    moment: str, cache: str, pets: list[str], program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: list[Any] = [*pets, *TWO_STAGE, "data.augment=standard", f"cache={cache}"]
    require_equal_if_stopped(program, tmp_path, monkeypatch, moment, *own)


@pytest.mark.long
def test_runs_with_other_columns_share_what_is_kept_of_a_tower(
    pets: list[str], program: Program, tmp_path: Path
) -> None:
    """Neither the other tower nor numbers and names are a part of the key."""
    own = [*pets, *HEAD, "cache=always"]
    compared.trained(program, tmp_path / "first", *own)
    alone = ["model.text=null", "data.text_columns=[]", "data.number_columns=[]"]
    mine = [it for it in own if not it.startswith(("model.text", "data.text_columns", "data.number_columns"))]
    second = compared.trained(program, tmp_path / "second", *mine, *alone)
    assert [row["cache"]["made"] for row in second["phases"]] == [0]
    assert second["phases"][0]["cache"]["found"] == 7


@pytest.mark.long
def test_columns_of_pictures_share_a_tower(program: Program, tmp_path: Path) -> None:
    """Two columns of pictures and two of texts: the same in both, kept or not."""
    file = put_pets(tmp_path / "pets")
    header, *rows = file.read_text().splitlines()
    doubled = [",".join([*row.split(",")[:2], row]) for row in rows]
    file.write_text("\n".join([f"photo2,about2,{header}", *doubled]) + "\n")
    own = [*towers(tmp_path / "tokenizer"), *SHORT, f"data.file={file}", *HEAD, "data.augment=none"]
    first, _ = kept_and_never(program, tmp_path, *own, "+schedule.phases.top={thaw: 2, epochs: 1}")
    columns = [name for _, name in first["data"]["targets"]["about"]["inputs"]["columns"]]
    assert columns == ["image/photo2", "image/photo", "text/about2", "text/about"]


@pytest.mark.long
def test_rows_without_pictures_and_texts_need_no_network(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put_pets(tmp_path / "pets")
    own = ["model=fusion", *SHORT, f"data.file={file}", *TWO_STAGE]
    require_equal_if_stopped(program, tmp_path, monkeypatch, "train 5", *own)
    compared.trained(program, tmp_path / "always", *own, "cache=auto")
    require_equal(tmp_path / "always", tmp_path / "whole")
