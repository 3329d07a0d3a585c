"""Sounds as values: what is decoded and cached, lengths, random parts, and what belongs to a whole sound."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.contracts.specs import WaveSpec
from frostline.contracts.targets import NO_TAG
from frostline.contracts.tokens import Tokens
from frostline.data.composed import data_of
from frostline.data.module import Data
from frostline.data.sample_cache import SampleCache
from frostline.data.sounds.audio_csv import AudioCsv
from frostline.data.sounds.audio_folder import AudioFolder
from frostline.data.sounds.files import header_of, read_sound
from frostline.data.sounds.wave_sources import WaveFiles, middle
from frostline.data.sounds.wave_views import WaveViews, part
from frostline.data.target_types.find import target_type
from frostline.errors import ConfigError, DataError
from frostline.storage.store import Store
from tiny_sounds import PITCHES, put, tone

SPEC = WaveSpec(rate=4_000, least=40, hop=20, kernels=((10, 5), (3, 2), (3, 2)))
SETTINGS: dict[str, Any] = {
    "image_size": None, "seconds": None, "sample_rate": None, "mels": 128, "augment": "standard", "num_workers": 0,
    "batch_size": None, "train_limit": None, "val_fraction": 0.1, "test_fraction": 0.2, "folds": None, "fold": 0,
    "per_identity": None,
    "split_seed": 0, "seed": 0,
}  # fmt: skip
LISTED: dict[str, Any] = {
    "dir": None, "path_column": "path", "suffix": "", "target_columns": ["text"], "vocabulary": None,
    "separator": None, "quotes": None, "split_column": None, "split_by": "random", "time_column": None,
    "user_column": None, "relevant": None, "group_column": None, "group_columns": None,
}  # fmt: skip


def files_of(folder: Path, *sounds: np.ndarray, rate: int = 8_000) -> list[Path]:
    files = [folder / f"{number}.wav" for number in range(len(sounds))]
    for file, sound in zip(files, sounds, strict=True):
        soundfile.write(file, sound, rate)
    return files


def source(
    files: list[Path], spec: WaveSpec = SPEC, labels: Tensor | None = None, *, framed: bool = False
) -> WaveFiles:
    labels = torch.zeros(len(files), dtype=torch.long) if labels is None else labels
    headers = [header_of(file) for file in files]
    return WaveFiles(files, labels, headers=headers, root=files[0].parent, spec=spec, framed=framed)


def folder_data(folder: Path, cache: SampleCache | None = None, **settings: Any) -> Data:
    own = SETTINGS | {"dir": str(folder), "classes": None, "group_pattern": None} | settings
    return data_of(AudioFolder, SPEC, own, **({} if cache is None else {"cache": cache}))


def spoken_data(file: Path, spec: WaveSpec = SPEC, **settings: Any) -> Data:
    own = SETTINGS | LISTED | {"file": str(file)} | settings
    return data_of(AudioCsv, spec, own, target_kind="transcripts")


def table(folder: Path, texts: list[str], seconds: float = 0.5) -> Path:
    files_of(folder, *(tone(300.0 + 50 * n, seconds + 0.1 * n, seed=n) for n in range(len(texts))))
    (folder / "t.csv").write_text("\n".join(["path,text", *(f"{n}.wav,{text}" for n, text in enumerate(texts))]) + "\n")
    return folder / "t.csv"


TEXTS = ["ab", "ba", "a b", "bb", "aab", "ab a", "b a", "ba b", "abab", "baab"]


def test_values_are_resampled_to_the_networks_rate_and_padded(tmp_path: Path) -> None:
    files = files_of(tmp_path, tone(300.0, 0.3), tone(500.0, 0.2))
    found = source(files)
    tokens, sizes = found.fetch([0, 1], whole=False)
    assert sizes is None
    assert tokens.values.shape == (2, 1_200, 1)
    assert found.lengths.tolist() == tokens.mask.sum(1).tolist() == [1_200, 800]
    for row, file in enumerate(files):
        assert torch.equal(tokens.values[row, tokens.mask[row], 0], read_sound(file, 4_000, 600))
    assert tokens.values[1, 800:].abs().max() == 0


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 3_999])
@pytest.mark.parametrize("number", [1, 999, 12_345])
def test_lengths_are_known_before_a_sound_is_decoded(tmp_path: Path, rate: int, number: int) -> None:
    files = files_of(tmp_path, np.full(number, 0.1, np.float32), rate=rate)
    found = source(files)
    tokens, _ = found.fetch([0], whole=False)
    assert found.lengths.tolist() == [tokens.values.shape[1]]
    assert int(found.lengths) >= SPEC.least


def test_evaluation_hears_the_middle_and_training_the_whole(tmp_path: Path) -> None:
    found = source(files_of(tmp_path, tone(300.0, 1.0)), SPEC.at(0.25))
    whole, cut = (found.fetch([0], whole=it)[0] for it in (True, False))
    assert whole.values.shape == (1, 4_000, 1)
    assert torch.equal(cut.values[0], whole.values[0, 1_500:2_500])
    assert found.lengths.tolist() == [1_000]
    assert torch.equal(middle(torch.arange(5), 2), torch.tensor([1, 2]))


def test_cached_values_are_those_of_the_file(tmp_path: Path) -> None:
    folder = put(tmp_path / "tones")
    store = Store(tmp_path / "cache", 10**9, "decoded")
    first, again, plain = (
        folder_data(folder, SampleCache(store)),
        folder_data(folder, SampleCache(store)),
        folder_data(folder),
    )
    places = list(range(len(plain.train_split)))
    batches = [data.train_split.__getitems__(places) for data in (first, again, plain)]
    for batch in batches:
        assert isinstance(batch, Batch)
        assert all(torch.equal(*pair) for pair in zip(batch.inputs, batches[2].inputs, strict=True))  # type: ignore[union-attr]
    assert len(list((tmp_path / "cache").rglob("entry.json"))) >= 1
    assert first.fingerprint == again.fingerprint == plain.fingerprint


def test_a_network_for_sounds_gets_values_and_a_picture_network_a_picture(tmp_path: Path) -> None:
    from frostline.backbones.bundled import SPEC as PICTURE

    folder = put(tmp_path / "tones")
    own = SETTINGS | {"dir": str(folder), "classes": None, "group_pattern": None, "mels": 16}
    assert isinstance(data_of(AudioFolder, SPEC, own).example(), Tokens)
    assert isinstance(data_of(AudioFolder, PICTURE, own).example(), Tensor)


def test_length_and_rate_are_chosen_and_told(tmp_path: Path) -> None:
    data = folder_data(put(tmp_path / "tones"))
    assert data.chosen()["data.seconds"] == 0.4
    assert data.chosen()["data.sample_rate"] == 4_000
    assert "at 4,000 Hz" in data.summary()
    assert any("resampled to 4,000 Hz: 24 of 8,000 Hz" in note for note in data.notes())
    cut = folder_data(tmp_path / "tones", seconds=0.3)
    assert any("longer than 0.3 s (data.seconds)" in note for note in cut.notes())
    assert cut.train_split.lengths is not None
    assert int(cut.train_split.lengths.max()) == 1_200


def test_silence_and_repeats_are_told(tmp_path: Path) -> None:
    folder = put(tmp_path / "tones")
    soundfile.write(folder / "low" / "silent.wav", np.zeros(2_000, np.float32), 8_000)
    soundfile.write(folder / "low" / "again.flac", soundfile.read(folder / "low" / "3.wav")[0], 8_000)
    notes = "\n".join(folder_data(folder).notes())
    assert "one sound is silent" in notes
    assert "the same as an earlier one" in notes or "in both" in notes


def test_sounds_of_similar_length_share_batches_that_differ_between_epochs(tmp_path: Path) -> None:
    sounds = [tone(300.0, 0.3 + 0.02 * (n % 5) + 0.6 * (n % 2), seed=n) for n in range(40)]
    for name, members in (("a", sounds[:20]), ("b", sounds[20:])):
        (tmp_path / name).mkdir()
        files_of(tmp_path / name, *members)
    data = folder_data(tmp_path, batch_size=4, seconds=2.0)
    batches, lengths = data._batches(data.train_split, shuffle=True, rank=0, world_size=1), data.train_split.lengths
    assert lengths is not None
    found = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        found.append([sorted(share) for share in batches])
    together = [int(lengths[share].max() - lengths[share].min()) for share in found[0]]
    assert sum(gap > 1_000 for gap in together) <= 1, "long and short ones meet in one batch at most"
    assert sorted(found[0]) != sorted(found[1])


# --- augmentation ---


def views(level: Any, seconds: float = 0.25) -> WaveViews:
    return WaveViews(level, spec=SPEC.at(seconds), seed=0, target=target_type("class"))


def batch(*lengths: int) -> Batch:
    rows = [torch.arange(1.0, length + 1)[:, None] for length in lengths]
    from frostline.contracts.tokens import padded

    return Batch(padded(rows), torch.zeros(len(lengths)), torch.arange(len(lengths)))


def test_a_random_part_is_shown_and_a_bar_is_silent() -> None:
    shown = [views("standard").augmented(batch(3_000, 500), epoch, alone=True).inputs for epoch in range(20)]
    starts = set()
    for values, mask in shown:
        assert mask.sum(1).tolist() == [1_000, 500]
        for row, length in enumerate((1_000, 500)):
            heard = values[row, :length, 0]
            silent = (heard == 0).nonzero().flatten()
            assert len(silent) <= 0.15 * length
            assert not len(silent) or int(silent[-1] - silent[0]) + 1 == len(silent), "one bar"
            steps = heard - torch.arange(length)
            assert len(steps[heard != 0].unique()) == 1, "a part is in one piece"
            starts.add(float(steps[heard != 0][0])) if row == 0 else None
    assert len(starts) > 10


def test_a_sounds_part_does_not_depend_on_its_batch() -> None:
    for level in ("standard", "strong"):
        together = views(level).augmented(batch(3_000, 2_000), 3, alone=True).inputs
        alone = views(level).augmented(batch(3_000), 3, alone=True).inputs
        assert torch.equal(together.values[:1], alone.values)
        again = views(level).augmented(batch(3_000), 3, alone=True).inputs
        assert torch.equal(again.values, alone.values)
    assert not views("none").could_augment
    whole = batch(500).inputs
    assert part(whole, None, torch.zeros(1)) is whole


# --- transcripts ---


def test_targets_begin_with_the_number_of_tokens(tmp_path: Path) -> None:
    data = spoken_data(table(tmp_path, TEXTS))
    loaded = data.train_split.__getitems__([0, 1])
    assert isinstance(loaded, Batch)
    tokens = SPEC.tokens_of(loaded.inputs.mask.sum(1))
    assert loaded.targets[:, 0].tolist() == tokens.tolist()
    for row, sample in zip(loaded.targets[:, 1:].tolist(), loaded.sample.tolist(), strict=True):
        assert "".join(data.names[place] for place in row if place != NO_TAG) == TEXTS[sample]


def test_a_transcript_keeps_all_of_its_sound(tmp_path: Path) -> None:
    file = table(tmp_path, TEXTS)
    assert spoken_data(file).chosen()["data.seconds"] == 1.4
    with pytest.raises(DataError, match="targets belong to all of them") as error:
        spoken_data(file, seconds=1.25)
    assert error.value.next_step == "data.seconds=1.4"
    short = WaveSpec(rate=4_000, least=1, hop=20, tokens=60, most_seconds=1.2)
    with pytest.raises(DataError, match=r"more than 1\.2 s") as error:
        spoken_data(file, short)
    assert "leave those sounds out" in error.value.next_step


def test_transcripts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    file = table(tmp_path, ["ab" * 100, *TEXTS[1:]])
    with pytest.raises(DataError, match=r"needs 200 tokens of the network, but a sound of 0\.5 s gives") as error:
        spoken_data(file)
    assert "0.wav" in str(error.value)


def test_settings_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    folder = put(tmp_path / "tones", number=2)
    with pytest.raises(ConfigError, match="4,000 values per second, not 8,000"):
        folder_data(folder, sample_rate=8_000)
    with pytest.raises(ConfigError, match="sees no picture"):
        folder_data(folder, image_size=32)
    assert set(PITCHES) == {"low", "high"}
