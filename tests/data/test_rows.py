"""Columns of a table: what they are guessed to hold, what is learned of them, and what they share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import QuantileTransformer

from conftest import pasted
from frostline.contracts.features import MISSING, UNKNOWN
from frostline.data.files.paths import FilePaths
from frostline.data.pictures.files import PICTURES
from frostline.data.rows.columns import Columns, Kinds, columns_of
from frostline.data.rows.kinds import guess, guess_note, kinds_of, slices_note
from frostline.data.rows.sources import Distinct, RowSource, absent_in
from frostline.data.rows.statistics import coded, statistics_of
from frostline.data.tables.table import Row
from frostline.data.texts.strings import Places
from frostline.errors import DataError

NOTHING: dict[str, list[str] | None] = dict.fromkeys(Kinds._fields)
DATES = "dates; a number, such as the days since one of them, can be learned from"
WORDS = ["a small calm dog", "it barks at night", "he likes long walks"]


def columns(numbers: Sequence[float] = (), names: Sequence[str] = ()) -> Columns:
    rows = max(len(numbers), len(names))
    own = {"x": torch.tensor(numbers, dtype=torch.float64)} if numbers else {}
    return Columns({}, {}, own, {"name": [*names]} if names else {}, Places("it.csv", [*range(rows)], "line"))


# --- guesses ---


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("photo", ["a/1.png", "", "2.JPG"], "images"),
        ("about", WORDS, "texts"),
        ("about", WORDS * 40, "texts"),
        ("age", ["1.5", "2", "", "nan"], "numbers"),
        ("year", ["1999", "2001", "1999"], "numbers"),
        ("user", ["7", "9", "7"], "ids"),
        ("movie_id", ["7", "9", "7"], "ids"),
        ("userId", ["7", "9", "7"], "ids"),
        ("paid", ["1", "0", "1"], "numbers"),
        ("breed", ["pug", "lab", "pug"], "categories"),
        ("likes", ["true", "false", "true"], "categories"),
        ("user", ["ann", "bob", "ann"], "ids"),
        ("shop", [f"s{place % 150}" for place in range(450)], "ids"),
        ("user", ["7.0", "", "9.0", "7.0"], "ids"),
        ("price", ["1.5", "2.5", "1.5"], "numbers"),
    ],
)
def test_a_column_is_guessed_by_its_name_and_cells(name: str, cells: list[str], kind: str) -> None:
    assert guess(name, cells).kind == kind


@pytest.mark.parametrize(
    ("name", "cells", "why"),
    [
        ("empty", ["", " "], "no row has a value"),
        ("same", ["a", "a"], "all rows have the same value"),
        ("id", ["1", "2", "3"], "each row has its own"),
        ("name", ["Rex", "Ada", "Bo"], "each row has its own, or nearly"),
        ("born", ["2020-01-31", "2021-02-01", "2020-01-31"], DATES),
        ("born", ["2020-01-31 10:00:00", "2021-02-01 12:30:00"], DATES),
        ("born", ["31.1.2020", "1.2.2021", ""], DATES),
    ],
)
def test_a_column_that_says_nothing_about_other_rows_is_left_out(name: str, cells: list[str], why: str) -> None:
    assert guess(name, cells) == ("", why)


def rows_of(**cells: Sequence[str]) -> list[Row]:
    return [
        Row("it.csv", place + 2, dict(zip(cells, own, strict=True)))
        for place, own in enumerate(zip(*cells.values(), strict=True))
    ]


def test_named_columns_are_not_guessed_and_lists_are_whole() -> None:
    rows = rows_of(age=["1", "2", "1"], zip=["5", "6", "5"], breed=["a", "b", "a"])
    kinds, guessed, notes = kinds_of(rows, ["age", "zip", "breed"], NOTHING | {"ids": ["zip"], "categories": []})
    assert kinds == Kinds((), (), ("age",), (), ("zip",))
    assert guessed == {"age"}
    assert notes == ["left out: breed (data.category_columns does not name it)"]
    assert guess_note(kinds, guessed) == ["columns guessed: 'data.number_columns=[age]'"]


def test_cells_that_keep_a_column_from_being_numbers_are_named() -> None:
    ages = [*map(str, range(60)), "n.v."] * 2
    rows = rows_of(age=ages, size=["small", *["4"] * 121], user=[*["7"] * 121, "7b"])
    _, _, notes = kinds_of(rows, ["age", "size", "user"], NOTHING)
    step = "correct or empty what is wrong"
    assert notes == [
        f"'age' is taken for categories, because 2 of 122 cells are not numbers ('n.v.', line 62): {step}",
        f"'size' is taken for categories, because 1 of 122 cells is not a number ('small', line 2): {step}, then "
        "'data.number_columns=[age,size]'",
    ]


def test_many_such_columns_have_few_notes() -> None:
    names = [f"c{place}" for place in range(60)]
    rows = rows_of(**{name: [f"{place},5" for place in range(12)] for name in names})
    _, _, notes = kinds_of(rows, names, NOTHING)
    noted = [note for note in notes if "decimal point" in note]
    assert [note.partition("'")[2].partition("'")[0] for note in noted] == names[:5]
    (rest,) = [note for note in notes if note.startswith("so are 55 more columns: c5, c6")]
    assert rest.endswith(f"then 'data.number_columns=[{','.join(names)}]'")
    assert sum(map(len, notes)) < 2_000


def test_a_column_of_numbers_and_few_words_is_named() -> None:
    """The words may mark what is missing; codes of letters and digits do not."""
    years = [*map(str, range(1900, 2000)), "n/a?", "not known"] * 4
    codes = [f"{place}" if place % 3 else f"{place}A" for place in range(408)]
    rows = rows_of(year=years, code_of=codes, size=["38", "S", "M"] * 136)
    _, _, notes = kinds_of(rows, ["year", "code_of", "size"], NOTHING)
    assert [note.partition(":")[0] for note in notes] == [
        "'year' is taken for ids, because 8 of 408 cells are not numbers ('n/a?', line 102)",
        "left out",
    ]
    some = [year if place % 3 else "n/a?" for place, year in enumerate(years)]
    _, _, notes = kinds_of(rows_of(year=some), ["year"], NOTHING)
    assert "of 408 cells are not numbers ('n/a?', line 2)" in notes[0]


@pytest.mark.parametrize(
    ("cells", "taken"),
    [
        ([f"${place}.10" for place in range(40)], "left out"),
        (["12,34", "5", "1,5", "20"] * 10, "taken for categories"),
        (["1 234", "1 234 567", "12"] * 10, "taken for categories"),
        (["5 km", "12 km", "1,234.5 km"] * 10, "taken for categories"),
        (["-5%", "7.5%", "0%"] * 10, "taken for categories"),
        (["1,234", "1,234", "900", "n/a"] * 10, "taken for categories"),
        (["1 234 567 km", "2 000 000 km"] * 10, "taken for texts"),
    ],
)
def test_numbers_with_other_marks_are_named(cells: list[str], taken: str) -> None:
    """They are not converted: 1,234 is another number in another country."""
    ages = [str(place) for place in range(len(cells))]
    kinds, _, notes = kinds_of(rows_of(price=cells, age=ages), ["price", "age"], NOTHING)
    others, known = (sum(cell not in own for cell in cells) for own in ({"5", "20", "12", "900", "n/a"}, {"n/a"}))
    assert kinds.numbers == ("age",)
    assert notes[0] == (
        f"'price' is {taken}, because {others} of {known} cells are not numbers ('{cells[0]}', line 2): "
        "write them with digits, a decimal point and - alone, then 'data.number_columns=[age,price]'"
    )


@pytest.mark.parametrize(
    "cells",
    [
        ["12A", "13", "14A"],
        ["1st", "2nd", "3rd"],
        ["$5", "€7", "5 km"],
        ["31.1.2020", "1.2.2021", "3.4.2022"],
        ["10:30", "11:45", "10:00"],
        ["one", "2", "three"],
        ["4x4", "2x4", "4x4"],
        ["$5", "$5", "$5"],
    ],
)
def test_codes_dates_and_words_are_no_numbers_with_marks(cells: list[str]) -> None:
    _, _, notes = kinds_of(rows_of(it=cells * 10), ["it"], NOTHING)
    assert not any("are not numbers" in note for note in notes)


def test_guessed_columns_can_be_pasted() -> None:
    kinds = Kinds((), (), ("net weight", "a,b"), (), ())
    (note,) = guess_note(kinds, ["net weight", "a,b"])
    assert pasted((note.removeprefix("columns guessed: "),)) == ["data.number_columns=['net weight','a,b']"]


# --- cells ---


def test_columns_that_only_tell_scores_apart_are_told() -> None:
    kinds = Kinds((), (), ("age",), ("breed",), ())
    (said,) = slices_note(["site", "breed"], kinds)
    assert said.startswith("site: no inputs")
    assert "data.category_columns='[breed,site]'" in said or "data.category_columns=[breed,site]" in said
    assert slices_note(["breed"], kinds) == []


def test_every_faulty_cell_is_named(tmp_path: Path) -> None:
    rows = rows_of(age=["1", "x", "1e50", "NA"], photo=["", "", "", "gone.png"])
    kinds, paths = Kinds(("photo",), (), ("age",), (), ()), FilePaths(PICTURES, tmp_path, "")
    with pytest.raises(DataError, match="3 rows have faulty cells") as caught:
        columns_of(rows, kinds, paths)
    for words in ("line 3: 'x' in 'age'", "line 4: '1e50' in 'age' is infinite, or larger", "line 5: there is no such"):
        assert words in str(caught.value)
    with pytest.raises(DataError) as caught:
        columns_of(rows, kinds, paths, known=True)
    assert "data.category_columns" not in str(caught.value)  # a trained run has settled the kinds
    problems: list[DataError] = []
    read, found = columns_of(rows, kinds, paths, problems)
    assert (len(problems), [row.place for row in read], len(found)) == (3, [2], 1)


# --- statistics ---


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.randoms())
def test_standardised_numbers_have_mean_0_and_deviation_1(numbers: list[float], random: object) -> None:
    numbers = [*numbers, 1.0, 2.0]
    own = columns(numbers)
    row = statistics_of(own, torch.arange(len(numbers)), "standard")
    array = np.array(numbers)
    if array.std() > 1e-3 * abs(array.mean()):
        expected = ((array - array.mean()) / array.std()).clip(-5, 5)
        np.testing.assert_allclose(coded(own, row).numbers[:, 0], expected, atol=1e-4)
    backwards = statistics_of(own, torch.arange(len(numbers)).flip(0), "standard")
    assert backwards == row, "in any order, to the last bit"


@pytest.mark.parametrize(
    "numbers", [[0.0, 1, 3, 5, 9, 200], np.random.default_rng(0).gamma(1, 9, 999).round(6)], ids=["few", "many"]
)
def test_quantiles_are_those_of_scikit_learn(numbers: Sequence[float]) -> None:
    train = [float(it) for it in numbers]
    there = [*train, -7.0, 1e6, 2.5]
    own = columns(there)
    row = statistics_of(own, torch.arange(len(train)), "quantile")
    theirs = QuantileTransformer(n_quantiles=min(256, len(train)), output_distribution="normal")
    expected = theirs.fit(np.array(train)[:, None]).transform(np.array(there)[:, None])[:, 0]
    limit = 3.0902323  # of 1 - BEYOND
    np.testing.assert_allclose(coded(own, row).numbers[:, 0], expected.clip(-limit, limit), atol=1e-5)


def test_equal_numbers_have_the_middle_of_their_ranks() -> None:
    own = columns([0.0] * 60 + [1.0] * 20 + [2.0] * 20)
    values = coded(own, statistics_of(own, torch.arange(100), "quantile")).numbers[:, 0]
    share = torch.special.ndtr(values)[[0, 60, 99]].tolist()
    assert share == pytest.approx([0.3, 0.7, 0.9], abs=0.01)


def test_statistics_are_those_of_the_training_rows_alone() -> None:
    own = columns([1.0, 3.0, float("nan"), 1000.0], ["a", "b", "", "new"])
    row = statistics_of(own, torch.tensor([0, 1]), "standard")
    assert row["numbers"]["x"] == {"mean": 2.0, "scale": 1.0, "missing": False}
    assert row["names"]["name"] == {"known": ["a", "b"], "missing": False}
    seen = coded(own, row)
    assert seen.numbers[:, 0].tolist() == [-1, 1, 0, 5]
    assert seen.flags.shape == (4, 0)
    assert seen.names[:, 0].tolist() == [2, 3, UNKNOWN, UNKNOWN], "nothing was learned of empty cells"


def test_missing_values_have_flags_and_a_code_of_their_own_if_training_has_some() -> None:
    own = columns([1.0, 3.0, float("nan")], ["a", "", "new"])
    seen = coded(own, statistics_of(own, torch.tensor([0, 1, 2]), "standard"))
    assert seen.flags[:, 0].tolist() == [0, 0, 1]
    assert seen.names[:, 0].tolist() == [2, MISSING, 3]


@pytest.mark.parametrize("how", ["standard", "quantile"])
@pytest.mark.parametrize("numbers", [[4.0, 4.0, 4.0], [float("nan")] * 3])
def test_a_column_without_differences_is_0(how: str, numbers: list[float]) -> None:
    own = columns(numbers)
    seen = coded(own, statistics_of(own, torch.arange(3), how))  # type: ignore[arg-type]
    assert seen.numbers.abs().max() < 1e-6
    assert seen.numbers.isfinite().all()


# --- sources ---


def test_equal_cells_are_one_input_and_empty_ones_are_absent() -> None:
    cells = [["b", "", "a"], ["a", "c"]]
    distinct = Distinct(cells)
    assert distinct.values == ["b", "a", "c"]
    assert [distinct.places(own).tolist() for own in cells] == [[0, 0, 1], [1, 2]]
    assert absent_in(cells[0]).tolist() == [False, True, False]


def test_ids_are_numbered_apart_from_what_training_knows() -> None:
    own = columns((), ["u2", "", "u1", "u2"])
    source = RowSource(own, torch.zeros(4), Kinds((), (), (), (), ("name",)), {}, {}, {})
    source.code(statistics_of(own, torch.tensor([0]), "standard"))
    assert source.ids["name"].tolist() == [1, -1, 0, 1]
    assert source.beside(torch.tensor([2, 3]))["row"]["names"].tolist() == [[UNKNOWN], [2]]  # type: ignore[index]
    assert source.name_of(2) == "it.csv, line 2"


def test_the_content_depends_on_every_cell() -> None:
    def content(numbers: list[float], names: list[str]) -> str:
        return RowSource(
            columns(numbers, names), torch.zeros(2), Kinds((), (), ("x",), ("name",), ()), {}, {}, {}
        ).content

    same = content([1.0, 2.0], ["a", "b"])
    assert same == content([1.0, 2.0], ["a", "b"])
    assert len({same, content([1.0, 3.0], ["a", "b"]), content([1.0, 2.0], ["a", "c"])}) == 3


def test_whole_numbers_are_one_name_in_either_spelling(tmp_path: Path) -> None:
    """pandas writes 3.0 where a cell of the column is empty."""
    kinds, paths = Kinds((), (), (), ("breed",), ("user",)), FilePaths(PICTURES, tmp_path, "")
    _, found = columns_of(rows_of(user=["3", "3.0", "3.5", "v3.0"], breed=["1.0", "1", "", "a"]), kinds, paths)
    assert found.names == {"breed": ["1", "1", "", "a"], "user": ["3", "3", "3.5", "v3.0"]}
