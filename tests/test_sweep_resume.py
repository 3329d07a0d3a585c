"""A sweep that was stopped goes on where it stopped, and ends as an undisturbed one."""

import csv
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import faked
from conftest import SMALL, Answer, short_form
from forked import started
from frostline.cli.sweep_order import in_order
from frostline.commands.train import NOT_HERE
from frostline.errors import RunError
from frostline.runs.predictions import read
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep, taken
from frostline.sweeps.settings import Search
from frostline.sweeps.space import Dimension
from frostline.sweeps.study import Trials

pytestmark = [pytest.mark.process, *(pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE)]
Program = Callable[..., Answer]
STEPS = ["schedule=head_only", "schedule.every_phase.solve=false", "schedule.phases.head.epochs=3", "logger=none"]
JOBS = ["optimizer.lr=0.1,0.01", "sweep.seeds=2", "model.weights=none.pth,null"]
# The same sweep of runs that train nothing, and of runs that do.
FORMS = {"faked": ["train", "-m", *faked.SMALL, *JOBS], "frostline": ["train", "-m", *SMALL, *STEPS, *JOBS]}


def begun(module: str, *arguments: str, cwd: Path) -> Any:
    return started("-m", module, *arguments, cwd=cwd, env={**os.environ, **faked.FOUND})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def finished(sweep: Sweep, number: int, score: float, **said: Any) -> None:
    sweep.write_note(number, Note(str(number), []))
    (sweep.folder / str(number)).mkdir()
    Record(**{"command": "", "seed": 0, "monitor": "it", "metrics": {"it": score}, "status": "finished", **said}).write(
        sweep.folder / str(number)
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    made = Sweep(tmp_path, ["model=a,b"], "/", [["model=a"], ["model=b"]])
    assert made.create()
    return made


# --- the folder ---


def test_a_sweep_is_read_as_it_was_written_and_never_replaced(sweep: Sweep) -> None:
    assert Sweep.read(sweep.folder) == sweep
    assert not Sweep(sweep.folder, ["other"], "/").create()
    assert Sweep.read(sweep.folder) == sweep
    assert {path.name for path in sweep.folder.iterdir()} == {"sweep.json", ".jobs"}


def test_how_a_job_stands_is_told_by_its_run(sweep: Sweep) -> None:
    assert sweep.state(0) == "new"
    sweep.write_note(0, Note("0", []))
    assert sweep.state(0) == "new", "it began, but its run did not"
    sweep.write_note(0, Note("0", [], error="no such file"))
    assert sweep.state(0) == "failed"
    for number, status in enumerate(["running", "interrupted", "failed", "pruned", "finished"], 1):
        finished(sweep, number, 0.5, status=status)
    assert [sweep.state(number) for number in range(1, 6)] == ["open", "open", "failed", "pruned", "finished"]
    sweep.retry()
    assert [sweep.state(number) for number in range(6)] == ["open", "open", "open", "open", "pruned", "finished"]


def test_jobs_that_are_done_are_not_taken(sweep: Sweep) -> None:
    finished(sweep, 1, 0.5)
    finished(sweep, 2, 0.5, status="running")
    order = []
    for number in taken(sweep, range(4), lambda left: sorted(left, reverse=True)):
        order.append(number)
        if number == 3:
            finished(sweep, 3, 0.5)
    assert order == [3, 2, 0]


def test_jobs_of_one_model_follow_each_other_and_good_settings_are_repeated_first(sweep: Sweep) -> None:
    jobs = [
        [f"optimizer.lr={rate}", f"model={model}", f"seed={seed}"]
        for rate in (1, 2)
        for model in "ab"
        for seed in (0, 1)
    ]
    sort = in_order(sweep, jobs)
    first = [0, 4, 2, 6]
    assert sort([*range(8)])[:4] == first
    for number, score in zip(first, [0.1, 0.4, 0.2, 0.3], strict=True):
        finished(sweep, number, score)
    assert sort([1, 3, 5, 7]) == [5, 7, 3, 1]


# --- whole sweeps ---


@pytest.fixture(scope="module", params=short_form(FORMS, "faked"))
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The module that ran it, and the sweep."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = begun(request.param, *FORMS[request.param], "hydra.sweep.dir=S", cwd=folder)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, out + err
    return request.param, folder / "S"


@pytest.fixture
def whole(undisturbed: tuple[str, Path], tmp_path: Path) -> Path:
    """A copy of the undisturbed sweep."""
    return shutil.copytree(undisturbed[1], tmp_path / "whole")


def test_a_killed_sweep_ends_like_an_undisturbed_one(undisturbed: tuple[str, Path], tmp_path: Path) -> None:
    (module, whole), draw = undisturbed, random.Random(1)
    command = [*FORMS[module], "hydra.sweep.dir=S"]
    for wanted in (0, 2):  # runs that have begun when it is killed
        process = begun(module, *command, cwd=tmp_path)
        while process.poll() is None and len([*tmp_path.glob("S/*/run.json")]) <= wanted:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 2 * faked.SECONDS if module == "faked" else 0.2))
        process.kill()
        process.communicate(timeout=60)
        command = ["train", "sweep.resume=S"]
    process = begun(module, *command, cwd=tmp_path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, out + err
    assert "4 of 8 jobs failed" in err
    assert f"next:  frostline train sweep.resume={tmp_path / 'S'} sweep.retry=true" in err
    assert rows_of(tmp_path / "S") == rows_of(whole)
    statuses = [json.loads(file.read_text())["status"] for file in tmp_path.glob("S/*/run.json")]
    assert statuses == ["finished"] * 4


class Stop:
    """Made in its place: a callback that stops the sweep after the second epoch of its first run."""

    def __new__(cls) -> Any:
        from lightning.pytorch.callbacks import LambdaCallback

        def stop(trainer: Any, module: Any) -> None:
            if trainer.current_epoch == 1 and not Path("stopped").exists():
                Path("stopped").touch()
                os.kill(os.getpid(), signal.SIGTERM)

        return LambdaCallback(on_train_epoch_end=stop)


def test_a_run_that_was_stopped_goes_on_within_its_sweep(program: Program, tmp_path: Path) -> None:
    stops = "+callbacks.stop._target_=test_sweep_resume.Stop"
    sweep = ["train", "-m", *SMALL, *STEPS, stops, "sweep.test=none", "seed=0"]
    assert program(*sweep, "hydra.sweep.dir=S").code == 128 + signal.SIGTERM
    answer = program("train", "sweep.resume=S", "trust=true")
    assert answer.code == 0, answer.err
    assert f"run   {tmp_path / 'S' / '0'} continues" in answer.out
    assert program(*sweep, "hydra.sweep.dir=whole").code == 0
    first, second = (read(tmp_path / name / "0", "val").columns["logits"] for name in ("S", "whole"))
    assert (first == second).all()


def test_a_finished_sweep_runs_nothing_again_and_failed_jobs_only_if_asked(whole: Path, program: Program) -> None:
    before = {file: file.read_bytes() for file in whole.rglob("run.json")}
    answer = program("train", f"sweep.resume={whole}")
    assert answer.code == 1
    assert "4 of 8 jobs failed" in answer.err
    assert "\n[" not in answer.out
    answer = program("train", f"sweep.resume={whole}", "sweep.retry=true")
    assert [line.split("]")[0] for line in answer.out.splitlines() if line.startswith("[")] == ["[0", "[4", "[1", "[5"]
    assert {file: file.read_bytes() for file in whole.rglob("run.json")} == before


def test_only_what_the_sweep_was_started_with_may_be_typed(whole: Path, program: Program) -> None:
    answer = program("train", f"sweep.resume={whole}", "optimizer.lr=0.5")
    assert answer.code == 1
    assert "a sweep keeps its own settings, and it was not started with: optimizer.lr=0.5" in answer.err
    assert program("train", f"sweep.resume={whole}", "optimizer.lr=0.1,0.01", "-m").out.count("\nleaderboard ") == 1


def test_a_sweep_that_still_runs_is_not_resumed(sweep: Sweep, program: Program) -> None:
    with running(sweep):
        answer = program("train", f"sweep.resume={sweep.folder}")
    assert answer.code == 1
    assert "this sweep is still running" in answer.err
    assert "sweep.join=" in answer.err


@contextmanager
def running(sweep: Sweep) -> Iterator[None]:
    """While another process takes part in the sweep: its locks hold no other thread of this one."""
    code = "import sys; from pathlib import Path; from frostline.runs.sweep_locks import Presence; "
    code += "held = Presence(Path(sys.argv[1])); held.enter(alone=False); print('in', flush=True); sys.stdin.read()"
    process = started("-c", code, str(sweep.presence), env={**os.environ, **faked.FOUND})
    try:
        assert process.stdout.readline() == "in\n"
        yield
    finally:
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    "typed", ["+callbacks.it._target_=os.system", "--config-dir", "hydra.run.dir=/", "cache.dir=/"]
)
def test_a_strangers_sweep_chooses_no_code_and_no_place_without_trust(
    typed: str, program: Program, tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path / "S", [typed], str(tmp_path), [["seed=0"]])
    sweep.folder.mkdir()
    sweep.create()
    answer = program("train", "sweep.resume=S")
    assert answer.code == 1
    assert f"this sweep names code, or places to write to: {typed}" in answer.err
    assert f"sweep.resume={tmp_path / 'S'} trust=true" in answer.err
    assert not [*tmp_path.rglob("run.json")]


