"""Baselines on a run's frozen features: correct, at no extra pass, and without effect on the run."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from conftest import ASIDE, DEVICE, Answer
from frostline.heads.probes import STRENGTHS, TEMPERATURE, K
from frostline.training import baselines
from frostline.training import fit as fitting
from frostline.training.baselines import too_much
from frostline.training.build import build
from tiny import CHAIN

Program = Callable[..., Answer]

SHORT = [*CHAIN, *DEVICE, "trainer.precision=32-true"]
SHORT += [
    "schedule.phases.head.epochs=2",
    "schedule.every_phase.solve=false",
    "schedule.phases.all.epochs=1",
    "logger=none",
    "callbacks.progress=null",
    *ASIDE,
]
# All of the digits, and features that tell them apart, where the numbers are another's.
DIGITS = ["model._target_=frostline.backbones.bundled.BundledBackbone"]
DIGITS += ["data._target_=frostline.data.pictures.digits.Digits", "data.train_limit=200", "data.batch_size=50"]
DIGITS += ["data.image_size=8"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


def trained(program: Program, run: str, *overrides: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Its record, and what it printed."""
    own = (
        overrides if any(split.startswith("resume=") for split in overrides) else [*SHORT, f"run_dir={run}", *overrides]
    )
    answer = program("train", *own)
    assert answer.code == code, answer.out + answer.err
    record: dict[str, Any] = json.loads((Path(run) / "run.json").read_text())
    return record, answer.out


def weights(run: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


def scores(record: dict[str, Any]) -> dict[str, float]:
    return {name: row["val/accuracy"] for name, row in record["baselines"].items()}


def test_they_are_what_scikit_learn_finds_on_the_backbones_features(
    program: Program, composed: Callable[..., Any]
) -> None:
    record, _ = trained(program, "run", *DIGITS)
    built = build(composed(*SHORT, *DIGITS, "run_dir=none"), logs=False)
    backbone, data, features = built.model.backbone.eval(), built.data, []
    with torch.no_grad():
        for split in (data.train_split, data.val_split):
            seen = data.seen(split, list(range(len(split))), None, torch.device("cpu"))
            features.append(backbone(seen).double().numpy())
    train, val = features
    labels, wanted = data.train_split.labels.numpy(), data.val_split.labels.numpy()
    votes = KNeighborsClassifier(K, metric="cosine", weights=lambda distance: np.exp((1 - distance) / TEMPERATURE))
    assert scores(record)["knn"] == pytest.approx(votes.fit(train, labels).score(val, wanted), abs=1e-9)
    scaler = StandardScaler().fit(train)
    probes = [LogisticRegression(C=1 / (len(train) * l2), max_iter=10_000) for l2 in STRENGTHS]
    found = [probe.fit(scaler.transform(train), labels).score(scaler.transform(val), wanted) for probe in probes]
    assert scores(record)["linear_probe"] == pytest.approx(max(found), abs=1.5 / len(val)), "one picture more or less"
    assert record["baselines"]["linear_probe"]["l2"] in STRENGTHS
    assert all(record["baselines"][name]["seconds"] > 0 for name in ("knn", "linear_probe"))
    every = data.unlimited.numpy()  # before data.train_limit, which balances classes
    always = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(every), 1)), every)
    assert scores(record)["majority"] == pytest.approx(always.score(val, wanted), abs=1e-9)


def test_the_summary_says_what_fine_tuning_added(program: Program) -> None:
    record, printed = trained(program, "run")
    found = scores(record)
    (line,) = [line for line in printed.splitlines() if line.startswith("base")]
    added = f"this run {record['metrics']['val/accuracy']:.4f} (val/accuracy)"
    probes = f"k-NN {found['knn']:.4f}   linear probe {found['linear_probe']:.4f}"
    assert line == f"base  majority {found['majority']:.4f}   {probes}   {added}"
    _, printed = trained(program, "other", "task.monitor=val/loss", "task.mode=min")
    (line,) = [line for line in printed.splitlines() if line.startswith("base")]
    assert line.endswith(f"linear probe {found['linear_probe']:.4f} (val/accuracy)"), "no such score of the best epoch"


@pytest.mark.parametrize(
    "overrides",
    [
        ["cache=never"],
        ["schedule.phases.head=null"],
        ["schedule.every_phase.views=2"],
        ["schedule.phases.head.thaw=1"],
        ["trainer.limit_val_batches=1"],
    ],
    ids=["nothing kept", "nothing frozen", "augmented", "not all frozen", "not all seen"],
)
def test_without_features_at_hand_there_are_none(overrides: list[str], program: Program) -> None:
    record, printed = trained(program, "run", *overrides)
    assert [*record["baselines"]] == ["majority"]
    (line,) = [line for line in printed.splitlines() if line.startswith("base")]
    assert line.startswith(f"base  majority {scores(record)['majority']:.4f}   this run ")


def test_features_of_a_backbone_that_has_learned_are_no_baseline(program: Program) -> None:
    plan = ["schedule=full", "schedule.phases.all.epochs=1", "+schedule.phases.then={thaw: none, epochs: 2}"]
    short = [split for split in SHORT if not split.startswith("schedule")]
    answer = program("train", *short, *plan, "run_dir=run")
    assert answer.code == 0, answer.err
    record = json.loads(Path("run/run.json").read_text())
    assert [row["cached"] for row in record["phases"]] == [False, True]
    assert [*record["baselines"]] == ["majority"]


