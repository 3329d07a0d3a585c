"""Shared by the tests of data."""

from typing import Any

import pytest

from frostline.contracts.specs import ImageSpec


@pytest.fixture
def spec() -> ImageSpec:
    return ImageSpec(size=16, resize=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture
def common() -> dict[str, Any]:
    """The settings that every kind of picture data has."""
    return {
        "batch_size": 64,
        "image_size": None,
        "augment": "none",
        "flip": False,
        "erase": 0.0,
        "train_limit": None,
        "val_fraction": 0.1,
        "test_fraction": 0.2,
        "split_seed": 0,
        "num_workers": 0,
        "seed": 0,
    }