SEARCH: dict[str, Any] = {
    "seeds": None,
    "drop": False,
    "test": "none",
    "max_seconds": None,
    "max_parameters": None,
    "resume": None,
}
SEARCH |= {"retry": False, "join": None, "trials": 2, "sampler": "random", "pruner": "none", "draw": 0, "storage": None}
SPACE: dict[str, Any] = {"key": "head", "kind": "choice", "values": ["linear", "mlp"]}
FOREIGN = "+callbacks.x={_target_:os.mkdir,path:PWNED}"


@pytest.mark.parametrize(
    "search",
    [
        {"seeds": [FOREIGN]},
        {"fixed": [FOREIGN]},
        {"space": [SPACE | {"key": "+callbacks.x", "values": ["{_target_:os.mkdir,path:PWNED}", "null"]}]},
        {"space": [SPACE | {"key": "cache.dir"}]},
    ],
)
def test_every_setting_of_a_strangers_search_is_looked_at(
    search: dict[str, Any], program: Program, tmp_path: Path
) -> None:
    whole = {"study": "it", "mode": "max", "space": [SPACE], "fixed": [], "seeds": [], **search}
    sweep = Sweep(tmp_path / "S", ["-m", "sweep=random", *SMALL, *STEPS], str(tmp_path), [], whole)
    sweep.folder.mkdir()
    sweep.create()
    answer = program("train", "sweep.resume=S")
    assert answer.code == 1
    assert "this sweep names code, or places to write to" in answer.err
    assert not [*tmp_path.rglob("run.json"), *tmp_path.rglob("PWNED")]


