"""Whole runs in this process with networks that hear sounds: what is cached, resumed, scored again, predicted and
refused."""

import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import soundfile
import torch

import frostline
from compared import kept_and_never, record_of, require_equal, trained
from conftest import DEVICE, Answer, short_form
from tiny_sounds import PITCHES, put, tone
from tiny_waves import RATE, make_encoder

Program = Callable[..., Answer]
SHORT = ["model=sound_transformer", "data=audio_folder", "data.batch_size=8", "trainer.precision=32-true"]
SHORT += ["logger=none", "report=false", "callbacks.progress=null", "optimizer.lr=0.01", *DEVICE]
PLANS = {
    "two_stage": ["schedule.phases.head.epochs=2", "schedule.phases.all.epochs=2"],
    "last_block": ["schedule=last_block", "schedule.phases.head.epochs=2", "schedule.phases.last.epochs=2"],
}
UNSOLVED = "schedule.every_phase.solve=false"


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("sounds") / "tones")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    folder = tmp_path_factory.mktemp("encoders")

    def made(family: str) -> str:
        if not (folder / family).is_dir():
            make_encoder(folder / family, family)
        return f"model.name={folder / family}"

    return made


Encoders = Callable[[str], str]


@pytest.fixture
def finished(sounds: Path, encoders: Encoders, tmp_path_factory: pytest.TempPathFactory, program: Program) -> Path:
    folder = sounds.parent / "run"
    if not folder.is_dir():
        trained(program, folder, *SHORT, encoders("wav2vec2_layer"), f"data.dir={sounds}", "schedule=head_only")
    return folder


def test_pitches_are_learned_and_rate_and_length_are_stored(finished: Path) -> None:
    record = record_of(finished)
    assert record["metrics"]["test/accuracy"] == 1.0
    config = (finished / "config.yaml").read_text()
    assert "seconds: 0.4" in config
    assert f"sample_rate: {RATE}" in config


@pytest.mark.parametrize(
    ("family", "plan"),
    short_form(
        product(["wav2vec2", "wavlm_layer", "hubert", "whisper", "ast"], PLANS), ("wavlm_layer", "last_block"),
    ),
)  # fmt: skip
def test_what_is_cached_changes_no_bit(
    program: Program, sounds: Path, encoders: Encoders, tmp_path: Path, family: str, plan: str
) -> None:
    """Sounds are longer than `data.seconds`, so that training shows random parts of them."""
    own = [f"data.dir={sounds}", f"cache.dir={tmp_path / 'cache'}", "data.seconds=0.3", encoders(family), UNSOLVED]
    kept_and_never(program, tmp_path, *SHORT, *PLANS[plan], *own)


@pytest.mark.parametrize("family", short_form(["wavlm", "whisper"]))
def test_what_is_cached_in_bf16_changes_no_bit(
    program: Program, sounds: Path, encoders: Encoders, tmp_path: Path, family: str
) -> None:
    short = [it for it in SHORT if not it.startswith("trainer.precision")]
    own = [f"data.dir={sounds}", f"cache.dir={tmp_path / 'cache'}", "trainer.precision=bf16-mixed", encoders(family)]
    kept_and_never(program, tmp_path, *short, *PLANS["last_block"], UNSOLVED, *own)


def test_a_stopped_run_ends_in_the_same_bits(
    program: Program, sounds: Path, encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frostline.training.finetuner import FineTuner

    own = [*SHORT, *PLANS["two_stage"], UNSOLVED, encoders("hubert_layer"), f"data.dir={sounds}", "data.augment=strong"]
    trained(program, tmp_path / "whole", *own)
    step, calls = FineTuner.training_step, []

    def stops(self: FineTuner, *arguments: object) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 6:  # in the second phase, where dropout draws
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FineTuner, "training_step", stops)
    assert program("train", *own, f"run_dir={tmp_path / 'cut'}").code != 0
    monkeypatch.setattr(FineTuner, "training_step", step)
    assert program("train", f"resume={tmp_path / 'cut'}").code == 0
    require_equal(tmp_path / "cut", tmp_path / "whole")


def test_a_run_is_evaluated_to_the_same_scores(program: Program, finished: Path) -> None:
    answer = program("evaluate", f"run={finished}")
    assert answer.code == 0, answer.err
    assert f"all {record_of(finished)['data']['num_test']} agree with the stored ones\n" in answer.out


