"""Whole runs in this process on rows of several kinds of columns: learned, scored again, predicted, refused."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import frostline
from compared import record_of, trained
from conftest import Answer, short_form
from frostline.errors import DataError
from tiny_rows import COLUMNS, HEAD, SHORT, put_pets, towers

Program = Callable[..., Answer]


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pets")
    return [*towers(folder / "tokenizer"), *SHORT, f"data.file={put_pets(folder, rows=400)}"]


def file_of(own: Sequence[str]) -> Path:
    return Path(next(it for it in own if it.startswith("data.file=")).partition("=")[2])


@pytest.fixture
def finished(pets: list[str], program: Program) -> Path:
    """A run with guessed columns, trained once."""
    folder = file_of(pets).parent / "run"
    if not folder.is_dir():
        epochs = ["schedule.phases.head.epochs=12", "+schedule.phases.top={thaw: 2, epochs: 2}"]
        answer = program("train", *pets, *HEAD, *epochs, f"run_dir={folder}")
        assert answer.code == 0, answer.err
        (folder / "told.txt").write_text(answer.out)
    return folder


def rewritten(own: list[str], folder: Path, change: Callable[[list[dict[str, str]]], object]) -> Path:
    """The table after `change`, beside its pictures."""
    source = file_of(own)
    with source.open(newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with (source.parent / f"{folder.name}.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return source.parent / f"{folder.name}.csv"


# --- learned ---


def test_prices_are_learned_from_all_columns(finished: Path) -> None:
    record = record_of(finished)
    assert record["metrics"]["test/r2"] > 0.75
    told = (finished / "told.txt").read_text()
    for column, name in zip(COLUMNS, ("photo", "about", "age", "breed", "user"), strict=True):
        assert column in told
        assert f"'{name}' is missing in" in told
    inputs = record["data"]["targets"]["about"]["inputs"]
    assert inputs["row"]["names"]["breed"] == {"known": ["cat", "lab", "pug"], "missing": True}
    assert inputs["row"]["numbers"]["age"]["mean"] == pytest.approx(5, abs=0.3)


def test_blocks_of_both_towers_stand_in_one_chain_by_relative_depth(finished: Path) -> None:
    first, second = record_of(finished)["phases"]
    assert first["learns"] == ["head"]
    assert second["learns"] == ["head", "text_layer_1", "image_stage2"]


def test_statistics_are_those_of_the_training_rows(pets: list[str], program: Program, tmp_path: Path) -> None:
    """Test rows with other numbers and breeds change nothing about them."""

    def other(rows: list[dict[str, str]]) -> None:
        for place, row in enumerate(rows):
            row["split"] = "test" if place % 4 == 0 else "val" if place % 4 == 1 else "train"
            if row["split"] == "test":
                row["age"], row["breed"] = "1000", "wolf"
        rows[1] |= {name: rows[2][name] for name in ("photo", "about", "age", "breed", "user")}

    table = rewritten(pets, tmp_path, other)
    own = [*(it for it in pets if not it.startswith("data.file")), f"data.file={table}", "data.split_column=split"]
    answer = program("train", *own, *HEAD, f"run_dir={tmp_path / 'run'}")
    assert answer.code == 0, answer.err
    assert "test: 100 rows with one name of 'breed' that training does not have" in answer.out
    assert "validation: one row has the same cells as a training row" in answer.out
    row = record_of(tmp_path / "run")["data"]["targets"]["about"]["inputs"]["row"]
    assert row["names"]["breed"]["known"] == ["cat", "lab", "pug"]
    assert row["numbers"]["age"]["mean"] < 6


def test_the_majority_is_that_of_training_before_it_is_balanced(program: Program, tmp_path: Path) -> None:
    """A fourth of the rows are cats. Of 20 balanced training rows a half are, and the first class is taken."""
    with (tmp_path / "pets.csv").open("w") as file:
        file.write("age,kind,split\n")
        for place in range(120):
            kind = "cat" if place % 4 == 0 else "pug"
            file.write(f"{place % 7 + (place % 4 == 0)},{kind},{'val' if place % 3 == 0 else 'train'}\n")
    own = ["data.number_columns=[age]", "data.split_column=split", "data.train_limit=20", "predictions=false"]
    answer = program("train", "model=fusion", *SHORT, *HEAD, *own, "data.file=pets.csv", "run_dir=run",
                     "task=classification", "data.target_columns=[kind]")  # fmt: skip
    assert answer.code == 0, answer.err
    assert record_of(tmp_path / "run")["baselines"]["majority"]["val/accuracy"] == pytest.approx(0.75)


def test_a_table_without_the_column_of_splits_is_scored_as_the_answer_says(program: Program, tmp_path: Path) -> None:
    rows = [f"{place % 7},{'cat' if place % 7 > 3 else 'pug'}" for place in range(60)]
    splits = ["val" if place % 3 == 0 else "train" for place in range(60)]
    own = [f"{row},{split}" for row, split in zip(rows, splits, strict=True)]
    for name, lines in {"own": ["age,kind,split", *own], "other": ["age,kind", *rows]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    run = ["data.file=own.csv", "data.number_columns=[age]", "data.split_column=split", "data.target_columns=[kind]"]
    answer = program("train", "model=fusion", *SHORT, *HEAD, *run, "task=classification", "run_dir=run")
    assert answer.code == 0, answer.err
    answer = program("evaluate", "run=run", "data.file=other.csv")
    assert answer.code == 1
    assert "there is no column 'split', which names the split of each row: available: age, kind" in answer.err
    assert "add a column 'split' with test in each of them" in answer.err
    (tmp_path / "other.csv").write_text("\n".join(["age,kind,split", *(f"{row},test" for row in rows)]) + "\n")
    answer = program("evaluate", "run=run", "data.file=other.csv")
    assert answer.code == 0, answer.err
    assert "60 rows of other.csv: not this run's own test split" in answer.out


def test_a_table_per_split_and_parquet(pets: list[str], program: Program, tmp_path: Path) -> None:
    import pyarrow.csv as arrow
    import pyarrow.parquet as parquet

    folder = file_of(pets).parent
    for name, seed in (("val", 1), ("test", 2)):
        put_pets(tmp_path, rows=30, seed=seed)
        parquet.write_table(arrow.read_csv(tmp_path / "pets.csv"), folder / f"{name}.parquet")
    own = [f"data.val_file={folder / 'val.parquet'}", f"data.test_file={folder / 'test.parquet'}", *HEAD]
    record = trained(program, tmp_path / "run", *pets, *own)
    assert [record["data"][f"num_{split}"] for split in ("train", "val", "test")] == [400, 30, 30]


@pytest.mark.parametrize("task", short_form(["classification", "multi_label"], "classification"))
def test_other_targets_are_learned_from_numbers_and_names_alone(
    task: str, pets: list[str], program: Program, tmp_path: Path
) -> None:
    def known(rows: list[dict[str, str]]) -> None:
        for place, row in enumerate(rows):
            row |= {"old": str(int(place % 3 == 0)), "wild": str(int(place % 2))}
            row |= {"age": f"{place % 3 + place / 1000}", "breed": f"b{place % 2}"}

    table = rewritten(pets, tmp_path, known)
    columns = {"classification": "[old]", "multi_label": "[old,wild]"}[task]
    own = ["model=fusion", *SHORT, f"data.file={table}", f"task={task}", f"data.target_columns={columns}", *HEAD]
    own += ["data.number_columns=[age]", "data.category_columns=[breed]", "data.id_columns=[]"]
    record = trained(program, tmp_path / "run", *own, "schedule.phases.head.epochs=8", "data.normalise=quantile")
    score = {"classification": "test/accuracy", "multi_label": "test/average_precision"}[task]
    assert record["metrics"][score] > 0.97


# --- scored and predicted ---


def test_a_run_is_evaluated_to_the_same_scores(finished: Path, program: Program) -> None:
    answer = program("evaluate", f"run={finished}", "trust=true")
    assert answer.code == 0, answer.err
    assert f"all {record_of(finished)['data']['num_test']} agree with the stored ones\n" in answer.out


def test_other_rows_are_scored_by_the_statistics_of_training(
    finished: Path, pets: list[str], program: Program, tmp_path: Path
) -> None:
    table = rewritten(pets, tmp_path, lambda rows: [row.update(user="u99") for row in rows[:50]])
    answer = program("evaluate", f"run={finished}", f"data.file={table}", "trust=true")
    assert answer.code == 0, answer.err
    assert "not this run's own test split" in answer.out
    assert "with one name of 'user' that training does not have" in answer.out


def test_rows_that_the_run_has_seen_are_counted_wherever_their_pictures_lie(
    finished: Path, pets: list[str], program: Program, tmp_path: Path
) -> None:
    """Absolute paths lead from the folder that is typed back to the pictures of training."""
    pictures, data = file_of(pets).parent, record_of(finished)["data"]

    def change(rows: list[dict[str, str]], age: str = "") -> None:
        """age: digits that are appended."""
        for row in rows:
            row |= {"photo": str(pictures / row["photo"]) if row["photo"] else "", "age": row["age"] + age}

    table = rewritten(pets, tmp_path, change)
    elsewhere = [
        "evaluate",
        f"run={finished}",
        f"data.file={table}",
        f"data.dir={tmp_path}",
        "store=false",
        "trust=true",
    ]
    answer = program(*elsewhere)
    assert answer.code == 0, answer.err
    numbers = {"training": data["num_train"], "validation": data["num_val"]}
    own = (
        ", ".join(f"{number} of 400 are the same as {split} rows" for split, number in numbers.items()) + " of this run"
    )
    assert f"  {own}: scores on them say little about other rows\n" in answer.out
    assert re.search(rf"\d+ pictures are at absolute paths outside of {tmp_path}\n", answer.out)
    rewritten(pets, tmp_path, lambda rows: change(rows, age="1"))
    answer = program(*elsewhere)
    assert "400 rows of" in answer.out
    assert "of this run" not in answer.out.partition("test  ")[0]
    shutil.move(finished / "samples", finished / "gone")
    answer = program(*elsewhere)
    shutil.move(finished / "gone", finished / "samples")
    assert "whether training rows of this run are among them is not known" in answer.out


def test_a_table_is_predicted_with_and_without_some_cells(
    finished: Path, pets: list[str], program: Program, tmp_path: Path
) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        del rows[40:]
        rows[0] |= {"photo": "", "about": "", "age": "", "breed": "", "user": ""}
        rows[1] |= {"photo": "pictures/none.png"}
        rows[2] |= {"age": "old"}
        rows[3] |= {"age": "inf"}
        rows[4] |= {"breed": "wolf"}
        rows[5] |= {"photo": "pictures/broken.png"}
        (file_of(pets).parent / "pictures" / "broken.png").write_bytes(b"no picture")

    table = rewritten(pets, tmp_path, change)
    answer = program("predict", f"run={finished}", f"input={table}", f"output={tmp_path / 'told.csv'}", "trust=true")
    assert answer.code == 1
    assert "4 rows cannot be read; the other 36 have predictions" in answer.err
    for message in (
        "line 3: there is no such picture",
        "line 4: 'old' in 'age' is not a number",
        "infinite",
        "broken.png",
    ):
        assert message in answer.err
    assert "one row with one name of 'breed' that training does not have" in answer.err
    with (tmp_path / "told.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    away = [abs(float(row["price"]) - float(row["price (input)"])) for row in rows]
    assert sum(away) / len(away) < 2.5


def test_grey_pictures_of_twelve_bits_are_predicted_as_those_of_eight(
    finished: Path, pets: list[str], program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eight = np.linspace(0, 255, 256).reshape(16, 16).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray((eight * (4095 / 255)).astype(np.uint16)).save(tmp_path / "12.png")
    with file_of(pets).open(newline="") as file:
        row: dict[str, Any] = next(csv.DictReader(file))
    rows = [row | {"photo": tmp_path / name} for name in ("8.png", "12.png")]
    told = [float(it.columns["price"]) for it in frostline.open(finished, trust=True).predict(rows)]
    assert "12.png is grey with more than 8 bits" in capsys.readouterr().err
    with (tmp_path / "it.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, row)
        table.writeheader()
        table.writerows(rows)
    answer = program("predict", f"run={finished}", f"input={tmp_path / 'it.csv'}", "trust=true")
    assert "one grey picture has more than 8 bits: 0 becomes black and 4095 white" in answer.err
    told += [float(row["price"]) for row in csv.DictReader(answer.out.splitlines())]
    assert told == pytest.approx([told[0]] * 4, abs=0.01)


def test_rows_in_memory_are_predicted_as_those_of_a_table(finished: Path, pets: list[str], program: Program) -> None:
    with file_of(pets).open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))[:5]
    pandas = pytest.importorskip("pandas")
    answer = program("predict", f"run={finished}", f"input={file_of(pets)}", "trust=true")
    assert answer.code == 0, answer.err
    expected = [float(row["price"]) for row in list(csv.DictReader(answer.out.splitlines()))[:5]]
    for row in rows:
        row["photo"] = file_of(pets).parent / row["photo"] if row["photo"] else None
        row["age"] = float(row["age"]) if row["age"] else None
    opened = frostline.open(finished, trust=True)
    assert [float(it.columns["price"]) for it in opened.predict(rows)] == pytest.approx(expected, abs=1e-4)
    alone = [float(it.columns["price"]) for row in rows for it in opened.predict([row])]
    assert alone == pytest.approx(expected, abs=1e-4)
    with pytest.raises(DataError, match="not a table of them") as refused:
        opened.predict(pandas.DataFrame(rows))
    assert refused.value.next_step == "predict(table.to_dict('records'))"
    again = opened.predict(pandas.DataFrame(rows).to_dict("records"))
    assert [float(it.columns["price"]) for it in again] == pytest.approx(expected, abs=1e-4)
    for faulty, message in (("text", "this is not a row"), ({"age": 3}, "there is no column 'photo'")):
        with pytest.raises(DataError, match=message):
            list(opened.predict([faulty]))


def test_a_moved_run_is_resumed_and_stays_the_same(pets: list[str], program: Program, tmp_path: Path) -> None:
    """Its settings hold from any folder, those of the towers too."""
    record = trained(program, tmp_path / "run", *pets, *HEAD)
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "data.file" not in text
    assert f"weights: {file_of(pets).parent / 'tokenizer'}" in text
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == record


# --- refused ---


def _named(rows: list[dict[str, str]], place: int, **cells: str) -> None:
    rows[place] |= cells


REFUSED: dict[str, tuple[Callable[[list[dict[str, str]]], object], list[str], list[str]]] = {
    "a missing picture": (
        lambda rows: _named(rows, 3, photo="pictures/gone.png"),
        [],
        ["there is no such picture", "line 5"],
    ),
    "no number": (
        lambda rows: _named(rows, 3, age="three"),
        COLUMNS,
        ["line 5", "'three' in 'age' is not a number", "data.category_columns=[age]"],
    ),
    "an infinite number": (lambda rows: _named(rows, 3, age="inf"), COLUMNS, ["line 5", "'inf' in 'age' is infinite"]),
    "a column twice": (
        lambda rows: None,
        ["data.number_columns=[age]", "data.category_columns=[age]"],
        ["the column 'age' is in data.number_columns and in data.category_columns"],
    ),
    "twice in a list": (lambda rows: None, ["data.id_columns=[user,user]"], ["'user' is named twice"]),
    "no such column": (lambda rows: None, ["data.number_columns=[weight]"], ["there is no column 'weight'"]),
    "a target among the inputs": (
        lambda rows: None,
        ["data.number_columns=[age,price]"],
        ["'price' is in data.target_columns and in data.number_columns", "would see what it has to predict"],
    ),
    "an empty column": (
        lambda rows: [row.update(age="") for row in rows],
        COLUMNS,
        ["the column 'age' is empty", "data.number_columns"],
    ),
    "no table": (lambda rows: None, ["data.file=none.csv"], ["there is no such table"]),
    "a split that is none": (
        lambda rows: None,
        ["data.split_column=breed"],
        ["is not a split"],
    ),
    "two ways to split": (
        lambda rows: None,
        ["data.split_column=user", "data.val_file=pets.csv"],
        ["data.split_column=null"],
    ),
    "a tower without a column": (
        lambda rows: None,
        ["data.text_columns=[]"],
        ["model.text names a network, but no column of the table has texts"],
    ),
    "another head": (lambda rows: None, ["head=linear"], ["head=fusion"]),
    "pictures for rows": (lambda rows: None, ["model=bundled"], ["this backbone takes pictures"]),
    "nothing to learn from": (
        lambda rows: None,
        ["model=fusion", *(f"data.{kind}_columns=[]" for kind in ("number", "category", "id"))],
        ["no column is left to learn from"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_answered_with_the_next_step(name: str, pets: list[str], program: Program, tmp_path: Path) -> None:
    change, own, said = REFUSED[name]
    table = rewritten(pets, tmp_path, change)
    mine = [it for it in pets if not it.startswith("data.file=")]
    if {"model=bundled", "model=fusion"} & {*own}:
        mine = [it for it in mine if not it.startswith("model")]
    answer = program("train", *mine, f"data.file={table}", *own, f"run_dir={tmp_path / 'run'}")
    assert answer.code == 1
    for words in said:
        assert words in answer.err, answer.err
    assert "next:" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_table_without_a_column_of_the_run_is_refused(
    finished: Path, pets: list[str], program: Program, tmp_path: Path
) -> None:
    def change(rows: list[dict[str, str]]) -> None:
        for row in rows:
            row["years"] = row.pop("age")

    table = rewritten(pets, tmp_path, change)
    answer = program("predict", f"run={finished}", f"input={table}", "trust=true")
    assert answer.code == 1
    assert "the table has no column 'age', from which the run predicts" in answer.err
    answer = program("predict", f"run={finished}", "text=hello", "trust=true")
    assert answer.code == 1
    assert "this run takes rows of a table" in answer.err


def test_an_export_holds_every_tower(finished: Path, program: Program, tmp_path: Path) -> None:
    answer = program("export", f"run={finished}", f"output={tmp_path / 'it.safetensors'}", "trust=true")
    assert answer.code == 0, answer.err
    from safetensors.torch import load_file

    own = load_file(tmp_path / "it.safetensors")
    best = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert {name for name in best if "backbone" in name or "head" in name} == {*own}


# --- told ---


def test_numbers_far_from_the_others_and_columns_of_one_name_are_told(
    pets: list[str], program: Program, tmp_path: Path
) -> None:
    table = rewritten(pets, tmp_path, lambda rows: _named(rows, 3, age="1e9"))
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},size,size", *(f"{line},{place},7" for place, line in enumerate(lines))]))
    own = [it for it in pets if not it.startswith(("data.file=", "model"))]
    answer = program("train", *own, "model=fusion", f"data.file={table}", "data.image_columns=[]", "dry_run=true")
    assert answer.code == 0, answer.err
    said = " ".join((answer.out + answer.err).split())
    assert "'age': one row is more than 5 standard deviations away from the mean, and cut off there" in said
    assert "cut off there (data.normalise=quantile uses ranks instead)" in said
    assert "left out: size (the table has several columns of this name)" in said
    assert "size (2)" not in said


def test_no_setting_of_training_is_proposed_for_numbers_to_predict(
    finished: Path, pets: list[str], program: Program, tmp_path: Path
) -> None:
    table = rewritten(pets, tmp_path, lambda rows: _named(rows, 3, age="1e9"))
    answer = program("predict", f"run={finished}", f"input={table}", f"output={tmp_path / 'told.csv'}", "trust=true")
    assert answer.code == 0, answer.err
    assert "standard deviations away from the mean, and cut off there\n" in answer.err


def test_a_column_may_be_empty_where_a_run_is_scored(
    finished: Path, pets: list[str], program: Program, tmp_path: Path
) -> None:
    table = rewritten(pets, tmp_path, lambda rows: [row.update(age="") for row in rows])
    answer = program("evaluate", f"run={finished}", f"data.file={table}", "trust=true")
    assert answer.code == 0, answer.err
