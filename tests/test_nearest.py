"""Exact neighbours, in one block and in many, and the files of an index."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.commands.neighbours import nearest as module
from frostline.commands.neighbours.gallery import ABOUT, SAMPLES, VECTORS, read, require_new, write
from frostline.commands.neighbours.nearest import nearest
from frostline.errors import DataError, RunError


@pytest.mark.parametrize(("rows", "queries"), [(65_536, 256), (7, 3)])
def test_neighbours_are_those_of_a_sorted_list(rows: int, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of few values, so that many similarities are equal: the earlier sample comes first."""
    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "QUERIES", queries)
    draw = np.random.default_rng(0)
    gallery, asked = (draw.integers(-1, 2, (number, 3)).astype(np.float32) for number in (50, 8))
    similar, places = nearest(torch.from_numpy(asked), gallery, 9)
    for query, values, chosen in zip(asked, similar.tolist(), places.tolist(), strict=True):
        products = (gallery @ query).tolist()
        expected = sorted(range(50), key=lambda place: (-products[place], place))[:9]
        assert chosen == expected
        assert values == [products[place] for place in expected]


def made(folder: Path) -> Path:
    vectors = np.eye(4, 3, dtype=np.float32)
    write(folder, vectors, ["a,b", "ü", "c\nd", ""], ["x", "x", "", "y"], model="m", weights="w")
    return folder


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    gallery = read(made(tmp_path / "it"), "again")
    assert np.array_equal(gallery.vectors, np.eye(4, 3))
    assert (gallery.names, gallery.identities) == (["a,b", "ü", "c\nd", ""], ["x", "x", "", "y"])
    assert (gallery.key, gallery.model) == ("w", "m")
    assert {file.name for file in tmp_path.iterdir()} == {"it"}, "no draft is left"


def test_a_draft_that_a_kill_left_is_replaced_and_nothing_else_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".it.draft").mkdir()
    (tmp_path / ".it.draft" / VECTORS).write_text("half")
    made(tmp_path / "it")
    assert {file.name for file in tmp_path.iterdir()} == {"it"}
    with pytest.raises(DataError, match="this path exists"):
        require_new(tmp_path / "it")
    with pytest.raises(DataError, match="there is no such folder"):
        require_new(tmp_path / "none" / "it")
    with pytest.raises(DataError, match="the index cannot be written"):
        made(tmp_path / "it")


@pytest.mark.parametrize("damage", [VECTORS, SAMPLES, ABOUT, "schema", "dimension"])
def test_a_damaged_index_is_refused(damage: str, tmp_path: Path) -> None:
    folder = made(tmp_path / "it")
    about = json.loads((folder / ABOUT).read_text())
    if damage in about:
        (folder / ABOUT).write_text(json.dumps(about | {damage: 7}))
    else:
        content = (folder / damage).read_bytes()
        (folder / damage).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="the index is damaged"):
        read(folder, "again")


def test_what_is_no_index_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such index") as refused:
        read(tmp_path / "none", "frostline index ...")
    assert refused.value.next_step == "frostline index ..."
    with pytest.raises(RunError, match="this folder is no index"):
        read(tmp_path, "again")
