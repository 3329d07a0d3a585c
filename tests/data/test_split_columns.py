"""Splits by time and by user, and users to rank by: what is later, what stays together, what is reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from conftest import pasted
from frostline.data.by_time import time_split, times_of
from frostline.data.division import Division
from frostline.data.ranked import name_users, ranked, ranking_notes
from frostline.data.reader import Found
from frostline.data.sampling import Sampling
from frostline.data.source import Source
from frostline.data.split import Split
from frostline.data.tables.table import Row
from frostline.data.target_types.find import target_type
from frostline.data.texts.readers import TextCsv
from frostline.errors import ConfigError, DataError

SETTINGS: dict[str, Any] = {
    "train_file": "train.csv", "val_file": None, "test_file": None, "text_columns": ["text"],
    "target_columns": ["stars"], "separator": None, "class_names": None, "quotes": None, "source": None,
    "split_by": "random", "time_column": None, "user_column": None, "relevant": None, "group_column": None,
    "group_columns": None,
}  # fmt: skip
SAMPLING: dict[str, Any] = {
    "batch_size": 8, "per_identity": None, "train_limit": None, "val_fraction": 0.2, "test_fraction": 0.2,
    "folds": None, "fold": 0, "split_seed": 0, "seed": 0,
}  # fmt: skip


class Lines(Source):
    """Texts whose targets are all that is asked of them."""

    def __init__(self, labels: torch.Tensor) -> None:
        self.labels = labels

    def fetch(self, index: Any, *, whole: bool) -> Any:
        raise NotImplementedError

    def digests(self, index: torch.Tensor) -> list[bytes]:
        raise NotImplementedError

    def _content(self) -> str:
        raise NotImplementedError


class Made:
    """Division and splits of a table."""

    def __init__(self, folder: Path, kind: str, own: dict[str, Any], sampling: dict[str, Any]) -> None:
        self.reader = TextCsv(dir=str(folder), **SETTINGS | own)
        target = target_type(kind)
        self.found: Found = self.reader.read(target, None)
        sources = [
            None if it is None else Lines(it.labels) for it in (self.found.train, self.found.val, self.found.test)
        ]
        train, val, test = sources
        assert train is not None
        if self.found.users is not None:
            name_users(self.found.users, sources)
        self.division = Division(self.reader, target, self.found, (train, val, test), "texts")
        self.splits = self.division.splits(Sampling(**SAMPLING | sampling))
        targets = target.describe(self.found.names, self.splits[0].labels)
        if self.found.users is not None:
            targets.about.update(ranked(self.found.users, target, targets, self.splits))
        self.targets = targets
        parts: dict[str, Split] = dict(zip(("train", "val", "test"), self.splits, strict=True))
        self.notes = [*self.division.notes, *ranking_notes(self.found.users, targets, parts)]

    @property
    def indices(self) -> list[list[int]]:
        return [split.index.tolist() for split in self.splits]


Make = Callable[..., Made]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(lines: list[str], kind: str = "numbers", sampling: dict[str, Any] | None = None, **own: Any) -> Made:
        (tmp_path / "train.csv").write_text("\n".join(["text,stars,user,at", *lines]) + "\n")
        return Made(tmp_path, kind, own, sampling or {})

    return made


def lines(times: list[str], users: str = "ab") -> list[str]:
    return [f"t{i},{1 + i % 5},{users[i % len(users)]},{at}" for i, at in enumerate(times)]


# --- columns of two uses ---


@pytest.mark.parametrize(
    "own",
    [
        {"split_by": "user", "user_column": "stars"},
        {"user_column": "stars", "relevant": 4},
        {"split_by": "time", "time_column": "at", "user_column": "stars"},
        {"split_by": "time", "time_column": "stars"},
        {"split_by": "time", "time_column": "stars", "user_column": "user", "relevant": 4},
        {"group_column": "stars"},
        {"group_columns": ["stars"]},
        {"group_columns": ["user", "stars"]},
    ],
    ids=",".join,
)
def test_what_is_proposed_for_a_target_that_divides_samples_works_when_pasted(make: Make, own: dict[str, Any]) -> None:
    times = [str(i) for i in range(20)]
    with pytest.raises(ConfigError, match=r"'stars' is in data\.target_columns and in") as raised:
        make(lines(times), **own)
    typed = OmegaConf.to_container(OmegaConf.from_dotlist(pasted((raised.value.next_step,))))
    make(lines(times), **own | typed["data"])  # type: ignore[call-overload, index]


# --- by time ---


def test_the_last_lines_are_validation_and_test(make: Make) -> None:
    days = [f"2026-03-{1 + (7 * i) % 20:02}" for i in range(20)]  # in no order
    data = make(lines(days), split_by="time", time_column="at")
    spans = [sorted(days[i] for i in index) for index in data.indices]
    assert [len(span) for span in spans] == [13, 3, 4]
    assert spans[0][-1] < spans[1][0]
    assert spans[1][-1] < spans[2][0]
    said = "train from 2026-03-01 to 2026-03-13, val from 2026-03-14 to 2026-03-16, test from 2026-03-17 to 2026-03-20"
    assert data.notes == [f"by 'at': {said}"]


@settings(max_examples=100)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=40), st.sampled_from([0.1, 0.2, 0.5]), st.integers(1, 2))
def test_equal_times_stay_together(values: list[int], fraction: float, keep: int) -> None:
    times = torch.tensor(values)
    if len(times.unique()) < 1 + keep:
        return
    rest, split = time_split(times, fraction, keep=keep)
    assert sorted([*rest.tolist(), *split.tolist()]) == list(range(len(values)))
    assert int(times[rest].max()) < int(times[split].min())
    assert len(times[rest].unique()) >= keep
    sizes = [int((times >= first).sum()) for first in times.unique()[keep:]]
    assert abs(len(split) / len(times) - fraction) == min(abs(size / len(times) - fraction) for size in sizes)


@pytest.mark.parametrize(
    ("cells", "order"),
    [
        (["10", "9", "1e1", "-3.5"], [2, 1, 2, 0]),
        (["1700000000000000001", "1700000000000000002"], [0, 1]),  # equal as float64
        (["2026-03-01", "2026-03-01T00:00:00", "2025-12-31 23:59"], [1, 1, 0]),
        (["2026-03-01T12:00:00+02:00", "2026-03-01T11:00:00Z", "2026-03-01T10:00:00+00:00"], [0, 1, 0]),
    ],
    ids=["numbers", "nanoseconds", "days and moments", "zones"],
)
def test_times_have_an_order(cells: list[str], order: list[int]) -> None:
    found = times_of({"train": [Row("it", i, {"at": cell}) for i, cell in enumerate(cells)]}, "at")
    assert found.places["train"].tolist() == order


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("", "there is no time in 'at'"),
        ("soon", "'soon' in 'at' is not a time"),
        ("03/04/2026", "'03/04/2026' in 'at' is not a time"),
        ("2026-03-01T12:00:00Z", "some times in 'at' name their zone, others do not"),
        ("17", "'17' in 'at' is not a time"),
    ],
)
def test_a_faulty_time_is_named(make: Make, cell: str, what: str) -> None:
    with pytest.raises(DataError, match=what) as raised:
        make(lines([*(f"2026-03-{day:02}" for day in range(1, 10)), cell]), split_by="time", time_column="at")
    assert "train.csv, line " in str(raised.value.where)
    assert str(raised.value.where).endswith("line 11") or "zone" in what


@pytest.mark.parametrize("cell", ["", "nan", "inf", "9" * 5000, "2026-03-01"])
def test_a_faulty_number_is_named(make: Make, cell: str) -> None:
    with pytest.raises(DataError, match=r"in 'at'") as raised:
        make(lines(["1", "2", "3", cell]), split_by="time", time_column="at")
    assert str(raised.value.where).endswith("line 5")


def test_times_of_parquet_are_read(tmp_path: Path) -> None:
    import datetime

    days = [datetime.datetime(2026, 3, 1 + i) for i in range(10)]
    table = {"text": [f"t{i}" for i in range(10)], "stars": [float(i) for i in range(10)], "at": days}
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    data = Made(tmp_path, "numbers", {"train_file": "train.parquet", "split_by": "time", "time_column": "at"}, {})
    assert data.indices == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]


def test_too_few_times_are_refused(make: Make) -> None:
    with pytest.raises(DataError, match="2 different times are too few for training, validation, test") as raised:
        make(lines(["1", "1", "2", "2"]), split_by="time", time_column="at")
    assert raised.value.next_step.endswith("data.split_by=random data.time_column=null")


def test_a_coarse_split_by_time_is_told(make: Make) -> None:
    data = make(lines(["1"] * 5 + ["2"] * 5 + ["3"] * 10), split_by="time", time_column="at")
    assert [len(index) for index in data.indices] == [5, 5, 10]
    assert "test has 50 % of the samples instead of 20 %, as samples of one time stay together" in data.notes


def test_given_splits_that_are_not_later_are_told(make: Make, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,stars,user,at\nx,1,a,3\ny,2,b,9\n")
    data = make(lines([str(i) for i in range(10)]), split_by="time", time_column="at", test_file="test.csv")
    assert [len(index) for index in data.indices] == [8, 2, 2]
    assert data.notes[0] == "by 'at': train from 0 to 7, val from 8 to 9, test from 3 to 9"
    assert data.notes[1:] == [
        "5 samples of train are not earlier than the first of test",
        "2 samples of val are not earlier than the first of test",
    ]


def test_a_class_that_comes_later_is_explained(make: Make) -> None:
    own = [f"t{i},{'new' if i > 7 else 'ab'[i % 2]},u,{i}" for i in range(10)]
    with pytest.raises(DataError, match="its samples are later than those of training"):
        make(own, kind="class", split_by="time", time_column="at")


# --- by user ---


def test_users_stay_together(make: Make) -> None:
    data = make(lines(["1"] * 40, users="abcdefgh"), split_by="user", user_column="user")
    sides = [{int(i) % 8 for i in index} for index in data.indices]
    assert [len(side) for side in sides] == [5, 1, 2] or sum(map(len, sides)) == 8
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_too_few_users_are_refused(make: Make) -> None:
    with pytest.raises(DataError, match="2 groups are too few") as raised:
        make(lines(["1"] * 8), split_by="user", user_column="user")
    assert raised.value.next_step.endswith("data.split_by=random ignores groups")


def test_a_line_without_a_user_is_named(make: Make) -> None:
    own = [*lines(["1"] * 8), "x,1,,1"]
    with pytest.raises(DataError, match="the column 'user' names no user") as raised:
        make(own, user_column="user", split_by="user")
    assert str(raised.value.where).endswith("line 10")


def test_lines_without_a_user_are_not_ranked(make: Make) -> None:
    own = [f"t{i},{1 + i % 5},{'' if i % 2 else 'a'},{i}" for i in range(60)]
    data = make(own, user_column="user", split_by="time", time_column="at")
    assert [*data.splits[2].labels[:4, 0]] == [4, 5, 1, 2]
    users = data.splits[2].source.users_of(data.splits[2].index)
    assert users is not None
    assert users.tolist() == [1, -1] * 6
    assert data.notes[-1] == "6 samples of test name no user, and are not ranked"


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"split_by": "time"}, "data.split_by=time needs a column"),
        ({"split_by": "user"}, "data.split_by=user needs a column"),
        ({"time_column": "at"}, "data.time_column=at does nothing"),
        ({"relevant": 4}, "data.relevant does nothing"),
        (
            {"split_by": "time", "time_column": "at", "group_column": "user"},
            "splits by time divide the groups of 'user'",
        ),
        ({"split_by": "user", "user_column": "user", "group_column": "at"}, "splits by user divide the groups of 'at'"),
    ],
)
def test_settings_that_contradict_are_refused(make: Make, own: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        make(lines(["1"] * 8), **own)


def test_folds_are_not_by_time(make: Make) -> None:
    with pytest.raises(ConfigError, match="folds takes samples of all times"):
        make(lines([*"12345678"]), split_by="time", time_column="at", sampling={"folds": 3})


# --- ranked by user ---


def test_users_are_counted_by_score(make: Make) -> None:
    """Two users with eleven samples or more each in test, one with a single one."""
    own = [*lines([*"1234"] * 5), *(f"s{i},{1 + i % 5},{'ab'[i % 2]},9" for i in range(24)), "z,1,c,9"]
    data = make(own, split_by="time", time_column="at", user_column="user")
    assert data.targets.about["ranked"] == {
        "by": "user", "scores": ["ndcg_10"], "least": 1.0, "relevant": data.targets.about["mean"][0],
    }  # fmt: skip
    assert data.notes[-1] == (
        "test has 3 users by 'user': ndcg_10 is of 2 with different targets and recall_10 is of 2 with more than 10 "
        "samples, relevant ones and others"
    )
    users = data.splits[2].source.users_of(data.splits[2].index)
    assert users is not None
    assert users.unique(return_counts=True)[1].tolist() == [12, 12, 1]


def test_the_relevant_class_may_be_named(make: Make) -> None:
    own = [f"t{i},{['meh', 'no', 'yes'][i % 3]},{'ab'[i % 2]},1" for i in range(60)]
    data = make(own, kind="class", user_column="user", relevant="no")
    assert data.targets.about["ranked"]["relevant"] == 1.0
    assert data.targets.about["ranked"]["by"] == "user"
    with pytest.raises(ConfigError, match="there is no class 'ys': did you mean yes"):
        make(own, kind="class", user_column="user", relevant="ys")
    data = make(own, kind="class", user_column="user")
    assert "ranked" not in data.targets.about
    assert data.notes[-1].startswith("samples are not ranked by 'user'")
    binary = make([line for line in own if "meh" not in line], kind="class", user_column="user")
    assert binary.targets.about["ranked"]["relevant"] == 1.0


@pytest.mark.parametrize(
    ("names", "relevant", "place"),
    [
        (("1", "1234567", "7654321"), 7654321, 2),
        (("1", "1234567", "7654321"), 1234567.0, 1),
        (("0.1234567", "1.0", "none"), 1.0, 1),
        (("0.1234567", "1.0", "none"), 0.1234567, 0),
    ],
)
def test_the_relevant_class_may_be_a_number(make: Make, names: tuple[str, ...], relevant: float, place: int) -> None:
    own = [f"t{i},{names[i % 3]},{'ab'[i % 2]},1" for i in range(60)]
    data = make(own, kind="class", user_column="user", relevant=relevant)
    assert data.targets.names[place] == names[place]
    assert data.targets.about["ranked"]["relevant"] == place


def test_numbers_are_relevant_from_a_number_on(make: Make) -> None:
    own = lines(["1"] * 60)
    assert make(own, user_column="user", relevant=4).targets.about["ranked"]["relevant"] == 4.0
    with pytest.raises(ConfigError, match="'good' is none"):
        make(own, user_column="user", relevant="good")
