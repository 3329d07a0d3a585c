"""k-NN, the linear probe and LogME against scikit-learn, and against the evidence itself, maximised by search."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from conftest import short_form
from frostline.heads import probes
from frostline.heads.probes import TEMPERATURE, K, accuracy, linear_probes, log_me, nearest_neighbours

pytestmark = pytest.mark.usefixtures("solved_to_the_end")

CLASSES = 4


def problem(number: int, width: int, spread: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positive features, as networks with ReLU give them: classes around centres, columns of all scales."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % CLASSES
    centres = torch.randn(CLASSES, width, generator=draw)
    scales = 10 ** torch.linspace(-2, 1, width)
    return (centres[labels] + spread * torch.randn(number, width, generator=draw)).relu() * scales, labels


# --- k-NN ---


@pytest.mark.parametrize("at_a_time", [1, 1000, 2**24])
def test_neighbours_vote_as_in_scikit_learn(at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "SIMILARITIES", at_a_time)
    features, labels = problem(400, 12, spread=3.0)
    train, val = features[:300], features[300:]
    judge = KNeighborsClassifier(K, metric="cosine", weights=lambda distance: np.exp((1 - distance) / TEMPERATURE))
    expected = judge.fit(train.double().numpy(), labels[:300].numpy()).predict(val.double().numpy())
    assert nearest_neighbours(train, labels[:300], val, CLASSES).tolist() == expected.tolist()
    assert 0.3 < accuracy(torch.from_numpy(expected), labels[300:]) < 0.95, "neither chance nor certainty"


def test_fewer_samples_than_neighbours_all_vote() -> None:
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    queries = torch.tensor([[0.0, 2.0], [3.0, 0.1]])
    assert nearest_neighbours(train, torch.tensor([0, 0, 1]), queries, 2).tolist() == [1, 0]


def test_features_that_are_zero_are_no_error() -> None:
    features, labels = problem(40, 6)
    features[::5] = 0
    assert nearest_neighbours(features, labels, features, CLASSES).shape == (40,)


# --- the linear probe ---


def test_probes_are_those_of_scikit_learn() -> None:
    """Coefficients and predictions; its C is the inverse of the strength, for a sum over samples."""
    features, labels = problem(600, 20, spread=3.0)
    train, val = features[:400], features[400:]
    scaler = StandardScaler().fit(train.double().numpy())
    found = list(linear_probes(train, labels[:400], CLASSES))
    assert [probe.l2 for probe in found] == list(probes.STRENGTHS)
    for probe in found:
        judge = LogisticRegression(C=1 / (400 * probe.l2), tol=1e-10, max_iter=10_000)
        judge.fit(scaler.transform(train.double().numpy()), labels[:400].numpy())
        weight = probe.weight.double().numpy() * scaler.scale_
        assert np.abs(weight - judge.coef_).max() < 0.02 * np.abs(judge.coef_).max()
        predicted = torch.from_numpy(judge.predict(scaler.transform(val.double().numpy())))
        assert accuracy(probe(val), predicted) >= 0.99
    assert len({tuple(probe(val).tolist()) for probe in found}) > 1, "the strengths differ"


def test_a_column_that_is_the_same_everywhere_counts_for_nothing() -> None:
    features, labels = problem(200, 8, spread=3.0)
    wider = torch.cat([features, torch.full((200, 1), 7.0)], dim=1)
    pairs = zip(linear_probes(features, labels, CLASSES), linear_probes(wider, labels, CLASSES), strict=True)
    for plain, wide in pairs:
        assert wide.weight[:, -1].abs().max() == 0
        assert torch.equal(plain(features), wide(wider))


# --- LogME ---


def evidence(alpha: float, beta: float, features: np.ndarray, y: np.ndarray) -> float:
    """Equation 2 of arXiv:2102.11005, without a decomposition."""
    number, width = features.shape
    precision = alpha * np.eye(width) + beta * features.T @ features
    mean = beta * np.linalg.solve(precision, features.T @ y)
    fit = np.square(features @ mean - y).sum()
    constants = number / 2 * np.log(beta) + width / 2 * np.log(alpha) - number / 2 * np.log(2 * np.pi)
    return float(constants - beta / 2 * fit - alpha / 2 * mean @ mean - np.linalg.slogdet(precision)[1] / 2)


def searched(features: Tensor, labels: Tensor) -> float:
    """The largest evidence over (α, β), from many starts."""
    best = []
    for number in range(CLASSES):
        y = (labels == number).double().numpy()
        numbers = features.double().numpy()
        found = [
            minimize(
                lambda logs, y=y, numbers=numbers: -evidence(*np.exp(logs), numbers, y),  # type: ignore[misc]
                np.log([alpha, beta]),
                method="Nelder-Mead",
                bounds=[(-25, 25), (-25, 25)],
                options={"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000},
            ).fun
            for alpha in (1e-4, 1.0, 1e4)
            for beta in (1.0, 100.0)
        ]
        best.append(-min(found) / len(y))
    return float(np.mean(best))


@pytest.mark.parametrize(
    ("number", "width", "spread"),
    short_form(
        [(*size, spread) for size in ((80, 5), (60, 30), (30, 60), (40, 40)) for spread in (0.5, 4.0)],
        (80, 5, 4.0),
        (30, 60, 0.5),
    ),
)
def test_the_evidence_is_the_largest_that_a_search_finds(number: int, width: int, spread: float) -> None:
    features, labels = problem(number, width, spread)
    assert log_me(features, labels, CLASSES) == pytest.approx(searched(features, labels), abs=1e-6)


def test_columns_that_repeat_others_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ROWS", 7)
    features, labels = problem(90, 6, spread=3.0)
    twice = torch.cat([features, features, torch.zeros(90, 3)], dim=1)
    assert log_me(twice, labels, CLASSES) == pytest.approx(searched(twice, labels), abs=1e-6)


def test_features_that_tell_more_have_more_evidence() -> None:
    found = [log_me(*problem(200, 10, spread), CLASSES) for spread in (0.3, 1.0, 3.0, 10.0)]
    assert found == sorted(found, reverse=True)


def test_noise_has_the_evidence_of_noise() -> None:
    """α → ∞: nothing is explained, and what is left is a Gaussian around 0."""
    labels = torch.arange(400) % CLASSES
    noise = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    share = 1 / CLASSES
    assert log_me(noise, labels, CLASSES) == pytest.approx(-0.5 * (np.log(2 * np.pi * share) + 1), abs=0.02)


def test_a_class_without_samples_has_no_part_in_it() -> None:
    features, labels = problem(80, 5)
    assert log_me(features, labels, CLASSES + 3) == log_me(features, labels, CLASSES)


# --- all of them ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "probe",
    [
        lambda x, y: nearest_neighbours(x, y, x, CLASSES),
        lambda x, y: torch.stack([probe.weight for probe in linear_probes(x, y, CLASSES)]),
        lambda x, y: torch.tensor(log_me(x, y, CLASSES), dtype=torch.float64),
    ],
    ids=["neighbours", "linear", "evidence"],
)
def test_the_same_features_give_the_same_bits_and_no_random_number_is_drawn(
    probe: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    features, labels = problem(120, 10)
    features = features.to(dtype)
    before, copy = torch.get_rng_state(), features.clone()
    with torch.no_grad():
        first = probe(features, labels)
    assert torch.equal(first, probe(features, labels))
    assert torch.equal(features, copy)
    assert torch.equal(torch.get_rng_state(), before)
