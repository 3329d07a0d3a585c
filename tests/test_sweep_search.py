"""A search draws settings from a space, tells their scores, ends bad runs early, and survives its processes."""

import csv
import json
import math
import os
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import faked
from conftest import ROOT, SMALL, Answer, short_form
from forked import started
from frostline.cli.sweep_listing import settings_listed
from frostline.commands.train import NOT_HERE
from frostline.errors import Pruned, RunError
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps.searching import Plan, Searching
from frostline.sweeps.settings import Search
from frostline.sweeps.space import Dimension, dimension_of
from frostline.sweeps.study import JOURNAL, Trials, mend
from frostline.sweeps.watch import Watch
from frostline.training.callbacks.pruning import Pruning

pytestmark = [pytest.mark.process, *(pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE)]
Program = Callable[..., Answer]
STEPS = ["schedule=head_only", "schedule.every_phase.solve=false", "schedule.phases.head.epochs=4", "logger=none"]
SPACE = ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "head=linear,mlp"]
SWEEP = ["train", "-m", "sweep=tpe", "sweep.trials=7", *SPACE]
# The same search among runs that train nothing, and among runs that do.
FORMS = {"faked": faked.SMALL, "frostline": [*SMALL, *STEPS, "sweep.test=none"]}
WHAT = [
    Dimension("lr", "float", low=1e-4, high=1e-1, log=True),
    Dimension("head", "choice", ("linear", "mlp")),
    Dimension("width", "int", low=8, high=64, step=8),
]


def settings(**said: Any) -> Search:
    every = {"seeds": None, "drop": False, "test": "none", "max_seconds": None, "max_parameters": None, "resume": None}
    every |= {"retry": False, "join": None, "trials": 20, "sampler": "tpe", "pruner": "median", "draw": 0}
    return Search(**{**every, "storage": None, **said})


def trials(folder: Path, mode: str = "max", **said: Any) -> Trials:
    return Trials(folder, "it", mode, WHAT, settings(**said))


def dimension(typed: str) -> Dimension:
    return dimension_of(OverridesParser.create().parse_override(typed), settings_listed)


# --- the space ---


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("lr=tag(log,interval(1e-4,1e-1))", Dimension("lr", "float", low=1e-4, high=0.1, log=True)),
        ("d=interval(0,1)", Dimension("d", "float", low=0.0, high=1.0)),
        ("w=int(interval(8,64))", Dimension("w", "int", low=8, high=64)),
        ("w=range(8,65,8)", Dimension("w", "int", low=8, high=64, step=8)),
        ("d=range(0.1,0.5,0.1)", Dimension("d", "float", low=0.1, high=0.1 + 0.1 * 3, step=0.1)),
        ("head=linear,mlp", Dimension("head", "choice", ("linear", "mlp"))),
        ("head=choice(linear,mlp)", Dimension("head", "choice", ("linear", "mlp"))),
        ("w=range(1,2)", Dimension("w", "choice", ("1",))),
    ],
)
def test_a_dimension_is_read_in_hydras_grammar_and_stored(typed: str, expected: Dimension) -> None:
    assert dimension(typed) == expected
    assert Dimension.stored(json.loads(json.dumps(expected.content))) == expected


