"""Identities are divided whole, groups stay together, and what cannot be divided or scored is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.data.module import Data
from frostline.data.pictures.image_csv import ImageCsv
from frostline.data.pictures.image_folder import ImageFolder
from frostline.data.split import Split
from frostline.data.target_types.find import require_kind
from frostline.data.whole_names import joined, split_by_names
from frostline.errors import ConfigError, DataError

SPEC = ImageSpec(8, 8, (0.5,) * 3, (0.5,) * 3, min_size=8)
COMMON: dict[str, Any] = {
    "image_size": None, "augment": "none", "flip": True, "erase": 0.0, "num_workers": 0, "batch_size": None,
    "train_limit": None, "val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0, "seed": 0,
}  # fmt: skip


def put(folder: Path, **sizes: int) -> Path:
    """A folder for each identity, with `sizes[name]` pictures, all different."""
    for name, number in sizes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in range(number):
            shade = (hash((name, place)) % 200, 20 * place % 256, len(name))
            Image.new("RGB", (8, 8), shade).save(folder / name / f"{place % 2}_{name}{place}.png")
    return folder


def of_folder(folder: Path, **own: Any) -> Data:
    made = {"dir": str(folder), "classes": None} | COMMON | own
    return data_of(ImageFolder, SPEC, target_kind="identities", **made)


def of_table(file: Path, **own: Any) -> Data:
    table = {"file": str(file), "dir": None, "path_column": "path", "suffix": "", "target_columns": ["who"]}
    table |= {"separator": None, "quotes": None, "split_column": None, "group_column": None, "group_columns": None}
    return data_of(ImageCsv, SPEC, target_kind="identities", **(table | COMMON | own))


def names_in(data: Data, split: Split) -> set[str]:
    return {data.names[label] for label in split.labels.tolist()}


SIX = dict.fromkeys("abcdef", 4)


# --- dividing ---


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=40),
    st.booleans(),
    st.sampled_from([0.1, 0.3, 0.6]),
)
@settings(max_examples=40)
def test_no_identity_and_no_group_is_on_two_sides(
    samples: list[tuple[int, int]], grouped: bool, fraction: float
) -> None:
    names, groups = torch.tensor([it[0] for it in samples]), torch.tensor([it[1] for it in samples])
    sets = joined(names, groups if grouped else None)
    divided = split_by_names(names, sets, fraction, 0, keep=1)
    if divided is None:
        return
    rest, split = divided
    assert sorted([*rest.tolist(), *split.tolist()]) == [*range(len(samples))]
    for values in (names, groups) if grouped else (names,):
        assert not {*values[rest].tolist()} & {*values[split].tolist()}
    assert min(len(names[rest].unique()), len(names[split].unique())) >= 2


def test_sets_are_all_that_names_and_groups_connect() -> None:
    names, groups = torch.tensor([0, 0, 1, 1, 2, 3, 4]), torch.tensor([5, 6, 6, 7, 7, 8, 8])
    sets = joined(names, groups).tolist()
    assert (len({*sets[:5]}), len({*sets[5:]}), len({*sets})) == (1, 1, 2)


def test_a_split_is_about_as_large_as_asked() -> None:
    names = torch.arange(50).repeat_interleave(7)
    rest, split = split_by_names(names, names, 0.2, 3, keep=2) or (names, names)
    assert len(split) == 70
    assert len(rest) == 280
    other = split_by_names(names, names, 0.2, 4, keep=2)
    assert other is not None
    assert not torch.equal(split, other[1])


def test_identities_of_a_folder_are_divided_whole_and_those_of_training_come_first(tmp_path: Path) -> None:
    data = of_folder(put(tmp_path, **SIX))
    sides = [names_in(data, split) for split in data.splits]
    assert [len(side) for side in sides] == [2, 2, 2]
    assert set().union(*sides) == {*SIX}
    assert data.targets.names == data.names[:2] == sorted(sides[0])
    assert data.names[2:] == sorted(sides[1] | sides[2])
    assert data.targets.counts == [4, 4]
    assert data.classes == []
    for split in data.splits:
        for place in split.index.tolist():
            assert Path(split.source.name_of(place)).parent.name == data.names[split.source.labels[place]]
    assert "2 identities, the most frequent" in data.summary()


def test_too_few_identities_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="5 identities are too few for training, validation, test") as refused:
        of_folder(put(tmp_path / "five", **dict.fromkeys("abcde", 4)))
    assert "folders train, val and test" in refused.value.next_step
    with pytest.raises(DataError, match="a retrieval needs two identities, but there is only one: 'a'"):
        of_folder(put(tmp_path / "one", a=4))
    with pytest.raises(DataError, match="no identity of the val split has two samples"):
        of_folder(put(tmp_path / "single", **dict.fromkeys("abcdef", 1)))


def test_groups_stay_together_as_far_as_identities_allow(tmp_path: Path) -> None:
    put(tmp_path, **SIX)
    lines = [f"{who}/{file.name},{who},{group}" for group, pair in enumerate(("ab", "cd", "ef")) for who in pair
             for file in sorted((tmp_path / who).iterdir())]  # fmt: skip
    (tmp_path / "table.csv").write_text("path,who,session\n" + "\n".join(lines) + "\n")
    data = of_table(tmp_path / "table.csv", group_column="session")
    assert sorted(map(sorted, (names_in(data, split) for split in data.splits))) == [["a", "b"], ["c", "d"], ["e", "f"]]
    with pytest.raises(DataError, match="the groups join too many identities: ") as refused:
        of_folder(tmp_path, group_pattern=r"/(\d)_")  # of each identity, some pictures are in either group
    assert refused.value.next_step.startswith("data.group_pattern=null")


@pytest.mark.parametrize("fold", [0, 2])
def test_folds_have_whole_identities(tmp_path: Path, fold: int) -> None:
    data = of_folder(put(tmp_path, **dict.fromkeys("abcdefgh", 3)), folds=3, fold=fold)
    sides = [names_in(data, split) for split in data.splits]
    assert set().union(*sides) == {*"abcdefgh"}
    assert sum(map(len, sides)) == 8


# --- splits that the user gives ---


def test_a_test_split_may_have_identities_that_training_has_not_seen(tmp_path: Path) -> None:
    put(tmp_path / "train", b=4, d=4, c=3)
    put(tmp_path / "val", b=2, c=2)
    put(tmp_path / "test", a=2, d=2, e=1)
    data = of_folder(tmp_path)
    assert data.names == ["b", "c", "d", "a", "e"]
    assert data.targets.names == ["b", "c", "d"]
    assert names_in(data, data.test_split) == {"a", "d", "e"}
    notes = "\n".join(data.notes())
    assert "2 identities of val also in train: b, c" in notes
    assert "one identity of test also in train: d" in notes
    assert "one identity has one sample in test, which is searched but not queried" in notes


def test_a_split_that_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    for name in ("train", "val"):
        put(tmp_path / name, a=2, b=2)
    put(tmp_path / "test", c=1, d=1)
    with pytest.raises(DataError, match="no identity of the test split has two samples"):
        of_folder(tmp_path)
    put(tmp_path / "test", c=4)
    of_folder(tmp_path)
    (tmp_path / "test" / "d").rename(tmp_path / "d")
    with pytest.raises(DataError, match="all samples of the test split are of one identity"):
        of_folder(tmp_path)


def test_a_table_may_name_further_identities_outside_of_training(tmp_path: Path) -> None:
    sides = {"10": "train", "9": "train", "30": "val", "2": "val", "4": "test", "3": "test"}
    put(tmp_path, **dict.fromkeys(sides, 2))
    lines = [f"{who}/{file.name},{who},{side}" for who, side in sides.items() for file in (tmp_path / who).iterdir()]
    (tmp_path / "table.csv").write_text("path,who,part\n" + "\n".join(lines) + "\n")
    data = of_table(tmp_path / "table.csv", split_column="part")
    assert data.names == ["9", "10", "2", "3", "4", "30"], "as numbers, those of training first"
    assert names_in(data, data.test_split) == {"3", "4"}


def test_a_run_is_scored_on_identities_that_it_does_not_know(tmp_path: Path) -> None:
    trained = of_folder(put(tmp_path / "own", **SIX))
    other = data_of(
        ImageFolder, SPEC, target_kind="identities", known=trained.targets,
        **{"dir": str(put(tmp_path / "other", x=2, y=3)), "classes": None} | COMMON,
    )  # fmt: skip
    assert other.names == [*trained.targets.names, "x", "y"]
    assert other.test_split.labels.tolist() == [2, 2, 3, 3, 3]
    again = data_of(
        ImageFolder, SPEC, target_kind="identities", known=trained.targets,
        **{"dir": str(tmp_path / "own"), "classes": None} | COMMON,
    )  # fmt: skip
    assert again.fingerprint == trained.fingerprint, "the run's own samples are recognised"


def test_chosen_identities_are_taken_from_all_splits(tmp_path: Path) -> None:
    for name, members in (("train", "abc"), ("val", "cd"), ("test", "ef")):
        put(tmp_path / name, **dict.fromkeys(members, 3))
    data = of_folder(tmp_path, classes=["a", "b", "c", "d", "e", "f"])
    assert data.names == ["a", "b", "c", "d", "e", "f"]
    with pytest.raises(DataError, match="there is no class folder 'g'"):
        of_folder(tmp_path, classes=["a", "b", "g"])


# --- kinds and batches ---


@pytest.mark.parametrize("kinds", [["class"], ["numbers", "class"]])
def test_what_has_classes_has_identities(kinds: Sequence[str]) -> None:
    require_kind("identities", kinds)
    with pytest.raises(ConfigError, match="this task learns from one class for each sample"):
        require_kind("class", ["identities"])


def test_batches_are_composed_as_the_loss_asks_or_the_user_says(tmp_path: Path) -> None:
    folder = put(tmp_path, **SIX)
    data = of_folder(folder, batch_size=9)
    data.compose_batches(None)
    assert (data.per_identity, data.num_batches) == (None, 1)
    data.compose_batches(4)
    assert (data.per_identity, data.num_batches) == (4, 1)
    assert "2 × 4 a batch" in data.summary()
    assert data.look()["per_identity"] == 4
    asked = of_folder(folder, batch_size=4, per_identity=2)
    asked.compose_batches(None)
    assert (asked.per_identity, asked.num_batches) == (2, 2)
    plain = of_folder(folder, per_identity=None)
    plain.compose_batches(4)
    assert plain.per_identity is None
    classes = data_of(ImageFolder, SPEC, **{"dir": str(folder), "classes": None, "per_identity": 2} | COMMON)
    with pytest.raises(ConfigError, match="this task learns none"):
        classes.compose_batches(None)
