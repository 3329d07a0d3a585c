"""Settings that lose on the seeds so far get no more of them."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import faked
from conftest import Answer
from frostline.commands.train import NOT_HERE
from frostline.report.leaderboard import write_leaderboard
from frostline.report.seed_ranks import chance_of
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps.losing import CHANCE, FEWEST, Losing, level_of, seeds_needed

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]


@pytest.mark.parametrize("ranks", [[(1, 2, 3)] * 3, [(1.5, 1.5, 3), (1, 2, 3), (2, 2, 2)], [(1, 2)] * 6])
def test_the_chance_is_that_of_all_orders(ranks: list[tuple[float, ...]]) -> None:
    """Every order of the ranks of each seed is equally likely: counted here one by one."""
    orders = [*itertools.product(*(itertools.permutations(seed) for seed in ranks))]
    sums = [[sum(seed[at] for seed in order) for at in range(len(ranks[0]))] for order in orders]
    behind = [own - min(rivals) for own, *rivals in sums]
    for order, found in itertools.islice(zip(orders, behind, strict=True), 0, None, 1 + len(orders) // 40):
        own, *rivals = zip(*order, strict=True)
        expected = sum(it >= found for it in behind) / len(behind)
        assert chance_of(rivals, own) == pytest.approx(expected, abs=0.012)  # 3 deviations of 20,000 draws


@pytest.mark.parametrize(("number", "times"), [(2, 400), (5, 100), (20, 25)])
def test_of_equal_settings_few_are_dropped(number: int, times: int) -> None:
    """Ten seeds: six looks, each against the best of all that are left."""
    generator, dropped = np.random.default_rng(number), 0
    for _ in range(times):
        scores = generator.normal(size=(number, 10)).tolist()
        left = [*range(number)]
        for seeds in range(FEWEST, 10):
            if len(left) < 2:
                break
            rows = [scores[at][:seeds] for at in left]
            chances = [chance_of(rows[:at] + rows[at + 1 :], rows[at]) for at in range(len(rows))]
            left = [at for at, chance in zip(left, chances, strict=True) if chance > level_of(10)]
        dropped += number - len(left)
    assert dropped / (number * times) <= CHANCE


@pytest.mark.parametrize(("settings", "seeds"), [(2, 7), (3, 5), (20, 5)])
def test_the_seeds_that_a_drop_needs(settings: int, seeds: int) -> None:
    """The worst with each seed is dropped before the last one, and with one seed less it is not."""
    assert seeds_needed(settings) == seeds
    for number, drops in ((seeds, True), (seeds - 1, False)):
        rows = [[float(at)] * (number - 1) for at in range(settings)]
        assert (number > FEWEST and chance_of(rows[:-1], rows[-1]) <= level_of(number)) == drops
    assert seeds_needed(1) is None


def losing(folder: Path, *scores: list[float]) -> Losing:
    """Settings with a score for each seed that was run, of six."""
    sweep = Sweep(folder, [], "")
    sweep.create()
    settings = [{f"seed={seed}": 6 * at + seed for seed in range(6)} for at in range(len(scores))]
    for setting, own in zip(settings, scores, strict=True):
        for number, score in zip(setting.values(), own, strict=False):
            sweep.write_note(number, Note(str(number), []))
            (folder / str(number)).mkdir()
            Record("", 0, "finished", monitor="it", metrics={"it": score}).write(folder / str(number))
    return Losing(sweep, settings)


def test_a_setting_that_is_last_with_each_of_four_seeds_is_dropped(tmp_path: Path) -> None:
    best = [0.8, 0.81, 0.82, 0.83, 0.84]
    found = losing(tmp_path, best, [it - 0.1 for it in best[:4]], [0.79, 0.82, 0.8, 0.84], best[:3], [0.75] * 4)
    assert found.why(5) is None, "the best"
    assert str(found.why(10)).startswith("the best of 4 settings was better on the 4 seeds so far (p = 0.00")
    assert found.why(16) is None, "once worse, once better"
    assert found.why(21) is None, "too early"


def test_the_best_mean_is_never_dropped(tmp_path: Path) -> None:
    found = losing(tmp_path, [0.5] * 4, [0.6] * 4, [0.7] * 4, [0.4, 0.4, 0.4, 9.0])
    assert found.why(22) is None


@pytest.mark.usefixtures("untrained")
def test_no_more_seeds_for_what_lost_and_it_comes_last(program: Program, tmp_path: Path) -> None:
    grid = ["train", "-m", *faked.SMALL, "optimizer.lr=0.01,0.02,0.1", "sweep.seeds=6", "sweep.drop=true"]
    answer = program(*grid, "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    assert answer.out.count("pruned: the best of 3 settings was better on the 4 seeds so far") == 2
    best, _, lost = write_leaderboard(tmp_path / "S").read_text().splitlines()[1:4]
    assert best.split(",")[1:4] == ["finished", "0.01", "6"]
    assert lost.split(",")[1:4] == ["finished", "0.1", "4 of 6"]
    assert program("train", "sweep.resume=S").out.count("\n[") == 0


NOTHING_TO_DROP = {
    "too few seeds": (
        ["optimizer.lr=0.01,0.1", "sweep.seeds=6"],
        ["one of 2 settings from 7 seeds on", "sweep.seeds=7"],
    ),
    "no seeds": (["optimizer.lr=0.01,0.1,1"], ["one of 3 settings from 5 seeds on, and each runs with 1"]),
    "one setting": (["sweep.seeds=9"], ["compares settings, and this sweep has one"]),
    "a search": (["sweep=random", "sweep.trials=9", "head=linear,mlp"], ["one of 9 settings from 5 seeds on"]),
}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("case", NOTHING_TO_DROP)
def test_a_drop_that_drops_nothing_is_refused(case: str, program: Program, tmp_path: Path) -> None:
    typed, expected = NOTHING_TO_DROP[case]
    answer = program("train", "-m", *faked.SMALL, *typed, "sweep.drop=true")
    assert (answer.code, answer.out) == (1, "")
    for words in [*expected, "where: sweep.drop=true", "leave sweep.drop out"]:
        assert words in answer.err
    assert [*tmp_path.iterdir()] == []
