"""How many runs were scored on a test split."""

from pathlib import Path
from typing import Any

from conftest import Answer
from frostline.runs.record import Record
from frostline.runs.test_uses import USES, counted_use


def test_each_run_counts_once_for_each_split(tmp_path: Path) -> None:
    found = [counted_use(tmp_path, split, Path(run)) for split, run in ("aa", "ab", "ab", "ba", "ac")]
    assert found == [1, 2, 2, 1, 3]


def test_a_count_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / USES).write_text("a file")
    assert counted_use(tmp_path, "a", Path("run")) is None


def test_a_run_says_how_many_were_scored_on_its_test_split(program: Any, tmp_path: Path) -> None:
    """Another seed trains on other samples and is tested on the same ones; without a cache, nothing is noted."""
    quick = ["model._target_=tiny.Tiny", "data._target_=tiny.FewDigits", "data.train_limit=40", "data.image_size=8"]
    quick += ["trainer=cpu", "logger=none", "report=false", "schedule=head_only", f"cache.dir={tmp_path / 'cache'}"]

    def uses(run: str, *typed: str) -> tuple[int | None, Answer]:
        answer = program("train", *quick, f"run_dir={run}", *typed)
        assert answer.code == 0, answer.err
        return Record.read(tmp_path / run).test_uses, answer

    first, second, never = uses("one"), uses("two", "seed=1"), uses("three", "cache=never")
    assert (first[0], second[0], never[0]) == (1, 2, None)
    assert "were scored on this test split" not in first[1].out + never[1].out
    assert "2 runs were scored on this test split: the best of many is better by luck" in second[1].out