REFUSED = {
    "nothing": (["optimizer.lr=0.1"], ["there is nothing to search", "tag(log,interval"]),
    "only seeds": (["seed=0,1"], ["there is nothing to search"]),
    "the wrong way round": (["optimizer.lr=interval(1,0.1)"], ["the wrong way round", "the lower first"]),
    "no end": (["optimizer.lr=interval(0,inf)"], ["finite numbers"]),
    "no number": (["optimizer.lr=interval(nan,1)"], ["finite numbers"]),
    "equal bounds": (["optimizer.lr=interval(1,1)"], ["are equal"]),
    "log through zero": (["optimizer.lr=tag(log,interval(0,1))"], ["a log scale begins above 0, not at 0"]),
    "log of a list": (["optimizer.lr=tag(log,choice(1,2))"], ["only an interval has a log scale"]),
    "no such tag": (["optimizer.lr=tag(lag,interval(0.1,1))"], ["there is no tag 'lag'", "tag(log,interval"]),
    "empty range": (["optimizer.lr=range(3,1)"], ["no values, or runs downwards"]),
    "no such setting": (["optimizer.rate=interval(0,1)"], ["there is no setting 'optimizer.rate'"]),
    "no such option": (["head=linear,lineer"], ["no head 'lineer'"]),
    "no such sampler": (["sweep.sampler=bayes", *SPACE], ["sweep.sampler", "tpe"]),
    "no trials": (["sweep.trials=0", *SPACE], ["sweep.trials"]),
    "several scores": (["task.monitor=val/loss,val/accuracy"], ["a search needs one score"]),
    "dry": (["dry_run=true", *SPACE], ["a search needs scores, but dry_run=true"]),
    "a locked storage": (
        ["sweep.storage=sqlite:///../locked.db?timeout=0", *SPACE],
        ["the storage of the search cannot be opened: ", "database is locked", "sweep.storage=<the URL of a database>"],
    ),
    "no storage": (["sweep.storage=nonsense", *SPACE], ["the storage of the search cannot be opened"]),
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_trial(case: str, program: Program, tmp_path: Path) -> None:
    typed, expected = REFUSED[case]
    with closing(sqlite3.connect(tmp_path.parent / "locked.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        answer = program("train", "-m", "sweep=tpe", *SMALL, *STEPS, *typed)
    assert (answer.code, answer.out) == (1, "")
    for words in expected:
        assert words in answer.err
    assert list(tmp_path.iterdir()) == []


# --- the study ---


def test_the_same_seed_draws_the_same_settings_also_after_a_kill(tmp_path: Path) -> None:
    def drawn(folder: Path, *, anew: bool) -> list[list[str]]:
        folder.mkdir()
        study, found = trials(folder), []
        for number in range(14):  # the first ten are drawn at random
            study = trials(folder) if anew else study
            assert study.ask() == number
            found.append(study.settings(number))
            study.tell(number, "finished", -((number - 5) ** 2))
        return found

    first = drawn(tmp_path / "a", anew=False)
    assert drawn(tmp_path / "b", anew=True) == first
    assert len({tuple(it) for it in first}) == 14
    for rate, head, width in first:
        assert 1e-4 <= float(rate.removeprefix("lr=")) <= 0.1
        assert head in ("head=linear", "head=mlp")
        assert int(width.removeprefix("width=")) % 8 == 0


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    study = trials(tmp_path)
    study.ask()
    study.tell(0, "finished", 0.5)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole + b'{"op_code":4,"worker')
    again = trials(tmp_path)
    assert (tmp_path / JOURNAL).read_bytes().startswith(whole + b'{"op_code":0')
    assert again.ask() == 1
    mend(tmp_path / "none")


def test_a_trial_whose_settings_were_not_all_drawn_is_passed_over(tmp_path: Path) -> None:
    study = trials(tmp_path)
    study.ask()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:-1]))
    again = trials(tmp_path)
    assert again.all() == []
    assert again.ask() == 1
    assert [it.number for it in again.all()] == [1]


def test_the_pruner_decides_by_the_scores_so_far(tmp_path: Path) -> None:
    study = trials(tmp_path)
    for number in range(5):
        study.ask()
        assert not any(study.report(number, step, 0.5) for step in (1, 2))
        study.tell(number, "finished", 0.5)
    study.ask()
    assert study.report(5, 1, 0.25)
    assert study.report(5, 1, 0.25), "a resumed run repeats an epoch"
    assert not study.report(5, 2, 0.75)