@pytest.mark.long
def test_they_change_nothing_else(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    dropout = ["head=mlp", "head.hidden=[16]"]
    with_them, _ = trained(program, "with", *dropout)
    monkeypatch.setattr(fitting, "baselines_of", lambda *_: {})
    without, _ = trained(program, "without", *dropout)
    assert with_them["baselines"]
    assert with_them["metrics"] == without["metrics"]
    before = weights("without")
    assert [name for name, value in weights("with").items() if not torch.equal(value, before[name])] == []


# --- after a resume ---

STOPPER = "+callbacks.stopper={_target_: test_resume.Stopper}"


@pytest.mark.long
@pytest.mark.parametrize("moment", ["train 3", "train 10"], ids=["before they are known", "after"])
def test_a_run_that_is_stopped_and_resumed_has_the_same(
    moment: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = trained(program, "whole")
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGTERM)}")
    trained(program, "run", STOPPER, code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    resumed, _ = trained(program, "run", "resume=run", "trust=true")
    assert scores(resumed) == scores(whole)
    assert resumed["metrics"] == whole["metrics"]


@pytest.mark.long
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
def test_a_run_that_is_stopped_while_they_are_found_out_has_the_same(
    lost: bool, program: Program, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """Its phase is over by then. lost: what was kept of frozen blocks is gone when it goes on."""
    whole, _ = trained(program, "whole")
    shutil.rmtree(cache)

    def stopped(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(baselines, "scores_of", stopped)
        first, _ = trained(program, "run", code=128 + signal.SIGTERM)
    assert ([row["name"] for row in first["phases"]], first["baselines"]) == (["head"], {})
    if lost:
        shutil.rmtree(cache)
    resumed, _ = trained(program, "run", "resume=run", "trust=true")
    assert scores(resumed) == scores(whole)
    assert [row["val"] for row in resumed["phases"]] == [row["val"] for row in whole["phases"]]


# --- found out once ---


@pytest.mark.long
def test_a_second_run_does_not_find_them_out_again(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = trained(program, "first")
    monkeypatch.setattr(baselines, "PROBES", {})
    second, _ = trained(program, "second", "optimizer.lr=0.01", "head=mlp", "head.hidden=[16]")
    assert second["baselines"] == first["baselines"]


@pytest.mark.long
@pytest.mark.parametrize("damage", ["cut", "changed", "of another kind"])
def test_what_was_kept_and_is_damaged_is_found_out_again(damage: str, program: Program, cache: Path) -> None:
    first, _ = trained(program, "first", "schedule.phases.all=null")
    (file,) = cache.glob("*/scores-*.json")
    whole = file.read_text()
    changed = whole.replace(f'"val/accuracy": {scores(first)["knn"]}', '"val/accuracy": 0.25')
    assert changed != whole
    file.write_text({"cut": whole[:40], "changed": changed, "of another kind": "[1, 2]"}[damage])
    second, _ = trained(program, "second", "schedule.phases.all=null")
    assert scores(second) == scores(first)
    assert json.loads(file.read_text())["scores"]["knn"]["val/accuracy"] == scores(first)["knn"]


def test_other_pictures_have_other_scores(program: Program, cache: Path) -> None:
    own = ["schedule.phases.all=null"]
    first, _ = trained(program, "first", *own)
    second, _ = trained(program, "second", *own, "data.train_limit=20")
    assert scores(first)["knn"] != scores(second)["knn"]
    assert len(list(cache.glob("*/scores-*.json"))) == 2


# --- too much ---


@pytest.mark.parametrize(
    ("train", "val", "width", "classes", "flops", "said"),
    [
        (45_000, 5_000, 2048, 10, 8.2e9, ""),  # ResNet-50 on CIFAR-10
        (45_000, 5_000, 2048, 100, 8.2e9, ""),
        (1295, 143, 208, 10, 1.4e8, ""),  # the digits
        (1_200_000, 50_000, 2048, 1000, 8.2e9, "10.2 GB of features are more than the limit of 1 GB"),
        (400_000, 50_000, 208, 10, 1.4e8, "they would take 10.0 TFLOP, more than the limit of 3.1"),
    ],
)
def test_by_arithmetic_it_is_too_much(train: int, val: int, width: int, classes: int, flops: float, said: str) -> None:
    assert too_much(train, val, width, classes, flops) == said


def test_a_run_that_leaves_them_out_says_so(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BYTES", 1e3)
    record, printed = trained(program, "run")
    assert record["baselines"]["why_not"] == "0.0 GB of features are more than the limit of 1e-06 GB"
    assert f"(val/accuracy); no k-NN and no linear probe: {record['baselines']['why_not']}\n" in printed


def test_features_that_are_not_finite_have_no_scores(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(*_: object) -> baselines.Labelled:
        return baselines.Labelled(torch.full((3, 2), torch.nan), torch.zeros(3, dtype=torch.long), found=3)

    monkeypatch.setattr(baselines, "_on", spoilt)
    record, _ = trained(program, "run")
    assert record["status"] == "finished"
    assert record["baselines"].keys() == {"majority", "why_not"}
    assert record["baselines"]["why_not"] == "the features are not finite"


@pytest.mark.long
@pytest.mark.process
def test_of_two_processes_one_finds_them_out(program: Program, tmp_path: Path) -> None:
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    short = [split for split in [*SHORT, *DIGITS] if split not in DEVICE and split not in CHAIN[:2]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    answer = subprocess.run(
        [sys.executable, "-m", "frostline", "train", *short, *ranks, "run_dir=two"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**environment, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("base  majority") == 1
    alone, _ = trained(program, "alone", *DIGITS)
    two = json.loads((tmp_path / "two" / "run.json").read_text())
    assert scores(two) == pytest.approx(scores(alone), abs=1.5 / 143)
    assert [row["name"] for row in two["phases"]] == ["head", "all"]