def test_sounds_are_predicted_from_files_and_memory(program: Program, finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for name, hertz in PITCHES.items():
        soundfile.write(folder / f"{name}.wav", tone(hertz * 1.06, 0.3, seed=3), 8_000)
    soundfile.write(folder / "long.flac", tone(PITCHES["low"], 2.0), 16_000)
    (folder / "broken.wav").write_text("no sound")
    answer = program("predict", f"run={finished}", f"input={folder}", f"output={tmp_path / 'told.csv'}")
    assert answer.code == 1
    assert "1 sound cannot be read; the other 3 have predictions" in answer.err
    assert "one sound is longer than 0.4 s: the middle is predicted" in answer.err
    with (tmp_path / "told.csv").open() as file:
        told = {Path(row["file"]).stem: row["label"] for row in csv.DictReader(file)}
    assert {name: told[name] for name in PITCHES} == {name: name for name in PITCHES}
    opened = frostline.open(finished)
    files = [folder / f"{name}.wav" for name in PITCHES]
    arrays = [(soundfile.read(file, dtype="float32")[0], 8_000) for file in files]
    assert [it.columns["label"] for it in opened.predict(arrays)] == list(PITCHES)
    by_file, by_array = ([it.values.tolist() for it in opened.predict(given)] for given in (files, arrays))
    assert by_file == by_array


def test_other_rates_are_told_and_resampled(program: Program, sounds: Path, encoders: Encoders, tmp_path: Path) -> None:
    own = [*SHORT, encoders("wav2vec2"), f"data.dir={sounds}", "dry_run=true"]
    answer = program("train", *own)
    assert answer.code == 0, answer.err
    assert f"sounds that are resampled to {RATE:,} Hz: 24 of 8,000 Hz" in answer.out
    assert f"s in the longest, at {RATE:,} Hz" in answer.out


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_a_table_of_sounds_gives_every_target(
    program: Program, sounds: Path, encoders: Encoders, tmp_path: Path, task: str
) -> None:
    lines = ["path,low,loud,hertz"]
    for name in PITCHES:
        lines += [f"{name}/{take}.wav,{int(name == 'low')},{take % 2},{take}" for take in range(12)]
    (tmp_path / "tones.csv").write_text("\n".join(lines) + "\n")
    columns = {"multi_label": "[low,loud]", "regression": "[hertz]"}[task]
    own = [*SHORT, "data=audio_csv", f"data.file={tmp_path / 'tones.csv'}", f"data.dir={sounds}", f"task={task}"]
    own += [f"data.target_columns={columns}", "schedule=head_only", encoders("wavlm")]
    record = trained(program, tmp_path / "run", *own)
    assert record["data"]["num_train"] + record["data"]["num_val"] + record["data"]["num_test"] == 24


# --- what is refused ---


@pytest.mark.parametrize(
    ("overrides", "told", "following"),
    [
        (["data.sample_rate=8000"], "takes sounds of 2,000 values per second, not 8,000", "data.sample_rate=2000"),
        (["data.image_size=64"], "sees no picture", "data.image_size=null"),
        (["data=digits"], "this backbone takes sounds, but this data is pictures", "a picture backbone"),
        (["task=transcription"], "this task learns from the text that is spoken", "data=audio_csv"),
        (["head=fpn"], "this head returns outputs per pixel", "head=linear"),
    ],
)
def test_what_cannot_be_is_told(
    overrides: list[str], told: str, following: str, program: Program, sounds: Path, encoders: Encoders
) -> None:
    own = [it for it in SHORT if not (overrides[0].startswith("data=") and it.startswith("data"))]
    data = [] if overrides[0].startswith("data=") else [f"data.dir={sounds}"]
    answer = program("train", *own, encoders("wav2vec2"), *data, *overrides, "dry_run=true")
    assert answer.code == 1
    assert told in answer.err
    assert following in answer.err
    assert "Traceback" not in answer.err


def test_whisper_takes_as_much_as_its_spectrogram_holds(program: Program, sounds: Path, encoders: Encoders) -> None:
    answer = program("train", *SHORT, encoders("whisper"), f"data.dir={sounds}", "data.seconds=3", "dry_run=true")
    assert answer.code == 1
    assert "takes at most 2 s of a sound, not 3" in answer.err
    assert "data.seconds=2" in answer.err
