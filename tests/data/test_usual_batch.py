"""The batch size of small data, if none is typed."""

import pytest

from frostline.data.loader import usual_batch


@pytest.mark.parametrize(
    ("samples", "batch"),
    [(1, 16), (246, 16), (959, 16), (960, 32), (1_000, 32), (1_919, 32), (1_920, 64), (50_000, 64)],
)
def test_an_epoch_of_small_data_has_about_thirty_steps(samples: int, batch: int) -> None:
    assert usual_batch(samples) == batch
