"""Sounds: how files are read, what their spectrograms show, how these are cut and augmented, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scipy.io import wavfile
from torch import Tensor
from transformers.audio_utils import mel_filter_bank, window_function
from transformers.audio_utils import spectrogram as reference

from datasets_made import data as data_of
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.data.module import Data
from frostline.data.sample_cache import SampleCache
from frostline.data.sounds.audio_folder import AudioFolder
from frostline.data.sounds.files import header_of, read_sound
from frostline.data.sounds.sources import middle
from frostline.data.sounds.spectrogram import frames_of, mel_bands, sound_spec, spectrogram
from frostline.data.sounds.views import SoundViews, _shifted
from frostline.data.target_types.find import target_type
from frostline.errors import ConfigError, DataError
from frostline.storage.store import Store
from tiny_sounds import PITCHES, RATE, put, tone

PICTURE = ImageSpec(size=16, resize=16, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def make(common: dict[str, Any], tmp_path: Path) -> Any:
    """The sounds in `folder` as data."""

    def made(folder: Path, spec: Any = PICTURE, **settings: Any) -> Data:
        own = {"seconds": None, "sample_rate": None, "mels": 16, "image_size": None, "num_workers": 0}
        shared = {key: value for key, value in common.items() if key not in ("flip", "erase", "grey_range")}
        return data_of(AudioFolder, spec, **(shared | own | {"dir": str(folder), "classes": None} | settings))

    return made


# --- spectrograms ---


@pytest.mark.parametrize(("rate", "size"), [(8_000, 512), (16_000, 1024), (44_100, 4096)])
def test_bands_are_those_of_another_library(rate: int, size: int) -> None:
    theirs = mel_filter_bank(size // 2 + 1, 64, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    np.testing.assert_allclose(mel_bands(rate, size, 64).numpy(), theirs, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_spectrograms_are_those_of_another_library(rate: int) -> None:
    values = tone(700.0, 1.0, rate)
    window, hop, size = rate // 40, rate // 100, 512 * rate // 8000
    padded = np.pad(values, (window // 2 - hop // 2, window))
    bands = mel_filter_bank(size // 2 + 1, 64, 0.0, rate / 2, rate, norm=None, mel_scale="htk")
    hann = window_function(window, "hann", periodic=True)
    decibels = reference(
        padded, hann, window, hop, fft_length=size, power=2.0, center=False, mel_filters=bands, log_mel="dB",
        min_value=1e-10,
    )[:, :100]  # fmt: skip
    expected = 255 * (1 + (decibels - decibels.max()) / 80).clip(0)
    ours = spectrogram(torch.from_numpy(values), rate, 64).flip(0).numpy()
    assert ours.shape == (64, 100)
    assert np.abs(ours - expected).max() < 0.51, "rounded to whole numbers"


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 3000.0])
def test_a_tone_is_brightest_in_its_band(hertz: float) -> None:
    shown = spectrogram(torch.from_numpy(tone(hertz)), RATE, 40).flip(0).float()
    middles = 700 * (10 ** (torch.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), 42)[1:-1] / 2595) - 1)
    assert int(shown.sum(1).argmax()) == int((middles - hertz).abs().argmin())


def test_loudness_does_not_matter_and_silence_is_black() -> None:
    values = torch.from_numpy(tone(500.0))
    assert torch.equal(spectrogram(values, RATE, 32), spectrogram(values / 8, RATE, 32))
    assert not spectrogram(torch.zeros(800), RATE, 32).any()


@pytest.mark.parametrize(
    ("samples", "rate", "frames"),
    [(1, 8_000, 1), (80, 8_000, 1), (81, 8_000, 2), (8_000, 8_000, 100), (11_025, 11_025, 101)],
)
def test_there_is_a_frame_for_each_10_ms_that_have_begun(samples: int, rate: int, frames: int) -> None:
    assert spectrogram(torch.ones(samples), rate, 8).shape == (8, frames)
    assert frames_of(samples, rate) == frames


def test_blocks_of_frames_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(tone(500.0, 1.0))
    whole = spectrogram(values, RATE, 32)
    monkeypatch.setattr("frostline.data.sounds.spectrogram.BLOCK", 7)
    assert torch.equal(spectrogram(values, RATE, 32), whole)


# --- files ---


def test_a_wav_is_what_scipy_reads(tmp_path: Path) -> None:
    values = (np.random.default_rng(0).standard_normal(500) * 5000).astype(np.int16)
    wavfile.write(tmp_path / "a.wav", RATE, values)
    assert torch.equal(read_sound(tmp_path / "a.wav", RATE, 600), torch.from_numpy(values / 2**15).float())


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff"])
def test_other_formats_sound_the_same(tmp_path: Path, suffix: str) -> None:
    values = tone(440.0, 0.5, 16_000)
    soundfile.write(tmp_path / f"a{suffix}", values, 16_000)
    read = read_sound(tmp_path / f"a{suffix}", 16_000, 600)[: len(values)].numpy()
    assert header_of(tmp_path / f"a{suffix}").rate == 16_000
    assert np.corrcoef(read, values[: len(read)])[0, 1] > 0.99


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(300.0), tone(1500.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav", RATE, 600).numpy(), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [4_000, 11_025, 16_000, 44_100])
def test_a_resampled_tone_is_the_tone_at_that_rate(tmp_path: Path, rate: int) -> None:
    at = np.arange(RATE) / RATE
    soundfile.write(tmp_path / "a.wav", np.sin(2 * np.pi * 440 * at), RATE, subtype="DOUBLE")
    read = read_sound(tmp_path / "a.wav", rate, 600).numpy()
    assert len(read) == rate
    inside = slice(rate // 10, -rate // 10)  # the filter begins and ends in silence
    np.testing.assert_allclose(read[inside], np.sin(2 * np.pi * 440 * np.arange(rate) / rate)[inside], atol=5e-3)


def test_faulty_files_are_all_named(make: Any, tmp_path: Path) -> None:
    folder = put(tmp_path / "sounds")
    soundfile.write(folder / "low" / "empty.wav", np.zeros(0), RATE)
    (folder / "low" / "text.wav").write_text("this is no sound")
    with pytest.raises(DataError, match="2 sounds cannot be read") as raised:
        make(folder)
    assert "empty.wav: the sound is empty: it lasts 0 s" in str(raised.value)
    assert "text.wav: a sound does not decode" in str(raised.value)


def test_sounds_that_end_early_or_say_no_length_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.mp3"
    soundfile.write(file, tone(440.0, 4.0, 16_000), 16_000)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match="the sound ends after"):
        read_sound(file, 16_000, 600)
    unknown = soundfile.info(str(file))
    unknown.frames = 2**63 - 1
    monkeypatch.setattr(soundfile, "info", lambda file: unknown)
    with pytest.raises(DataError, match="does not say how long the sound is"):
        header_of(file)


def test_the_middle_of_a_very_long_sound_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.arange(1000) / 1000, RATE, subtype="FLOAT")
    read = read_sound(tmp_path / "a.wav", RATE, 0.05).numpy()
    np.testing.assert_allclose(read, np.arange(300, 700) / 1000, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_what_is_decoded_is_as_large_as_the_header_says(
    make: Any, tmp_path: Path, rate: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise nothing is cached."""
    folder = put(tmp_path / "sounds", 4)
    for place in range(6):
        soundfile.write(folder / "low" / f"x{place}.ogg", tone(400.0, 0.3 + place / 97, rate, seed=place), rate)
    cache = SampleCache(Store(tmp_path / "cache", 10**9, "decoded"))
    make(folder, sample_rate=11_025, sample_cache=cache)
    assert "not cached" not in capsys.readouterr().err
    assert cache.store is not None


