"""Scores by the values of columns, against fairlearn; intervals of gaps; what is left out."""

from typing import Any

import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, demographic_parity_difference, equalized_odds_difference
from sklearn.metrics import accuracy_score

from conftest import short_form
from frostline.data.split_columns import EMPTY, SplitColumns
from frostline.data.tables.table import Row
from frostline.errors import ConfigError
from frostline.report.gaps import Rate, gap_of
from frostline.report.sample_scores import ratio
from frostline.report.score_intervals import Units
from frostline.report.slices import slice_lines, slices_of
from frostline.report.wilson import wilson
from frostline.runs.predictions import Predictions

SITES = np.array(["north", "south", "west"])


def made(number: int, seed: int, classes: int = 2, **columns: Any) -> Predictions:
    """Answers that are worse in the south."""
    draw = np.random.default_rng(seed)
    target = draw.integers(0, classes, number)
    site = draw.integers(0, 3, number)
    noise = draw.normal(size=(number, classes)) * np.where(site == 1, 2.0, 0.7)[:, None]
    logits = np.eye(classes)[target] + noise
    table = {"sample": np.array([f"s{at}" for at in range(number)]), "index": np.arange(number), "target": target}
    table |= {"logits": logits, "slice:site": SITES[site]} | columns
    accuracy = float((logits.argmax(1) == target).mean())
    about = {"part": "test", "monitor": "val/accuracy", "names": ["no", "yes", "rest"][:classes]}
    return Predictions(about | {"scores": {"test/accuracy": accuracy, "test/n": number}}, table)


def by_site(values: Any) -> dict[str, Any]:
    return {"slice:site": values}


@pytest.mark.parametrize("seed", short_form(range(5), 0, 1))
def test_scores_and_gaps_are_those_of_fairlearn(seed: int) -> None:
    found = made(300, seed)
    own = slices_of(found)["site"]
    target, given, site = found.columns["target"], found.columns["logits"].argmax(1), found.columns["slice:site"]
    frame = MetricFrame(metrics=accuracy_score, y_true=target, y_pred=given, sensitive_features=site)
    assert own["score"] == "test/accuracy"
    assert {row["value"]: row["score"] for row in own["values"]} == pytest.approx(frame.by_group.to_dict())
    assert {row["value"]: row["n"] for row in own["values"]} == {name: int((site == name).sum()) for name in SITES}
    assert own["gap"]["gap"] == pytest.approx(frame.difference())
    assert own["worst"] == frame.by_group.idxmin()
    parity = demographic_parity_difference(target, given, sensitive_features=site)
    odds = equalized_odds_difference(target, given, sensitive_features=site)
    assert own["fairness"]["demographic_parity"]["gap"] == pytest.approx(parity)
    assert own["fairness"]["equalised_odds"]["gap"] == pytest.approx(odds)


@pytest.mark.parametrize("seed", short_form(range(10), 0, 1, 2))
def test_a_gap_that_is_there_is_found(seed: int) -> None:
    """North and west have the same score."""
    own = slices_of(made(400, seed))["site"]
    assert own["worst"] == "south"
    assert all(row["low"] <= row["score"] <= row["high"] for row in own["values"])
    assert own["gap"]["p"] < 0.05


@pytest.mark.parametrize(("sets", "most"), short_form([(20, 4), (60, 8)], (20, 4)))
def test_gaps_of_equal_values_are_found_as_often_as_chance_allows(sets: int, most: int) -> None:
    """In 5 % of data sets: more than `most` with a probability of 0.3 %. The best of ten is far above the worst in
    each."""
    random = np.random.default_rng(0)
    units = Units(np.arange(300), np.zeros(300, int), ("sample", "samples"))
    every = np.ones(300, bool)
    gaps = [
        gap_of([Rate(*ratio(random.random(300) < 0.8, every)[:2], every)], np.arange(300) % 10, units)
        for _ in range(sets)
    ]
    assert all(gap is not None and gap["gap"] > 0.05 for gap in gaps)
    assert sum(gap is not None and gap["p"] <= 0.05 for gap in gaps) <= most


