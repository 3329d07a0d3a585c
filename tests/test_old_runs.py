"""A run folder of an earlier version opens: its config.yaml names classes where they were defined before.

`old_run/` holds what version 0.1.0 of 28 November 2026 wrote for the run that `small_run` trains, before the modules of
this package moved into folders. The weights are those of `small_run`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import Answer
from frostline.config.signatures import origin_of
from frostline.runs.opening import read_settings
from frostline.runs.renamed import RENAMED

WRITTEN = Path(__file__).parent / "old_run"


@pytest.fixture
def old_run(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "run")
    for file in WRITTEN.iterdir():
        shutil.copy(file, tmp_path / "run" / file.name)
    Image.new("RGB", (8, 8)).save(tmp_path / "it.png")
    return tmp_path / "run"


def test_the_old_config_names_classes_that_are_elsewhere_now(old_run: Path) -> None:
    written = (old_run / "config.yaml").read_text()
    assert "_target_: frostline.data.digits.Digits" in written
    assert read_settings(old_run / "config.yaml")["data"]["_target_"] == "frostline.data.pictures.digits.Digits"


@pytest.mark.parametrize("target", RENAMED.values())
def test_every_renamed_class_is_there(target: str) -> None:
    assert origin_of(target) == target


@pytest.mark.parametrize(
    "typed",
    [
        ["evaluate", "run=run"],
        ["predict", "run=run", "input=it.png"],
        ["export", "run=run", "output=it.safetensors"],
    ],
    ids=lambda typed: typed[0],
)
def test_an_old_run_opens(typed: list[str], old_run: Path, program: Callable[..., Answer]) -> None:
    answer = program(*typed)
    assert answer.code == 0, answer.err


def test_an_old_run_gives_the_scores_that_it_recorded(old_run: Path, program: Callable[..., Answer]) -> None:
    recorded = json.loads((old_run / "run.json").read_text())["metrics"]
    answer = program("evaluate", "run=run")
    assert f"test/accuracy {recorded['test/accuracy']:.4f}" in answer.out


def test_an_old_run_goes_on(old_run: Path, program: Callable[..., Answer]) -> None:
    record = json.loads((old_run / "run.json").read_text())
    (old_run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    answer = program("train", "resume=run")
    assert answer.code == 0, answer.err
    assert json.loads((old_run / "run.json").read_text())["status"] == "finished"