def test_values_that_are_no_numbers_are_refused(make: Any, tmp_path: Path) -> None:
    folder = put(tmp_path / "sounds")
    soundfile.write(folder / "low" / "nan.wav", np.full(800, np.nan, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="values that are no numbers"):
        make(folder)


# --- data ---


def test_rate_and_length_come_from_the_training_sounds(make: Any, tmp_path: Path) -> None:
    data = make(put(tmp_path / "sounds", 20))
    assert data.chosen() == {"data.batch_size": data.batch_size, "data.seconds": 0.4, "data.sample_rate": RATE}
    assert data.classes == sorted(PITCHES)
    assert "sounds of 0.4 s at 8,000 Hz, seen as 16 × 16 pixels" in data.summary()
    batch = data.train_split[0]
    assert batch.inputs.shape == (1, 3, 16, 40)
    assert data.describe()["lengths"] == {"shortest": "0.2 s", "median": "0.3 s", "longest": "0.39 s"}


def test_what_is_resampled_mixed_cut_or_silent_is_told(make: Any, tmp_path: Path) -> None:
    folder = put(tmp_path / "sounds", 12)
    soundfile.write(folder / "low" / "cd.wav", tone(400.0, 0.3, 44_100), 44_100)
    soundfile.write(folder / "low" / "stereo.wav", np.stack([tone(310.0)] * 2, 1), RATE)
    soundfile.write(folder / "low" / "long.wav", tone(320.0, 3.0), RATE)
    soundfile.write(folder / "high" / "silent.wav", np.zeros(2400), RATE)
    soundfile.write(folder / "high" / "copy.wav", tone(1500.0, 0.2, seed=0), RATE)
    (folder / "high" / "notes.txt").write_text("…")
    notes = "\n".join(make(folder, seconds=0.5).notes())
    assert "sounds that are resampled to 8,000 Hz: 1 of 44,100 Hz" in notes
    assert "one sound has several channels, of which the mean is used" in notes
    assert "one sound is longer than 0.5 s (data.seconds)" in notes
    assert f"one sound is silent: {folder / 'high' / 'silent.wav'}" in notes
    assert "the same as an earlier one" in notes or "in both" in notes
    assert "skipped: 1 of .txt" in notes


def test_a_text_network_and_settings_that_no_sound_has_are_refused(make: Any, tmp_path: Path) -> None:
    folder = put(tmp_path / "sounds")
    with pytest.raises(ConfigError, match="takes texts, but this data is sounds"):
        make(folder, TextSpec("somewhere", 32))
    for rate in (100, 400_000):
        with pytest.raises(ConfigError, match="2,000 to 192,000 values per second"):
            make(folder, sample_rate=rate)
    with pytest.raises(ConfigError, match="at most 600 s of a sound"):
        make(folder, seconds=1e6)
    with pytest.raises(ConfigError, match="500 bands are more than the 256 frequencies"):
        make(folder, mels=500)


def test_pictures_beside_sounds_are_no_sounds(make: Any, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "1.png").touch()
    (tmp_path / "b" / "1.png").touch()
    with pytest.raises(DataError, match="there are no sounds") as raised:
        make(tmp_path)
    assert "put sounds (.wav, .flac, .ogg, .mp3, ...) into" in raised.value.next_step


# --- views ---


def views(level: Any, kind: str = "class", frames: int = 20) -> SoundViews:
    spec = sound_spec(PICTURE, rate=RATE, mels=16, frames=frames)
    return SoundViews(level, spec=spec, seed=0, target=target_type(kind), num_classes=2)


def batch_of(*lengths: int) -> Batch:
    """Sounds whose column i has the value i + 1, padded at the end."""
    sounds = torch.zeros(len(lengths), 3, 16, max(lengths), dtype=torch.uint8)
    for sound, length in zip(sounds, lengths, strict=True):
        sound[..., :length] = torch.arange(1, length + 1)
    sizes = torch.tensor([[16, length] for length in lengths])
    return Batch(sounds, torch.zeros(len(lengths)).long(), torch.arange(len(lengths)), sizes)


@pytest.mark.parametrize("length", [1, 19, 20, 21, 60])
def test_a_shifted_sound_is_a_part_of_it_or_all_of_it_within_silence(length: int) -> None:
    number, frames = 200, 20
    sounds = batch_of(*[length] * number)
    cut = _shifted(sounds.pictures, sounds.sizes, frames, torch.linspace(0, 0.999, number))[:, 0, 0].int()
    starts = set()
    for row in cut.tolist():
        heard = [value for value in row if value]
        assert len(heard) == min(length, frames)
        assert heard == list(range(heard[0], heard[0] + len(heard)))
        starts.add(heard[0] - 1 if length > frames else row.index(heard[0]))
    assert starts == set(range(abs(length - frames) + 1))


@pytest.mark.parametrize(("length", "expected"), [(20, [1, 20]), (24, [3, 22]), (10, [1, 10])])
def test_the_middle_is_evaluated(length: int, expected: list[int]) -> None:
    sound = np.broadcast_to(np.arange(1, length + 1, dtype=np.uint8)[None, :, None], (4, length, 3))
    cut = middle(sound, 20)
    heard = cut[0, :, 0][cut[0, :, 0] > 0]
    assert cut.shape == (4, 20, 3)
    assert [heard[0], heard[-1]] == expected
    assert abs(np.flatnonzero(cut[0, :, 0])[0] - (19 - np.flatnonzero(cut[0, :, 0])[-1])) <= 1


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_a_view_alone_is_its_view_in_a_batch(level: str) -> None:
    shown, sounds = views(level, "masks"), batch_of(30, 12, 45)
    together = shown.augmented(sounds, 3, alone=True).inputs
    for place, length in enumerate((30, 12, 45)):
        one = sounds._replace(
            inputs=sounds.pictures[place : place + 1, ..., :length], targets=sounds.targets[place : place + 1],
            sample=sounds.sample[place : place + 1], sizes=None,
        )  # fmt: skip
        assert torch.equal(shown.augmented(one, 3, alone=True).inputs[0], together[place])


def test_epochs_differ_and_repeat_themselves() -> None:
    def seen(epoch: int) -> Tensor:
        inputs: Tensor = views("standard").augmented(batch_of(30, 30), epoch, alone=False).inputs
        return inputs

    assert torch.equal(seen(1), seen(1))
    assert not torch.equal(seen(1), seen(2))
    plain = views("none").augmented(batch_of(20), 1, alone=False).inputs
    assert torch.equal(plain, views("standard").plain(batch_of(20)).inputs)


def test_bars_of_time_and_frequency_are_covered() -> None:
    sounds = batch_of(*[20] * 40)
    inputs = views("standard").augmented(sounds._replace(inputs=sounds.pictures.clone().fill_(255)), 0, alone=False)
    covered = (inputs.inputs == 0)[:, 0]
    columns, rows = covered.all(1), covered.all(2)
    assert 0 < columns.sum(1).float().mean() < 0.15 * 16
    assert 0 < rows.sum(1).float().mean() < 0.15 * 16
    assert torch.equal(covered, columns[:, None, :] | rows[:, :, None])


def test_mixed_sounds_have_mixed_targets() -> None:
    sounds = batch_of(*[20] * 64)
    labels = torch.arange(64) % 2
    mixed = views("strong").augmented(sounds._replace(targets=labels), 0, alone=False)
    assert mixed.targets.shape == (64, 2)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(64))
    share = float((mixed.targets.max(1).values < 1).double().mean())
    assert 0.3 < share < 0.7
