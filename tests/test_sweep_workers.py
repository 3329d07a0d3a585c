"""Several processes share a sweep: workers of one machine, and machines that join."""

import csv
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import faked
from conftest import SMALL, Answer, short_form
from forked import stand_in, started
from frostline.cli.sweep import tell_notes
from frostline.commands.train import NOT_HERE
from frostline.errors import RunError
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps import workers
from frostline.sweeps.progress import Progress
from frostline.sweeps.study import JOURNAL
from frostline.sweeps.workers import MOST_ATTEMPTS, cores, devices, give_up, log_of, require_done, shares

pytestmark = [pytest.mark.process, *(pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE)]
Program = Callable[..., Answer]
STEPS = ["schedule=head_only", "schedule.every_phase.solve=false", "schedule.phases.head.epochs=6", "logger=none"]
# The same jobs of runs that train nothing, and of runs that do.
FORMS = {"faked": faked.SMALL, "frostline": [*SMALL, *STEPS, "sweep.test=none"]}
GRID = ["train", "-m", "optimizer.lr=0.1,0.03,0.01", "sweep.seeds=2"]
SEARCH = ["train", "-m", "sweep=random", "sweep.trials=5", "optimizer.lr=interval(0.01,0.1)"]


def begun(module: str, *arguments: str, cwd: Path, **environment: str) -> Any:
    return started("-m", module, *arguments, cwd=cwd, env={**os.environ, **faked.FOUND, **environment})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def statuses(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in folder.glob("*/run.json")]


# --- shares ---


@pytest.mark.parametrize(
    ("workers", "things", "expected"),
    [
        (2, "ab", [["a"], ["b"]]),
        (2, "abcd", [["a", "b"], ["c", "d"]]),
        (3, "abcd", [["a"], ["b"], ["c", "d"]]),
        (4, "ab", [["a"], ["b"], ["a"], ["b"]]),
        (2, "", [[], []]),
    ],
)
def test_every_worker_has_its_share_and_nothing_is_left_idle(
    workers: int, things: str, expected: list[list[str]]
) -> None:
    found = [own for own, _ in shares(workers, [*things], [])]
    assert found == expected
    assert {it for own in found for it in own} == {*things}


def test_the_devices_that_cuda_may_use_are_shared(tmp_path: Path) -> None:
    assert devices({"CUDA_VISIBLE_DEVICES": "3,GPU-a"}) == ["3", "GPU-a"]
    assert devices({"CUDA_VISIBLE_DEVICES": ""}) == []
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl"):
        (tmp_path / name).touch()
    assert devices({}, tmp_path) == ["0", "2", "10"]


# --- progress, and jobs that end their process ---


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    made = Sweep(tmp_path, [], "/", [["model=a"]] * 4)
    assert made.create()
    return made


def run(sweep: Sweep, number: int, score: float, status: str = "finished") -> None:
    sweep.write_note(number, Note(str(number), []))
    (sweep.folder / str(number)).mkdir(exist_ok=True)
    record = Record("", 0, monitor="val/it", metrics={"val/it": score})
    record.status = status  # type: ignore[assignment]
    record.write(sweep.folder / str(number))


