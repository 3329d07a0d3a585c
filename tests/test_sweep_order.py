"""The order in which several processes take the jobs of a grid: the longest first."""

import itertools
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import faked
from conftest import Answer
from frostline.cli.sweep_order import in_order
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps.lengths import STEP, THAWED, Lengths, work_of
from frostline.sweeps.workers import SHARE

JOB = st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2, 4, 8]), st.integers(0, 1))  # model, epochs, seed


def made(folder: Path, jobs: list[list[str]], work: list[float]) -> Sweep:
    sweep = Sweep(folder, [], "", jobs, work=work)
    assert sweep.create()
    return sweep


def ended(sweep: Sweep, number: int, seconds: float, status: str = "finished") -> None:
    sweep.write_note(number, Note(str(number), []))
    (sweep.folder / str(number)).mkdir(exist_ok=True)
    record = Record("", 0, monitor="val/it", metrics={"val/it": 0.5})
    record.seconds["fit"], record.status = seconds, status  # type: ignore[assignment]
    record.write(sweep.folder / str(number))


def numbers(sweep: Sweep) -> list[int]:
    return in_order(sweep, sweep.jobs, Lengths(sweep, sweep.jobs))([*range(len(sweep.jobs))])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=st.lists(JOB, min_size=1, max_size=10, unique=True),
    running=st.none() | st.integers(0, 9),
    done=st.lists(st.integers(0, 9), max_size=3),
)
def test_the_longest_that_need_not_wait_come_first(
    jobs: list[tuple[str, int, int]], running: int | None, done: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    typed = [
        [f"model={model}", f"schedule.phases.head.epochs={epochs}", f"seed={seed}"] for model, epochs, seed in jobs
    ]
    sweep = made(tmp_path_factory.mktemp("it"), typed, [float(epochs) for _, epochs, _ in jobs])
    finished = {it for it in done if it < len(jobs)}
    for number in finished:
        ended(sweep, number, 3.0 * jobs[number][1])
    running = running if running is not None and running < len(jobs) and running not in finished else None
    if running is not None:
        sweep.write_note(running, Note(str(running), []))  # it has begun, and has no record yet
    order = numbers(sweep)
    assert sorted(order) == [*range(len(jobs))], "a permutation: numbers of jobs stay as they are"
    filled = {jobs[it][0] for it in finished}
    filling = {jobs[running][0]} - filled if running is not None else set()
    firsts = {(model, epochs): at for at, (model, epochs, _) in reversed([*enumerate(jobs)])}

    def key(number: int) -> tuple[Any, ...]:
        model, epochs, _ = jobs[number]
        return firsts[model, epochs] != number, model in filling and number != running, -epochs

    keys = [key(number) for number in order if key(number)[0] is False]
    assert keys == sorted(keys), "first of each setting: those that need not wait, and of these the longest"
    assert all(key(number)[0] for number in order[len(keys) :]), "repetitions come after the first of each setting"


def test_equal_jobs_keep_their_order_and_stay_with_their_model(tmp_path: Path) -> None:
    jobs = [[f"optimizer.lr={rate}", f"model={model}"] for rate in (1, 2) for model in "ab"]
    assert numbers(made(tmp_path, jobs, [10.0] * 4)) == [0, 2, 1, 3]


def test_seconds_of_jobs_that_have_finished_tell_models_apart(tmp_path: Path) -> None:
    jobs = [[f"model={model}", f"optimizer.lr={rate}"] for model in "ab" for rate in (1, 2, 3)]
    sweep = made(tmp_path, jobs, [10.0] * 6)
    ended(sweep, 0, 5.0)
    ended(sweep, 3, 50.0)
    assert [it for it in numbers(sweep) if it not in (0, 3)] == [4, 5, 1, 2]
    ended(sweep, 4, 1.0, status="failed")
    assert [it for it in numbers(sweep) if it not in (0, 3)] == [4, 5, 1, 2], "a failure tells nothing"


def test_lengths_that_measure_about_the_same_count_as_equal(tmp_path: Path) -> None:
    jobs = [[f"head.dropout={share}", f"optimizer.lr={rate}"] for share in (1, 2) for rate in (1, 2)]
    sweep = made(tmp_path, jobs, [1.0] * 4)
    ended(sweep, 0, 4.0)
    ended(sweep, 2, 4.0 * STEP**0.4)
    assert [it for it in numbers(sweep) if it not in (0, 2)] == [1, 3]


def test_a_job_that_was_begun_is_taken_up_before_others_of_its_model(tmp_path: Path) -> None:
    """It fills their cache, and its process may have died."""
    sweep = made(tmp_path, [["model=a", f"optimizer.lr={rate}"] for rate in (1, 2, 3)], [1.0, 3.0, 2.0])
    sweep.write_note(2, Note("2", []))
    assert numbers(sweep) == [2, 1, 0]


def test_a_plan_without_epochs_is_the_shortest(tmp_path: Path) -> None:
    jobs = [["schedule=none"], ["schedule=head_only"], ["schedule=full"]]
    assert numbers(made(tmp_path, jobs, [0.0, 1.0, 40.0])) == [2, 1, 0]


@pytest.mark.parametrize("work", [[], [1.0], [0.0] * 3], ids=["earlier version", "of other jobs", "unknown"])
def test_jobs_whose_length_is_not_known_keep_their_order(work: list[float], tmp_path: Path) -> None:
    assert numbers(made(tmp_path, [[f"optimizer.lr={rate}"] for rate in (1, 2, 3)], work)) == [0, 1, 2]


def test_alone_a_process_takes_them_by_number(tmp_path: Path) -> None:
    sweep = made(tmp_path, [[f"schedule.phases.head.epochs={it}"] for it in (1, 2, 3)], [1.0, 2.0, 3.0])
    assert in_order(sweep, sweep.jobs)([0, 1, 2]) == [0, 1, 2]


def test_a_worker_begins_with_the_longest(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARE, "0")
    epochs = ["schedule=head_only", "schedule.phases.head.epochs=1,3,2", "data.train_limit=100"]
    answer = program("train", "-m", *faked.SMALL, *epochs, "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    assert re.findall(r"^\[(\d)\]", answer.out, re.MULTILINE) == [*"120"]
    sweep = Sweep.read(tmp_path / "S")
    assert sweep.work == [100.0, 300.0, 200.0]
    for number in range(3):
        typed = sweep.jobs[number]
        assert Record.read(tmp_path / "S" / str(number)).command.endswith(shlex.join(typed)), "its folder is its number"


def test_work_is_that_of_all_epochs_and_samples() -> None:
    head, whole = {"thaw": "none", "epochs": 3}, {"thaw": "all", "epochs": 2}
    assert work_of({"phases": {"head": head}}, None) == 3
    assert work_of({"phases": {"head": head, "all": whole, "gone": None}}, 50) == (3 + 2 * THAWED) * 50
    for schedule, samples in itertools.product([None, {}, {"phases": "none"}, {"phases": {"a": {"epochs": "x"}}}], [5]):
        assert work_of(schedule, samples) == 0


@pytest.mark.parametrize("epochs", [1e308, 10**320, float("inf"), float("nan"), -1, "many"])
def test_an_absurd_plan_has_no_length(epochs: object) -> None:
    assert work_of({"phases": {"all": {"epochs": epochs, "thaw": "all"}}}, 40) == 0.0


def test_the_work_of_jobs_lasts_with_the_sweep(tmp_path: Path) -> None:
    made(tmp_path, [["seed=1"]], [7.5])
    assert Sweep.read(tmp_path).work == [7.5]
