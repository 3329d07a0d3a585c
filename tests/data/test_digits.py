"""scikit-learn's digits, as data to train on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from datasets_made import data as data_of
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.data.module import Data
from frostline.data.pictures.digits import Digits
from frostline.errors import ConfigError, DataError


def samples(data: Data, split: str) -> set[int]:
    return set(getattr(data, f"{split}_split").index.tolist())


def test_every_digit_is_in_one_part(spec: ImageSpec, common: dict[str, Any]) -> None:
    data = data_of(Digits, spec, **common)
    train, val, test = (samples(data, split) for split in ("train", "val", "test"))
    assert train | val | test == set(range(1797))
    assert len(train) + len(val) + len(test) == 1797
    assert len(test) == pytest.approx(0.2 * 1797, abs=10)  # one for each class
    assert len(val) == pytest.approx(0.1 * 0.8 * 1797, abs=10)


def test_pictures_and_labels_are_scikit_learns(spec: ImageSpec, common: dict[str, Any]) -> None:
    data = data_of(Digits, spec, **common)
    source = load_digits()
    place = data.val_split.index.tolist().index(min(samples(data, "val")))
    batch = data.val_split[place]
    number = int(batch.sample)
    assert data.classes == list("0123456789")
    assert batch.targets.tolist() == [source.target[number]]
    assert (batch.inputs.shape, batch.inputs.dtype) == ((1, 3, 8, 8), torch.uint8)
    assert np.abs(batch.inputs[0].numpy() * (16 / 255) - source.images[number]).max() <= 0.5 * 16 / 255


def test_the_test_part_is_the_same_for_other_seeds_and_another_for_other_split_seeds(
    spec: ImageSpec, common: dict[str, Any]
) -> None:
    first, second = (data_of(Digits, spec, **common | {"seed": seed}) for seed in (0, 1))
    assert samples(first, "test") == samples(second, "test")
    assert samples(first, "val") == samples(second, "val")
    assert samples(first, "test") != samples(data_of(Digits, spec, **common | {"split_seed": 1}), "test")


def test_a_limit_keeps_as_many_of_each_class_and_leaves_the_other_parts_alone(
    spec: ImageSpec, common: dict[str, Any]
) -> None:
    whole, limited = data_of(Digits, spec, **common), data_of(Digits, spec, **common | {"train_limit": 205})
    assert len(limited.train_split) == 205
    (note,) = [note for note in limited.notes() if " are used" in note]
    assert note.startswith("205 of 1,2")
    assert not any(" are used" in note for note in whole.notes())
    assert set(limited.targets.counts) == {20, 21}
    assert samples(limited, "train") < samples(whole, "train")
    assert samples(limited, "test") == samples(whole, "test")
    assert samples(limited, "val") == samples(whole, "val")
    assert samples(limited, "train") != samples(
        data_of(Digits, spec, **common | {"train_limit": 205, "seed": 1}), "train"
    )


def test_a_limit_below_the_number_of_classes_is_refused(spec: ImageSpec, common: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"data.train_limit") as refused:
        data_of(Digits, spec, **common | {"train_limit": 9})
    assert "has 0" in refused.value.what
    assert refused.value.next_step == "data.train_limit=10  # or more"
    assert data_of(Digits, spec, **common | {"train_limit": 10}).targets.counts == [1] * 10


def test_what_a_run_says_of_its_data(spec: ImageSpec, common: dict[str, Any]) -> None:
    data = data_of(Digits, spec, **common)
    said = data.describe()
    assert said["num_train"] + said["num_val"] + said["num_test"] == 1797
    assert said["num_train"] == sum(data.targets.counts) == len(data.train_split)
    assert said["name"] == "digits"
    assert said["fingerprint"] == data_of(Digits, spec, **common | {"split_seed": 5}).describe()["fingerprint"]


def test_data_is_made_for_the_size_that_is_asked_for(spec: ImageSpec, common: dict[str, Any]) -> None:
    assert data_of(Digits, spec, **common).modality.spec == spec
    assert (data_of(Digits, spec, **common | {"image_size": 8}).modality.spec.size, spec.size) == (8, 16)


def test_a_backbone_for_text_is_refused(common: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="takes texts, but this data is pictures"):
        data_of(Digits, TextSpec("bert", 128), **common)


def test_loaders_are_made_for_a_trainer(spec: ImageSpec, common: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="Trainer"):
        data_of(Digits, spec, **common).train_dataloader()


def test_they_come_from_the_library_where_its_file_is_not_found(
    spec: ImageSpec, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = data_of(Digits, spec, **common)
    monkeypatch.setattr("frostline.data.pictures.digits.TABLE", Path("elsewhere.csv"))
    assert data_of(Digits, spec, **common).fingerprint == read.fingerprint
