"""Checkpoints that are whole, and that know their folder."""

from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from frostline.callbacks.checkpoints import PlacedCheckpoint


@pytest.mark.parametrize("monitor", ["val/accuracy", None])
def test_its_state_has_lightnings_key(monitor: str | None, tmp_path: Path) -> None:
    own, theirs = (made(tmp_path, monitor=monitor, mode="max") for made in (PlacedCheckpoint, ModelCheckpoint))
    assert own.state_key == theirs.state_key.replace("ModelCheckpoint", "PlacedCheckpoint")
    assert own.state_key is own.state_key  # made once: each hook of each step asks for it
