"""frostline compare: what it prints, and which runs it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Answer
from frostline.runs.predictions import read, write

Program = Callable[..., Answer]


@pytest.fixture
def other(small_run: Path, tmp_path: Path) -> Path:
    """The same run, with other answers to the first twenty test samples."""
    folder = tmp_path / "a folder, other"
    shutil.copytree(small_run, folder)
    found = read(folder, "test")
    logits = found.columns["logits"]
    logits[:20] = -logits[:20]
    right = float((logits.argmax(1) == found.columns["target"]).mean())
    scores = found.about["scores"] | {"test/accuracy": right}
    texts = {name: found.columns[name].tolist() for name in ("sample", "phase")}
    write(folder, "test", found.columns | texts | {"logits": logits}, found.about | {"scores": scores})
    return folder


def test_two_runs_are_compared(program: Program, small_run: Path, other: Path) -> None:
    answer = program("compare", str(small_run), str(other))
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if "test/accuracy " in line]
    assert line.split()[-1] == "yes"
    assert "McNemar's test: p = " in answer.out
    assert "by the first alone, 0 by the second alone" in answer.out
    assert "20 of 359 answers differ" in answer.out
    assert "and 10 more" in answer.out


def test_a_run_equals_itself(program: Program, small_run: Path) -> None:
    answer = program("compare", f"first={small_run}", f"second={small_run}")
    assert "0 of 359 answers differ" in answer.out
    assert " yes" not in answer.out


def test_runs_of_other_data_are_refused(program: Program, small_run: Path, other: Path) -> None:
    record = json.loads((other / "run.json").read_text())
    record["data"]["fingerprint"] = "0"
    (other / "run.json").write_text(json.dumps(record))
    answer = program("compare", str(small_run), str(other))
    assert answer.code == 1
    assert "the test splits of these runs differ: they are of other data" in answer.err


def test_texts_of_other_tokenizers_are_known_by_their_lines(program: Program, small_run: Path, other: Path) -> None:
    """Runs of pictures stand in for runs of texts."""
    shutil.copytree(small_run, other.parent / "run")
    for folder, model in ((other.parent / "run", "minilm"), (other, "distilbert")):
        record = json.loads((folder / "run.json").read_text())
        record["data"] |= {"fingerprint": model, "tokens": {}}
        record["model"]["name"] = model
        (folder / "run.json").write_text(json.dumps(record))
    answer = program("compare", "run", str(other))
    assert "samples  compared by file, line and target: the networks have other tokenizers" in answer.out
    assert "20 of 359 answers differ" in answer.out
    found = read(other, "test")
    names = ["another", *found.columns["sample"][1:]]
    write(other, "test", found.columns | {"sample": names, "phase": [*found.columns["phase"]]}, found.about)
    assert "they are of other data" in program("compare", "run", str(other)).err


def test_a_run_without_predictions_is_refused(program: Program, small_run: Path, other: Path) -> None:
    shutil.rmtree(other / "predictions")
    answer = program("compare", str(small_run), str(other))
    assert answer.code == 1
    assert "the run stored no predictions of its split 'test'" in answer.err


def test_a_run_that_was_not_tested_is_refused_in_words(program: Program, small_run: Path, tmp_path: Path) -> None:
    """As those of a sweep that did not win."""
    shutil.copytree(small_run, tmp_path / "untested")
    content = json.loads((small_run / "run.json").read_text())
    content["metrics"] = {name: value for name, value in content["metrics"].items() if not name.startswith("test/")}
    (tmp_path / "untested" / "run.json").write_text(json.dumps(content))
    answer = program("compare", str(small_run), str(tmp_path / "untested"))
    assert answer.code == 1
    assert "a sweep tests its best setting alone" in answer.err
    assert f"evaluate run={small_run} && " in answer.err
    assert f"evaluate run={tmp_path / 'untested'} " in answer.err
