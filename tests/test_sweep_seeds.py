"""Settings that lose on the seeds so far get no more of them."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

import faked
from conftest import Answer
from frostline.commands.train import NOT_HERE
from frostline.report.leaderboard import write_leaderboard
from frostline.runs.record import Record
from frostline.runs.sweeps import Note, Sweep
from frostline.sweeps.losing import SIGNIFICANCE, Losing, significant

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]


@pytest.mark.parametrize("number", [3, 4, 5, 6])
def test_the_test_is_wilcoxons(number: int) -> None:
    """Of n different differences, each of the 2^n signs is equally likely: counted here one by one."""
    sizes = [*range(1, number + 1)]
    sums = [sum(it for it in signed if it > 0) for signed in itertools.product(*((it, -it) for it in sizes))]
    for signs in itertools.product((1, -1), repeat=number):
        differences = [sign * size for sign, size in zip(signs, sizes, strict=True)]
        own = sum(it for it in differences if it > 0)
        chance = sum(it >= own for it in sums) / len(sums)
        assert significant(differences) == (chance < SIGNIFICANCE)
    assert significant([1, 2, 3, 4])
    assert not significant([1, 2, 3])
    assert not significant([0.0] * 9)


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


def test_a_setting_that_is_worse_with_each_of_four_seeds_is_dropped(tmp_path: Path) -> None:
    best = [0.8, 0.81, 0.82, 0.83, 0.84]
    found = losing(
        tmp_path, best, [it - 0.01 * at for at, it in enumerate(best[:4], 1)], [0.7, 0.9, 0.8, 0.8], best[:3]
    )
    assert found.why(5) is None, "the best"
    assert found.why(10) == "the best setting was better on the 4 seeds so far"
    assert found.why(16) is None, "once worse, once better"
    assert found.why(21) is None, "too early"


@pytest.mark.usefixtures("untrained")
def test_no_more_seeds_for_what_lost_and_it_comes_last(program: Program, tmp_path: Path) -> None:
    grid = ["train", "-m", *faked.SMALL, "optimizer.lr=0.01,0.1", "sweep.seeds=6", "sweep.drop=true"]
    answer = program(*grid, "hydra.sweep.dir=S")
    assert answer.code == 0, answer.err
    assert answer.out.count("pruned: the best setting was better on the ") == 2
    best, lost = write_leaderboard(tmp_path / "S").read_text().splitlines()[1:3]
    assert best.split(",")[1:4] == ["finished", "0.01", "6"]
    assert lost.split(",")[1:4] == ["finished", "0.1", "4 of 6"]
    assert program("train", "sweep.resume=S").out.count("\n[") == 0