def test_each_gap_of_few_samples_has_a_caution() -> None:
    """By the smallest number of samples that count: 3 of the second class in the south."""
    target = np.arange(200) % 2
    site = np.where(target == 0, SITES[np.arange(200) // 2 % 2], np.where(np.arange(200) < 6, "south", "north"))
    found = made(200, 0, target=target, **by_site(site))
    found.about["scores"]["test/accuracy"] = float((found.columns["logits"].argmax(1) == target).mean())
    first, second = slice_lines(slices_of(found))
    assert "do not trust it" not in first
    assert second.endswith("; do not trust it: only 3 samples)")


def test_a_score_that_a_task_stores_for_each_sample_is_compared_if_it_chose_the_epoch() -> None:
    steps = np.where(np.arange(90) % 3 == 1, 2.0, 0.5) + np.linspace(0, 0.1, 90)
    found = made(90, 0, steps=steps, **by_site(SITES[np.arange(90) % 3]))
    scores = {**found.about["scores"], "test/steps": float(steps.mean())}
    for mode, worst in (("min", "south"), ("max", "north")):
        about = found.about | {"monitor": "val/steps", "mode": mode, "scores": scores}
        own = slices_of(Predictions(about, found.columns))["site"]
        assert (own["score"], own["worst"]) == ("test/steps", worst)


def test_gaps_of_two_decisions_need_two_classes() -> None:
    assert slices_of(made(200, 0, classes=3))["site"]["fairness"] == {}
    assert set(slices_of(made(200, 0))["site"]["fairness"]) == {"demographic_parity", "equalised_odds"}


def test_groups_are_drawn_and_permuted_whole() -> None:
    """Copies of a sample in one group add nothing to what is known."""
    once = made(120, 3, **by_site(np.random.default_rng(3).choice(SITES, 120)))
    copied = {name: np.repeat(values, 4, axis=0) for name, values in once.columns.items()}
    copied |= {"index": np.arange(480), "group": np.repeat(np.arange(120).astype(str), 4)}
    alone, together, copies = (
        slices_of(Predictions(once.about, columns))["site"]
        for columns in (once.columns, copied, {name: it for name, it in copied.items() if name != "group"})
    )
    widths = [own["values"][0]["high"] - own["values"][0]["low"] for own in (alone, together, copies)]
    assert widths[1] == pytest.approx(widths[0], rel=0.2)
    assert widths[2] < 0.7 * widths[1]
    assert together["gap"]["p"] == pytest.approx(alone["gap"]["p"], abs=0.05)
    assert copies["gap"]["p"] < 0.5 * alone["gap"]["p"]


def test_intervals_of_values_are_wilsons_and_few_samples_have_none() -> None:
    """All 60 samples of one value are right, which is no certainty; of another value there is one sample."""
    target = np.arange(61) % 2
    site = np.where(np.arange(61) < 60, "north", "south")
    found = made(61, 0, target=target, logits=np.eye(2)[target], **by_site(site))
    found.about["scores"]["test/accuracy"] = 1.0
    north, south = slices_of(found)["site"]["values"]
    assert (north["low"], north["high"], north["caution"]) == (*wilson(60, 60), "")
    assert (south["low"], south["high"], south["caution"]) == (None, None, "only one sample")


def test_values_within_a_group_are_permuted_within_it() -> None:
    """Each group has samples of both values: those of one value are right, whatever the group."""
    target = np.arange(40) % 2
    logits = np.eye(2)[np.where(np.arange(40) % 4 < 2, target, 1 - target)]
    group, site = np.arange(40) // 4, np.arange(40) % 4 // 2
    found = made(40, 0, target=target, logits=logits, group=group, **by_site(site))
    found.about["scores"]["test/accuracy"] = 0.5
    gap = slices_of(found)["site"]["gap"]
    assert (gap["gap"], gap["p"]) == (1.0, 0.001)


def test_few_samples_are_told_and_columns_that_are_left_out() -> None:
    found = made(200, 0)
    rare = np.where(np.arange(200) < 7, "rare", "usual")
    (line, _) = slice_lines(slices_of(made(200, 0, **by_site(rare))))
    assert line.startswith("site: test/accuracy ")
    assert "do not trust it: only 7 samples" in line
    few, decimals = made(40, 0), np.arange(40) / 7
    for case, values, why in (
        (found, np.array(["same"] * 200), "have one value"),
        (found, np.arange(200) // 3, "67 values of 200 samples"),
        (few, decimals, "40 values of 40 samples"),
    ):
        slices = slices_of(Predictions(case.about, case.columns | {"slice:site": values}))
        (told,) = slice_lines(slices)
        assert told.startswith("site is left out: ")
        assert why in told
    columns = {name: it for name, it in found.columns.items() if name != "slice:site"}
    assert slices_of(Predictions(found.about, columns)) == {}
    (told,) = slice_lines(slices_of(Predictions(found.about | {"scores": {}}, found.columns)))
    assert told == "site is left out: no score is a mean over samples"


def test_columns_are_read_and_empty_cells_are_a_value() -> None:
    settings: dict[str, Any] = {"split_by": "random", "time_column": None, "user_column": None, "relevant": None}
    divided = SplitColumns(**settings, group_column=None, group_columns=["site", "sex"])
    assert divided.settings(scored=False) == {"site": "data.group_columns", "sex": "data.group_columns"}
    rows = [Row("it", place, {"site": site, "sex": "f"}, "line") for place, site in enumerate([" a ", "", "a"])]
    found = divided.found({"train": rows, "test": rows[:1]}, scored=False)
    assert found["slices"]["train"] == {"site": ["a", EMPTY, "a"], "sex": ["f", "f", "f"]}
    assert found["slices"]["test"] == {"site": ["a"], "sex": ["f"]}
    assert divided.of_user("sex").group_columns == ["site", "sex"]
    assert "slices" not in divided.found({"train": rows}, scored=True)
    with pytest.raises(ConfigError):
        SplitColumns(**settings | {"split_by": "time"}, group_column=None, group_columns=None)
    with pytest.raises(ConfigError, match=r"'site' is named twice in data\.group_columns") as raised:
        SplitColumns(**settings, group_column=None, group_columns=["site", "sex", "site"])
    assert raised.value.next_step == "'data.group_columns=[site,sex]'"
