"""The order of each user's samples: scores as scikit-learn finds them, whom they concern, the same on every rank."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score
from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.errors import ConfigError
from frostline.tasks.classification import Classification
from frostline.tasks.ranking import K, RankedMetrics, Worth, by_user, who_counts, worth_of
from frostline.tasks.regression import Regression
from frostline.training.checkpoint import targets_problem

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, 2.0, 5.0]), st.sampled_from([-1.0, 0.0, 0.5, 2.0, 3.0])),
    min_size=1,
    max_size=60,
)


def of_rows(rows: list[tuple[int, float, float]]) -> tuple[Tensor, Worth, Tensor]:
    user, gain, score = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    return score, Worth(gain, gain >= 2), user.long()


@settings(max_examples=200)
@given(ROWS)
def test_gain_is_that_of_scikit_learn_for_each_user(rows: list[tuple[int, float, float]]) -> None:
    scores, worth, users = of_rows(rows)
    expected = [
        ndcg_score(worth.gain[users == user][None], scores[users == user][None], k=K)
        for user in users.unique().tolist()
        if len(worth.gain[users == user].unique()) > 1
    ]
    assert by_user(scores, worth, users).ndcg.tolist() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50)
@given(ROWS, st.integers(0, 9))
def test_recall_is_the_mean_over_all_orders_of_equal_outputs(rows: list[tuple[int, float, float]], seed: int) -> None:
    """The mean over many orders, drawn at random, is close to it."""
    rows = [(0, gain, score) for _, gain, score in rows]
    scores, worth, users = of_rows(rows)
    found = by_user(scores, worth, users).recall
    number = int(worth.relevant.sum())
    if len(rows) <= K or number in (0, len(rows)):
        assert found.tolist() == []
        return
    draw = np.random.default_rng(seed)
    orders = [np.lexsort((draw.random(len(rows)), -scores.numpy()))[:K] for _ in range(500)]
    hits = np.array([worth.relevant.numpy()[order].sum() / number for order in orders])
    assert found.tolist() == [pytest.approx(hits.mean(), abs=4 * hits.std() / 500**0.5 + 1e-9)]


def test_only_users_count_whose_order_matters() -> None:
    """One sample; equal targets; ten samples; eleven, of which two are relevant; eleven relevant ones."""
    gains = [[3.0], [2.0, 2.0], [0.0] * 9 + [2.0], [0.0] * 9 + [2.0] * 2, [2.0, 3.0] + [2.0] * 9]
    users = torch.cat([torch.full((len(some),), user) for user, some in enumerate(gains)])
    gain = torch.tensor([it for some in gains for it in some], dtype=torch.float64)
    differ, some = who_counts(Worth(gain, gain >= 2), users)
    assert differ.tolist() == [False, False, True, True, True]
    assert some.tolist() == [False, False, False, True, False]


def test_numbers_gain_what_exceeds_the_least_of_training() -> None:
    worth = worth_of(torch.tensor([[0.0], [1.0], [3.0]]), {"least": 1.0, "relevant": 3.0})
    assert worth.gain.tolist() == [0.0, 0.0, 2.0]
    assert worth.relevant.tolist() == [False, False, True]


# --- tasks ---

RATED = {"mean": [3.0], "std": [2.0]}
SCORES = ["ndcg_10", "recall_10"]
PLAIN: dict[str, Any] = {"l1": 0.0, "monitor": "val/loss", "mode": "min"}


def rating(**about: Any) -> Regression:
    return Regression(Targets("numbers", ["rating"], [], RATED | about), **PLAIN)


def liking(names: list[str], relevant: float) -> Classification:
    ranked = {"by": "user", "scores": SCORES, "relevant": relevant}
    targets = Targets("class", names, [1] * len(names), {"ranked": ranked})
    return Classification(targets, label_smoothing=0.0, class_weights="none", **PLAIN)


BY_USER = {"by": "user", "scores": SCORES, "least": 1.0, "relevant": 4.0}


def batch_of(targets: Tensor, users: Tensor | None, samples: Tensor) -> Batch:
    return Batch(None, targets, samples, user=users)


def test_ratings_are_ranked_by_their_outputs() -> None:
    draw = torch.Generator().manual_seed(0)
    users, targets = torch.arange(60) % 3, torch.randint(1, 6, (60, 1), generator=draw).float()
    outputs = torch.randn(60, 1, generator=draw)
    task = rating(ranked=BY_USER)
    whole, metrics = task.metrics(), task.metrics()
    whole.update(outputs, batch_of(targets, users, torch.arange(60)))
    order = torch.randperm(60, generator=draw)
    for some in order.split(7):
        metrics.update(outputs[some], batch_of(targets[some], users[some], some))
    scores = metrics.compute()
    assert scores == pytest.approx(whole.compute())
    assert {name: scores[name] for name in SCORES} == {name: whole.compute()[name] for name in SCORES}, "in any order"
    expected = [
        ndcg_score([(targets[users == u, 0] - 1).tolist()], [outputs[users == u, 0].tolist()], k=10) for u in range(3)
    ]
    assert scores["ndcg_10"] == pytest.approx(np.mean(expected))
    assert (scores["ndcg_users"], scores["recall_users"], scores["n"]) == (3, 3, 60)
    assert [*scores][-1] == "n"
    assert scores["rmse"] == pytest.approx(scores["mse"] ** 0.5)


def test_likes_are_ranked_by_odds_that_do_not_round() -> None:
    """Logits whose probabilities are all 1 in float32 still have an order, and only the relevant class gains."""
    for names, relevant in ((["no", "yes"], 1.0), (["a", "like", "z"], 1.0)):
        outputs = torch.zeros(4, len(names))
        outputs[:, 1] = torch.tensor([90.0, 80.0, 70.0, 60.0])
        metrics = liking(names, relevant).metrics()
        metrics.update(outputs, batch_of(torch.tensor([0, 1, 0, 0]), torch.zeros(4).long(), torch.arange(4)))
        assert metrics.compute()["ndcg_10"] == pytest.approx(1 / np.log2(3))


def test_a_score_that_concerns_no_user_is_left_out() -> None:
    metrics = rating(ranked=BY_USER).metrics()
    metrics.update(torch.zeros(2, 1), batch_of(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]), torch.arange(2)))
    assert not {"ndcg_10", "recall_10"} & metrics.compute().keys()
    metrics.reset()
    metrics.update(torch.zeros(2, 1), batch_of(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0]), torch.arange(2)))
    assert metrics.compute()["ndcg_users"] == 1
    assert isinstance(metrics, RankedMetrics)
    assert [row["target"] for row in metrics.per_class()] == ["rating"]


def test_samples_without_users_are_scored_without_an_order() -> None:
    metrics = rating(ranked=BY_USER).metrics()
    metrics.update(torch.zeros(2, 1), batch_of(torch.tensor([[1.0], [2.0]]), None, torch.arange(2)))
    assert "ndcg_10" not in metrics.compute()
    assert metrics.compute()["n"] == 2


def test_the_best_epoch_may_be_that_of_the_best_order() -> None:
    targets = Targets("numbers", ["rating"], [], RATED | {"ranked": BY_USER | {"scores": ["ndcg_10"]}})
    assert Regression(targets, l1=0.0, monitor="val/ndcg_10", mode="max").monitor == "val/ndcg_10"
    with pytest.raises(ConfigError, match="no score 'val/recall_10'"):
        Regression(targets, l1=0.0, monitor="val/recall_10", mode="max")
    with pytest.raises(ConfigError, match="no score 'val/ndcg_10'"):
        Regression(Targets("numbers", ["rating"], [], RATED), l1=0.0, monitor="val/ndcg_10", mode="max")


@pytest.mark.parametrize("broken", [{"by": 3}, {"scores": "ndcg_10"}, {"relevant": None}])
def test_what_a_checkpoint_says_of_the_order_is_checked(broken: dict[str, Any]) -> None:
    said = {"kind": "numbers", "names": ["rating"], "counts": [], "about": RATED | {"ranked": BY_USER}}
    assert targets_problem(said, "targets") is None
    said["about"] = RATED | {"ranked": BY_USER | broken}
    assert str(targets_problem(said, "targets")).startswith(f"its 'targets.about.ranked.{next(iter(broken))}'")
