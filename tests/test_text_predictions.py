"""Predictions for texts longer than the network's limit, and for words in several windows."""

import csv
import io
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import Answer
from frostline.commands.train import NOT_HERE
from frostline.contracts.specs import TextSpec
from frostline.data.texts.tokenized import Tokenizer
from frostline.data.texts.windows import mean_of_windows, words_of_windows
from test_text_runs import TINY, rows_of, table
from tiny_text import make_tokenizer

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]


@pytest.fixture
def spec(tmp_path: Path) -> TextSpec:
    return TextSpec(str(make_tokenizer(tmp_path / "tokenizer")), max_length=8)


def test_windows_hold_every_token_and_overlap_by_a_quarter(spec: TextSpec) -> None:
    texts = [("aa bb cc " * 9,), ("aa",)]
    rows, owners = Tokenizer(spec, words=False).windows(texts)
    assert owners == [0] * (len(rows) - 1) + [1]
    assert max(map(len, rows)) == 8
    (whole,) = Tokenizer(TextSpec(spec.tokenizer, max_length=500), words=False).rows(texts[:1])
    special = {int(whole[0, 0]), int(whole[-1, 0])}
    inner = [[int(token) for token in row[:, 0] if int(token) not in special] for row in rows[:-1]]
    joined = inner[0] + [token for window in inner[1:] for token in window[2:]]
    assert joined == [int(token) for token in whole[:, 0] if int(token) not in special]


def test_texts_that_fit_have_one_window_of_the_same_tokens(spec: TextSpec) -> None:
    texts = [("aa bb",), ("cc",)]
    tokenizer = Tokenizer(spec, words=False)
    rows, owners = tokenizer.windows(texts)
    assert owners == [0, 1]
    assert all(torch.equal(*pair) for pair in zip(rows, tokenizer.rows(texts), strict=True))


def test_a_mean_over_windows_weighs_tokens() -> None:
    rows = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5])]
    assert mean_of_windows(rows, [6, 2, 5], [0, 0, 1]).tolist() == [[0.75, 0.25], [0.5, 0.5]]


def test_a_word_has_the_prediction_of_its_first_token_in_the_window_with_most_around_it() -> None:
    first = torch.arange(5.0)[:, None]  # special, word 0, word 1, its second token, special
    second = 10 + torch.arange(5.0)[:, None]  # special, the second token of word 1, word 2, word 3, special
    words = [torch.tensor([-1, 0, 1, -1, -1]), torch.tensor([-1, 1, 2, 3, -1])]
    (found,) = words_of_windows([first, second], words, [0, 0], [["a", "b", "c", "d", "e"]])
    assert found.flatten()[:4].tolist() == [1, 2, 12, 13]
    assert found[4].isnan().all(), "it was cut off"


def test_words_that_left_no_token_have_no_prediction() -> None:
    probabilities = torch.rand(3, 2)
    (found,) = words_of_windows([probabilities], [torch.tensor([-1, 2, 0])], [0], [["a", "b", "c", "d"]])
    assert torch.equal(found[[2, 0]], probabilities[1:])
    assert found[[1, 3]].isnan().all()


# --- whole runs ---


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hydra.core.global_hydra import GlobalHydra

    from frostline.cli.main import main

    folder = tmp_path_factory.mktemp("texts")
    table(folder / "mine.csv", rows_of(60), ["text", "label"])
    weights = f"model.weights={make_tokenizer(folder / 'tokenizer')}"
    typed = [*TINY, weights, "data=text_csv", f"data.train_file={folder / 'mine.csv'}", "data.max_length=16"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frostline", "train", *typed, f"run_dir={folder / 'run'}"])
        main()
    GlobalHydra.instance().clear()
    return folder / "run"


def rows_told(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.out)))


