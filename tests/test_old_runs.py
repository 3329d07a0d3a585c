"""A run folder of an earlier version opens: its config.yaml names classes where they were defined before.

`old_run/` holds what version 0.1.0 of 28 November 2026 wrote for the run that `small_run` trains, before the modules of
this package moved into folders. The weights are those of `small_run`.

`old_run/stopped/` is all that this version (4dfd4e78) left of a run that SIGTERM stopped in its phase `all`, at the
third of four batches of the second of three epochs; `ended.json` has the scores with which that version ended the run:

    frostline train model._target_=tiny.Tiny data.train_limit=40 data.batch_size=10 data.image_size=8 trainer=cpu \
        trainer.precision=32-true schedule.phases.head.epochs=1 schedule.phases.all.epochs=3 logger=none \
        schedule.every_phase.min_steps=0 schedule.every_phase.solve=false optimizer.lr=0.05
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
from safetensors.torch import save_file

from compared import require_equal, trained
from conftest import ASIDE, DEVICE, SMALL, Answer, short_form
from frostline.config.constructors import origin_of
from frostline.errors import RunError
from frostline.runs.opening import _is_option, read_settings
from frostline.runs.renamed import RENAMED, renamed
from frostline.training.checkpoint import completed_targets, read_checkpoint, read_saved, targets_problem
from frostline.training.finetuner import CHECKPOINT_KEY
from frostline.training.init_from import _known
from tiny_text import make_tokenizer

WRITTEN = Path(__file__).parent / "old_run"


@pytest.fixture
def old_run(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "run")
    for file in WRITTEN.glob("*.*"):
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


def test_every_class_that_an_option_ever_named_is_there_and_needs_no_trust() -> None:
    """old_targets.txt: the key in a run's config and the class, of all versions of conf/ until 30 November 2026."""
    lines = [line.split() for line in (Path(__file__).parent / "old_targets.txt").read_text().splitlines()]
    now = [(key, target, renamed({"_target_": target})["_target_"]) for key, target in lines]
    assert [line for line in now if not _is_option(line[0], line[2])] == []
    assert RENAMED.keys() <= {target for _, target in lines}


