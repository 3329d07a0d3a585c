"""Whole runs in this process that write what is spoken: learned to the last character, cached, resumed, scored again,
predicted and refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import soundfile
import torch

import frostline
from compared import kept_and_never, record_of, require_equal, require_intervals, trained
from conftest import DEVICE, Answer, short_form
from frostline.runs.predictions import read
from tiny_waves import RATE, TEXTS, make_encoder, put_spoken, spoken

Program = Callable[..., Answer]
SHORT = ["task=transcription", "model=sound_transformer", "data=audio_csv", "data.target_columns=[text]"]
SHORT += ["data.split_column=split", "data.batch_size=4", "trainer.precision=32-true", "logger=none", "report=false"]
SHORT += ["callbacks.progress=null", "schedule.every_phase.solve=false", *DEVICE]
FULL = ["schedule=full", "schedule.phases.all.lr_scale=1.0", "schedule.phases.all.epochs=80", "optimizer.lr=0.01"]
FULL += ["model.weights=null", "model.dropout=0.0", "data.augment=none", "data.batch_size=2"]
TWO_STAGE = ["schedule.phases.head.epochs=2", "schedule.phases.all.epochs=2", "optimizer.lr=0.005"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("own")
    return [
        f"data.file={put_spoken(folder / 'spoken')}",
        f"model.name={make_encoder(folder / 'wav2vec2', num_hidden_layers=1)}",
    ]


@pytest.fixture
def finished(own: list[str], program: Program) -> Path:
    folder = Path(own[0].partition("=")[2]).parents[1] / "run"
    if not folder.is_dir():
        short = [it for it in SHORT if not it.startswith("data.batch_size")]
        trained(program, folder, *short, *own, *FULL)
    return folder


def test_eight_sounds_are_learned_to_the_last_character(finished: Path) -> None:
    record = record_of(finished)
    assert record["metrics"]["test/cer"] == 0.0
    assert record["metrics"]["test/wer"] == 0.0
    assert record["metrics"]["test/n"] == len(TEXTS)
    require_intervals(record)
    assert record["data"]["targets"]["names"] == [" ", "a", "b", "c"]
    assert [(row["unit"], row["n"]) for row in record["per_class"]] == [
        ("characters", sum(map(len, TEXTS))),
        ("words", sum(len(text.split()) for text in TEXTS)),
    ]


def test_predictions_are_saved_with_their_targets(finished: Path) -> None:
    found = read(finished, "test")
    names = found.about["names"]
    for column in ("target", "decoded"):
        texts = ["".join(names[c] for c in row if c >= 0) for row in found.columns[column].tolist()]
        assert texts == TEXTS


def test_a_run_is_evaluated_to_the_same_scores(program: Program, finished: Path) -> None:
    answer = program("evaluate", f"run={finished}")
    assert answer.code == 0, answer.err
    assert f"all {len(TEXTS)} agree with the stored ones\n" in answer.out
    assert "characters" in answer.out


def test_texts_are_predicted_from_files_and_memory(program: Program, finished: Path, tmp_path: Path) -> None:
    """A sound that is longer than those of training is heard to its end."""
    texts = [*TEXTS[:3], "ab ba cab"]
    for number, text in enumerate(texts):
        soundfile.write(tmp_path / f"{number}.wav", spoken(text, seed=7), RATE)
    answer = program("predict", f"run={finished}", f"input={tmp_path}", f"output={tmp_path / 'told.csv'}")
    assert answer.code == 0, answer.err
    assert "the middle is predicted" not in answer.err
    with (tmp_path / "told.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "text"]
    assert [row["text"] for row in rows[:3]] == texts[:3]
    assert len(rows[3]["text"]) >= 7
    opened = frostline.open(finished)
    assert opened.task == "transcription"
    given = [*opened.predict([(spoken(text, seed=7), RATE) for text in texts])]
    assert [it.columns["text"] for it in given] == [row["text"] for row in rows]


@pytest.mark.parametrize("augment", short_form(["none", "standard"], "standard"))
def test_what_is_cached_changes_no_bit(program: Program, own: list[str], tmp_path: Path, augment: str) -> None:
    cache = [f"data.augment={augment}", f"cache.dir={tmp_path / 'cache'}"]
    kept_and_never(program, tmp_path, *SHORT, *own, *TWO_STAGE, *cache)


def test_a_stopped_run_ends_in_the_same_bits(
    program: Program, own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frostline.training.finetuner import FineTuner

    settings = [*SHORT, *own, *TWO_STAGE]
    trained(program, tmp_path / "whole", *settings)
    step, calls = FineTuner.training_step, []

    def stops(self: FineTuner, *arguments: object) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FineTuner, "training_step", stops)
    assert program("train", *settings, f"run_dir={tmp_path / 'cut'}").code != 0
    monkeypatch.setattr(FineTuner, "training_step", step)
    assert program("train", f"resume={tmp_path / 'cut'}").code == 0
    require_equal(tmp_path / "cut", tmp_path / "whole")


def test_unknown_characters_are_counted_once(program: Program, tmp_path: Path, own: list[str]) -> None:
    table = Path(own[0].partition("=")[2])
    lines = table.read_text().replace("0_test.wav,ab", "0_test.wav,ax")
    (tmp_path / "t.csv").write_text(lines)
    given = [f"data.file={tmp_path / 't.csv'}", f"data.dir={table.parent}", own[1]]
    answer = program("train", *SHORT, *given, "schedule=head_only", f"run_dir={tmp_path / 'run'}")
    assert answer.code == 0, answer.err
    note = "one character does not occur in training transcripts, cannot be predicted: each is an error: 'x'"
    assert (answer.out + answer.err).count(note) == 1
    assert record_of(tmp_path / "run")["metrics"]["test/cer"] > 0


def test_a_vocabulary_is_taken_from_a_file(program: Program, tmp_path: Path, own: list[str]) -> None:
    (tmp_path / "letters.txt").write_text("c\nb\na\n \nd\n")
    answer = program("train", *SHORT, *own, f"data.vocabulary={tmp_path / 'letters.txt'}", "dry_run=true")
    assert answer.code == 0, answer.err
    assert "5 characters, the most frequent" in answer.out
    assert "training never shows 'd': nothing is learned about them" in answer.out


def test_a_vocabulary_is_found_from_any_folder(
    program: Program, tmp_path: Path, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("letters.txt").write_text("c\nb\na\n \nd\n")
    settings = [*SHORT, *own, "data.vocabulary=letters.txt", "schedule=head_only", f"run_dir={tmp_path / 'run'}"]
    assert program("train", *settings).code == 0
    assert f"vocabulary: {tmp_path / 'letters.txt'}" in Path("run/config.yaml").read_text()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    answer = program("evaluate", f"run={tmp_path / 'run'}")
    assert answer.code == 0, answer.err


# --- what is refused ---


def changed(own: list[str], folder: Path, before: str, after: str) -> list[str]:
    table = Path(own[0].partition("=")[2])
    assert before in table.read_text()
    (folder / "t.csv").write_text(table.read_text().replace(before, after))
    return [f"data.file={folder / 't.csv'}", f"data.dir={table.parent}", own[1]]


@pytest.mark.parametrize(
    ("cell", "told", "following"),
    [
        ("", "the transcript in 'text' is empty", "drop the line"),
        (
            "ab" * 30,
            "the transcript needs 60 tokens of the network, but a sound of 0.2 s gives",
            "correct the transcript",
        ),
    ],
)
def test_transcripts_that_cannot_be_learned_are_told(
    program: Program, tmp_path: Path, own: list[str], cell: str, told: str, following: str
) -> None:
    given = changed(own, tmp_path, "0_train.wav,ab,", f"0_train.wav,{cell},")
    answer = program("train", *SHORT, *given, "dry_run=true")
    assert answer.code == 1
    assert told in answer.err
    assert following in answer.err
    assert "line 2" in answer.err or "0_train.wav" in answer.err


@pytest.mark.parametrize(
    ("overrides", "told", "following"),
    [
        (["model=bundled"], "bundled returns features as vector or map or pyramid, but", "model=wav2vec2_base"),
        (["data.seconds=0.25"], "sounds are too long, and their targets belong to all of them", "data.seconds=0.4"),
        (["data.augment=strong", "data.mels=12", "data.image_size=8"], "sees no picture", "data.image_size=null"),
        (["task=classification", "data.vocabulary=x.txt"], "lists characters of transcripts", "data.vocabulary=null"),
        (["data.target_columns=[text,split]", "data.split_column=null"], "needs one column", "task=classification"),
    ],
)
def test_what_cannot_be_is_told(
    overrides: list[str], told: str, following: str, program: Program, own: list[str]
) -> None:
    given = [it for it in own if not (overrides[0].startswith("model=") and it.startswith("model"))]
    short = [it for it in SHORT if not any(it.partition("=")[0] == o.partition("=")[0] for o in overrides)]
    answer = program("train", *short, *given, *overrides, "dry_run=true")
    assert answer.code == 1
    assert told in answer.err
    assert following in answer.err
    assert "Traceback" not in answer.err


def test_only_sounds_have_transcripts(program: Program, tmp_path: Path) -> None:
    from tiny_text import make_tokenizer

    (tmp_path / "t.csv").write_text("text,label\n" + "aa ab,yes\nkl,no\n" * 20)
    tokenizer = f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}"
    given = ["model=bundled", "model._target_=tiny_text.TinyText", tokenizer, "data=text_csv", "data.train_file=t.csv"]
    answer = program("train", "task=transcription", *given, *DEVICE, "dry_run=true")
    assert answer.code == 1
    assert "this task learns from the text that is spoken in each sound, but this data has one class" in answer.err
    assert "data=audio_csv" in answer.err


def test_a_text_model_hears_nothing(program: Program, tmp_path: Path, own: list[str]) -> None:
    from tiny_text import make_tokenizer

    tokenizer = f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}"
    short = [it for it in SHORT if not it.startswith("model=")]
    given = ["model=bundled", "model._target_=tiny_text.TinyText", tokenizer, own[0]]
    answer = program("train", *short, *given, "dry_run=true")
    assert answer.code == 1
    assert "this backbone takes texts, but this data is sounds" in answer.err
    assert "model=wav2vec2_base" in answer.err


# --- real sounds ---

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def test_spoken_digits_are_spelled_out(program: Program, shared: Path, tmp_path: Path, own: list[str]) -> None:
    with ZipFile(shared / "fsdd" / "recordings.zip") as archive:
        chosen = [name for name in archive.namelist() if name.endswith(("_george_5.wav", "_theo_6.wav"))]
        archive.extractall(tmp_path, chosen)
    lines = [f"{name},{WORDS[int(Path(name).name[0])]}" for name in sorted(chosen)]
    (tmp_path / "words.csv").write_text("\n".join(["path,text", *lines]) + "\n")
    given = [it for it in SHORT if not it.startswith("data.split_column")]
    settings = [f"data.file={tmp_path / 'words.csv'}", own[1], "schedule=head_only", f"run_dir={tmp_path / 'run'}"]
    answer = program("train", *given, *settings)
    assert answer.code == 0, answer.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["targets"]["names"] == sorted({*"".join(WORDS)})
    assert 0.0 < record["metrics"]["test/cer"] <= 3.0