def test_progress_is_told_in_one_line(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    run(sweep, 0, 0.5)
    clock = iter([100.0, 160.0, 220.0, 280.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress(sweep, 4)
    run(sweep, 1, 0.75)
    run(sweep, 2, 0.9, "running")
    assert progress.line() == "2 of 4 done, 0 failed, 0 pruned; best val/it 0.7500 (1); about 2 min left"
    run(sweep, 2, 0.9, "pruned")
    assert progress.line() == "3 of 4 done, 0 failed, 1 pruned; best val/it 0.7500 (1); about 60 s left"
    run(sweep, 3, 0.9, "failed")
    assert progress.line() == "4 of 4 done, 1 failed, 1 pruned; best val/it 0.7500 (1)"


def test_a_score_that_is_not_finite_is_no_best_one(sweep: Sweep) -> None:
    run(sweep, 0, float("nan"))
    assert Progress(sweep, 4).line().startswith("1 of 4 done, 0 failed, 0 pruned")
    run(sweep, 1, 0.5)
    assert "; best val/it 0.5000 (1)" in Progress(sweep, 4).line()


def test_jobs_that_run_at_the_same_time_are_counted_as_half_done(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, 60 s a job: after 90 s two jobs are done, and two others half; after 150 s none is left to take."""
    clock = iter([0.0, 90.0, 150.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress(sweep, 6, workers=2)
    for number in (0, 1):
        run(sweep, number, 0.5)
    assert progress.line().endswith("about 2 min left"), "90 s"
    for number in (2, 3):
        run(sweep, number, 0.5)
    assert progress.line().endswith("about 30 s left")


def test_a_job_that_ends_its_process_again_and_again_is_given_up(sweep: Sweep) -> None:
    sweep.write_note(0, Note("0", [], attempts=MOST_ATTEMPTS - 1))
    assert not give_up(sweep, 0)
    sweep.write_note(0, Note("0", [], attempts=MOST_ATTEMPTS))
    assert give_up(sweep, 0)
    assert sweep.state(0) == "failed"
    assert f"next:  read the ends of the logs in {sweep.folder}/.jobs\n" in getattr(sweep.note(0), "steps", "")
    run(sweep, 1, 0.5, "running")
    sweep.write_note(1, Note("1", [], attempts=MOST_ATTEMPTS))
    assert give_up(sweep, 1)
    assert sweep.state(1) == "failed"
    assert Record.read(sweep.folder / "1").error == {"type": "RunError", "message": "its process died 3 times"}
    assert not give_up(sweep, 2)


def test_what_runs_of_workers_noted_on_their_data_is_told_at_the_end(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, notes in enumerate([["few"], ["few", "3 pictures are in both train and test"], ["few"]]):
        run(sweep, number, 0.5)
        record = Record.read(sweep.folder / str(number))
        record.notes = notes
        record.write(sweep.folder / str(number))
    tell_notes(sweep)
    assert capsys.readouterr().out == "", "each run has printed its own"
    log_of(sweep, 0).write_text("")
    tell_notes(sweep)
    told = capsys.readouterr().out.splitlines()
    assert told == ["note  all runs: few", "note  run 1: 3 pictures are in both train and test"]


def test_jobs_that_no_worker_ran_are_reported(sweep: Sweep) -> None:
    sweep.jobs = [[f"seed={seed}"] for seed in range(4)]
    for number, status in enumerate(["finished", "failed", "running"]):
        run(sweep, number, 0.5, status)
    with pytest.raises(RunError, match="the workers ended before jobs 2, 3 had run"):
        require_done(sweep, 0)
    run(sweep, 2, 0.5, "pruned")
    sweep.write_note(3, Note("3", [], error="no such file"))
    require_done(sweep, 0)
    with pytest.raises(RunError, match="the workers ended before 2 trials had run"):
        require_done(sweep, 2)


# --- what a worker starts with ---

# The program of a worker: each run writes what its process has, and waits until the other worker has a run, too.
STUB = """
import json, os, sys, time
from pathlib import Path
from unittest.mock import patch

import faked
from frostline.cli.main import main

HERE = Path(__file__).parent


def trained(cfg, folder, **said):
    import torch

    own = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "HYDRA_FULL_ERROR")}
    own |= {"cores": sorted(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}
    (HERE / f"{os.environ['FROSTLINE_WORKER']}.has").write_text(json.dumps(own))
    end = time.monotonic() + 60
    while len([*HERE.glob("*.has")]) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    faked.trained(cfg, folder, **said)


if __name__ == "__main__":
    with patch.dict(sys.modules, faked.STAND_INS | {"frostline.commands.train": faked.module("train", train=trained)}):
        main()
"""


def test_a_worker_has_its_share_of_the_devices_and_cores(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(workers, "PROGRAM", "stub")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{faked.FOUND['PYTHONPATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,GPU-a")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    answer = program("train", "-m", *faked.SMALL, "seed=0,1", "launcher=local", "launcher.workers=2")
    assert answer.code == 0, answer.err
    found = [json.loads((tmp_path / f"{number} of 2.has").read_text()) for number in range(2)]
    assert [it["CUDA_VISIBLE_DEVICES"] for it in found] == ["3", "5,GPU-a"]
    assert [it["cores"] for it in found] == [own for _, own in shares(2, [], cores())]
    assert [it["threads"] for it in found] == [len(it["cores"]) for it in found], "torch is imported after the pinning"


@pytest.mark.parametrize("visible", ["", None])
def test_what_workers_are_started_with(visible: str | None, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[list[str], dict[str, str]]] = []

    def start(command: list[str], *, env: dict[str, str], **_: object) -> SimpleNamespace:
        begun.append((command[1:], env))
        return SimpleNamespace(poll=lambda: 0, wait=lambda _: 0)

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(workers, "devices", lambda _: ["0", "1", "2"])
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with workers.started(sweep, 2, ["trust=true"]) as processes:
        assert len(processes) == 2
    command = ["-m", "frostline", "train", "trust=true", f"sweep.join={sweep.folder}", "launcher=alone"]
    assert [it for it, _ in begun] == [command] * 2
    environments = [env for _, env in begun]
    assert [env["FROSTLINE_WORKER"] for env in environments] == ["0 of 2", "1 of 2"]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in environments] == (["0", "1,2"] if visible is None else ["", ""])
    assert [env["OMP_NUM_THREADS"] for env in environments] == ["3", "3"], "that of the user"
    assert not any("HYDRA_FULL_ERROR" in env for env in environments)


@pytest.mark.parametrize(
    ("visible", "cores", "expected"), [("0,1,2", 8, 3), ("", 8, 4), ("", 5, 2), ("", 1, 1), ("", 0, 1)]
)
def test_as_many_workers_as_gpus_or_as_pairs_of_cores(
    visible: str, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(workers, "cores", lambda: [*range(cores)])
    assert workers.default_workers() == expected


# --- whole sweeps ---


@pytest.fixture(scope="module", params=short_form(FORMS, "faked"))
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The module that ran it, and the sweep."""
    folder = tmp_path_factory.mktemp("alone")
    process = begun(request.param, *GRID, *FORMS[request.param], "hydra.sweep.dir=S", cwd=folder)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "sweep  6 of 6 done, 0 failed, 0 pruned; best val/accuracy" in out
    return request.param, folder / "S"


@pytest.mark.parametrize("launcher", short_form(["local", "slurm"], "local"))
def test_a_sweep_whose_workers_do_not_start_names_a_log_that_is_there(
    launcher: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.sweeps.workers.PROGRAM", "no_such_program")
    own = [f"launcher={launcher}", "launcher.workers=2", "hydra.sweep.dir=S"]
    own += ["launcher.cluster=local"] if launcher == "slurm" else []
    answer = program(*GRID, *FORMS["frostline"], *own)
    assert answer.code == 1
    (where,) = [line.split()[1] for line in answer.err.splitlines() if line.startswith("  where:")]
    assert "No module named no_such_program" in Path(where).read_text()
    assert "sweep.resume=S" in answer.err


def test_workers_share_the_jobs_and_end_like_one_process(undisturbed: tuple[str, Path], tmp_path: Path) -> None:
    module, alone = undisturbed
    two = ["launcher=local", "launcher.workers=2", "hydra.sweep.dir=S"]
    process = begun(module, *GRID, *FORMS[module], *two, cwd=tmp_path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "sweep  6 of 6 done" in out
    assert rows_of(tmp_path / "S") == rows_of(alone)
    assert len([*(tmp_path / "S").glob("*/run.json")]) == 6
    logs = [log.read_text() for log in sorted((tmp_path / "S" / ".jobs").glob("worker-*.log"))]
    ran = [line.split("]")[0][1:] for log in logs for line in log.splitlines() if line.startswith("[")]
    assert sorted(ran) == [*"012345"], "each job runs once"


@pytest.mark.parametrize("kind", short_form(["grid", "search"], "grid"))
@pytest.mark.parametrize("dies", ["the first", "the second"])
def test_a_machine_that_dies_loses_a_job_that_another_takes_over(
    dies: str, kind: str, undisturbed: tuple[str, Path], tmp_path: Path
) -> None:
    """A machine is a process group. The first began the sweep, the second joined it."""
    module, alone = undisturbed
    command = [*(GRID if kind == "grid" else SEARCH), *FORMS[module], "hydra.sweep.dir=S"]
    first = begun(module, *command, cwd=tmp_path, FAKED_SECONDS="0.1")  # it still has jobs when the second joins
    while first.poll() is None and not (tmp_path / "S" / "multirun.yaml").is_file():
        time.sleep(0.001)
    second = begun(module, "train", f"sweep.join={tmp_path / 'S'}", cwd=Path.cwd(), FAKED_SECONDS="0.1")
    while second.poll() is None and not any(line.startswith("[") for line in iter(second.stdout.readline, "")):
        pass
    time.sleep(0.2)
    dead, left = (first, second) if dies == "the first" else (second, first)
    os.killpg(dead.pid, signal.SIGKILL)
    dead.communicate(timeout=60)
    out, err = left.communicate(timeout=600)
    assert (dead.returncode, left.returncode) == (-signal.SIGKILL, 0), out + err
    number = 6 if kind == "grid" else 5
    assert statuses(tmp_path / "S") == ["finished"] * number
    if kind == "grid":
        assert rows_of(tmp_path / "S") == rows_of(alone)


@pytest.mark.usefixtures("untrained")
def test_workers_search_in_a_database_and_a_resume_goes_on_with_it(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PROGRAM", "faked")
    monkeypatch.setenv("PYTHONPATH", faked.FOUND["PYTHONPATH"])
    joining = workers.joining
    monkeypatch.setattr(workers, "joining", lambda *known: stand_in(*joining(*known)[1:]))
    own = [f"sweep.storage=sqlite:///{tmp_path / 'it.db'}", "launcher=local", "launcher.workers=2"]
    answer = program(*SEARCH, *faked.SMALL, *own, "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    assert "sweep  5 of 5 done, 0 failed" in answer.out
    first = rows_of(tmp_path / "S")
    assert not (tmp_path / "S" / JOURNAL).exists()
    answer = program("train", "sweep.resume=S", "sweep.trials=7", "trust=true", "launcher=alone")
    assert answer.code == 0, answer.err
    with closing(sqlite3.connect(tmp_path / "it.db")) as database:
        trials = database.execute("select number, state from trials order by number").fetchall()
    assert trials == [(number, "COMPLETE") for number in range(7)], "one study, of which no trial is left open"
    rows = rows_of(tmp_path / "S")
    assert sorted(row["run"] for row in rows) == [*"0123456"]
    assert len({row["optimizer.lr"] for row in rows}) == 7
    assert [row for row in rows if row["run"] in "01234"] == first


def test_a_job_that_failed_in_a_worker_is_named_with_its_next_step(tmp_path: Path) -> None:
    own = ["model.weights=none.pth,null", "optimizer.lr=0.1,0.01", "launcher=local", "launcher.workers=1"]
    process = begun("faked", "train", "-m", *faked.SMALL, *own, "hydra.sweep.dir=S", cwd=tmp_path)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 1, out
    reason = "there is no such weights file"
    assert f"failed       0: {reason}\nfailed       1: {reason}\n  next:  model.weights=<a file>\n" in out
    assert out.count("next:  model.weights") == 1


def test_jobs_of_a_cluster_share_the_jobs_of_a_sweep(undisturbed: tuple[str, Path], tmp_path: Path) -> None:
    """submitit's own executor for one machine stands in for the cluster."""
    module, alone = undisturbed
    jobs = ["launcher=slurm", "launcher.cluster=local", "launcher.workers=2", "hydra.sweep.dir=S"]
    process = begun(module, *GRID, *FORMS[module], *jobs, cwd=tmp_path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert rows_of(tmp_path / "S") == rows_of(alone)
    logs = [log.read_text() for log in (tmp_path / "S" / ".jobs" / "slurm").glob("*_log.out")]
    ran = [line.split("]")[0][1:] for log in logs for line in log.splitlines() if re.match(r"\[\d\] ", line)]
    assert sorted(ran) == [*"012345"], "each job runs once"


def test_without_a_cluster_the_sweep_says_so(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: None)
    answer = program("train", "-m", *faked.SMALL, "launcher=slurm", "seed=0,1")
    assert answer.code == 1
    assert "the cluster takes no job" in answer.err
    assert "launcher=local" in answer.err


def test_only_sweeps_are_joined(program: Program, tmp_path: Path) -> None:
    os.mkdir("other")  # noqa: PTH102
    assert "this folder is not a sweep" in program("train", "sweep.join=other").err
    assert Sweep(tmp_path / "other", ["-m", "seed=0,1"], str(tmp_path), [["seed=0"], ["seed=1"]]).create()
    answer = program("train", "sweep.join=other", "sweep.retry=true")
    assert answer.code == 1
    assert "sweep.retry belongs to sweep.resume" in answer.err
    assert f"sweep.resume={tmp_path / 'other'}  # with sweep.retry=true" in answer.err
    assert program("train", "launcher=local", *SMALL).err.startswith("frostline: launcher is a setting of a sweep")
    assert "launcher.workers" in program("train", "-m", "launcher=local", "launcher.workers=0", "seed=0,1").err
