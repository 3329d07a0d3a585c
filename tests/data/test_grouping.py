"""Groups of samples and folds: no group is divided, every sample is tested once, errors name what cannot be divided."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from conftest import DEVICE, Answer, pasted
from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec
from frostline.data.grouping import fold_split, grouped_split, numbered
from frostline.data.module import Data
from frostline.data.pictures.image_csv import ImageCsv
from frostline.data.pictures.image_folder import ImageFolder
from frostline.errors import ConfigError, DataError
from frostline.paths import conf_dir
from frostline.training.predictions import table_of

Make = Callable[..., Data]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=2, max_size=60),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_no_group_is_divided(samples: list[tuple[int, int]], fraction: float) -> None:
    strata, groups = torch.tensor([it[0] for it in samples]), torch.tensor([it[1] for it in samples])
    if len(groups.unique()) < 2:
        return
    rest, split = grouped_split(strata, groups, fraction, 0)
    assert sorted([*rest.tolist(), *split.tolist()]) == list(range(len(samples)))
    assert len(rest)
    assert len(split)
    assert not {*groups[rest].tolist()} & {*groups[split].tolist()}


def test_a_split_by_groups_is_stratified_as_far_as_groups_allow() -> None:
    """Twenty groups of ten samples, each of one class, a quarter of them of class 1."""
    groups = torch.arange(20).repeat_interleave(10)
    strata = (groups % 4 == 0).long()
    _, split = grouped_split(strata, groups, 0.2, 0)
    assert len(split) == 40
    assert float(strata[split].double().mean()) == 0.25
    assert not torch.equal(split, grouped_split(strata, groups, 0.2, 1)[1])
    assert torch.equal(split, grouped_split(strata, groups, 0.2, 0)[1])


@pytest.mark.parametrize("grouped", [False, True])
def test_each_sample_is_in_one_fold(grouped: bool) -> None:
    strata = torch.arange(30) % 3
    groups = torch.arange(30) // 3 if grouped else None
    tested: list[Tensor] = [fold_split(strata, groups, 5, fold, 0)[1] for fold in range(5)]
    assert torch.cat(tested).sort().values.tolist() == list(range(30))
    assert [strata[split].bincount().tolist() for split in tested] == [[2, 2, 2]] * 5


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.9])
def test_any_fraction_is_met_where_groups_are_small(fraction: float) -> None:
    groups = torch.arange(40).repeat_interleave(5)
    _, split = grouped_split(torch.arange(200) % 2, groups, fraction, 0)
    assert abs(len(split) / 200 - fraction) <= 0.025


def test_groups_are_numbered_by_name() -> None:
    assert numbered(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


# --- data ---


@pytest.fixture
def folders(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> Make:
    """Pictures <class>/<patient>_<number>.png of five patients, unless they are given."""

    def made(patients: str = "abcde", **own: Any) -> Data:
        for name in ("sick", "well"):
            (tmp_path / name).mkdir(exist_ok=True)
            for number in range(3):
                for patient in patients:
                    picture = Image.new("RGB", (16, 16), (ord(patient), number, len(name)))
                    picture.save(tmp_path / name / f"{patient}_{number}.png")
        said: dict[str, Any] = common | {"dir": str(tmp_path), "classes": None, "group_pattern": "([^/]*)_"} | own
        return data_of(ImageFolder, spec, **said)

    return made


def patients(data: Data) -> list[set[str]]:
    return [{Path(it.source.name_of(i)).name[0] for i in it.index.tolist()} for it in data.splits]


def test_a_pattern_keeps_patients_apart(folders: Make) -> None:
    data = folders()
    train, val, test = patients(data)
    assert [len(train), len(val), len(test)] == [3, 1, 1]
    assert train | val | test == set("abcde")
    assert "val has 25 % of the samples instead of 10 %, as groups stay whole" in data.notes()


def test_a_split_knows_the_patient_of_each_picture(folders: Make) -> None:
    """Kept predictions name it, so that intervals are drawn by patient."""
    for split in folders().splits:
        names = [Path(split.source.name_of(index)).name[0] for index in split.index.tolist()]
        columns = table_of({"index": split.index.flip(0), "target": split.labels.flip(0)}, split)
        assert [group.lower() for group in columns["group"]] == names
    for split in folders(group_pattern=None).splits:
        assert "group" not in table_of({"index": split.index}, split)


def test_without_a_pattern_patients_are_divided(folders: Make) -> None:
    train, _, test = patients(folders(group_pattern=None))
    assert train & test


def test_too_few_patients_are_refused(folders: Make) -> None:
    with pytest.raises(DataError, match="2 groups are too few for training, validation, test") as raised:
        folders("ab")
    assert raised.value.next_step.endswith("data.group_pattern=null ignores groups")


def test_files_without_a_group_are_named(folders: Make, tmp_path: Path) -> None:
    folders()
    Image.new("RGB", (16, 16)).save(tmp_path / "sick" / "nobody.png")
    with pytest.raises(DataError, match="finds no group in this path") as raised:
        folders()
    assert raised.value.where == "sick/nobody.png"
    with pytest.raises(ConfigError, match="is no regular expression: missing"):
        folders(group_pattern="(")


def test_folds_that_leave_one_patient_are_refused(folders: Make) -> None:
    with pytest.raises(DataError, match="one group is too few for training, validation"):
        [folders("abc", folds=2, fold=fold) for fold in range(2)]


def test_a_class_whose_patients_are_all_elsewhere_is_explained(folders: Make, tmp_path: Path) -> None:
    folders("abcd")
    for file in (tmp_path / "sick").glob("[abc]_*"):
        file.unlink()
    for file in (tmp_path / "well").glob("d_*"):
        file.unlink()
    with pytest.raises(DataError, match="its groups are in the validation or test split") as raised:
        [folders("", split_seed=seed) for seed in range(12)]
    assert "data.split_seed=" in raised.value.next_step


def test_no_other_division_is_proposed_for_splits_that_are_given(folders: Make, tmp_path: Path) -> None:
    folders("abc")
    for place, split in enumerate(("train", "val", "test")):
        for name in ("sick", "well"):
            (tmp_path / "own" / split / name).mkdir(parents=True)
            for file in (tmp_path / name).glob(f"{'abc'[place]}_*"):
                file.rename(tmp_path / "own" / split / name / file.name)
    for file in (tmp_path / "own" / "train" / "sick").glob("*"):
        file.unlink()
    with pytest.raises(DataError) as raised:
        folders("", dir=str(tmp_path / "own"))
    assert "split_seed" not in str(raised.value)


def test_samples_to_score_need_no_group(folders: Make, tmp_path: Path) -> None:
    data = folders()
    (tmp_path / "sick" / "a_0.png").rename(tmp_path / "sick" / "nobody.png")
    scored = folders("", known=data.targets)
    assert len(scored.test_split) == 30


def test_folds_test_each_patient_once(folders: Make) -> None:
    tested = [patients(folders(folds=5, fold=fold))[2] for fold in range(5)]
    assert sorted(map(sorted, tested)) == [[letter] for letter in "abcde"]


@pytest.mark.parametrize(("folds", "fold"), [(5, 5), (1, 0), (None, 2)])
def test_folds_that_do_not_exist_are_refused(folders: Make, folds: int | None, fold: int) -> None:
    with pytest.raises(ConfigError):
        folders(folds=folds, fold=fold)


def test_folds_of_data_with_a_test_split_are_refused(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("sick", "well"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(6):
                picture = Image.new("RGB", (16, 16), (number, len(name), len(split)))
                picture.save(tmp_path / split / name / f"{'abc'[number // 2]}_{number}.png")
    own: dict[str, Any] = common | {"dir": str(tmp_path), "classes": None}
    with pytest.raises(ConfigError, match="has its own test split"):
        data_of(ImageFolder, spec, **own, folds=3)
    data = data_of(ImageFolder, spec, **own, group_pattern="([^/]*)_")
    train, val, test = patients(data)
    assert [len(train), len(val), len(test)] == [2, 1, 3]
    assert not train & val
    assert any("in both train and test" in note for note in data.notes())


@pytest.fixture
def table(spec: ImageSpec, common: dict[str, Any], tmp_path: Path) -> Make:
    def made(groups: list[str], splits: list[str] | None = None, **own: Any) -> Data:
        lines = ["path,kind,patient,split"]
        for number, group in enumerate(groups):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
            lines.append(f"{number}.png,{'ab'[number % 2]},{group},{splits[number] if splits else ''}")
        (tmp_path / "pictures.csv").write_text("\n".join(lines) + "\n")
        said: dict[str, Any] = {"file": str(tmp_path / "pictures.csv"), "dir": None, "path_column": "path",
                "suffix": "", "target_columns": ["kind"], "separator": None, "quotes": None, "split_column": None,
                "group_column": "patient", "group_columns": None}  # fmt: skip
        return data_of(ImageCsv, spec, **(common | said | own))

    return made


def test_a_column_keeps_patients_apart(table: Make) -> None:
    groups = [f"p{number // 4}" for number in range(24)]
    splits = [{groups[int(Path(it.source.name_of(i)).stem)] for i in it.index.tolist()} for it in table(groups).splits]
    assert sum(map(len, splits)) == 6
    assert len(set().union(*splits)) == 6


def test_patients_in_two_given_splits_are_told(table: Make) -> None:
    groups = [f"p{number // 4}" for number in range(24)]
    splits = (["train"] * 4 + ["val"] * 2 + ["test"] * 2) * 3
    notes = table(groups, splits, split_column="split").notes()
    assert "3 groups are in both val and test: p1, p3, p5" in notes


def test_a_line_without_a_patient_is_named(table: Make) -> None:
    with pytest.raises(DataError, match="the column 'patient' names no group") as raised:
        table(["p1", "p2", "", "p4"] * 4)
    assert "line 4" in str(raised.value)


def test_more_folds_than_numbers_are_refused(table: Make) -> None:
    with pytest.raises(DataError, match="there are 4 pictures, too few for 5 splits"):
        table(["1", "2", "3", "4"], target_kind="numbers", group_column=None, folds=5, target_columns=["patient"])


def test_patterns_work_as_they_are_documented_and_proposed(
    program: Callable[..., Answer], folders: Make, tmp_path: Path
) -> None:
    """Pasted into a shell."""
    folders()
    own = ["train", "data=image_folder", f"data.dir={tmp_path}", "dry_run=true", *DEVICE]
    refused = program(*own, "data.group_pattern=zzz")
    assert refused.code == 1
    proposed = re.findall(r"'data\.group_pattern=.*?'", refused.err)
    documented = [
        re.findall(r"'data\.group_pattern=.*?'", (conf_dir() / "data" / f"{name}_folder.yaml").read_text())
        for name in ("image", "audio")
    ]
    for (typed,) in (proposed, *documented):
        answer = program(*own, *pasted((typed,)))
        assert answer.code == 0, answer.err
        assert "as groups stay whole" in answer.out
