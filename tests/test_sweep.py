"""Sweeps: which jobs follow from a command line, where they lie, and what is left of those that did not run."""

import csv
import gc
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

import faked
from conftest import SMALL, Answer
from frostline.backbones.base import Backbone
from frostline.cli import sweep_run
from frostline.cli.sweep_session import Session
from frostline.commands.train import NOT_HERE
from frostline.distributed.launcher import LEADER
from frostline.errors import FrostlineError, RunError
from frostline.runs.predictions import read
from frostline.runs.record import Record
from frostline.runs.sweeps import Sweep
from frostline.training.finetuner import FineTuner

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]
HEAD = [*SMALL, "schedule=head_only", "logger=none"]
DRY = [*HEAD, "dry_run=true"]

# What is typed after `frostline train -m`, and what must be in the answer.
REFUSED = {
    "run_dir": ("run_dir=X seed=0,1", ["run_dir names the folder of one run", "hydra.sweep.dir=<folder>"]),
    "run_dir, by force": ("++run_dir=X seed=0,1", ["run_dir names the folder of one run"]),
    "run_dir, swept": ("run_dir=X,Y", ["run_dir names the folder of one run"]),
    "run_dir, after the time": ("run_dir=X-${now:%H} seed=0,1", ["run_dir names the folder of one run"]),
    "logs_dir, swept": ("logs_dir=a,b", ["logs_dir cannot be swept", "logs_dir=<folder>"]),
    "logs_dir, empty": ("logs_dir= seed=0,1", ["logs_dir must name a folder"]),
    "logs_dir, null": ("logs_dir=null seed=0,1", ["logs_dir must name a folder"]),
    "folder of the sweep, swept": ("hydra.sweep.dir=a,b", ["hydra.sweep.dir applies to the whole sweep"]),
    "folder of the sweep, empty": ("hydra.sweep.dir= seed=0,1", ["hydra.sweep.dir must name a folder"]),
    "folder of the sweep, null": ("hydra.sweep.dir=null seed=0,1", ["hydra.sweep.dir=null"]),
    "resume, swept": ("resume=a,b", ["resume= takes one run"]),
    "mode": ("hydra.mode=RUN seed=0,1", ["hydra.mode cannot be set", "leave hydra.mode out"]),
    "a file for logs": (
        "logs_dir=file seed=0,1",
        ["cannot write to the folder: Not a directory", "logs_dir=<a writable folder"],
    ),
    "a file for the sweep": (
        "hydra.sweep.dir=file seed=0,1",
        ["cannot write to", "hydra.sweep.dir=<a writable folder"],
    ),
    "below a file": ("hydra.sweep.dir=file/it seed=0,1", ["cannot write to", "hydra.sweep.dir=<a writable folder"]),
    "jobs elsewhere": ("hydra.sweep.subdir=/tmp/it seed=0,1", ["'/tmp/it' is not a folder inside the sweep's folder"]),
    "jobs above": ("hydra.sweep.subdir=../it seed=0,1", ["'../it' is not a folder inside the sweep's folder"]),
    "jobs in the sweep itself": ("hydra.sweep.subdir=. seed=0,1", ["'.' is not a folder inside the sweep's folder"]),
    "no job": ("seed=range(0,0)", ["this sweep has no jobs", "where: seed=range(0,0)"]),
    "no job, backwards": ("seed=range(3,0)", ["this sweep has no jobs"]),
    "no option": ("optimizer=glob(zz*)", ["this sweep has no jobs", "optimizer=<some of adam, adamw, sgd>"]),
    "no question": ("seed=glob(*)", ["this sweep has no jobs", "seed=<value>"]),
    "a comma too many": ("seed=0,", ["a value is missing in the list of seed", "where: seed=0,", "next:  seed=0\n"]),
    "a comma first": ("seed=,0,1", ["a value is missing in the list of seed", "next:  seed=0,1\n"]),
    "two commas": ("data.dir=größe,,b", ["a value is missing", "next:  'data.dir="]),
    "nothing but a comma": ("seed=,", ["a value is missing", "seed=<value>,<value>"]),
    "a range among values": ("seed=range(0,2),7", ["a value in this list is itself a sweep", "next:  seed=0,1,7\n"]),
    "a choice in a choice": ("seed=choice(choice(1,2),3)", ["is itself a sweep", "next:  seed=1,2,3\n"]),
    "a glob among values": ("optimizer=glob(adam*),sgd", ["is itself a sweep", "next:  optimizer=adam,adamw,sgd\n"]),
    "an interval among values": ("seed=interval(0,1),7", ["is itself a sweep", "seed=<value>,<value>"]),
    "an interval": ("seed=interval(0,1)", ["a sweep needs single values", "seed=<value>,<value>"]),
    "no step": ("seed=range(0,10,0)", ["this range has more than 100,000 values, or no end"]),
    "no end": ("seed=range(0,inf)", ["this range has more than 100,000 values, or no end"]),
    "too many values": ("seed=range(0,1000000000)", ["this range has more than 100,000 values"]),
    "too many jobs": ("seed=range(0,1000) data.seed=range(0,1000)", ["more than 100,000 jobs", "1,000,000"]),
    "no bracket": ("seed=range(0,2", ["not a valid list of sweep values", "'seed=range(0,3)' is seed=0,1,2"]),
    "no values": ("seed=choice()", ["not a valid list of sweep values"]),
    "twice": ("seed=0,1 seed=2,3", ["seed is given 2 times"]),
    "swept and set": ("seed=0,1 seed=2", ["seed is given 2 times"]),
    "values of which none is allowed": (
        "optimizer.lr=-1,-2",
        ["the configuration has a wrong value", "optimizer.lr: -1"],
    ),
    "a setting that does not exist": ("+optimizer.nothing=1,2", ["the configuration has a wrong value", "nothing"]),
    "joblib": ("launcher=joblib seed=0,1", ["record nothing in the sweep", "next:  launcher=local"]),
    "a launcher of Hydra's": ("hydra/launcher=joblib seed=0,1", ["record nothing in the sweep", "launcher=local"]),
    "a wrong second job": ("model=bundled,resnet5", ["no model 'resnet5'", "model=<one of"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_swept_is_refused_before_anything_is_written(
    case: str, program: Program, tmp_path: Path
) -> None:
    typed, expected = REFUSED[case]
    (tmp_path / "file").touch()
    answer = program("train", "-m", "dry_run=true", *typed.split())
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("frostline: ")
    for words in expected:
        assert words in answer.err
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_a_recipe_names_no_run_dir_for_a_sweep(program: Program, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nrun_dir: X\n")
    answer = program("train", "-m", "--config-dir", str(tmp_path / "conf"), "experiment=mine", *DRY, "seed=0,1")
    assert answer.code == 1
    assert "run_dir names the folder of one run" in answer.err


def test_a_recipe_makes_no_sweep(program: Program, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nhydra:\n  mode: MULTIRUN\n")
    answer = program("train", "--config-dir", str(tmp_path / "conf"), "experiment=mine", *DRY)
    assert (answer.code, answer.out) == (1, "")
    assert "a config file sets hydra.mode, but only the flag -m starts a sweep" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.usefixtures("untrained")
def test_either_flag_makes_a_sweep(flag: str, program: Program, tmp_path: Path) -> None:
    answer = program("train", *HEAD, "sweep.test=none", flag, "seed=0,1", "hydra.sweep.dir=it")
    assert answer.code == 0, answer.err
    assert sorted(path.parent.name for path in tmp_path.glob("it/*/run.json")) == ["0", "1"]


def test_a_run_is_composed_once(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    composed = []
    load = ConfigLoaderImpl.load_configuration

    def noted(self: ConfigLoaderImpl, *args: object, **settings: object) -> DictConfig:
        composed.append(args)
        return load(self, *args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", noted)
    assert program("train", *DRY).code == 0
    assert len(composed) == 1


# --- where a sweep lies ---


@pytest.mark.usefixtures("untrained")
def test_a_folder_holds_one_sweep(program: Program, tmp_path: Path) -> None:
    sweep = ["train", "-m", *HEAD, "sweep.test=none", "hydra.sweep.dir=S"]
    assert program(*sweep, "seed=0").code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    answer = program(*sweep, "seed=1")
    assert answer.code == 1
    assert "this folder holds another sweep" in answer.err
    assert "hydra.sweep.dir=<a new or empty folder>" in answer.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_folder_of_something_else_is_refused(program: Program, tmp_path: Path) -> None:
    (tmp_path / "S").mkdir()
    (tmp_path / "S" / "notes.txt").touch()
    answer = program("train", "-m", *DRY, "hydra.sweep.dir=S", "seed=0,1")
    assert answer.code == 1
    assert "this folder holds other files: notes.txt" in answer.err


def test_an_empty_folder_of_the_user_stays(program: Program, tmp_path: Path) -> None:
    (tmp_path / "S").mkdir()
    assert program("train", "-m", "hydra.sweep.dir=S", "model=bundled,resnet5").code == 1
    assert program("train", "-m", *DRY, "hydra.sweep.dir=S", "seed=0,1").code == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["S"]


@pytest.mark.usefixtures("untrained")
def test_jobs_may_lie_deeper_in_the_sweep(program: Program, tmp_path: Path) -> None:
    deep = ["hydra.sweep.dir=S", "hydra.sweep.subdir=seeds/${seed}/${hydra:job.num}"]
    answer = program("train", "-m", *HEAD, *deep, "sweep.test=none", "model.weights=null,none.pth")
    assert answer.code == 1
    assert "evaluate run=S/seeds/0/0 checkpoint=last\n" in answer.out
    with (tmp_path / "S" / "leaderboard.csv").open() as file:
        rows = [(row["run"], row["status"]) for row in csv.DictReader(file)]
    assert rows == [("seeds/0/0", "finished"), ("seeds/0/1", "failed")]
    assert not (tmp_path / "S" / "seeds" / "0" / "1").exists()


@pytest.mark.usefixtures("untrained")
def test_a_job_that_would_lie_elsewhere_is_refused(program: Program, tmp_path: Path) -> None:
    out = ["hydra.sweep.dir=S", "hydra.sweep.subdir=${init_from}"]
    answer = program("train", "-m", *HEAD, *out, "init_from=../it,it/../..")
    assert answer.code == 1
    assert "'../it' is not a folder inside the sweep's folder" in answer.err
    assert not [*tmp_path.rglob("run.json")]


# --- jobs that did not run ---


def stop(*_: object, **__: object) -> None:
    """In place of a run: a batch system ends the sweep."""
    os.kill(os.getpid(), signal.SIGTERM)


STOPPED = {
    "a list": (["seed=1,2,3"], {"seed=1", "seed=2", "seed=3"}),
    "a range": (["seed=range(1,4)"], {"seed=1", "seed=2", "seed=3"}),
    "shuffled": (["seed=shuffle(range(0,8))"], {f"seed={number}" for number in range(8)}),
    "a glob": (["optimizer=glob(adam*)"], {"optimizer=adam", "optimizer=adamw"}),
    "batches, of no effect": (["hydra.sweeper.max_batch_size=0", "seed=1,2,3"], {"seed=1", "seed=2", "seed=3"}),
    "of a recipe": (["--config-dir", "conf", "experiment=mine"], {"seed=1", "seed=2"}),
    "quoted": (["cache.dir=choice('a b',c)"], {r"cache.dir=a\ b", "cache.dir=c"}),
}


@pytest.mark.parametrize("case", STOPPED)
def test_a_stopped_sweep_names_exactly_the_jobs_that_did_not_run(
    case: str, program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "frostline.commands.train", faked.module("train", train=stop))
    typed, jobs = STOPPED[case]
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    recipe = "# @package _global_\nhydra: {sweeper: {params: {seed: '1,2'}}}\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(recipe)
    answer = program("train", "-m", *HEAD, *typed)
    assert answer.code == 128 + signal.SIGTERM
    key = next(iter(jobs)).partition("=")[0]
    settings = re.compile(rf"(?<=\s){re.escape(key)}=(\\.|\S)+")
    (began,) = [found[0] for found in settings.finditer(answer.out.partition("\n")[2].splitlines()[0])]
    left = [found[0] for found in settings.finditer(answer.err)]
    assert sorted([began, *left]) == sorted(jobs)
    number = len(jobs) - 1
    assert f"{number} job{'s' if number > 1 else ''} of the sweep did not run:" in answer.err
    assert "begun, and not ended: job 0" in answer.err


def test_a_sweep_stopped_before_its_first_job_leaves_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class BasicLauncher:
        def setup(self, **_: object) -> None: ...

        def launch(self, *_: object, **__: object) -> None:
            assert [*tmp_path.rglob("multirun.yaml")]
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("hydra.core.plugins.Plugins.instantiate_launcher", lambda *_, **__: BasicLauncher())
    answer = program("train", "-m", *DRY, "seed=0,1")
    assert answer.code == 128 + signal.SIGTERM
    assert "2 jobs of the sweep did not run:" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_between_jobs_is_told(program: Program, tmp_path: Path) -> None:
    named = f"init_from=nothing,{'a' * 300},other"
    answer = program("train", "-m", *DRY, "hydra.sweep.dir=S", "hydra.sweep.subdir=${init_from}", named)
    assert answer.code == 1
    assert "where: nothing" in answer.err
    assert "the operating system reports an error: File name too long" in answer.err
    assert re.search("2 jobs of the sweep did not run:\\n  1: .*a\\n  2: .* init_from=other\\n", answer.err)


# --- nothing leaks from job to job ---


# Variables that each run sets anew, or that Lightning sets when it first looks for devices.
SET_ANEW = {LEADER, "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTORCH_NVML_BASED_CUDA_CHECK"}


def state_of_process() -> dict[str, object]:
    """What a run could leave changed behind it."""
    return {
        "handlers": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": {name: value for name, value in os.environ.items() if name not in SET_ANEW},
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "folder": Path.cwd(),
    }


def networks(before: Sequence[object] = ()) -> list[object]:
    """The models and backbones of this process that are not in `before`."""
    gc.collect()
    known = {id(it) for it in before}
    every = [it for it in gc.get_objects() if issubclass(type(it), FineTuner | Backbone)]
    return [it for it in every if id(it) not in known]


def test_ten_jobs_leave_no_trace_in_their_process(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last are the same job, and have the same bits. No network outlives its job."""
    jobs: list[DictConfig] = []
    left: list[str] = []

    def run(command: str, cfg: DictConfig) -> list[FrostlineError]:
        jobs.append(cfg)
        left.extend(type(it).__name__ for it in (networks(others) if len(jobs) == 10 else ()))
        return run_command(command, cfg)

    others, run_command = networks(), sweep_run.run_command
    monkeypatch.setattr(sweep_run, "run_command", run)
    steps = ["schedule.every_phase.solve=false", "schedule.phases.head.epochs=2", "head=mlp", "head.dropout=0.5"]
    many = f"optimizer.lr=0.01,{','.join(str(0.02 * it) for it in range(1, 9))},0.01"
    before = state_of_process()
    answer = program("train", "-m", *HEAD, "report=false", *steps, many, "hydra.sweep.dir=S", "sweep.test=none")
    assert answer.code == 0, answer.err
    assert state_of_process() == before
    assert len(jobs) == 10
    assert left == networks(others) == []
    first, *rest, last = (read(tmp_path / "S" / str(job), "val").columns["logits"] for job in range(10))
    assert (first == last).all()
    assert all((first != other).any() for other in rest)
    scores = [Record.read(tmp_path / "S" / job).metrics for job in "09"]
    assert scores[0] == scores[1]


class Broken:
    """Made in its place: a callback with a bug."""

    def __new__(cls) -> object:
        return {}["a bug"]


def test_a_bug_in_one_job_does_not_end_the_others(program: Program, tmp_path: Path) -> None:
    bug = "+callbacks.bug._target_=test_sweep.Broken,lightning.pytorch.callbacks.lambda_function.LambdaCallback"
    answer = program("train", "-m", *HEAD, bug, "hydra.sweep.dir=S")
    assert answer.code == 1
    with (tmp_path / "S" / "leaderboard.csv").open() as file:
        assert [(row["run"], row["status"]) for row in csv.DictReader(file)] == [("1", "finished"), ("0", "failed")]
    assert "1 of 2 jobs failed, see above: 0" in answer.err


@pytest.mark.usefixtures("untrained")
def test_a_sweep_begins_without_what_another_of_its_process_left(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Session, "sweep", Sweep(tmp_path / "other", ["-m", "seed=7"], str(tmp_path), [["seed=7"]]))
    answer = program("train", "-m", *HEAD, "sweep.test=none", "seed=0,1", "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    assert [job[-1] for job in Sweep.read(tmp_path / "S").jobs] == ["seed=0", "seed=1"]


@pytest.mark.usefixtures("untrained")
def test_the_summary_names_each_next_step_once(program: Program, tmp_path: Path) -> None:
    """The steps of errors before a run had a folder, and of those in its record."""
    weights = ["model.weights=null,none.pth", "seed=0,1,2"]
    answer = program("train", "-m", *HEAD, *weights, "sweep.test=none", "hydra.sweep.dir=S")
    assert answer.code == 1
    lost = [f"failed       {number}: there is no such weights file" for number in (3, 4, 5)]
    assert "\n".join([*lost, "  next:  model.weights=<a file>", ""]) in answer.out
    assert answer.out.count("model.weights=<a file>") == 1
    for name, step in (("0", "frostline rank"), ("1", "data.batch_size=8; or trainer=cpu")):
        record = Record.read(tmp_path / "S" / name)
        error = RunError("memory ran out", where="model", next_step=step)
        record.status, record.error = "failed", {"type": "RunError", "message": str(error)}
        record.write(tmp_path / "S" / name)
    told = program("leaderboard", "S").out
    assert "failed       0: memory ran out\n  next:  frostline rank\n" in told
    assert "failed       1: memory ran out\n  next:  data.batch_size=8\n    or:  trainer=cpu\n" in told
    record.error = {"type": "ArithmeticError", "message": "an error without a step"}
    record.write(tmp_path / "S" / "1")
    assert program("leaderboard", "S").out.count("an error without a step") == 1
    assert "\n".join([*lost, "  next:  model.weights=<a file>", ""]) in told


@pytest.mark.usefixtures("untrained")
def test_a_job_that_a_signal_ends_before_its_run_began_runs_again(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(command: str, cfg: DictConfig) -> list[FrostlineError]:
        if cfg.seed == 1:
            raise SystemExit(128 + signal.SIGINT)
        return run(command, cfg)

    run = sweep_run.run_command
    with monkeypatch.context() as patch:
        patch.setattr(sweep_run, "run_command", stopped)
        assert (
            program("train", "-m", *HEAD, "sweep.test=none", "seed=0,1", "hydra.sweep.dir=S").code
            == 128 + signal.SIGINT
        )
    assert json.loads((tmp_path / "S" / ".jobs" / "1.json").read_text())["error"] is None
    assert program("train", "sweep.resume=S").code == 0
    assert [json.loads((tmp_path / "S" / it / "run.json").read_text())["status"] for it in "01"] == ["finished"] * 2


def test_ranks_of_a_run_get_its_settings_and_its_folder_only(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Lightning starts them by the command line as the run leaves it (`launch_alike`)."""
    started: list[list[str]] = []

    def run(*known: object, **said: object) -> None:
        started.append(sys.argv[1:])
        faked.trained(*known, **said)  # type: ignore[arg-type]

    monkeypatch.setitem(sys.modules, "frostline.commands.train", faked.module("train", train=run))
    answer = program("train", "-m", *faked.SMALL, "optimizer.lr=0.1,0.01", "sweep.seeds=2", "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    own = [it for it in faked.SMALL if not it.startswith("sweep.")]
    assert started == [
        ["train", *own, f"optimizer.lr={rate}", f"seed={seed}", "test=false", f"run_dir={Path('S') / str(number)}"]
        for number, rate, seed in [(0, 0.1, 0), (2, 0.01, 0), (3, 0.01, 1), (1, 0.1, 1)]
    ]