def test_what_a_strangers_study_draws_from_another_space_is_refused(program: Program, tmp_path: Path) -> None:
    target = SPACE | {"key": "+callbacks.x", "values": ["{_target_:os.mkdir,path:PWNED}"]}
    whole = {"study": "it", "mode": "max", "space": [target], "fixed": [], "seeds": []}
    sweep = Sweep(tmp_path / "S", ["-m", "sweep=random", *SMALL, *STEPS], str(tmp_path), [], whole)
    sweep.folder.mkdir()
    study = Trials(sweep.folder, "it", "max", [Dimension.stored(target)], Search(**SEARCH))
    study.ask()
    whole["space"] = [SPACE | {"key": "+callbacks.x", "values": ["null"]}]
    sweep.create()
    answer = program("train", "sweep.resume=S")
    assert answer.code == 1
    assert "this study belongs to another space: +callbacks.x was drawn from {_target_" in answer.err
    assert not [*tmp_path.rglob("run.json"), *tmp_path.rglob("PWNED")]


def test_a_link_that_leads_out_of_a_strangers_sweep_needs_trust(program: Program, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "S", ["-m", "seed=0,1"], str(tmp_path), [["seed=0"]])
    sweep.folder.mkdir()
    (tmp_path / "victim").mkdir()
    (sweep.folder / ".jobs").symlink_to(tmp_path / "victim")
    sweep.create()
    assert ".jobs: leads to" in program("train", "sweep.resume=S").err
    assert [*(tmp_path / "victim").iterdir()] == []


