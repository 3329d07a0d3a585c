"""A sweep's folder that was damaged, moved or stopped: nothing is lost, and what is passed over is reported."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import faked
from conftest import Answer
from frostline.cli.sweep import Board
from frostline.commands.train import NOT_HERE
from frostline.errors import RunError
from frostline.report.leaderboard import write_leaderboard
from frostline.runs.record import Record
from frostline.runs.sweep_names import PRUNED
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps.workers import MOST_ATTEMPTS, give_up

pytestmark = [
    pytest.mark.usefixtures("untrained"),
    *(pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE),
]
Program = Callable[..., Answer]
GRID = ["train", "-m", *faked.SMALL, "optimizer.lr=0.1,0.01"]
SEARCH = ["train", "-m", "sweep=random", "sweep.trials=2", *faked.SMALL, "optimizer.lr=interval(0.01,0.1)"]


def test_the_leaderboard_is_written_less_often_than_it_costs_but_before_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    assert board._is_due(None)
    monkeypatch.setattr(board, "_due", math.inf)
    assert not board._is_due(None)
    assert not board._is_due(RunError("this job failed", next_step="another"))
    assert board._is_due(KeyboardInterrupt())


@pytest.fixture
def ended(program: Program, tmp_path: Path) -> Path:
    """A grid of two runs that finished."""
    assert program(*GRID, "hydra.sweep.dir=S").code == 0
    return tmp_path / "S"


def began(answer: Answer) -> list[str]:
    return [line.split("]")[0][1:] for line in answer.out.splitlines() if line.startswith("[")]


def test_notes_that_were_removed_are_made_again_from_the_runs(
    ended: Path, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(ended / ".jobs")
    shutil.rmtree(ended / "0")
    answer = program("train", f"sweep.resume={ended}")
    assert answer.code == 0, answer.err
    assert began(answer) == ["0"]
    names = "hydra.sweep.subdir=rate-${optimizer.lr}"
    monkeypatch.chdir(tmp_path)
    assert program(*GRID, "hydra.sweep.dir=named", names).code == 0
    shutil.rmtree(tmp_path / "named" / ".jobs")
    assert began(program("train", "sweep.resume=named")) == []


def test_keys_of_a_newer_version_do_not_hinder_a_sweep(ended: Path, program: Program) -> None:
    before = Sweep.read(ended)
    notes = {number: before.note(number) for number in before.numbers()}
    for path in (ended / "sweep.json", *(ended / ".jobs").glob("*.json")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1, "folder": "elsewhere"}))
    sweep = Sweep.read(ended)
    assert sweep == before
    assert {number: sweep.note(number) for number in sweep.numbers()} == notes
    assert began(program("train", f"sweep.resume={ended}")) == []


def test_jobs_without_a_run_are_noted_again_from_the_leaderboard(
    ended: Path, program: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep.read(ended)
    notes = {
        0: Note("0", sweep.jobs[0], error="the best of 3 settings was better", attempts=0, kind=PRUNED),
        1: Note("1", sweep.jobs[1], error="no such file", attempts=0),
    }
    for number, note in notes.items():
        shutil.rmtree(ended / str(number))
        sweep.write_note(number, note)
    write_leaderboard(ended)
    shutil.rmtree(ended / ".jobs")
    sweep = Sweep.read(ended)
    assert {number: sweep.note(number) for number in (0, 1)} == notes
    assert [sweep.state(number) for number in (0, 1)] == ["pruned", "failed"]
    shutil.rmtree(ended / ".jobs")
    (ended / "leaderboard.csv").write_bytes(b"\xff")
    assert Sweep.read(ended).numbers() == []


@pytest.mark.parametrize("repeated", [False, True])
def test_jobs_of_a_search_are_noted_again_with_what_was_typed(
    repeated: bool, program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(*SEARCH, *["sweep.seeds=2"] * repeated, "hydra.sweep.dir=S").code == 0
    sweep, last = Sweep.read(tmp_path / "S"), 3 if repeated else 1
    note = sweep.note(last)
    assert note is not None
    shutil.rmtree(sweep.folder / str(last))
    note.error, note.attempts = "no such file", 0
    sweep.write_note(last, note)
    write_leaderboard(sweep.folder)
    shutil.rmtree(sweep.folder / ".jobs")
    found = Sweep.read(sweep.folder).note(last)
    assert found is not None
    assert sorted(found.typed) == sorted(note.typed)
    assert found == replace(note, typed=found.typed)
    shutil.rmtree(sweep.folder / ".jobs")
    (sweep.folder / ("runs.csv" if repeated else "leaderboard.csv")).unlink()
    assert (Sweep.read(sweep.folder).note(last), sweep.state(last)) == (None, "new"), "what was typed is not known"


def test_damaged_runs_are_noted_again_with_what_was_typed(ended: Path, program: Program) -> None:
    (ended / "1" / "run.json").write_text("{")
    shutil.rmtree(ended / ".jobs")
    sweep = Sweep.read(ended)
    assert sweep.note(1) == Note("1", sweep.jobs[1])
    assert sweep.state(1) == "failed"


def test_a_leaderboard_that_cannot_be_written_loses_no_run(ended: Path, program: Program) -> None:
    shutil.rmtree(ended / "1")
    (ended / "leaderboard.csv").unlink()
    (ended / "leaderboard.csv").mkdir()
    answer = program("train", f"sweep.resume={ended}")
    assert answer.code == 1
    assert "the operating system reports an error: " in answer.err
    assert f"where: {ended / 'leaderboard.csv'}" in answer.err
    assert "Traceback" not in answer.err
    assert Record.read(ended / "1").status == "finished"


def test_a_damaged_run_is_told_and_runs_anew_if_asked(ended: Path, program: Program) -> None:
    (ended / "1" / "run.json").write_text("{")
    answer = program("train", f"sweep.resume={ended}")
    assert answer.code == 1
    assert began(answer) == []
    assert "unreadable   1: run.json cannot be read" in answer.out
    assert "1 of 2 jobs failed, see above: 1" in answer.err
    answer = program("train", f"sweep.resume={ended}", "sweep.retry=true")
    assert answer.code == 0, answer.err
    assert began(answer) == ["1"]
    assert Record.read(ended / "1-2").status == "finished"


def test_a_moved_sweep_goes_on_from_anywhere(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    assert program(*GRID, "hydra.sweep.dir=S").code == 0
    shutil.rmtree("S/1")
    shutil.move("S", tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "second")
    (tmp_path / "first").rmdir()
    answer = program("train", "sweep.resume=../moved")
    assert answer.code == 0, answer.err
    assert began(answer) == ["1"]
    assert f"the sweep was started in {tmp_path / 'first'}, which is not there: relative paths" in answer.err
    assert {path.name for path in (tmp_path / "moved").glob("[0-9]")} == {"0", "1"}
    assert [*(tmp_path / "second").iterdir()] == []


def test_a_search_may_go_on_for_longer(program: Program, tmp_path: Path) -> None:
    assert program(*SEARCH, "hydra.sweep.dir=S").code == 0
    answer = program("train", "sweep.resume=S", "sweep.trials=3")
    assert answer.code == 0, answer.err
    assert began(answer) == ["2"]
    assert "sweep.trials=3" in Sweep.read(tmp_path / "S").arguments, "those that join go on as long"
    assert began(program("train", "sweep.resume=S")) == []
    assert "sweep.trials belongs to sweep.resume" in program("train", "sweep.join=S", "sweep.trials=9").err


def test_what_a_damaged_journal_needs_can_be_pasted(program: Program, tmp_path: Path) -> None:
    assert program(*SEARCH, "hydra.sweep.dir=S").code == 0
    (tmp_path / "S" / "study.journal").write_text("none\n")
    answer = program("train", "sweep.resume=S")
    assert answer.code == 1
    assert "the storage of the search cannot be opened" in answer.err
    assert "restore the file from a copy\n    or:  frostline train -m sweep=random" in answer.err
    assert "hydra.sweep.dir" not in answer.err


def test_a_setting_that_is_wrong_is_not_to_be_tried_again(program: Program) -> None:
    answer = program("train", "-m", *faked.SMALL, "optimizer.lr=0.1,-1")
    assert answer.code == 1
    assert "1 of 2 jobs failed, see above: 1\n  next:  correct the settings, and start a new sweep" in answer.err
    assert "sweep.retry" not in answer.err


def test_a_sweep_in_which_every_run_was_ended_says_so(program: Program) -> None:
    answer = program(*GRID, "sweep.max_seconds=1e-9")
    assert answer.code == 1
    assert "no run finished: all 2 were ended early, see above\n  where: sweep.max_seconds=1e-09" in answer.err


def test_a_stop_is_no_death(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(faked, "_epochs", stopped)
    assert program(*GRID, "hydra.sweep.dir=S").code == 143
    for _ in range(MOST_ATTEMPTS):
        answer = program("train", "sweep.resume=S")
        assert answer.code == 143, answer.err
    sweep = Sweep.read(tmp_path / "S")
    note = sweep.note(0)
    assert note is not None
    assert (note.attempts, note.stopped) == (MOST_ATTEMPTS + 1,) * 2
    assert not give_up(sweep, 0)
    sweep.write_note(0, Note("0", [], attempts=note.stopped + MOST_ATTEMPTS, stopped=note.stopped))
    assert give_up(sweep, 0)
    assert json.loads((tmp_path / "S" / ".jobs" / "0.json").read_text())["error"] == "its process died 3 times"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("optimizer.lr=interval(-1,1)", "optimizer.lr"),
        ("head.dropout=interval(0,2)", "head.dropout"),
        ("head.dropout=a,0.5", "head.dropout"),
        ("data.batch_size=1.5,2", "data.batch_size"),
        ("+optimizer.nothing=1,2", "optimizer.nothing"),
    ],
)
def test_values_of_a_space_are_checked_before_any_trial(
    typed: str, said: str, program: Program, tmp_path: Path
) -> None:
    answer = program("train", "-m", "sweep=random", *faked.SMALL, typed)
    assert (answer.code, answer.out) == (1, "")
    assert "the configuration has a wrong value" in answer.err
    assert said in answer.err
    assert [*tmp_path.iterdir()] == []
