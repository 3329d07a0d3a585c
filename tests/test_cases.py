"""Inputs that went wrong for users of other tools, as a script beside the real data builds them: each is read rightly,
or says what is the matter. Rows in the order of the script's README."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Answer, short_form
from forked import ran
from tiny import FEW
from tiny_text import make_tokenizer

PICTURES = ["dry_run=true", "data.image_size=16", "trainer.precision=32-true", "trainer=cpu"]
TABLE = [*PICTURES, "data=image_csv", "data.target_columns=[species]"]
NETWORK = {"model._target_=tiny_text.TinyText"}
TEXTS = ["dry_run=true", "trainer=cpu", *NETWORK, "data=text_csv"]
LABELS = [*TEXTS, "task=multi_label"]

# What is typed, in the folder of the cases; the exit code; messages.
READ: dict[str, tuple[list[str], int, list[str]]] = {
    "linked folders": (
        [*PICTURES, "data=image_folder", "data.dir=linked_subfolders/data"], 0, ["62 train, 6 val, 16 test"],
    ),
    "12 bits in 16": ([*PICTURES, "data=image_folder", "data.dir=twelve_bit"], 0, ["grey_range"]),
    "other suffixes": ([*PICTURES, "data=image_folder", "data.dir=other_suffixes"], 0, ["test pictures"]),
    "a picture in two parts": (
        [*PICTURES, "data=image_folder", "data.dir=same_in_train_and_test"], 0, ["in both train and test"],
    ),
    "numbers as names": (
        [*PICTURES, "data=image_folder", "data.dir=digit_names", "data.classes=[0,1,10]"], 0, ["3 classes"],
    ),
    "broken pictures": ([*PICTURES, "data=image_folder", "data.dir=several_broken"], 1, ["pictures cannot be"]),
    "paths of Windows": ([*TABLE, "data.file=tables/windows.csv"], 0, ["paths with \\ were read"]),
    "paths without a suffix": ([*TABLE, "data.file=tables/no_suffix.csv"], 1, ["data.suffix=.png"]),
    "a table without names": ([*TABLE, "data.file=tables/no_header.csv"], 1, ["not column names", "path,species"]),
    "a blank before a quote": (
        [*TABLE, "data.file=tables/blank_before_quote.csv"], 0, ["blanks before quotes", "2 classes"],
    ),
    "lines that repeat": ([*TABLE, "data.file=tables/oversampled.csv"], 0, ["repeat a picture"]),
    "lists of Python": ([*LABELS, "data.train_file=labels/as_python.csv", "data.separator=','"], 0, ["labels"]),
    "vectors": ([*LABELS, "data.train_file=labels/vector.csv", "data.separator=','"], 1, ["names no labels"]),
    "lists of JSON": ([*LABELS, "data.train_file=labels/lists.jsonl"], 0, ["labels"]),
    "a comma as separator": ([*LABELS, "data.train_file=labels/comma.csv", "data.separator=,"], 0, ["labels"]),
    "a separator that is not set": ([*LABELS, "data.train_file=labels/comma.csv"], 1, ["data.separator=','"]),
    "quotes that swallow": ([*TEXTS, "data.train_file=quotes/quotes.tsv"], 1, ["swallow", "data.quotes=false"]),
    "quotes as letters": ([*TEXTS, "data.train_file=quotes/quotes.tsv", "data.quotes=false"], 0, ["classes"]),
    "a bare quote": ([*TEXTS, "data.train_file=quotes/bare_quote.tsv"], 0, ["44 train, 4 val, 12 test"]),
}  # fmt: skip
WEIGHTS = {
    "lightning.ckpt": ["model."],
    "averaged.pth": ["n_averaged"],
    "references.pth": ["model_ema"],
}


@pytest.fixture(scope="module")
def cases(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = shared.parent / "cases" / "build.py"
    if not script.is_file():
        pytest.skip(f"the script that builds the cases is not at {script}")
    folder = tmp_path_factory.mktemp("cases")
    answer = ran(str(script), str(folder))
    assert answer.returncode == 0, answer.stderr
    return folder


@pytest.mark.parametrize("case", READ)
def test_each_is_read_rightly_or_says_what_is_the_matter(
    case: str, cases: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed, code, expected = READ[case]
    monkeypatch.chdir(cases)
    tokenizer = [f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}"] if {*typed} >= NETWORK else []
    answer = program("train", *typed, *tokenizer)
    assert answer.code == code, answer.out + answer.err
    for words in expected:
        assert words in answer.out + answer.err


def test_a_folder_with_an_umlaut_needs_no_quotes(
    cases: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cases)
    (folder,) = [path for path in Path("umlaut").iterdir() if path.is_dir()]
    assert program("train", *PICTURES, "data=image_folder", f"data.dir={folder}").code == 0


@pytest.mark.parametrize("file", short_form(WEIGHTS, "lightning.ckpt"))
def test_weights_within_other_programs_checkpoints_are_found(
    file: str, cases: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cases)
    own = [*FEW, "data.image_size=16", "schedule=head_only", "model=resnet18"]
    own += ["logger=none", "predictions=false", "report=false"]
    answer = program("train", *own, "trainer=debug", f"model.weights=weights/{file}")
    assert answer.code == 0, answer.err
    for words in WEIGHTS[file]:
        assert words in answer.out + answer.err