def test_a_single_text_and_standard_input_are_answered_as_a_file(
    run: Path, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new.txt").write_text("aa ab, (aa)\nkl la\n")
    file = program("predict", f"run={run}", "trust=true", "input=new.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"aa ab, (aa)\nkl la\n")))
    piped = program("predict", f"run={run}", "trust=true", "input=-")
    assert (piped.code, piped.out) == (0, file.out)
    alone = program("predict", f"run={run}", "trust=true", "text=aa ab, (aa)")
    assert alone.code == 0, alone.err
    assert rows_told(alone) == rows_told(file)[:1]


def test_the_words_of_a_text_are_explained_on_a_page_or_not_at_all(run: Path, program: Program, tmp_path: Path) -> None:
    """Several texts are refused, and a file of another kind."""
    pytest.importorskip("captum")
    answer = program("explain", f"run={run}", "trust=true", "text=aa ab kl", "output=why.html")
    if answer.code:  # of a network that learned nothing the words may add nothing to padding
        assert "so none is shown" in answer.err
        assert not (tmp_path / "why.html").exists()
    else:
        assert {line.split()[0] for line in answer.out.splitlines()[-3:]} == {"aa", "ab", "kl"}
        assert (tmp_path / "why.html").read_text().count("<mark") == 5
    (tmp_path / "new.txt").write_text("aa\nkl\n")
    assert "there are several" in program("explain", f"run={run}", "trust=true", "input=new.txt").err
    assert "written as .html" in program("explain", f"run={run}", "trust=true", "text=aa", "output=why.png").err


@pytest.mark.parametrize("typed", [[], ["text=aa", "input=new.txt"]])
def test_nothing_and_two_things_to_predict_are_refused(run: Path, program: Program, typed: list[str]) -> None:
    answer = program("predict", f"run={run}", "trust=true", *typed)
    assert answer.code == 1
    assert "predict needs either input= or text=" in answer.err


def test_texts_that_are_cut_off_are_counted_and_windows_read_all_of_them(
    run: Path, program: Program, tmp_path: Path
) -> None:
    (tmp_path / "new.txt").write_text("aa ab " * 6 + "kl la " * 40 + "\naa\n")
    cut = program("predict", f"run={run}", "trust=true", "input=new.txt")
    assert "one text has 16 tokens or more: the rest is cut off (data.windows=true" in cut.err
    whole = program("predict", f"run={run}", "trust=true", "input=new.txt", "data.windows=true")
    assert whole.code == 0, whole.err
    assert "cut off (data.windows" not in whole.err
    assert "probabilities are as trained: 4 samples of validation cannot tell" in whole.err
    assert rows_told(whole)[0]["probability"] != rows_told(cut)[0]["probability"]
    assert float(rows_told(whole)[1]["probability"]) == pytest.approx(float(rows_told(cut)[1]["probability"]), abs=2e-2)


def test_other_columns_are_kept_and_faulty_lines_named(run: Path, program: Program, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,text,label\n7,aa ab,mine\n8, ,x\n9\n10,kl la,y\n")
    answer = program("predict", f"run={run}", "trust=true", "input=new.csv", "output=out.csv", "top_k=1")
    assert answer.code == 1
    assert "2 texts cannot be read; the other 2 have predictions:" in answer.err
    assert "line 3: there is no text in 'text'" in answer.err
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "text", "label (input)", "label", "probability"]
    assert [(row["id"], row["label (input)"]) for row in rows] == [("7", "mine"), ("10", "y")]


def test_a_blank_row_shifts_no_answer(run: Path, program: Program, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text('text\naa ab\n""\nkl la\n')
    answer = program("predict", f"run={run}", "trust=true", "input=new.csv", "top_k=1")
    assert answer.code == 1
    assert [row["text"] for row in rows_told(answer)] == ["aa ab", "kl la"]
    assert "1 text cannot be read; the other 2 have predictions:" in answer.err
    assert "line 3: this line holds only separators" in answer.err
    (tmp_path / "new.csv").write_text("text\naa ab\n\nkl la\n")
    answer = program("predict", f"run={run}", "trust=true", "input=new.csv", "top_k=1")
    assert (answer.code, len(rows_told(answer))) == (0, 2)
    assert "one empty line between samples was skipped: line 3" in answer.err


def test_columns_of_one_name_and_of_none_are_kept(run: Path, program: Program, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(",text,id,id\n0,aa ab,7,8\n")
    answer = program("predict", f"run={run}", "trust=true", "input=new.csv", "top_k=1")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0] == ",text,id,id (2),label,probability"
    assert answer.out.splitlines()[1].startswith("0,aa ab,7,8,")


@pytest.mark.parametrize(("name", "what"), [("a.png", "this is a picture"), ("in", "this is a folder")])
def test_what_holds_no_texts_is_told_what_would(
    run: Path, program: Program, tmp_path: Path, name: str, what: str
) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "in").mkdir()
    answer = program("predict", f"run={run}", "trust=true", f"input={name}")
    assert answer.code == 1
    assert f"this run takes texts, but {what}" in answer.err
    assert "input=<texts>.txt, one text per line, or a table" in answer.err


@pytest.mark.parametrize("setting", ["data.path_column=path", "data.suffix=.jpg", "data.quotes=false"])
def test_a_setting_that_says_nothing_about_the_input_is_refused(setting: str, run: Path, program: Program) -> None:
    answer = program("predict", f"run={run}", "text=a good film", setting, "trust=true")
    assert answer.code == 1
    assert f"{setting.partition('=')[0]} does not apply to texts" in answer.err


def test_the_command_that_trusts_a_run_has_the_same_text(run: Path, program: Program) -> None:
    """The backbone of these tests is one of its own, so that opening the run needs trust."""
    answer = program("predict", f"run={run}", "text=it's a 'good' film")
    assert answer.code == 1
    command = answer.err.rpartition("frostline predict ")[2]
    assert "text=it's a 'good' film" in shlex.split(command)
