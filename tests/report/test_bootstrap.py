"""Scores of draws equal scikit-learn's with sample weights; intervals SciPy's; equal settings seldom differ."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from frostline.report.bootstrap import intervals
from frostline.report.resampling import Sums
from frostline.report.sample_scores import SampleScore, sample_score
from frostline.runs.predictions import Predictions

N, K = 200, 4
random = np.random.default_rng(0)
TIMES = random.multinomial(N, [1 / N] * N, size=5).astype(float)


def predictions(scores: dict[str, float], **columns: Any) -> Predictions:
    own = {"sample": np.array([f"s{at}" for at in range(N)]), "index": np.arange(N)}
    return Predictions({"scores": scores}, own | columns)


def classes(skill: float, seed: int = 1) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    target = np.random.default_rng(7).integers(0, K, N)
    return target, (draw.normal(size=(N, K)) + skill * np.eye(K)[target]).astype(np.float32)


def softmax(logits: Any) -> Any:
    shares = np.exp(logits.astype(float))
    return shares / shares.sum(1, keepdims=True)


def of_classes(name: str) -> Any:
    return {
        "val/accuracy": lambda y, z, w: metrics.accuracy_score(y, z.argmax(1), sample_weight=w),
        "val/f1_macro": lambda y, z, w: metrics.f1_score(y, z.argmax(1), average="macro", sample_weight=w),
        "val/loss": lambda y, z, w: metrics.log_loss(y, softmax(z), sample_weight=w, labels=range(K)),
    }[name]


@pytest.mark.parametrize("name", ["val/accuracy", "val/f1_macro", "val/loss"])
def test_scores_of_classes_are_scikit_learns(name: str) -> None:
    target, logits = classes(1.0)
    truth = of_classes(name)
    found = sample_score(predictions({name: truth(target, logits, None)}, target=target, logits=logits), name)
    assert found is not None
    for times, score in zip(TIMES, found.of(TIMES @ found.sums), strict=True):
        assert score == pytest.approx(truth(target, logits, times))


@pytest.mark.parametrize("folder", ["data", "/home/me/my data", "", "../b"])
def test_samples_are_the_same_in_every_spelling_of_their_folder(folder: str) -> None:
    """A sweep scores its best run again, with whole paths: its intervals and marks compare it with the others."""
    target, logits = classes(1.0)
    accuracy = metrics.accuracy_score(target, logits.argmax(1))
    names = [f"{'b' if at % 2 else 'ba'}/{at}.jpg" for at in range(N)]

    def found(folder: str, names: list[str]) -> SampleScore:
        sample = np.array([f"{folder}/{name}".lstrip("/" if not folder else "") for name in names])
        own = predictions({"val/accuracy": accuracy}, sample=sample, target=target, logits=logits)
        score = sample_score(own, "val/accuracy")
        assert score is not None
        return score

    assert found(folder, names).samples == found("/d", names).samples
    assert found(folder, names).samples != found(folder, names[::-1]).samples


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("val/mse", metrics.mean_squared_error),
        ("val/mae", metrics.mean_absolute_error),
        ("val/r2", metrics.r2_score),
    ],
)
def test_scores_of_numbers_are_scikit_learns(name: str, truth: Any) -> None:
    target = 100 + random.normal(size=(N, 2))
    predicted = target + random.normal(size=(N, 2)) / 2
    found = sample_score(predictions({name: truth(target, predicted)}, target=target, predicted=predicted), name)
    assert found is not None
    for times, score in zip(TIMES, found.of(TIMES @ found.sums), strict=True):
        assert score == pytest.approx(truth(target, predicted, sample_weight=times))


def test_words_of_a_sample_are_drawn_together() -> None:
    target, logits = classes(1.0)
    index = np.repeat(np.arange(N // 4), 4)
    said = {"sample": np.array([f"s{at}" for at in index]), "index": index, "word": np.tile(np.arange(4), N // 4)}
    accuracy = float((logits.argmax(1) == target).mean())
    found = sample_score(predictions({"val/accuracy": accuracy}, **said, target=target, logits=logits), "val/accuracy")
    assert found is not None
    assert len(found.samples) == N // 4
    times = random.multinomial(N // 4, [4 / N] * (N // 4), size=1).astype(float)
    weights = times[0][index]
    truth = metrics.accuracy_score(target, logits.argmax(1), sample_weight=weights)
    assert found.of(times @ found.sums)[0] == pytest.approx(truth)


@pytest.mark.parametrize("name", ["val/map", "val/accuracy"])
def test_a_score_that_the_predictions_do_not_give_has_none(name: str) -> None:
    target, logits = classes(1.0)
    assert sample_score(predictions({name: 0.123}, target=target, logits=logits), name) is None
    assert sample_score(predictions({}, target=target, logits=logits), name) is None


def score_of(skill: float, seed: int = 1) -> SampleScore:
    target, logits = classes(skill, seed)
    accuracy = float((logits.argmax(1) == target).mean())
    found = sample_score(predictions({"val/accuracy": accuracy}, target=target, logits=logits), "val/accuracy")
    assert found is not None
    return found


def test_an_interval_is_scipys() -> None:
    one = score_of(1.0)
    (found,) = intervals([[one]], "max") or []
    points = one.sums[:, 0]
    truth = stats.bootstrap((points,), np.mean, method="percentile", n_resamples=4000, rng=3).confidence_interval
    assert (found.low, found.high) == pytest.approx((truth.low, truth.high), abs=0.012)
    assert found.as_good


def test_the_mark_tells_the_worse_from_the_equal() -> None:
    good, alike, worse = score_of(1.5), score_of(1.5, seed=2), score_of(0.2)
    found = intervals([[worse], [good], [alike], [good]], "max", best=1) or []
    assert [it.as_good for it in found] == [False, True, True, True]
    found = intervals([[worse], [good], [alike]], "min") or []
    assert [it.as_good for it in found] == [True, False, False]


def test_seeds_of_a_setting_are_averaged_in_each_draw() -> None:
    runs = [score_of(1.0, seed) for seed in (1, 2, 3)]
    (mean,) = intervals([runs], "max") or []
    alone = [(intervals([[run]], "max") or [])[0] for run in runs]
    assert mean.high - mean.low < min(it.high - it.low for it in alone)


def test_settings_of_other_samples_are_not_compared() -> None:
    one = score_of(1.0)
    assert intervals([[one], [one._replace(samples=one.samples[::-1])]], "max") is None
    assert intervals([[one], []], "max") is None


def test_a_true_null_is_rarely_rejected() -> None:
    """Two networks of equal skill differ significantly in at most about one of twenty data sets."""
    lost = 0
    for seed in range(60):
        pair = intervals([[score_of(1.0, 2 * seed + 10)], [score_of(1.0, 2 * seed + 11)]], "max") or []
        lost += not all(it.as_good for it in pair)
    assert lost <= 10  # the best of two is compared with the other, which doubles the chance: 6 expected


def test_a_setting_whose_score_varies_much_hides_no_other() -> None:
    """A rare sample of huge error, as of a rate that was too high: the drawn scores of that setting lie far apart."""
    right = np.random.default_rng(3).random((3, N))
    names, ones = tuple(f"s{at}" for at in range(N)), np.ones(N)

    def setting(values: Any) -> list[SampleScore]:
        return [SampleScore(names, Sums(np.stack([values, ones], 1), lambda total: total[:, 0] / total[:, 1]))]

    wild = np.where(np.arange(N) == 5, -500.0, right[2])
    found = intervals([setting(right[0] + 0.5), setting(right[1]), setting(wild)], "max") or []
    assert [it.as_good for it in found][:2] == [True, False]


@pytest.mark.parametrize("worse", [False, True])
def test_of_many_equal_settings_the_best_proves_nothing(worse: bool) -> None:
    """The best of 20 settings of equal skill leads by chance; one that is truly worse is still told from them."""
    lost, told = 0, 0
    for turn in range(40):
        settings = [[score_of(1.0, 100 * turn + at)] for at in range(20)]
        best = max(range(20), key=lambda at: settings[at][0].value)
        found = intervals([*settings, *([[score_of(0.2, 100 * turn + 50)]] if worse else [])], "max", best) or []
        lost += not all(it.as_good for it in found[:20])
        told += not found[-1].as_good
    assert lost <= 5, "2 expected"
    assert not worse or told >= 38


def test_draws_without_a_score_prove_nothing() -> None:
    sums = np.stack([np.arange(N) == 0, np.ones(N)], axis=1).astype(float)  # a third of the draws lack sample 0
    names = tuple(f"s{at}" for at in range(N))
    good = SampleScore(names, Sums(sums, lambda total: np.where(total[:, 0] > 0, 0.9, np.nan)))
    bad = SampleScore(names, Sums(sums, lambda total: np.where(total[:, 0] > 0, 0.1, np.nan)))
    assert [it.as_good for it in intervals([[good], [bad]], "max") or []] == [True, True]


def test_a_small_score_is_compared_by_its_share() -> None:
    target = np.zeros((N, 1))
    columns = {"target": target, "predicted": target + 4e-4}
    assert sample_score(predictions({"val/mae": 4e-4}, **columns), "val/mae") is not None
    assert sample_score(predictions({"val/mae": 8e-4}, **columns), "val/mae") is None
