"""Data joined from a reader, its modality and the sampling."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets_made import data
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.contracts.targets import Targets
from frostline.data.composed import data_of, modality_of
from frostline.data.part import seen
from frostline.data.pictures.image_masks import ImageMasks
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import ArraySamples
from frostline.data.reader import Found, Reader, name_of
from frostline.data.target_types.base import TargetType
from frostline.data.views import Views
from frostline.errors import ConfigError, DataError


class Stripes(Reader):
    """A reader as a user would write it: pictures of two classes, in memory."""

    name = "stripes"
    where = "nowhere"
    modality = PictureModality
    kinds = ("class", "numbers")

    def __init__(self, *, number: int, test: int = 0) -> None:
        self.number = number
        self.test = test

    def read(self, target: TargetType, known: Targets | None) -> Found:
        def samples(number: int) -> ArraySamples:
            pixels = torch.arange(number, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16).contiguous()
            return ArraySamples(pixels, torch.arange(number) % 2)

        notes = [f"{self.number} stripes"]
        return Found(["even", "odd"], samples(self.number), None, samples(self.test) if self.test else None, notes)


class Unread(Stripes):
    def read(self, target: TargetType, known: Targets | None) -> Found:
        raise AssertionError("read before the settings were checked")


def indices(splits: Sequence[Any]) -> list[int]:
    return sorted(index for split in splits for index in split.index.tolist())


def test_a_reader_of_a_few_lines_gets_splits_views_and_notes(spec: ImageSpec, common: dict[str, Any]) -> None:
    made = data(Stripes, spec, number=40, **common)
    assert indices(made.splits) == list(range(40))
    assert (len(made.val_split), len(made.test_split)) == (4, 8)
    assert made.describe()["classes"] == ["even", "odd"]
    assert "40 stripes" in made.notes()
    assert made.seen(made.test_split, [0, 1], None, torch.device("cpu")).shape == (2, 3, 16, 16)  # type: ignore[union-attr]


def test_an_augmented_sample_goes_to_the_device_with_its_target(spec: ImageSpec, common: dict[str, Any]) -> None:
    """As maps of the target move with the picture. The device `meta` has no values, and is not the CPU."""
    made, given = data(Stripes, spec, number=40, **common), []

    class Noted(Views):
        def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
            given.append(batch)
            return batch

    seen(made.train_split, [0, 1], 0, torch.device("meta"), Noted())
    (batch,) = given
    assert {value.device.type for value in (batch.inputs, batch.targets, batch.sample)} == {"meta"}


def test_a_split_that_the_reader_has_is_left_as_it_is(spec: ImageSpec, common: dict[str, Any]) -> None:
    made = data(Stripes, spec, number=40, test=6, **common)
    assert made.test_split.index.tolist() == list(range(6))
    assert made.test_split.source is not made.train_split.source
    assert indices(made.splits[:2]) == list(range(40))


def test_the_class_names_of_a_run_have_to_be_those_of_the_samples(spec: ImageSpec, common: dict[str, Any]) -> None:
    known = Targets("class", ["even", "odd"], [1, 2])
    made = data(Stripes, spec, number=40, test=6, known=known, **common)
    assert made.targets is known
    assert [split.index.tolist() for split in made.splits] == [list(range(6))] * 3
    with pytest.raises(DataError, match="other classes or columns than the run: even, odd"):
        data(Stripes, spec, number=40, known=Targets("class", ["odd", "even"], [1, 2]), **common)


@pytest.mark.parametrize(
    ("setting", "close"), [("augmant", "augment"), ("numbr", "number"), ("val_frac", "val_fraction")]
)
def test_a_setting_of_nobody_is_refused(spec: ImageSpec, common: dict[str, Any], setting: str, close: str) -> None:
    settings = {"number": 40, "grey_range": None} | common | {setting: 1}
    with pytest.raises(ConfigError, match=f"Unread has no setting '{setting}': did you mean {close}") as refused:
        data_of(Unread, spec, settings)
    assert refused.value.where == f"data.{setting}"


def test_what_does_not_fit_together_is_refused_before_anything_is_read(spec: ImageSpec, common: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="this backbone takes texts, but this data is pictures"):
        data(Unread, TextSpec("bert", 128), number=40, **common)
    with pytest.raises(ConfigError, match="this task learns from"):
        data(Unread, spec, number=40, target_kind="tags", **common)
    with pytest.raises(ConfigError, match="does nothing"):
        data(Unread, spec, number=40, **common | {"erase": 0.2})
    with pytest.raises(ConfigError, match="pictures of at least 16 pixels"):
        data(Unread, replace(spec, min_size=16), number=40, **common | {"image_size": 8})
    with pytest.raises(AssertionError):
        data(Unread, spec, number=40, target_kind="numbers", **common)


def test_a_class_that_is_no_whole_reader_is_refused_in_words(spec: ImageSpec, common: dict[str, Any]) -> None:
    class Bare(Reader):
        def read(self, target: TargetType, known: Targets | None) -> Found:
            raise AssertionError

    with pytest.raises(ConfigError, match="Bare names no modality"):
        data(Bare, spec, **common)
    with pytest.raises(ConfigError, match="Stripes cannot be made: missing a required argument: 'number'"):
        data(Stripes, spec, **common)
    with pytest.raises(ConfigError, match="Sampling cannot be made: missing a required argument: 'seed'"):
        data(Stripes, spec, number=40, **{name: it for name, it in common.items() if name != "seed"})


def test_a_limit_is_not_blamed_for_a_class_without_samples(spec: ImageSpec, common: dict[str, Any]) -> None:
    class Empty(Stripes):
        def read(self, target: TargetType, known: Targets | None) -> Found:
            found = super().read(target, known)
            return Found(["even", "odd", "none"], found.train, found.train, found.train)

    with pytest.raises(DataError, match="'none' has 0") as refused:
        data(Empty, spec, number=40, **common | {"train_limit": 10})
    assert "train_limit" not in refused.value.next_step
    assert refused.value.where == "nowhere"


def test_a_modality_is_made_without_samples_as_a_run_left_it(tmp_path: Path, common: dict[str, Any]) -> None:
    """Predictions read neither the run's data nor its folder."""
    spec = ImageSpec(size=32, resize=36, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    settings = common | {"dir": str(tmp_path / "gone"), "classes": None, "ignore": [255], "mask_suffix": ""}
    chosen = {"sides": [32, 64], "tile": [48, 96], "grey_range": [0, 1023]}
    made = modality_of(ImageMasks, spec, settings | chosen)
    assert made.spec.sides == (32, 64)  # type: ignore[attr-defined]
    assert made.grey == (0.0, 1023.0)  # type: ignore[attr-defined]


def test_splits_share_one_source_if_the_reader_gives_one_object(spec: ImageSpec, common: dict[str, Any]) -> None:
    class Same(Stripes):
        def read(self, target: TargetType, known: Targets | None) -> Found:
            found = super().read(target, known)
            return found._replace(test=found.train)

    made = data(Same, spec, number=40, known=Targets("class", ["even", "odd"], [20, 20]), **common)
    assert "-" not in made.fingerprint  # one source, one digest
    assert made.fingerprint == data(Stripes, spec, number=40, **common).fingerprint


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("trec6/train.csv", "trec6"),
        ("trec6/Data.parquet", "trec6"),
        ("trec6/news.csv", "news"),
        ("data/train.csv", "train"),
        ("train.csv", "train"),
    ],
)
def test_data_are_named_after_a_file_that_says_what_they_are(file: str, name: str) -> None:
    assert name_of(Path(file)) == name