@pytest.mark.parametrize(
    "typed",
    [
        ["evaluate", "run=run"],
        ["predict", "run=run", "input=it.png"],
        ["export", "run=run", "output=it.safetensors"],
        ["report", "run=run"],
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
    record = json.loads((old_run / "run.json").read_text())
    assert (record["status"], record["predictions"]) == ("finished", {}), "its version kept no predictions"


# --- a run that was stopped ---


@pytest.fixture
def stopped_run(tmp_path: Path) -> Path:
    shutil.copytree(WRITTEN / "stopped", tmp_path / "run")
    return tmp_path / "run"


def test_an_old_run_goes_on_in_the_middle_of_a_phase(stopped_run: Path, program: Callable[..., Answer]) -> None:
    saved = torch.load(stopped_run / "checkpoints" / "last.ckpt", weights_only=True)[CHECKPOINT_KEY]
    assert (saved["phase"], saved["epoch"] - saved["first_epoch"], saved["batches"]) == ("all", 1, 3)
    answer = program("train", "resume=run", "trust=true")
    assert answer.code == 0, answer.err
    record = json.loads((stopped_run / "run.json").read_text())
    assert record["status"] == "finished"
    assert [(row["name"], row["epochs"]) for row in record["phases"]] == [("head", 1), ("all", 3)]
    ended = json.loads((stopped_run / "ended.json").read_text())
    assert record["metrics"].keys() >= ended.keys()
    assert record["metrics"]["test/loss"] == pytest.approx(ended["test/loss"], abs=1e-5)


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_an_old_run_that_was_stopped_is_scored_and_predicts(
    checkpoint: str, stopped_run: Path, program: Callable[..., Answer]
) -> None:
    Image.new("RGB", (8, 8)).save(stopped_run.parent / "it.png")
    for typed in (["evaluate"], ["predict", "input=it.png"]):
        answer = program(*typed, "run=run", "trust=true", f"checkpoint={checkpoint}")
        assert answer.code == 0, answer.err


# --- targets, which had `mean` and `std` of any kind ---


Plain = dict[str, Any]
TARGETS: dict[str, tuple[Plain, Plain]] = {  # by kind: what version 0.1.0 wrote, and what stands in `about` now
    "class": ({"names": ["a", "b"], "counts": [3, 4], "mean": [], "std": []}, {}),
    "labels": ({"names": ["a", "b"], "counts": [3, 4], "mean": [], "std": []}, {}),
    "numbers": (
        {"names": ["x", "y"], "counts": [], "mean": [1.5, 0.0], "std": [2.0, 1.0]},
        {"mean": [1.5, 0.0], "std": [2.0, 1.0]},
    ),
    "tags": ({"names": ["O", "B-x"], "counts": [9, 1], "mean": [2.5], "std": []}, {"mean_words": 2.5}),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_of_a_version_before_are_completed(kind: str) -> None:
    written, about = TARGETS[kind]
    now = {"kind": kind, "names": written["names"], "counts": written["counts"], "about": about}
    assert completed_targets({"kind": kind} | written) == now
    assert completed_targets(now) == now
    assert targets_problem(now, "targets") is None


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("numbers", {"std": "x"}, "its 'targets.about.std': 'x' is not a list of a number"),
        ("numbers", {"mean": [], "std": []}, "its 'targets.about.mean' is missing"),
        ("tags", {"mean": ["x"]}, "its 'targets.about.mean_words': 'x' is not a number"),
        ("class", {"names": [1]}, "its 'targets.names': [1] is not a list of text"),
        ("shapes", {}, "its 'targets.kind': 'shapes' is not one of "),
    ],
)
def test_damaged_targets_of_a_version_before_are_refused(kind: str, change: Plain, problem: str) -> None:
    written = TARGETS.get(kind, TARGETS["class"])[0] | change
    found = targets_problem(completed_targets({"kind": kind} | written), "targets")
    assert found is not None
    assert found.startswith(problem)


def aged(targets: Plain) -> Plain:
    """Targets as version 0.1.0 wrote them."""
    about = targets["about"]
    mean = about.get("mean", [about["mean_words"]] if "mean_words" in about else [])
    return {key: targets[key] for key in ("kind", "names", "counts")} | {"mean": mean, "std": about.get("std", [])}


def age(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["data"]["targets"] = aged(record["data"]["targets"])
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    for path in run.glob("checkpoints/*.ckpt"):
        content = torch.load(path, weights_only=True)
        identity = content[CHECKPOINT_KEY]["identity"]
        identity["targets"] = aged(identity["targets"])
        torch.save(content, path)


def run_of(program: Callable[..., Answer], kind: str) -> str:
    """A run of its head alone, in `run`, on few pictures or sentences. Gives the place of its data."""
    common = [*DEVICE, "trainer.precision=32-true", "schedule=head_only", "run_dir=run", "logger=none", *ASIDE]
    if kind == "tags":
        make_tokenizer(Path("tokenizer"))
        Path("it.conll").write_text("aa\tB-x\nkl\tO\n\nla\tO\n\n" * 20)
        own = ["task=token_classification", "data=conll", "data.train_file=it.conll", "data.batch_size=8", "trust=true"]
        own += ["model=bundled", "model._target_=tiny_text.TinyText", "model.weights=tokenizer"]
    else:
        lines = [f"{n}.png,{n % 2},{n // 2 % 2},{n}.5" for n in range(40)]
        for n in range(40):
            Image.new("L", (8, 8), 6 * n).save(f"{n}.png")
        Path("it.csv").write_text("\n".join(["path,a,b,x", *lines]) + "\n")
        task, columns = {
            "class": ("classification", "a"),
            "labels": ("multi_label", "a,b"),
            "numbers": ("regression", "x"),
        }[kind]
        own = [f"task={task}", "data=image_csv", "data.file=it.csv", f"data.target_columns=[{columns}]"]
        own += ["data.image_size=8"]
    answer = program("train", *common, *own)
    assert answer.code == 0, answer.err
    return "it.conll" if kind == "tags" else "it.csv"


@pytest.mark.parametrize("kind", short_form(TARGETS, "numbers", "tags"))
def test_a_run_with_targets_of_a_version_before_opens_and_goes_on(
    kind: str, program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = run_of(program, kind)
    age(Path("run"))
    loss = json.loads(Path("run/run.json").read_text())["metrics"]["test/loss"]
    assert f"test/loss {loss:.4f}" in program("evaluate", "run=run", "trust=true").out
    shutil.copy(file, f"other.{file[3:]}")
    for typed in (
        ["evaluate", f"data.file=other.{file[3:]}", "checkpoint=last"],
        ["predict", f"input={file if kind == 'tags' else '0.png'}", "output=out.csv"],
    ):
        answer = program(*typed, "run=run", "trust=true")
        assert answer.code == 0, answer.err
    answer = program("train", "resume=run", "trust=true")
    assert answer.code == 0, answer.err
    targets = read_checkpoint(Path("run/checkpoints/last.ckpt"))[CHECKPOINT_KEY]["identity"]["targets"]
    assert targets["about"].keys() == TARGETS[kind][1].keys()


@pytest.mark.parametrize("kind", TARGETS)
def test_weights_that_a_version_before_exported_say_their_targets(kind: str, tmp_path: Path) -> None:
    written = TARGETS[kind][0]
    about = {"frostline": json.dumps({"targets": {"kind": kind} | written})}
    save_file({"head.weight": torch.zeros(1)}, tmp_path / "it.safetensors", about)
    assert _known(tmp_path / "it.safetensors") == (kind, written["names"])


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


@pytest.mark.long
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
    """A run of the previous version: no phase has `views`, neither in config.yaml nor in the checkpoint."""
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
