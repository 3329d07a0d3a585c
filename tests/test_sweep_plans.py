"""sweep=plans: probes first, then heads on frozen outputs, then plans that thaw what leads, within a budget."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import faked
from conftest import Answer
from frostline.cli.sweep import _unsuccessful
from frostline.cli.sweep_plans import _multiples
from frostline.cli.sweep_session import Session
from frostline.commands.train import NOT_HERE
from frostline.report.leaderboard import write_leaderboard
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps.planning import KEYS, Planning
from frostline.sweeps.plans import Choice, Space, Tried, decide, left_of, needed, share_of_estimate
from frostline.sweeps.settings import Grid, Plans
from frostline.sweeps.watch import Watch

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]
RATES = ["0.001", "0.0003", "0.003"]
SECONDS = {"head_only": 5.0, "last_block": 20.0, "two_stage": 60.0, "full": 80.0}
SCORES = {"head_only": 0.0, "last_block": 0.05, "two_stage": 0.1, "full": 0.02}

LIMITS: dict[str, Any] = dict.fromkeys(["seeds", "max_seconds", "max_parameters", "resume"]) | {
    "drop": False,
    "test": "none",
}


def space(minutes: float = 30, models: str = "abcd", most: int = 2) -> Space:
    rates = dict.fromkeys(models, RATES)
    return Space(rates, ["linear", "mlp"], [*SECONDS][1:], "linear", most, minutes)


def measured(choice: Choice) -> Tried:
    """b is the best model, mlp the better head, two_stage the best plan, 0.0003 the best rate. d cannot be trained."""
    if choice.model == "d":
        return Tried(choice, None, "max", 1.0)
    score = {"a": 0.6, "b": 0.7, "c": 0.5}[choice.model] + SCORES[choice.schedule]
    score += 0.02 * (choice.head == "mlp") + 0.01 * (choice.rate == "0.0003")
    return Tried(choice, score, "max", SECONDS[choice.schedule] * (2 if choice.model == "a" else 1))


def searched(space: Space, measure: Callable[[Choice], Tried] = measured) -> list[Tried]:
    tried: list[Tried] = []
    while (choice := decide(space, tried).choice) is not None:
        tried.append(measure(choice))
        assert len(tried) < 100
    return tried


def test_cheap_runs_come_first_and_only_what_leads_is_thawed() -> None:
    tried = searched(space())
    choices = [it.choice for it in tried]
    assert choices[:4] == [Choice(model, "linear", "head_only", "") for model in "abcd"]
    assert choices[4:7] == [Choice("b", "mlp", "head_only", rate) for rate in RATES]
    assert choices[7:8] == [Choice("a", "mlp", "head_only", "0.0003")], "the best rate of the first model"
    assert choices[8:11] == [Choice("b", "mlp", schedule, "0.0003") for schedule in [*SECONDS][1:]]
    assert choices[11] == Choice("a", "mlp", "two_stage", "0.0003"), "the best plan, of the second model"
    assert {*choices[12:]} == {
        *(Choice("b", "mlp", "two_stage", rate) for rate in RATES[::2]),
        Choice("b", "linear", "two_stage", "0.0003"),
    }
    assert len({*choices}) == len(choices), "nothing runs twice"
    assert min(tried, key=lambda it: it.rank).choice == Choice("b", "mlp", "two_stage", "0.0003")
    assert decide(space(), tried).why == "nothing is left to try"
    assert [decide(space(), tried[:at]).why for at in (4, 5, 7)] == [
        "b is number 1 of the probes: another head",
        "b is number 1 of the probes: another rate of mlp",
        "a is number 2 of the probes: another head",
    ]


def test_the_same_scores_lead_to_the_same_decisions() -> None:
    tried = searched(space())
    assert [decide(space(), tried[:at]).choice for at in range(len(tried))] == [it.choice for it in tried]


@pytest.mark.parametrize("minutes", [0.1, 0.5, 1, 2, 4, 8])
def test_the_time_is_kept_but_for_the_first_run_of_a_plan(minutes: float) -> None:
    tried = searched(space(minutes))
    spent = sum(it.seconds for it in tried)
    seen = {it.choice[::2] for it in tried[:-1]}
    assert spent <= 60 * minutes or tried[-1].choice[::2] not in seen
    frozen = sum(it.seconds for it in tried if not it.choice.thaws)
    assert frozen <= max(0.4 * 60 * minutes + 10, 30), "plans that thaw get their turn"
    assert {it.choice.model for it in tried if it.choice.thaws} <= {"a", "b"}


def test_a_run_that_is_known_to_take_too_long_does_not_begin() -> None:
    tried = searched(space(6))
    assert "would take longer" in decide(space(6), tried).why
    assert sum(it.seconds for it in tried) <= 360


def test_a_search_of_which_every_run_failed_ends() -> None:
    tried = searched(space(), lambda choice: Tried(choice, None, "max", 1.0))
    assert len(tried) == 4, "the probes"


@pytest.mark.parametrize(("mode", "scores"), [("max", (-0.5, -0.35)), ("min", (0.5, 0.35)), ("min", (-0.1, -0.35))])
def test_the_reason_names_the_score_with_its_sign(mode: str, scores: tuple[float, float]) -> None:
    one = Space({"a": RATES, "b": RATES}, ["linear"], ["full"], "linear", 2, 30)
    choices = [Choice(model, "linear", "head_only", "") for model in "ab"]
    tried = [Tried(choice, score, mode, 1.0) for choice, score in zip(choices, scores, strict=True)]
    assert decide(one, tried).why == f"b linear head_only ({scores[1]:.4f}) leads: thaw it"
    assert Tried(choices[0], math.nan, mode, 1.0).rank == math.inf


# --- runs ---


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch, untrained: None) -> None:
    """Runs have the scores and the seconds of `measured`."""

    def epochs(cfg: Any, folder: Path, record: Record, done: int, watched: Any) -> None:
        phases = [*cfg.schedule.phases]
        (schedule,) = (name for name, own in PHASES.items() if own == phases)
        head = "mlp" if "MLP" in cfg.head._target_.upper() else "linear"
        rate = f"{cfg.optimizer.lr:g}" if schedule != "head_only" or head == "mlp" else ""
        found = measured(Choice("b", head, schedule, rate))
        record.status, record.metrics, record.seconds = "finished", {"val/accuracy": found.score}, {}
        record.seconds = {"fit": found.seconds, "total": found.seconds}

    monkeypatch.setattr(faked, "_epochs", epochs)


PHASES = {"head_only": ["head"], "last_block": ["head", "last"], "two_stage": ["head", "all"], "full": ["all"]}
SWEEP = ["train", "-m", "sweep=plans", *faked.SMALL, "optimizer.lr=0.001"]


@pytest.mark.usefixtures("scored")
def test_each_decision_is_printed_and_a_resumed_search_goes_on(program: Program, tmp_path: Path) -> None:
    answer = program(*SWEEP, "sweep.minutes=3.5", "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    said = [line for line in answer.out.splitlines() if line.startswith("plans")]
    assert said[0] == "plans  the probe of bundled (0.0 of 3.5 min)"
    assert "bundled mlp head_only at 0.0003 (0.7300) leads: thaw it" in said[4]
    assert said[-1].startswith("plans  the search ends: what is left would take longer than")
    typed = [note.typed for number in range(7) if (note := Sweep.read(tmp_path / "S").note(number)) is not None]
    assert typed[0][-3:] == ["model=bundled", "head=linear", "schedule=head_only"]
    assert typed[1][-4:] == ["model=bundled", "head=mlp", "schedule=head_only", "optimizer.lr=0.001"]
    (tmp_path / "S" / "6" / "run.json").unlink()
    answer = program("train", "sweep.resume=S")
    assert answer.code == 0, answer.err
    assert next(line for line in answer.out.splitlines() if line.startswith("[6]")).split(" ")[-4:] == typed[6][-4:]
    assert "[5]" not in answer.out


@pytest.mark.usefixtures("scored")
def test_a_choice_that_failed_is_known_when_notes_are_made_again(program: Program, tmp_path: Path) -> None:
    assert program(*SWEEP, "sweep.minutes=1", "sweep.schedules=[]", "hydra.sweep.dir=S").code == 0
    sweep = Sweep.read(tmp_path / "S")
    note = sweep.note(2)
    assert note is not None
    shutil.rmtree(sweep.folder / "2")
    sweep.write_note(2, replace(note, error="no such file"))
    write_leaderboard(sweep.folder)
    shutil.rmtree(sweep.folder / ".jobs")
    planning = Planning.stored(Sweep.read(sweep.folder))
    assert planning.sweep.state(2) == "failed"
    assert planning._ended(2).choice == Choice("bundled", "mlp", "head_only", "0.0003")


@pytest.mark.usefixtures("scored")
def test_a_typed_list_of_heads_is_what_is_tried(program: Program, tmp_path: Path) -> None:
    answer = program(*SWEEP, "sweep.heads=[mlp]", "sweep.schedules=[]", "sweep.rates=[1.0]", "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    note = Sweep.read(tmp_path / "S").note(0)
    assert note is not None
    assert "head=mlp" in note.typed


REFUSED = {
    "another dimension": (["data.batch_size=8,16"], ["data.batch_size has several values", "sweep=grid"]),
    "seeds": (["sweep.seeds=2"], ["where: sweep.seeds=2", "leave sweep.seeds out"]),
    "typed seeds": (["seed=0,1"], ["seed has several values"]),
    "drop": (["sweep.drop=true"], ["where: sweep.drop=true", "leave sweep.drop out"]),
    "a rate that is a word": (["optimizer.lr=abc"], ["must be a number above 0, not abc", "where: optimizer.lr=abc"]),
    "no rate": (["optimizer.lr=null"], ["must be a number above 0, not null", "where: optimizer.lr=null"]),
    "workers": (["launcher=local"], ["decides by the score of the run before"]),
    "no such model": (["model=bundled,resnet5"], ["no model 'resnet5'"]),
    "no such plan": (["schedule=twostage"], ["no schedule 'twostage'"]),
    "no time": (["sweep.minutes=0"], ["sweep.minutes"]),
    "no such head": (["sweep.heads=[nope]"], ["no head 'nope'"]),
    "two lists of heads": (["sweep.heads=[linear]", "head=mlp"], ["where: head=mlp", "leave sweep.heads out"]),
    "two lists of rates": (
        ["sweep.rates=[1.0,2.0]", "optimizer.lr=1e-3,1e-2"],
        ["optimizer.lr takes the place of sweep.rates", "leave sweep.rates out"],
    ),
    "a rate below zero": (["sweep.rates=[-1]"], ["sweep.rates"]),
    "no rates": (["sweep.rates=[]"], ["at least one rate", "where: sweep.rates=[]"]),
    "no heads": (["sweep.heads=[]"], ["at least one head", "where: sweep.heads=[]"]),
    "another typed rate": (["optimizer.lr=1e-3,-1"], ["optimizer.lr"]),
    "another rate": (["sweep.rates=[1.0,1e9]"], ["optimizer.lr"]),
    "dry": (["dry_run=true"], ["a search needs scores"]),
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("case", REFUSED)
def test_what_plans_cannot_choose_is_refused_before_any_run(case: str, program: Program, tmp_path: Path) -> None:
    typed, expected = REFUSED[case]
    answer = program("train", "-m", "sweep=plans", *faked.SMALL, *typed)
    assert (answer.code, answer.out) == (1, "")
    for words in expected:
        assert words in answer.err
    assert [*tmp_path.iterdir()] == []


def test_only_the_refusal_of_joining_is_told(program: Program, tmp_path: Path) -> None:
    stored = Planning(Sweep(tmp_path / "S", [], ""), space(), []).content
    sweep = Sweep(tmp_path / "S", ["sweep=plans"], str(tmp_path), search=stored)
    sweep.folder.mkdir()
    assert sweep.create()
    sweep.write_note(0, Note("0", []))
    answer = program("train", "sweep.join=S")
    assert answer.code == 1
    assert answer.err.startswith("frostline: sweep=plans decides by the score of the run before")


def test_a_search_without_a_finished_run_names_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"minutes": 1e-9, "heads": ["linear"], "schedules": [], "rates": [1.0], "models": 1}
    monkeypatch.setattr(Session, "settings", Plans(**LIMITS, retry=False, join=None, **own))
    sweep = Sweep(tmp_path, [], "")
    assert sweep.create()
    sweep.write_note(0, Note("0", []))
    (tmp_path / "0").mkdir()
    Record("", 0, monitor="val/accuracy", status="pruned").write(tmp_path / "0")
    (error,) = _unsuccessful(sweep)
    assert error.what.startswith("no run finished: the only one was ended early")
    assert (error.where, error.next_step) == ("sweep.minutes=1e-09", "a new sweep with sweep.minutes=<more>")


def test_the_rate_itself_stays_as_typed() -> None:
    assert _multiples(0.00012345, ["1.2345e-4"], [1.0, 0.3, 3.0, 1.0]) == ["1.2345e-4", "3.7e-05", "0.00037"]
    assert _multiples(0.00012345, [], [1.0]) == ["0.00012345"]


def test_a_run_ends_with_the_time_of_the_search(tmp_path: Path) -> None:
    planning = Planning(Sweep(tmp_path, [], ""), space(1), [])
    watch = Watch(Grid(**LIMITS, retry=False, join=None), None, planning)
    assert watch.decides
    assert watch.late(59.0) is None
    assert watch.late(61.0) == "it took 61 s so far, and the time of the search is over"


def test_a_run_whose_plan_takes_too_long_does_not_begin(tmp_path: Path) -> None:
    planning = stored(tmp_path, space(1), [Tried(Choice("a", "linear", "head_only", ""), 0.5, "max", 12.0, 24.0)])
    watch = Watch(Grid(**LIMITS, retry=False, join=None), None, planning)
    assert next(planning.jobs())[0][0] == "model=b"
    assert watch.admit(1, None) is None
    assert watch.admit(1, 96.0) is None
    assert watch.admit(1, 98.0) == "its plan takes about 49 s, and the search has 48 s left"


def stored(folder: Path, space: Space, tried: list[Tried]) -> Planning:
    """A search of which these runs have ended; without a score, they were dropped."""
    sweep = Sweep(folder, [], "")
    assert sweep.create()
    for number, (choice, score, _, seconds, planned) in enumerate(tried):
        sweep.write_note(number, Note(str(number), [f"{key}={value}" for key, value in zip(KEYS, choice, strict=True)]))
        (folder / str(number)).mkdir()
        record = Record("", 0, monitor="val/it", metrics={} if score is None else {"val/it": score})
        record.status = "pruned" if score is None else "finished"
        record.seconds, record.planned_seconds = {"fit": seconds}, planned
        record.write(folder / str(number))
    return Planning(sweep, space, [])


def estimated(space: Space, seconds: dict[str, float], times: float) -> list[Tried]:
    """A search whose runs take `seconds`, by their plan, and are estimated at `times` as long."""
    tried: list[Tried] = []
    while (choice := decide(space, tried).choice) is not None:
        own, planned = seconds[choice.schedule], times * seconds[choice.schedule]
        refused = needed(choice, planned, tried) > left_of(space, tried)
        tried.append(Tried(choice, None if refused else 0.5, "max", 0.1 if refused else own, planned))
        assert len(tried) < 100
    return tried


@pytest.mark.parametrize("times", [1, 2, 5, 50])
def test_bounds_that_are_too_high_refuse_nothing_that_fits(times: float) -> None:
    own = space(1, models="ab")
    tried = estimated(own, {"head_only": 5.0, "last_block": 9.0, "two_stage": 12.0, "full": 80.0}, times)
    ran = [it for it in tried if it.score is not None]
    assert {it.choice.schedule for it in ran} == {"head_only", "last_block", "two_stage"}
    assert {it.choice.model for it in ran[:2]} == {"a", "b"}
    assert sum(it.seconds for it in tried) <= 60
    assert decide(own, tried).why.startswith("what is left would take longer than the ")


def test_a_plan_that_was_refused_is_tried_again_once_it_is_known_to_fit() -> None:
    own = Space({"a": RATES}, ["linear"], ["two_stage", "last_block"], "linear", 1, 1)
    choices = [Choice("a", "linear", schedule, "" if schedule == "head_only" else RATES[0]) for schedule in SECONDS]
    probe = Tried(choices[0], 0.5, "max", 20.0, 20.0)
    refused = Tried(choices[2], None, "max", 1.0, 100.0)
    thawed = Tried(choices[1], 0.6, "max", 5.0, 40.0)
    assert decide(own, [probe, refused]).choice == choices[1], "50 s of 39 s"
    assert decide(own, [probe, refused, thawed]).choice == choices[2], "13 s of 34 s"
    assert decide(own, [probe, refused, thawed, thawed._replace(choice=choices[2])]).choice != choices[2]
    slow = thawed._replace(seconds=30.0)
    assert decide(own, [probe, refused, slow]).choice != choices[2], "75 s of 9 s"


def test_a_run_that_failed_is_not_tried_again() -> None:
    own = Space({"a": RATES}, ["linear"], [], "linear", 1, 1)
    failed = Tried(Choice("a", "linear", "head_only", ""), None, "max", 1.0, 1e6)
    assert decide(own, [failed]).why == "nothing is left to try", "the first run is never refused"


def test_a_run_tells_more_than_an_estimate(tmp_path: Path) -> None:
    """What the first run of a model and plan has cached, the estimate of the next one counts again."""
    sweep = Sweep(tmp_path, [], "")
    assert sweep.create()
    planning = Planning(sweep, space(1, models="a"), [])
    next(planning.jobs())
    assert planning.needed(61.0) == 0.0, "nothing is known yet"
    sweep.write_note(0, Note("0", ["model=a", "head=linear", "schedule=head_only"]))
    (tmp_path / "0").mkdir()
    record = Record("", 0, monitor="val/it", status="finished", metrics={"val/it": 0.5}, seconds={"fit": 10.0})
    record.write(tmp_path / "0")
    typed, number = next(planning.jobs())
    assert (number, typed[1]) == (1, "head=mlp")
    assert planning.needed(61.0) == 10.0


@pytest.mark.parametrize(("planned", "expected"), [(40.0, 0.5), (10.0, 1.0), (0.0, 0.01), (None, 0.01)])
def test_estimates_are_corrected_by_the_latest_run_that_thawed(planned: float | None, expected: float) -> None:
    frozen = Tried(Choice("a", "linear", "head_only", ""), 0.5, "max", 1.0, 100.0)
    thawed = Tried(Choice("a", "linear", "full", ""), 0.5, "max", 20.0, planned)
    tried = [thawed, frozen, thawed._replace(score=None, planned=200.0)]
    assert share_of_estimate(tried, thaws=True) == expected
    assert share_of_estimate(tried, thaws=False) == 0.01


def test_estimates_on_frozen_outputs_are_corrected_by_runs_that_computed_them() -> None:
    probe = Tried(Choice("a", "linear", "head_only", ""), 0.5, "max", 80.0, 100.0)
    cached = probe._replace(choice=Choice("a", "mlp", "head_only", ""), seconds=1.0)
    assert share_of_estimate([], thaws=False) == 0.0
    assert share_of_estimate([probe._replace(score=None)], thaws=True) == 0.0
    assert share_of_estimate([probe, cached], thaws=False) == 0.8
    assert share_of_estimate([probe, cached], thaws=True) == 0.5, "a bound, about twice too high"
