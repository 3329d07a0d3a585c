"""Schedules as users write them: with phases alone, and in place of a recipe's."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from conftest import ASIDE, Answer
from frostline.commands.train import NOT_HERE
from frostline.paths import conf_dir

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]
DRY = ["dry_run=true", "data.train_limit=40", "data.image_size=8"]


def own(folder: Path, group: str, name: str, text: str) -> None:
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(text)


def test_a_schedule_of_phases_alone_trains(program: Program, tmp_path: Path) -> None:
    """A schedule file such as the README shows."""
    own(
        tmp_path / "conf",
        "schedule",
        "mine",
        "phases:\n  head: {thaw: none, epochs: 1}\n  all: {thaw: all, epochs: 1}\n",
    )
    short = ["schedule.phases.head.epochs=1", "schedule.phases.all.epochs=1"]
    typed = [
        "--config-dir",
        str(tmp_path / "conf"),
        "schedule=mine",
        *short,
        *DRY[1:],
        "logger=none",
        *ASIDE,
        "run_dir=run",
    ]
    assert program("train", *typed).code == 0
    kept = OmegaConf.load(tmp_path / "run" / "config.yaml")
    assert kept.schedule.every_phase.warmup_epochs == 0.5
    assert program("evaluate", "run=run").code == 0
    assert program("lr_find", *typed[:-3], "lr_find.output=found", "lr_find.steps=10").code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("every_phase: [1]", "schedule.every_phase: [1] instead of a mapping of settings"),
        ("every_phase: null", "schedule.every_phase: null instead of a mapping of settings"),
        (
            "every_phase: {until: 3}\naverage: []",
            "schedule.every_phase.until: 3 instead of a mapping of settings\n  schedule.average: []",
        ),
    ],
)
def test_a_value_in_place_of_settings_is_told_by_its_key(
    text: str, said: str, program: Program, tmp_path: Path
) -> None:
    own(tmp_path / "conf", "schedule", "mine", f"{text}\nphases:\n  head: {{thaw: none, epochs: 1}}\n")
    answer = program("train", "--config-dir", str(tmp_path / "conf"), "schedule=mine", *DRY)
    assert answer.code == 1
    assert answer.err.startswith(f"frostline: the plan cannot be read:\n  {said}")


def test_what_a_recipe_says_of_other_phases_is_left_out_and_told(program: Program, tmp_path: Path) -> None:
    recipe = (
        "# @package _global_\ndefaults:\n  - override /schedule: two_stage\nschedule: {phases: {all: {epochs: 3}}}\n"
    )
    own(tmp_path / "conf", "experiment", "mine", recipe)
    answer = program("train", "--config-dir", str(tmp_path / "conf"), "experiment=mine", "schedule=head_only", *DRY)
    assert answer.code == 0, answer.err
    assert "settings of phase 'all' (epochs) are ignored" in answer.err
    assert "all " not in answer.out.partition("phase ")[2].partition("\n\n")[0]


def test_what_is_typed_is_never_left_out(program: Program) -> None:
    answer = program("train", "schedule=head_only", "+schedule.phases.more.epochs=3", *DRY)
    assert answer.code == 1
    assert "schedule.phases.more.thaw is missing" in answer.err


# --- sweeps ---


@pytest.mark.usefixtures("untrained")
def test_a_sweep_whose_yaml_has_changed_is_not_taken_up(program: Program, tmp_path: Path) -> None:
    plan = "phases:\n  head: {thaw: none, epochs: 1}\n"
    own(tmp_path / "conf", "schedule", "mine", plan)
    typed = ["--config-dir", str(tmp_path / "conf"), "schedule=mine", *DRY[1:], *ASIDE, "sweep.test=none"]
    begun = program("train", "-m", *typed, "optimizer.lr=1e-3,2e-3", "hydra.sweep.dir=S")
    assert begun.code == 0, begun.err
    again = ["train", "sweep.resume=S", "trust=true"]
    assert program(*again).code == 0
    own(tmp_path / "conf", "schedule", "mine", plan.replace("1", "2") + "  all: {thaw: all, epochs: 1}\n")
    answer = program(*again)
    assert answer.code == 1
    assert "schedule.phases.head.epochs was 1 and is 2, phase all is new" in answer.err
    (tmp_path / "S" / "multirun.yaml").unlink()
    assert program(*again).code == 0, "there is nothing to compare"


def test_a_job_that_fails_is_told_when_it_happens(program: Program) -> None:
    small = ["schedule=head_only", *DRY[1:], "logger=none"]
    answer = program("train", "-m", *small, "model.weights=/nothing/a,null")
    assert answer.code == 1
    assert answer.err.index("where: /nothing/a") < answer.err.index("1 of 2 jobs failed, see above: 0")
    assert answer.err.count("there is no such weights file") == 1
    alone = program("train", *small, "model.weights=/nothing/a")
    assert alone.err.count("there is no such weights file") == 1


def test_a_stopped_sweep_names_the_jobs_that_did_not_run(program: Program) -> None:
    stop = "+callbacks.stop._target_=test_schedules.Stop"
    answer = program("train", "-m", "schedule=head_only", *DRY[1:], "logger=none", stop, "sweep.test=all", "seed=1,2,3")
    assert answer.code == 128 + 15
    assert "2 jobs of the sweep did not run:" in answer.err
    assert [line.split()[0] for line in answer.err.splitlines() if line.endswith(("seed=2", "seed=3"))] == ["1:", "2:"]


class Stop:
    """Made in its place: a callback that ends the sweep as a batch system does."""

    def __new__(cls) -> object:
        import os
        import signal

        import lightning as L

        class AtOnce(L.Callback):
            def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
                os.kill(os.getpid(), signal.SIGTERM)

        return AtOnce()


@pytest.mark.long
def test_no_thread_outlives_the_jobs_of_a_sweep(program: Program) -> None:
    small = ["schedule=head_only", *DRY[1:]]
    assert program("train", *small, "run_dir=first").code == 0
    before = threading.active_count()
    assert program("train", "-m", *small, "seed=1,2").code == 0
    assert threading.active_count() <= before


@pytest.mark.parametrize(
    ("typed", "unused"),
    [
        (["schedule.phases.head.epochs=5"], "schedule.phases.head.epochs=5 has no effect"),
        (["schedule.every_phase.curve=linear", "optimizer.lr=0.1"], None),  # the phase `all` uses both
        (
            ["schedule=head_only", "schedule.every_phase.curve=linear", "optimizer.lr=0.1"],
            "schedule.every_phase.curve=linear and optimizer.lr=0.1 have no effect",
        ),
        (["schedule.phases.head.epochs=5", "schedule.every_phase.solve=false"], None),
        (["schedule=head_only", "+schedule.phases.head.views=none"], None),
    ],
)
def test_settings_of_steps_that_a_solved_head_does_not_take_are_reported(
    typed: list[str], unused: str | None, program: Program
) -> None:
    answer = program("train", *typed, *DRY, "trainer=cpu")
    assert answer.code == 0
    assert ("has no effect" in answer.out or "have no effect" in answer.out) == bool(unused)
    if unused:
        assert f"phase head: the head is solved, not stepped, so {unused}; schedule.every_phase.solve" in answer.out


@pytest.mark.parametrize(
    ("typed", "epochs", "noted"),
    [
        ([], 50, True),  # 40 pictures are 2 batches
        (["trainer=debug"], 50, True),  # whose limits are not the data's
        (["data.train_limit=640"], 7, False),  # 20 batches
        (["schedule.phases.all.epochs=3"], 3, False),
        (["schedule.phases.all={epochs: 3}"], 3, False),
        (["schedule.phases={all: {epochs: 3}}"], 3, False),
        (["schedule.phases.all.epochs=3", "+schedule.phases.all.min_steps=20"], 10, True),
        (["schedule.phases.all.epochs=3", "schedule.every_phase.min_steps=20"], 10, True),
        (["schedule.phases.all.lr_scale=1"], 50, True),
        (["schedule.phases.head.epochs=3"], 50, True),
    ],
)
def test_few_samples_get_the_epochs_of_a_hundred_steps_unless_epochs_are_typed(
    typed: list[str], epochs: int, noted: bool, program: Program
) -> None:
    answer = program("train", *DRY, "data.batch_size=32", *typed)
    assert answer.code == 0, answer.err
    (row,) = [line.split() for line in answer.out.splitlines() if line.startswith("  all     head")]
    assert str(epochs) in row
    assert (f"phase all: {epochs} epochs instead of" in answer.out) == noted


def test_phases_of_one_block_each_are_noted_by_the_name_in_the_plan(program: Program) -> None:
    more = ["schedule=gradual", "schedule.phases.down.min_steps=20", "data.batch_size=32"]
    note = "phase down: 10 epochs instead of 1, for min_steps=20; schedule.phases.down.epochs=1 trains no more"
    answer = program("train", *DRY, *more)
    assert answer.out.count(note) == 1
    exact = note.rpartition("; ")[2].partition(" ")[0]  # what the note proposes
    assert "phase down" not in program("train", *DRY, "schedule=gradual", exact, "data.batch_size=32").out


@pytest.mark.parametrize(
    ("typed", "unreached"),
    [
        (["schedule.every_phase.lr_scale=3"], "schedule.every_phase.lr_scale=3 does not reach phase head, all"),
        (["schedule.every_phase.layer_decay=0.3"], "schedule.every_phase.layer_decay=0.3 does not reach phase all"),
        (
            ["schedule=lp_ft", "schedule.every_phase.until.patience=3"],
            "schedule.every_phase.until.patience=3 does not reach phase probe",
        ),
        (["schedule.every_phase.norm=adapt"], None),
        (["schedule=lp_ft", "schedule.every_phase.until.min_delta=0.1"], None),
    ],
)
def test_settings_of_every_phase_that_a_phase_replaces_are_reported(
    typed: list[str], unreached: str | None, program: Program
) -> None:
    answer = program("train", *typed, *DRY)
    assert answer.code == 0, answer.err
    assert ("does not reach" in answer.err) == bool(unreached)
    if unreached:
        assert f"{unreached}, with a value of its own; schedule.phases." in answer.err
        proposed = answer.err.partition("of its own; ")[2].partition(" replaces")[0]
        assert program("train", *typed[:-1], proposed, *DRY).code == 0


@pytest.mark.parametrize("name", ["schedule/two_stage", "train"])
def test_an_own_option_cannot_have_the_name_of_another(name: str, program: Program, tmp_path: Path) -> None:
    """Hydra would read the shipped file without a word."""
    group, _, option = name.rpartition("/")
    own(tmp_path / "conf", group, option, "phases:\n  only: {thaw: none, epochs: 1}\n")
    answer = program("train", "--config-dir", str(tmp_path / "conf"), *DRY)
    assert answer.code == 1
    assert "has an option" in answer.err
    assert f"where: {tmp_path / 'conf' / name}.yaml" in answer.err
    (tmp_path / "conf" / group / f"{option}.yaml").write_text((conf_dir() / f"{name}.yaml").read_text())
    assert program("train", "--config-dir", str(tmp_path / "conf"), *DRY).code == 0, "a copy is the same"
