"""Heads that are solved: against scikit-learn, for every kind of target, and in whole runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from conftest import DEVICE, Answer, short_form
from frostline.contracts.batch import Batch
from frostline.contracts.features import vector
from frostline.contracts.targets import NO_TAG, Targets
from frostline.heads.probes import STRENGTHS, LinearProbe, linear_maps
from frostline.heads.vector import LinearHead, MlpHead, convex_layer
from frostline.tasks.classification import Classification
from frostline.tasks.multi_label import MultiLabel
from frostline.tasks.regression import Regression
from frostline.tasks.token_classification import TokenClassification
from frostline.training.solving import BYTES, FLOPS, _own_metrics, _score, is_affordable
from tiny import FEW, FEW_STEPS

pytestmark = pytest.mark.usefixtures("solved_to_the_end")

Program = Callable[..., Answer]
SMALL = [*DEVICE, *FEW, "logger=none", "report=false", "callbacks.progress=null"]
DIGITS = [*DEVICE, "logger=none", "callbacks.progress=null"]


def features_of(number: int = 200, width: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(number, width, generator=draw) * 10 ** torch.linspace(-1, 1, width) + 3


def standardised(features: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    return (features - mean) / deviation


def test_labels_are_solved_as_scikit_learn_does_one_by_one() -> None:
    features = features_of()
    labels = (features[:, :3] > features[:, :3].median(0).values + 0.2 * torch.randn(200, 3)).float()
    task = MultiLabel(
        Targets("labels", ["a", "b", "c"], [100, 100, 100], {}),
        threshold=0.5, l1=0.0, monitor="val/loss", mode="min",
    )  # fmt: skip
    for found in linear_maps(features, 3, lambda logits: task.loss_of_rows(logits, labels)):
        if found.l2 < 1e-2:
            continue  # nearly separable: what is left to gain is below L-BFGS's tolerance
        for column in range(3):  # the mean over samples and labels: each label has a third of the loss
            judge = LogisticRegression(C=1 / (200 * 3 * found.l2), tol=1e-8, max_iter=5000)
            judge.fit(standardised(features).numpy(), labels[:, column].numpy())
            ours = torch.sigmoid(features @ found.weight[column] + found.bias[column])
            theirs = judge.predict_proba(standardised(features).numpy())[:, 1]
            np.testing.assert_allclose(ours.numpy(), theirs, atol=5e-3)


def test_numbers_are_solved_as_a_ridge_regression() -> None:
    features = features_of()
    numbers = features @ torch.linspace(-1, 1, 24).view(12, 2) + 5
    mean, std = numbers.mean(0), numbers.std(0, correction=0)
    targets = Targets("numbers", ["x", "y"], [], {"mean": mean.tolist(), "std": std.tolist()})
    task = Regression(targets, l1=0.0, monitor="val/loss", mode="min")
    for found in linear_maps(features, 2, lambda logits: task.loss_of_rows(logits, numbers)):
        judge = Ridge(alpha=found.l2 * 200).fit(standardised(features).numpy(), ((numbers - mean) / std).numpy())
        theirs = judge.predict(standardised(features).numpy())
        np.testing.assert_allclose((features @ found.weight.T + found.bias).numpy(), theirs, atol=2e-3)


def test_of_tags_each_word_that_was_not_cut_off_is_a_row() -> None:
    task = TokenClassification(
        Targets("tags", ["O", "B-x", "I-x"], [5, 2, 1], {"mean_words": 2.5}),
        label_smoothing=0.0, class_weights="none", l1=0.0, monitor="val/loss", mode="min",
    )  # fmt: skip
    features = torch.arange(24.0).view(2, 4, 3)
    targets = torch.tensor([[NO_TAG, 0, NO_TAG, 2, 1], [1, NO_TAG, NO_TAG, NO_TAG, NO_TAG]])  # one beyond the tokens
    rows, wanted = task.fit_rows(features, targets)
    assert rows.tolist() == [features[0, 1].tolist(), features[0, 3].tolist(), features[1, 0].tolist()]
    assert wanted.tolist() == [0, 2, 1]
    logits = torch.randn(3, 3)
    torch.testing.assert_close(task.loss_of_rows(logits, wanted), nn.functional.cross_entropy(logits, wanted))
    assert task.rows_per_sample == 2.5


def test_each_candidate_is_scored_anew() -> None:
    task = Classification(
        Targets("class", ["a", "b"], [2, 2], {}),
        label_smoothing=0.0, class_weights="none", l1=0.0, monitor="val/accuracy", mode="max",
    )  # fmt: skip
    metrics = _own_metrics(task, torch.device("cpu"))
    val = [Batch(torch.tensor([[1.0], [-1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0, 1]), torch.arange(4))]
    right, wrong = (LinearProbe(sign * torch.tensor([[1.0], [-1.0]]), torch.zeros(2), 1.0) for sign in (1, -1))
    found = [_score(it, metrics, val, "val/accuracy") for it in (right, wrong, right)]
    assert found == [0.75, 0.25, 0.75]


def test_class_weights_and_smoothing_are_part_of_what_is_solved() -> None:
    targets = Targets("class", ["a", "b"], [180, 20], {})
    features, labels = features_of(), torch.cat([torch.zeros(180), torch.ones(20)]).long()
    found = {}
    for weights in ("none", "balanced"):
        task = Classification(
            targets, label_smoothing=0.1, class_weights=weights, l1=0.0, monitor="val/loss", mode="min"
        )
        maps = list(linear_maps(features, 2, lambda logits, task=task: task.loss_of_rows(logits, labels)))
        found[weights] = (maps[0](features) == 1).sum().item()
    assert found["balanced"] > found["none"] + 20


@pytest.mark.parametrize(
    ("head", "convex"),
    [
        (LinearHead(vector(4), 2, dropout=0.0), True),
        (LinearHead(vector(4), 2, dropout=0.1), False),
        (MlpHead(vector(4), 2, hidden=[], activation="relu", dropout=0.0), False),
        (nn.Linear(4, 2), False),
    ],
)
def test_only_a_plain_linear_head_is_solved(head: nn.Module, convex: bool) -> None:
    assert (convex_layer(head) is not None) is convex


def test_a_solution_costs_no_more_than_the_features_or_a_constant() -> None:
    assert is_affordable(1_000, 1280, 10, 0.0)
    assert not is_affordable(1_000_000, 1280, 1000, 0.0)  # 4e14 operations, and 5 GB
    assert is_affordable(100_000, 1280, 1000, 1e15), "where the pass over the data costs as much"
    assert not is_affordable(BYTES / 4 + 1, 1, 1, 1e20)
    assert FLOPS < 1e13


# --- whole runs ---


def record_of(answer: Answer, folder: Path) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def test_a_solved_head_is_the_linear_probe_of_its_features(program: Program, tmp_path: Path) -> None:
    digits = [*DIGITS, "data.train_limit=100", "data.image_size=8"]
    answer = program("train", *digits, "schedule=head_only", f"run_dir={tmp_path / 'run'}")
    record = record_of(answer, tmp_path / "run")
    (phase,) = record["phases"]
    probe = record["baselines"]["linear_probe"]
    assert phase["solved"]["l2"] == probe["l2"]
    assert phase["solved"]["l2"] in STRENGTHS
    assert phase["val"]["val/accuracy"] == pytest.approx(probe["val/accuracy"])
    assert phase["solved"]["score"] == pytest.approx(phase["val"]["val/accuracy"])
    assert set(phase["learning_rates"].values()) == {0.0}
    assert "solved" in answer.out


def test_a_head_that_goes_on_has_the_strongest_penalty_that_scores_as_well(program: Program, tmp_path: Path) -> None:
    """Within one standard error: on few samples, the highest accuracy may belong to a head that leaves the next phase
    nothing to learn."""
    digits = [*DIGITS, "data.train_limit=40", "data.image_size=8", "trainer.precision=32-true"]
    alone, first = (
        record_of(program("train", *digits, *own, f"run_dir={tmp_path / name}"), tmp_path / name)["phases"][0]
        for name, own in (("alone", ["schedule=head_only"]), ("first", ["schedule.phases.all.epochs=1"]))
    )
    best, own = alone["val"]["val/accuracy"], first["val"]["val/accuracy"]
    assert best - (best * (1 - best) / 143) ** 0.5 <= own < best
    assert alone["solved"]["l2"] < first["solved"]["l2"]
    assert first["solved"]["score"] == pytest.approx(first["val"]["val/accuracy"])


@pytest.mark.long
def test_a_run_is_the_same_bits_however_outputs_are_cached(program: Program, tmp_path: Path) -> None:
    """With augmentation a head is still solved on plain pictures, cached or not."""
    plain = run_with(program, tmp_path / "auto", "cache=auto")
    for way in ("never", "always"):
        torch.testing.assert_close(run_with(program, tmp_path / way, f"cache={way}"), plain, rtol=0, atol=0)


def run_with(program: Program, folder: Path, *more: str) -> dict[str, Tensor]:
    plan = ["schedule=two_stage", "schedule.phases.all.epochs=1", "trainer.precision=32-true"]
    answer = program("train", *SMALL, *plan, *more, f"run_dir={folder / 'run'}")
    assert answer.code == 0, answer.err
    state: dict[str, Tensor] = torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize(
    "why",
    short_form(
        [
            ["head=mlp"],
            ["head.dropout=0.1"],
            ["task.l1=0.01"],
            ["schedule.every_phase.solve=false"],
            ["trainer.limit_train_batches=1"],
        ],
        ["head.dropout=0.1"],
        ["trainer.limit_train_batches=1"],
    ),
)
def test_what_cannot_be_solved_makes_steps(why: list[str], program: Program, tmp_path: Path) -> None:
    plan = ["schedule=head_only", "schedule.phases.head.epochs=2"]
    record = record_of(program("train", *SMALL, *plan, *why, f"run_dir={tmp_path / 'run'}"), tmp_path / "run")
    (phase,) = record["phases"]
    assert (phase["solved"], phase["epochs"]) == (None, 2)
    assert all(phase["learning_rates"].values())


@pytest.mark.long
def test_lr_find_passes_a_solved_phase_and_refuses_a_plan_of_nothing_else(program: Program, tmp_path: Path) -> None:
    quick = [*SMALL, "lr_find.steps=20"]
    answer = program("lr_find", *quick, "schedule=two_stage")
    assert answer.code == 0, answer.err
    (numbers,) = tmp_path.rglob("rates.json")
    assert [phase["name"] for phase in json.loads(numbers.read_text())["phases"]] == ["all"]
    answer = program("lr_find", *quick, "schedule=head_only")
    assert answer.code == 1
    assert "schedule.every_phase.solve=false" in answer.err


def test_a_resume_after_a_solved_phase_knows_its_solution(program: Program, tmp_path: Path) -> None:
    run = tmp_path / "run"
    whole = record_of(program("train", *SMALL, "schedule.phases.all.epochs=2", f"run_dir={run}"), run)
    (run / "run.json").write_text(json.dumps({**whole, "status": "interrupted", "phases": whole["phases"][:1]}))
    resumed = record_of(program("train", f"resume={run}", "trust=true"), run)
    assert [row["solved"] is not None for row in resumed["phases"]] == [True, False]
    assert resumed["metrics"] == whole["metrics"]


@pytest.mark.long
def test_a_run_from_before_there_were_solved_heads_is_scored_and_goes_on(program: Program, tmp_path: Path) -> None:
    """Its config and checkpoint have neither `solve` nor `min_steps`, and its phases made steps."""
    run, plan = tmp_path / "run", ["schedule.every_phase.solve=false", "schedule.phases.all.epochs=2", FEW_STEPS]
    record = record_of(program("train", *DIGITS, "data.train_limit=100", *plan, f"run_dir={run}"), run)
    settings = OmegaConf.load(run / "config.yaml")
    for name in ("solve", "min_steps"):
        del settings.schedule.every_phase[name]
    OmegaConf.save(settings, run / "config.yaml")
    for name in ("best", "last"):
        file = run / "checkpoints" / f"{name}.ckpt"
        content = torch.load(file, weights_only=True)
        for phase in content["frostline"]["identity"]["plan"]["phases"]:
            del phase["solve"], phase["min_steps"]
        content["callbacks"].pop("HeadSolver", None)
        for state in content["callbacks"].values():
            state.pop("top_score", None)
        torch.save(content, file)
    answer = program("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert f"test/accuracy {record['metrics']['test/accuracy']:.4f}" in answer.out
    (run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    assert record_of(program("train", f"resume={run}"), run)["metrics"] == record["metrics"]


@pytest.mark.parametrize("warmup", [2, 0.5])
def test_a_warm_up_is_for_phases_that_make_steps(warmup: float, program: Program, tmp_path: Path) -> None:
    answer = program("train", *SMALL, "dry_run=true", f"schedule.every_phase.warmup_epochs={warmup}")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("per_class", [10, pytest.param(30, marks=pytest.mark.long)])
def test_the_default_is_not_below_its_own_linear_probe(per_class: int, program: Program, tmp_path: Path) -> None:
    """On the test split, in the mean over seeds, less the standard error of such a mean."""
    ours, probes = [], []
    for seed in range(3):
        own = [*DIGITS, f"data.train_limit={10 * per_class}", f"seed={seed}"]
        for name, plan in (("default", []), ("probe", ["schedule=head_only"])):
            record = record_of(program("train", *own, *plan, f"run_dir={tmp_path / f'{name}{seed}'}"),
                               tmp_path / f"{name}{seed}")  # fmt: skip
            (ours if name == "default" else probes).append(record["metrics"]["test/accuracy"])
    noise = float(np.std(np.subtract(ours, probes), ddof=1) / 3**0.5) + (0.25 / (3 * 359)) ** 0.5
    assert np.mean(ours) >= np.mean(probes) - noise, (ours, probes)
