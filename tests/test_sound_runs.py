"""Whole runs in this process on tones of two pitches: what is learned, kept, resumed, scored again and predicted."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile
import torch

import frostline
from compared import kept_and_never, record_of, require_equal, trained
from conftest import DEVICE, Answer, short_form
from frostline.errors import DataError
from tiny_sounds import PITCHES, RATE, put, tone

Program = Callable[..., Answer]
SHORT = ["data=audio_folder", "data.image_size=16", "data.mels=16", "data.batch_size=8", "trainer.precision=32-true"]
SHORT += ["logger=none", "report=false", "callbacks.progress=null", *DEVICE]
TWO_STAGE = [
    *SHORT,
    "schedule.phases.head.epochs=2",
    "schedule.phases.all.epochs=2",
    "schedule.every_phase.solve=false",
]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("sounds") / "tones")


@pytest.fixture
def finished(sounds: Path, tmp_path_factory: pytest.TempPathFactory, program: Program) -> Path:
    """A run on the tones, trained once and copied for each test."""
    folder = sounds.parent / "run"
    if not folder.is_dir():
        trained(program, folder, *SHORT, f"data.dir={sounds}", "schedule=head_only")
    return folder


def test_pitches_are_learned(finished: Path) -> None:
    record = record_of(finished)
    assert record["metrics"]["test/accuracy"] == 1.0
    assert record["data"]["classes"] == ["high", "low"]
    assert "seconds: 0.4" in (finished / "config.yaml").read_text()


@pytest.mark.parametrize("augment", short_form(["standard", "strong"], "strong"))
def test_what_is_kept_changes_no_bit(program: Program, sounds: Path, tmp_path: Path, augment: str) -> None:
    own = [f"data.dir={sounds}", f"data.augment={augment}", f"cache.dir={tmp_path / 'cache'}"]
    kept_and_never(program, tmp_path, *TWO_STAGE, *own)


def test_a_stopped_run_ends_in_the_same_bits(
    program: Program, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frostline.training.finetuner import FineTuner

    own = [*TWO_STAGE, f"data.dir={sounds}"]
    trained(program, tmp_path / "whole", *own)
    step, calls = FineTuner.training_step, []

    def stops(self: FineTuner, *arguments: object) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FineTuner, "training_step", stops)
    assert program("train", *own, f"run_dir={tmp_path / 'cut'}").code != 0
    monkeypatch.setattr(FineTuner, "training_step", step)
    assert program("train", f"resume={tmp_path / 'cut'}").code == 0
    require_equal(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("task", short_form(["multi_label", "regression"], "regression"))
def test_a_table_of_sounds_gives_every_target(program: Program, sounds: Path, tmp_path: Path, task: str) -> None:
    lines = ["clip,low,loud,hertz"]
    for name in PITCHES:
        lines += [f"{name}/{take},{int(name == 'low')},{take % 2},{take}" for take in range(12)]
    (tmp_path / "tones.csv").write_text("\n".join(lines) + "\n")
    columns = {"multi_label": "[low,loud]", "regression": "[hertz]"}[task]
    own = [*SHORT, "data=audio_csv", f"data.file={tmp_path / 'tones.csv'}", f"data.dir={sounds}", "data.suffix=.wav"]
    own += ["data.path_column=clip", f"data.target_columns={columns}", f"task={task}", "schedule=head_only"]
    record = trained(program, tmp_path / "run", *own)
    assert record["data"]["num_train"] + record["data"]["num_val"] + record["data"]["num_test"] == 24
    answer = program("predict", f"run={tmp_path / 'run'}", f"input={tmp_path / 'tones.csv'}", f"data.dir={sounds}")
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert [row["clip"] for row in rows] == [line.split(",")[0] for line in lines[1:]]


def test_a_run_is_evaluated_to_the_same_scores(program: Program, finished: Path) -> None:
    answer = program("evaluate", f"run={finished}")
    assert answer.code == 0, answer.err
    assert f"all {record_of(finished)['data']['num_test']} agree with the stored ones\n" in answer.out


def test_a_folder_is_predicted_and_what_cannot_be_read_is_named(
    program: Program, finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    for name, hertz in PITCHES.items():
        (folder / name).mkdir(parents=True)
        again = tone(hertz * 1.06, 0.25, seed=3)  # one of the training sounds
        soundfile.write(folder / name / "a.flac", np.stack([again] * 2, 1), RATE)
    soundfile.write(folder / "low" / "b.mp3", tone(300.0, 3.0), RATE)
    (folder / "broken.wav").write_text("no sound")
    answer = program("predict", f"run={finished}", f"input={folder}", f"output={tmp_path / 'told.csv'}")
    assert answer.code == 1
    assert "1 sound cannot be read; the other 3 have predictions" in answer.err
    assert "one sound is longer than 0.4 s: the middle is predicted" in answer.err
    with (tmp_path / "told.csv").open() as file:
        rows = list(csv.DictReader(file))
    told = {Path(row["file"]).parent.name: row["label"] for row in rows if row["file"].endswith(".flac")}
    assert told == {name: name for name in PITCHES}


def test_text_is_refused_in_words(program: Program, finished: Path) -> None:
    answer = program("predict", f"run={finished}", "text=hello")
    assert answer.code == 1
    assert "this run takes sounds, not text" in answer.err


def test_sounds_in_memory_are_predicted_as_those_in_files(finished: Path, sounds: Path) -> None:
    opened = frostline.open(finished)
    files = [sounds / name / "3.wav" for name in PITCHES]
    arrays = [(soundfile.read(file, dtype="float32")[0], RATE) for file in files]
    whole = [(soundfile.read(file, dtype="int16")[0], RATE) for file in files]
    told = [[it.values.tolist() for it in opened.predict(samples)] for samples in (files, arrays, whole)]
    assert told[0] == told[1] == told[2]
    assert [it.columns["label"] for it in opened.predict(files)] == list(PITCHES)
    eight_bits = np.rint(arrays[0][0] * 128 + 128).astype(np.uint8)
    stereo = np.stack([arrays[0][0]] * 2, 1)
    for same in (stereo, torch.from_numpy(stereo), eight_bits):
        (found,) = opened.predict([(same, np.int64(RATE))])
        assert found.columns["label"] == next(iter(PITCHES))
    for faulty, message in (
        ((stereo.T, RATE), "channels of 2 values"),
        ((np.zeros(80, bool), RATE), "this is not a sound"),
        ((arrays[0][0], True), "this is not a sound"),
        ("nowhere.wav", "there is no such sound"),
        (np.zeros(3), "this is not a sound"),
        ((np.full(80, np.nan), RATE), "values that are no numbers"),
    ):
        with pytest.raises(DataError, match=message):
            list(opened.predict([faulty]))


def test_a_missing_library_is_named(program: Program, sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frostline.data.sounds import files

    files.soundfile.cache_clear()
    monkeypatch.setitem(sys.modules, "soundfile", None)
    answer = program("train", *TWO_STAGE, f"data.dir={sounds}")
    files.soundfile.cache_clear()
    assert answer.code == 1
    assert 'pip install "frostline[sound]"' in answer.err


def test_spoken_digits_train(program: Program, shared: Path, tmp_path: Path) -> None:
    with ZipFile(shared / "fsdd" / "recordings.zip") as archive:
        chosen = [name for name in archive.namelist() if name.endswith(("_george_5.wav", "_george_6.wav",
                  "_theo_5.wav", "_theo_6.wav", "_lucas_7.wav", "_lucas_8.wav"))]  # fmt: skip
        archive.extractall(tmp_path, chosen)
    shutil.copy(shared / "fsdd" / "metadata.csv", tmp_path)
    lines = (tmp_path / "metadata.csv").read_text().splitlines()
    kept = [line for line in lines[1:] if line.split(",")[0] in chosen]
    (tmp_path / "metadata.csv").write_text("\n".join([lines[0], *kept]) + "\n")
    own = ["data=audio_csv", f"data.file={tmp_path / 'metadata.csv'}", "data.path_column=file_name"]
    own += ["data.target_columns=[label]", "schedule=head_only", f"run_dir={tmp_path / 'run'}"]
    answer = program("train", *SHORT, *own)
    assert answer.code == 0, answer.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["num_train"] > 30
