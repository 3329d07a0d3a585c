"""A run folder of an earlier version opens: its config.yaml names classes where they were defined before.

`old_run/` holds what version 0.1.0 of 28 November 2026 wrote for the run that `small_run` trains, before the modules of
this package moved into folders. The weights are those of `small_run`.
"""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from compared import require_equal, trained
from conftest import SMALL, Answer, short_form
from frostline.config.signatures import origin_of
from frostline.errors import RunError
from frostline.runs.opening import read_settings
from frostline.runs.renamed import RENAMED
from frostline.training.checkpoint import read_saved

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


# --- views, of which the cache had the setting ---


def settings_of(old_run: Path, **cache: Any) -> dict[str, Any]:
    """Settings as they are read now, of a run whose cache had these."""
    written = OmegaConf.load(old_run / "config.yaml")
    OmegaConf.update(written, "schedule.phases", PHASES)
    OmegaConf.update(written, "cache", cache)
    (old_run / "config.yaml").write_text(OmegaConf.to_yaml(written))
    return read_settings(old_run / "config.yaml")


PHASES = {
    "head": {"thaw": "none", "epochs": 2},
    "all": {"thaw": "all", "epochs": 2},
    "top": {"thaw": 1, "epochs": 2},
    "first": {"thaw": -1, "epochs": 1},
}


@pytest.mark.parametrize(
    ("cache", "every_phase", "all_of_it"),
    [
        ({"when": "auto", "views": 0}, "auto", None),
        ({"when": "never", "views": 0}, "fresh", None),
        ({"when": "never", "views": 3}, "fresh", None),
        ({"when": "always", "views": 0}, "none", "fresh"),
        ({"when": "always", "views": 3}, 3, "fresh"),
        ({"when": "auto", "views": 3}, 3, "fresh"),
    ],
    ids=str,
)
def test_the_plan_says_what_the_cache_did(
    cache: dict[str, Any], every_phase: object, all_of_it: object, old_run: Path
) -> None:
    settings = settings_of(old_run, **cache)
    assert "views" not in settings["cache"]
    assert settings["schedule"]["every_phase"]["views"] == every_phase
    own = {name: phase.get("views") for name, phase in settings["schedule"]["phases"].items()}
    assert own == {"head": None, "all": all_of_it, "top": None, "first": all_of_it}


ALWAYS = ({"when": "always", "views": 0}, ["none", "none", "fresh"], [0, 0, None])


@pytest.mark.parametrize(
    ("cache", "views", "now"),
    short_form(
        [
            ({"when": "auto", "views": 0}, ["auto"] * 3, [0, 0, None]),
            ({"when": "never", "views": 0}, ["fresh"] * 3, [None, None, None]),
            ALWAYS,
            ({"when": "auto", "views": 2}, [2, 2, "fresh"], [2, 2, None]),
        ],
        ALWAYS,
    ),
    ids=str,
)
def test_a_run_whose_cache_chose_its_views_ends_in_the_same_bits(
    cache: dict[str, Any],
    views: list[Any],
    now: list[Any],
    program: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`down` thaws all four blocks by number, which only the network tells."""
    epochs, thaws = (3, 3, 2), {"head": "none", "top": 1, "down": 4}
    phases = [
        f"{name}:{{thaw:{thaw},epochs:{number},views:{shown}}}"
        for (name, thaw), number, shown in zip(thaws.items(), epochs, views, strict=True)
    ]
    own = ["schedule=full", "schedule.phases.all=null", f"+schedule.phases={{{','.join(phases)}}}"]
    own = [*SMALL, "data.augment=standard", "data.batch_size=20", "schedule.every_phase.solve=false", *own]
    trained(program, tmp_path / "whole", *own)
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"train 9 {int(signal.SIGTERM)}")
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    trained(program, run, *own, stopper, code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    made_old(run, cache)
    path = run / "checkpoints" / "last.ckpt"
    assert torch.load(path, weights_only=True)["frostline"]["identity"]["views"] == now
    answer = program("train", f"resume={run}", "trust=true")
    assert answer.code == 0, answer.err
    require_equal(run, tmp_path / "whole")


def made_old(run: Path, cache: dict[str, Any]) -> None:
    """As the version before wrote it: no phase says views, neither in config.yaml nor in the checkpoint."""
    written: Any = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    written["cache"] |= cache
    for node in (written["schedule"]["every_phase"], *written["schedule"]["phases"].values()):
        if node is not None:
            node.pop("views", None)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(written)))
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    for phase in content["frostline"]["identity"]["plan"]["phases"]:
        del phase["views"]
    torch.save(content, path)


def test_views_that_are_none_are_told(tmp_path: Path) -> None:
    identity = {"targets": {"kind": "class", "names": [], "counts": [], "mean": [], "std": []}, "views": [-1]}
    said = {"phase": "head", "first_epoch": 0, "epoch": 0, "batches": 0, "ended": False, "val": {}, "average": None}
    torch.save({"state_dict": {}, "frostline": {**said, "identity": identity}}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="its 'views': "):
        read_saved(tmp_path / "last.ckpt")