@pytest.mark.parametrize("attempts", [0, 1])
@pytest.mark.parametrize("run", ["../victim", ".", "link"])
def test_a_note_names_no_folder_outside_its_sweep(
    run: str, attempts: int, sweep: Sweep, program: Program, tmp_path_factory: pytest.TempPathFactory
) -> None:
    victim = tmp_path_factory.mktemp("outside") / "victim"
    victim.mkdir()
    (victim / "run.json").write_text("{}")
    (sweep.folder / "link").symlink_to(victim)
    run = run.replace("../victim", os.path.relpath(victim, sweep.folder))
    note = {"run": run, "typed": [], "attempts": attempts}
    (sweep.folder / ".jobs" / "0.json").write_text(json.dumps(note))
    with pytest.raises(RunError, match="not a folder inside the sweep's folder") as caught:
        sweep.note(0)
    assert str(caught.value.where).endswith(".jobs/0.json")
    answer = program("train", f"sweep.resume={sweep.folder}", "trust=true")
    assert answer.code == 1
    assert "not a folder inside the sweep's folder" in answer.err
    assert (victim / "run.json").is_file()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1, "typed": []}', '{"run": "0", "typed": 1, "x": 1}'])
def test_a_note_of_another_form_is_refused(text: str, sweep: Sweep) -> None:
    (sweep.folder / ".jobs" / "0.json").write_text(text)
    with pytest.raises(RunError, match="the note of job 0 cannot be read"):
        sweep.state(0)


@pytest.mark.parametrize("edit", [{"arguments": "a"}, {"jobs": ["a"]}, {"search": []}, {"cwd": 1}])
def test_a_sweep_of_another_form_is_refused(edit: dict[str, Any], sweep: Sweep) -> None:
    path = sweep.folder / "sweep.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(RunError, match=r"sweep\.json cannot be read"):
        Sweep.read(sweep.folder)


REFUSED = {
    "no folder": (["sweep.resume=none"], ["there is no such folder"]),
    "no sweep": (["sweep.resume=."], ["this folder is not a sweep: it has no sweep.json"]),
    "both": (["sweep.resume=a", "sweep.join=b"], ["exclude each other"]),
    "a database, to resume": (
        ["sweep.resume=sqlite:///it.db"],
        ["sweep.resume takes the folder of a sweep, and this is the URL of a database", "sweep.resume=<sweep folder>"],
    ),
    "a database, to join": (
        ["sweep.join=postgresql://host/it"],
        ["sweep.join takes the folder of a sweep, and", "sweep.join=<sweep folder>", "sweep.storage=<URL>"],
    ),
    "without -m": (["sweep.seeds=3"], ["sweep.seeds is a setting of a sweep", "add -m"]),
    "a retry of a new sweep": (["-m", "seed=0,1", "sweep.retry=true"], ["runs the failed jobs of an earlier sweep"]),
    "seeds twice": (["-m", "sweep.seeds=3", "seed=1,2"], ["sweep.seeds=3 repeats each setting"]),
    "no seeds": (["-m", "sweep.seeds=0"], ["sweep.seeds"]),
    "no such setting": (["-m", "sweep.tests=best"], ["sweep.tests"]),
    "no way to search": (["-m", "sweep=gridd"], ["no sweep 'gridd'", "grid"]),
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_anything_is_written(case: str, program: Program, tmp_path: Path) -> None:
    typed, expected = REFUSED[case]
    answer = program("train", *typed)
    assert (answer.code, answer.out) == (1, "")
    for words in expected:
        assert words in answer.err
    assert list(tmp_path.iterdir()) == []
