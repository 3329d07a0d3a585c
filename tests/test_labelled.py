"""Rows for probes: none is copied where the samples are the rows; few are drawn of very many; their standard error."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import DEVICE
from frostline.config.plain import Config
from frostline.training import rows
from frostline.training.baselines import standard_error
from frostline.training.build import features_alone
from frostline.training.rows import labelled


def test_samples_with_one_class_are_the_rows_without_a_copy(
    composed: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    typed = ["+model=bundled", "models=[bundled]", "data.train_limit=50", "data.image_size=8", *DEVICE]
    frozen = features_alone(composed(*typed, config="rank"))
    train, _ = labelled(frozen)
    features = frozen.features(frozen.data.train_split)
    assert train.features.data_ptr() == features.rows.data_ptr()
    assert (train.found, train.sample, train.folder) == (50, None, features.folder)
    assert torch.equal(train.labels, frozen.data.train_split.labels)


@pytest.mark.parametrize("most", [1, 7, 40, 100, 1000])
def test_rows_are_drawn_in_their_order_however_they_come(most: int) -> None:
    found = []
    for size in (1, 9, 100):
        drawn = rows._Drawn(most, seed=3)
        for chunk in torch.arange(100).split(size):
            drawn.add(chunk, 2 * chunk)
        values, doubled = drawn.columns()
        assert drawn.found == 100
        assert torch.equal(doubled, 2 * values)
        found.append(values.tolist())
    assert found[0] == found[1] == found[2] == sorted(found[0])
    assert len({*found[0]}) == min(most, 100)


def test_every_row_is_drawn_as_often() -> None:
    times = torch.zeros(60)
    for seed in range(400):
        drawn = rows._Drawn(15, seed)
        for chunk in torch.arange(60).split(7):
            drawn.add(chunk)
        times[drawn.columns()[0]] += 1
    assert float(((times - 100).square() / 75).sum()) < 60 + 4 * math.sqrt(2 * 60), "a χ² of 59 degrees of freedom"


# --- the standard error ---


def test_the_error_of_samples_of_one_row_is_that_of_a_share() -> None:
    right = torch.arange(50) < 31
    assert standard_error(right, torch.arange(50)) == pytest.approx(math.sqrt(0.62 * 0.38 / 49))


def test_rows_that_are_alike_in_a_sample_count_once() -> None:
    right, sample = (torch.arange(50) < 31).repeat_interleave(8), torch.arange(50).repeat_interleave(8)
    assert standard_error(right, sample) == pytest.approx(math.sqrt(0.62 * 0.38 / 49))
    assert math.isnan(standard_error(right, torch.zeros(400, dtype=torch.int64)))


def test_the_error_is_that_of_the_jackknife_over_samples() -> None:
    draw = torch.Generator().manual_seed(0)
    sizes = torch.randint(5, 30, (80,), generator=draw)
    sample = torch.arange(80).repeat_interleave(sizes)
    right = torch.rand(len(sample), generator=draw) < torch.rand(80, generator=draw)[sample]
    without = torch.tensor([float(right[sample != it].double().mean()) for it in range(80)], dtype=torch.float64)
    jackknife = float(((without - without.mean()).square().sum() * 79 / 80).sqrt())
    assert standard_error(right, sample) == pytest.approx(jackknife, rel=0.03)