def test_hyperband_goes_on_alike_in_another_process(tmp_path: Path) -> None:
    """Runs of several lengths: the first one, of 9 epochs, sets the number of brackets."""

    def ended(folder: Path, *, anew: bool) -> list[tuple[list[str], int]]:
        folder.mkdir()
        study, found = trials(folder, pruner="hyperband"), []
        for number in range(24):
            study = trials(folder, pruner="hyperband") if anew else study
            assert study.ask() == number
            drawn = study.settings(number)
            score = -abs(math.log10(float(drawn[0].removeprefix("lr="))) + 2)
            steps = 9 if number % 4 == 0 else 27
            last = next((step for step in range(1, steps) if study.report(number, step, score - 1 / step)), steps)
            study.tell(number, "finished" if last == steps else "pruned", score)
            found.append((drawn, last))
        return found

    found = ended(tmp_path / "a", anew=False)
    assert ended(tmp_path / "b", anew=True) == found
    assert {9, 27} < {last for _, last in found}, "some finish, and some are ended early"


def test_a_database_is_a_storage_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'it.db'}"
    assert trials(tmp_path, storage=url).ask() == 0
    assert trials(tmp_path, storage=url).ask() == 1
    assert not (tmp_path / JOURNAL).exists()


def test_a_database_that_is_locked_in_the_middle_is_named(tmp_path: Path) -> None:
    study = trials(tmp_path, storage=f"sqlite:///{tmp_path / 'it.db'}?timeout=0")
    study.ask()
    with closing(sqlite3.connect(tmp_path / "it.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        for act in (study.ask, study.all, lambda: study.tell(0, "finished", 0.5)):
            with pytest.raises(RunError, match=r"the storage of the search does not answer: .*database is locked"):
                act()
    assert study.ask() == 1


@pytest.mark.parametrize(
    "other", [[Dimension("head", "choice", ("linear", "mlp"))], [Dimension("lr", "float", low=0.01, high=1), *WHAT[1:]]]
)
def test_a_study_of_another_space_is_refused(other: list[Dimension], tmp_path: Path) -> None:
    trials(tmp_path).ask()
    trials(tmp_path)
    with pytest.raises(RunError, match="this study belongs to another space: lr was drawn from"):
        Trials(tmp_path, "it", "max", other, settings())


def test_a_study_that_was_lost_is_not_made_up(tmp_path: Path) -> None:
    """Another study would draw other settings for runs that have a score."""
    search = searching(tmp_path, total=2, seeds=1)
    for typed, number in search.jobs():
        run(search.sweep, number, 0.5)
        search.sweep.write_note(number, Note(str(number), typed))
    assert [*search.jobs()] == []
    (tmp_path / JOURNAL).unlink()
    same = searching(tmp_path, total=2, seeds=1)
    assert [*same.jobs()] == [], "the same seed draws the same settings"
    (tmp_path / JOURNAL).unlink()
    search.sweep.write_note(1, Note("1", ["lr=0.123"]))
    with pytest.raises(RunError, match=r"the study is not that of this sweep: run 1 has lr=0\.123"):
        [*searching(tmp_path, total=2, seeds=1).jobs()]


@pytest.mark.parametrize("url", ["nonsense", "redis://it", "postgresql+none://it"])
def test_a_storage_that_cannot_be_opened_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the storage of the search cannot be opened"):
        trials(tmp_path, storage=url)


def test_a_journal_that_is_none_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("none\n")
    with pytest.raises(RunError, match="the storage of the search cannot be opened"):
        trials(tmp_path)


def test_an_error_that_is_not_of_the_storage_is_not_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(**_: object) -> None:
        raise ValueError("a setting of the study")

    monkeypatch.setattr("optuna.create_study", wrong)
    with pytest.raises(ValueError, match="a setting of the study"):
        trials(tmp_path)


def test_importances_are_told_of_enough_trials(tmp_path: Path) -> None:
    study = trials(tmp_path, sampler="random")
    for number in range(16):
        assert study.importances() == {} or number >= 10
        study.ask()
        rate = float(study.settings(number)[0].removeprefix("lr="))
        study.tell(number, "finished", rate)
    found = study.importances()
    assert max(found, key=lambda key: found[key]) == "lr"
    assert sum(found.values()) == pytest.approx(1)


# --- trials and their runs ---


def run(sweep: Sweep, number: int, score: float, status: Any = "finished") -> None:
    sweep.write_note(number, Note(str(number), []))
    (sweep.folder / str(number)).mkdir(exist_ok=True)
    Record("", 0, status, monitor="it", metrics={"it": score}).write(sweep.folder / str(number))


def searching(folder: Path, total: int = 3, seeds: int = 2) -> Searching:
    plan = Plan("it", "max", WHAT, ["data=digits"], [f"seed={seed}" for seed in range(seeds)])
    sweep = Sweep(folder, [], "/", [], plan.content)
    sweep.create()
    assert Plan.stored(Sweep.read(folder)) == plan
    return Searching(sweep, trials(folder), plan, total)


def test_a_setting_runs_with_each_seed_and_its_score_is_the_mean(tmp_path: Path) -> None:
    search = searching(tmp_path)
    found = []
    for overrides, number in search.jobs():
        found.append((number, overrides[-1]))
        assert overrides[0] == "data=digits"
        run(search.sweep, number, number / 10, "failed" if number == 2 else "finished")
    assert found == [(0, "seed=0"), (1, "seed=1"), (2, "seed=0"), (4, "seed=0"), (5, "seed=1")]
    assert [it.value for it in search.trials.all()] == [pytest.approx(0.05), None, pytest.approx(0.45)]
    assert [*search.jobs()] == []
    search.sweep.retry()
    for overrides, number in search.jobs():
        found.append((number, overrides[-1]))
        run(search.sweep, number, 0.5)
    assert found[5:] == [(2, "seed=0"), (3, "seed=1")]
    assert search.trials.study.best_value == 0.5
    assert [*search.jobs()] == []


def test_what_a_dead_process_left_goes_on_and_counts_once(tmp_path: Path) -> None:
    search = searching(tmp_path, total=2, seeds=1)
    jobs = search.jobs()
    assert next(jobs)[1] == 0
    jobs.close()  # as if it died
    again = searching(tmp_path, total=2, seeds=1)
    numbers = []
    for _, number in again.jobs():
        numbers.append(number)
        run(again.sweep, number, 0.5)
    assert numbers == [0, 1]


def test_a_dropped_setting_is_told_and_keeps_the_score_of_its_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = searching(tmp_path, total=3, seeds=7)
    search.drop = True
    scores, numbers = [0.95, 0.93, 0.5], []
    for _, number in search.jobs():
        numbers.append(number)
        run(search.sweep, number, scores[number // 7])
    assert numbers == [*range(7), *range(7, 13), *range(14, 18)]
    assert [it.value for it in search.trials.all()] == pytest.approx(scores)
    out = capsys.readouterr().out
    assert "[13]  data=digits" in out
    assert out.count("pruned: the best of ") == 2
    assert [*search.jobs()] == []


def test_limits_end_a_run() -> None:
    watch = Watch(settings(max_seconds=10.0, max_parameters=100), None)
    assert watch.decides
    assert watch.admit(100, 1e9) is None
    assert watch.admit(101, None) == "the network has 101 parameters, more than sweep.max_parameters=100"
    assert watch.judge(1, 0.5, 9.0) is None
    assert "more than sweep.max_seconds=10" in str(watch.judge(1, 0.5, 11.0))
    assert watch.late(10.0) is None
    assert "more than sweep.max_seconds=10" in str(watch.late(11.0))
    assert not Watch(settings(), None).decides


def pruned_by(watch: Watch) -> tuple[Pruning, Any]:
    """The callback of a run of two phases of three epochs each, and a trainer that fits, with a score of 0.5."""
    phases: Any = [SimpleNamespace(epochs=3)] * 2
    pruning = Pruning(watch, phases, Record("", 0, monitor="val/it", model={"parameters": 1}))
    strategy, state = SimpleNamespace(broadcast=lambda why: why), SimpleNamespace(fn="fit")
    scores = {"val/it": 0.5}
    return pruning, SimpleNamespace(
        strategy=strategy, state=state, sanity_checking=False, callback_metrics=scores, current_epoch=0
    )


def module_in(phase: int) -> Any:
    return SimpleNamespace(phase_number=phase, first_epoch=0)


def test_the_time_is_looked_at_in_every_phase_and_a_score_in_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = []

    def report(step: int, score: float) -> bool:
        reported.append(step)
        return False

    clock = iter([0.0, 9.0, 11.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    pruning, trainer = pruned_by(Watch(settings(max_seconds=10.0), report))
    pruning.on_fit_start(trainer, module_in(0))
    pruning.on_validation_end(trainer, module_in(0))
    with pytest.raises(Pruned, match=r"11 s so far, more than sweep\.max_seconds=10"):
        pruning.on_validation_end(trainer, module_in(0))
    assert reported == [], "only between phases, and in the last one"


def test_a_score_is_judged_between_phases() -> None:
    reported = []

    def report(step: int, score: float) -> bool:
        reported.append((step, score))
        return True

    pruning, trainer = pruned_by(Watch(settings(), report))
    pruning.on_fit_start(trainer, module_in(0))
    pruning.on_validation_end(trainer, module_in(0))
    assert reported == []
    with pytest.raises(Pruned, match=r"after epoch 3 others were better than 0\.5000"):
        pruning.on_fit_start(trainer, module_in(1))
    assert reported == [(3, 0.5)], "the last score of the phase before, at its planned end"


# --- whole searches ---


@pytest.mark.usefixtures("untrained")
def test_importances_are_printed_and_stored_with_the_sweep(program: Program, tmp_path: Path) -> None:
    search = ["sweep=random", "sweep.trials=10", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "head.dropout=0,0.1"]
    answer = program("train", "-m", *faked.SMALL, *search, "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    (line,) = re.findall(
        r"^importance   optimizer\.lr (0\.\d\d|1\.00), head\.dropout (0\.\d\d)", answer.out, re.MULTILINE
    )
    assert sum(map(float, line)) == pytest.approx(1, abs=0.011)
    told = [line for line in answer.out.splitlines() if line.startswith("importance")]
    again = program("leaderboard", "S").out
    assert [line for line in again.splitlines() if line.startswith("importance")] == told
    (tmp_path / "S" / "importances.json").write_text("{")
    assert "importance" not in program("leaderboard", "S").out


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("group", ["experiment", "sweep"])
def test_a_space_may_lie_in_a_recipe_or_be_an_option_of_sweep(group: str, program: Program, tmp_path: Path) -> None:
    """The one of docs/sweeps.md."""
    (recipe,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL)
    if group == "sweep":
        assert "  - override /sweep: tpe\n" in recipe
        recipe = recipe.replace("override /sweep: tpe", "tpe@sweep")
    (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / group / "space.yaml").write_text(recipe)
    own = ["--config-dir", "conf", f"{group}=space", "sweep.trials=3"]
    answer = program("train", "-m", *own, *faked.SMALL, "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    rows = rows_of(tmp_path / "S")
    assert len(rows) == 3
    assert {float(row["head.dropout"]) for row in rows} <= {0.0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert len({row["optimizer.lr"] for row in rows}) == 3
    assert program("train", "sweep.resume=S", "sweep.trials=4", "trust=true").code == 0
    assert len(rows_of(tmp_path / "S")) == 4


def put_space(folder: Path, params: str) -> None:
    """Write a recipe `space` with lines for Hydra's sweeper. folder: of `--config-dir`."""
    (folder / "experiment").mkdir(parents=True)
    recipe = f"# @package _global_\nhydra: {{sweeper: {{params: {params}}}}}\n"
    (folder / "experiment" / "space.yaml").write_text(recipe)


@pytest.mark.usefixtures("untrained")
def test_what_is_typed_replaces_a_line_of_the_space_of_a_recipe(program: Program, tmp_path: Path) -> None:
    put_space(tmp_path / "conf", "{optimizer.lr: 'interval(0.1,0.2)', head.dropout: 'interval(0.1,0.2)', seed: '1,2'}")
    own = ["--config-dir", "conf", "experiment=space", "sweep=random", "sweep.trials=2"]
    typed = ["optimizer.lr=interval(0.01,0.02)", "head.dropout=0.5", "seed=7"]
    assert program("train", "-m", *own, *faked.SMALL, *typed, "hydra.sweep.dir=S").code == 0
    search = Sweep.read(tmp_path / "S").search
    assert [(it["key"], it["low"], it["high"]) for it in search["space"]] == [("optimizer.lr", 0.01, 0.02)]
    assert search["seeds"] == []
    assert {"head.dropout=0.5", "seed=7"} <= {*search["fixed"]}


@pytest.mark.usefixtures("untrained")
def test_an_option_that_is_typed_leaves_its_settings_in_the_space_of_a_recipe(program: Program, tmp_path: Path) -> None:
    put_space(tmp_path / "conf", "{optimizer.lr: 'interval(0.1,0.2)', head.dropout: 'interval(0.1,0.2)'}")
    own = ["--config-dir", "conf", "experiment=space", "sweep=random", "sweep.trials=2", "head=mlp"]
    assert program("train", "-m", *own, *faked.SMALL, "hydra.sweep.dir=S").code == 0
    search = Sweep.read(tmp_path / "S").search
    assert [it["key"] for it in search["space"]] == ["optimizer.lr", "head.dropout"]
    assert "head=mlp" in search["fixed"]


@pytest.mark.usefixtures("untrained")
def test_settings_typed_together_replace_lines_of_the_space_within_them(program: Program, tmp_path: Path) -> None:
    put_space(tmp_path / "conf", "{schedule.phases.head.epochs: '1,2', optimizer.lr: '0.1,0.2'}")
    typed = ["--config-dir", "conf", "experiment=space", "schedule=head_only", "schedule.phases.head={epochs:3}"]
    assert program("train", "-m", *typed, *faked.SMALL, "hydra.sweep.dir=S").code == 0
    jobs = Sweep.read(tmp_path / "S").jobs
    assert [[it for it in job if it.startswith("optimizer.lr")] for job in jobs] == [
        ["optimizer.lr=0.1"],
        ["optimizer.lr=0.2"],
    ]
    assert not any("schedule.phases.head.epochs" in it for job in jobs for it in job)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def begun(module: str, *arguments: str, cwd: Path) -> Any:
    return started("-m", module, *arguments, cwd=cwd, env={**os.environ, **faked.FOUND})


@pytest.fixture(scope="module", params=short_form(FORMS, "faked"))
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The module that ran it, and the sweep."""
    folder = tmp_path_factory.mktemp("whole")
    process = begun(request.param, *SWEEP, *FORMS[request.param], "hydra.sweep.dir=S", cwd=folder)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return request.param, folder / "S"


def test_a_search_prunes_and_ranks(undisturbed: tuple[str, Path]) -> None:
    rows = rows_of(undisturbed[1])
    assert len(rows) == 7
    assert {row["status"] for row in rows} == {"finished", "pruned"}
    assert float(rows[0]["val/accuracy"]) == max(float(row["val/accuracy"]) for row in rows if row["val/accuracy"])
    pruned = [row for row in rows if row["status"] == "pruned"]
    assert all("others were better" in row["error"] for row in pruned)
    assert all(row["status"] == "pruned" for row in rows[len(rows) - len(pruned) :])


@pytest.mark.usefixtures("untrained")
def test_the_same_draw_gives_the_same_settings_and_ends_the_same_runs_early(program: Program, tmp_path: Path) -> None:
    """The brackets of Hyperband, too."""
    found = []
    for name in ("first", "second"):
        search = ["sweep=hyperband", "sweep.trials=16", *SPACE, f"hydra.sweep.dir={name}"]
        answer = program("train", "-m", *faked.SMALL, *search)
        assert answer.code == 0, answer.err
        found.append([{**row, "command": ""} for row in rows_of(tmp_path / name)])
    assert found[0] == found[1]
    assert {row["status"] for row in found[0]} == {"finished", "pruned"}


@pytest.mark.usefixtures("untrained")
def test_failed_and_pruned_trials_count_when_a_search_is_extended(program: Program, tmp_path: Path) -> None:
    search = ["sweep=random", "sweep.pruner=median", "sweep.draw=10", "model.weights=null,none.pth", SPACE[0]]
    assert program("train", "-m", *faked.SMALL, *search, "sweep.trials=9", "hydra.sweep.dir=S").code == 1
    first = rows_of(tmp_path / "S")
    assert {row["status"] for row in first} == {"finished", "pruned", "failed"}
    assert program("train", "sweep.resume=S", "sweep.trials=11").code == 1
    rows = rows_of(tmp_path / "S")
    assert sorted(int(row["run"]) for row in rows) == [*range(11)]
    assert [row for row in rows if int(row["run"]) < 9] == first, "none of them ran again"
    assert program("train", "sweep.resume=S", "sweep.trials=11").code == 1
    assert rows_of(tmp_path / "S") == rows


def test_a_killed_search_ends_like_an_undisturbed_one(undisturbed: tuple[str, Path], tmp_path: Path) -> None:
    module, whole = undisturbed
    command = [*SWEEP, *FORMS[module], "hydra.sweep.dir=S"]
    for wanted in (1, 4):
        process = begun(module, *command, cwd=tmp_path)
        while process.poll() is None and len([*tmp_path.glob("S/*/run.json")]) <= wanted:
            time.sleep(0.005)
        process.kill()
        process.communicate(timeout=60)
        command = ["train", "sweep.resume=S"]
    process = begun(module, *command, cwd=tmp_path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert rows_of(tmp_path / "S") == rows_of(whole)


def test_a_network_that_is_too_large_is_not_trained(program: Program, tmp_path: Path) -> None:
    grid = ["head=linear,mlp", "sweep.max_parameters=1400000", "hydra.sweep.dir=S", "sweep.test=none"]
    answer = program("train", "-m", *SMALL, *STEPS, *grid)
    assert answer.code == 0, answer.err
    rows = rows_of(tmp_path / "S")
    counts = {row["head"]: Record.read(tmp_path / "S" / row["run"]).model["parameters"] for row in rows}
    assert counts["linear"] < 1_400_000 < counts["mlp"], counts
    assert {row["head"]: row["status"] for row in rows} == {"linear": "finished", "mlp": "pruned"}


@pytest.mark.long
def test_ranks_of_a_search_end_together(tmp_path: Path) -> None:
    """One decision for both ranks; the next trial starts ranks of its own."""
    ranks = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "sweep.test=best"]
    typed = [*SWEEP, *(it for it in [*SMALL, *STEPS] if not it.startswith("trainer="))]
    process = started("-m", "frostline", *typed, *ranks, "hydra.sweep.dir=S", cwd=tmp_path)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, out + err
    rows = rows_of(tmp_path / "S")
    assert len(rows) == 7
    assert {row["status"] for row in rows} == {"finished", "pruned"}
    assert [bool(row["test/accuracy"]) for row in rows] == [True, *([False] * 6)]
