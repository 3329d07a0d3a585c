"""Losses of embeddings against loops over pairs, scores against plain NumPy and pytorch-metric-learning."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from frostline.contracts.batch import Batch
from frostline.contracts.features import vector
from frostline.contracts.targets import Targets
from frostline.errors import ConfigError
from frostline.heads.embedding import EmbeddingHead, IdentityHead
from frostline.tasks.metric_losses import arcface, batch_hard_triplet, supervised_contrastive
from frostline.tasks.neighbours import MOST_DRAWN, interval, ranked, resamples
from frostline.tasks.retrieval import Retrieval
from frostline.tasks.verification import verified, verified_intervals

NAMES = ["a", "b", "c"]


def task(**settings: Any) -> Retrieval:
    said = {"loss": "arcface", "margin": 0.5, "scale": 16.0, "temperature": 0.1, "triplet_margin": 0.3, "l1": 0.0}
    return Retrieval(
        Targets("identities", NAMES, [4, 4, 4]), **{**said, "monitor": "val/map_r", "mode": "max", **settings}
    )


def drawn(number: int = 24, width: int = 5, identities: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors of length 1 around a centre for each identity."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % identities
    centres = torch.randn(identities, width, generator=draw, dtype=torch.float64)
    vectors = centres[labels] + torch.randn(number, width, generator=draw, dtype=torch.float64)
    return normalize(vectors, dim=1), labels


def batch(labels: Tensor) -> Batch:
    return Batch(torch.zeros(len(labels)), labels, torch.arange(len(labels)))


# --- losses ---


def test_arcface_adds_the_margin_to_the_right_angle() -> None:
    vectors, labels = drawn(identities=3)
    prototypes = drawn(3, seed=1)[0]
    for sample, each in enumerate(arcface(vectors, labels, prototypes, margin=0.5, scale=16.0)):
        angles = [math.acos(float(vectors[sample] @ prototype)) for prototype in prototypes]
        right = int(labels[sample])
        logits = [16 * math.cos(angle + 0.5 * (place == right)) for place, angle in enumerate(angles)]
        if angles[right] + 0.5 > math.pi:
            logits[right] = 16 * (math.cos(angles[right]) - 0.5 * math.sin(0.5))
        expected = math.log(sum(map(math.exp, logits))) - logits[right]
        assert float(each) == pytest.approx(expected, rel=1e-6)


def test_an_opposite_prototype_has_a_gradient_and_no_better_loss_than_a_near_one() -> None:
    prototypes = torch.eye(2, dtype=torch.float64)
    at = torch.tensor([math.pi, 3.0, 2.7, 2.0], dtype=torch.float64)
    vectors = torch.stack([at.cos(), at.sin()], 1).requires_grad_()
    losses = arcface(vectors, torch.zeros(4, dtype=torch.long), prototypes, margin=0.5, scale=4.0)
    losses.sum().backward()
    assert vectors.grad is not None
    assert bool(vectors.grad.isfinite().all())
    assert bool((vectors.grad[:, 0] < 0).all()), "the first prototype is approached"


def naive_supcon(vectors: Tensor, labels: Tensor, temperature: float) -> list[float]:
    losses = []
    for a in range(len(labels)):
        others = [j for j in range(len(labels)) if j != a]
        whole = sum(math.exp(float(vectors[a] @ vectors[j]) / temperature) for j in others)
        same = [j for j in others if labels[j] == labels[a]]
        logs = [math.log(math.exp(float(vectors[a] @ vectors[j]) / temperature) / whole) for j in same]
        losses.append(-sum(logs) / len(logs) if logs else 0.0)
    return losses


def naive_triplet(vectors: Tensor, labels: Tensor, margin: float) -> list[float]:
    losses = []
    for a in range(len(labels)):
        distance = [float((vectors[a] - vectors[j]).norm()) for j in range(len(labels))]
        same = [distance[j] for j in range(len(labels)) if j != a and labels[j] == labels[a]]
        other = [distance[j] for j in range(len(labels)) if labels[j] != labels[a]]
        losses.append(max(0.0, max(same) - min(other) + margin) if same and other else 0.0)
    return losses


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 2, 2, 3, 4], [0, 0, 0, 0, 0, 0, 0]])
def test_losses_of_pairs_are_those_of_loops(labels: list[int]) -> None:
    vectors, own = drawn(7)[0], torch.tensor(labels)
    contrasted = supervised_contrastive(vectors, own, vectors, own, 0, temperature=0.2)
    assert contrasted.tolist() == pytest.approx(naive_supcon(vectors, own, 0.2), rel=1e-9)
    triplets = batch_hard_triplet(vectors, own, vectors, own, 0, margin=0.3)
    assert triplets.tolist() == pytest.approx(naive_triplet(vectors, own, 0.3), rel=1e-6)


def test_a_share_of_the_anchors_has_its_share_of_the_loss() -> None:
    """Several ranks each have their own anchors and the samples of all."""
    vectors, labels = drawn(10, identities=3)
    for loss, settings in ((supervised_contrastive, {"temperature": 0.1}), (batch_hard_triplet, {"margin": 0.3})):
        whole = loss(vectors, labels, vectors, labels, 0, **settings)
        shares = [
            loss(vectors[at], labels[at], vectors, labels, at.start, **settings) for at in (slice(0, 4), slice(4, 10))
        ]
        assert torch.equal(torch.cat(shares), whole)


# --- head and task ---


def test_a_head_gives_unit_vectors_and_in_training_the_prototypes_too() -> None:
    torch.manual_seed(0)
    head = EmbeddingHead(vector(6), 3, dimension=4, batch_norm=False)
    features = torch.randn(5, 6)
    assert head(features).shape == (5 + 3, 4)
    assert head(features).norm(dim=1).tolist() == pytest.approx([1.0] * 8)
    assert torch.equal(head.eval()(features), head.train()(features)[:5])
    assert "prototypes" not in EmbeddingHead(vector(6), 0, dimension=4, batch_norm=True).state_dict()
    identity = IdentityHead(vector(6), 3)
    assert [*identity.parameters()] == []
    assert torch.equal(identity(features), normalize(features, dim=1))


def test_the_loss_is_the_mean_over_samples_and_learns_prototypes_in_the_head() -> None:
    torch.manual_seed(0)
    head = EmbeddingHead(vector(6), task().num_outputs, dimension=4, batch_norm=False)
    labels = torch.tensor([0, 1, 2, 2])
    outputs = head(torch.randn(4, 6))
    (loss,) = task().loss(outputs, batch(labels)).values()
    expected = arcface(outputs[:4], labels, outputs[4:], margin=0.5, scale=16.0).mean()
    assert torch.equal(loss, expected)
    loss.backward()
    assert head.prototypes is not None
    assert head.prototypes.grad is not None
    assert all(task(loss=loss).num_outputs == 0 for loss in ("supcon", "triplet"))


def test_a_loss_with_prototypes_needs_a_head_that_has_some() -> None:
    with pytest.raises(ConfigError, match="this head has none") as refused:
        task().loss(torch.eye(3), batch(torch.tensor([0, 1, 2])))
    assert "head=embedding" in refused.value.next_step
    with pytest.raises(ConfigError, match="leaves no room"):
        task(margin=1.6)


def test_embeddings_are_predicted_and_saved() -> None:
    outputs = torch.tensor([[0.6, -0.8], [1.0, 0.0]])
    predictions = task().decode(outputs, batch(torch.tensor([0, 1])))
    assert task().columns(predictions, 5) == {"e1": ["0.60000002", "1"], "e2": ["-0.80000001", "0"]}
    saved = task().saved(outputs, batch(torch.tensor([0, 7])))
    assert (saved["target"].tolist(), saved["embedding"].tolist()) == ([0, 7], outputs.tolist())


# --- scores ---


def naive_scores(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """One query after the other; every threshold that a pair of one identity gives."""
    found: dict[str, list[float]] = {"recall_1": [], "recall_5": [], "recall_10": [], "map_r": []}
    for query in range(len(labels)):
        others = [j for j in range(len(labels)) if j != query]
        right = sum(labels[j] == labels[query] for j in others)
        if not right:
            continue
        order = sorted(others, key=lambda j: (-(vectors[query] @ vectors[j]), labels[j] == labels[query]))
        hits = [labels[j] == labels[query] for j in order]
        for k in (1, 5, 10):
            found[f"recall_{k}"].append(float(any(hits[:k])))
        found["map_r"].append(sum(sum(hits[: i + 1]) / (i + 1) for i in range(right) if hits[i]) / right)
    pairs = [(i, j) for i in range(len(labels)) for j in range(i)]
    same = np.array([vectors[i] @ vectors[j] for i, j in pairs if labels[i] == labels[j]])
    other = np.array([vectors[i] @ vectors[j] for i, j in pairs if labels[i] != labels[j]])
    rates = [((other >= t).mean(), (same < t).mean(), t) for t in sorted(same)]
    eer, threshold = min((max(accepted, rejected), t) for accepted, rejected, t in rates)
    tar = max((1 - rejected for accepted, rejected, _ in rates if accepted <= 1e-3), default=0.0)
    return {name: float(np.mean(values)) for name, values in found.items()} | {
        "eer": float(eer), "tar": float(tar), "threshold": float(threshold)
    }  # fmt: skip


def scores_of(vectors: Tensor, labels: Tensor) -> dict[str, float]:
    found = ranked(vectors, labels)
    recalls = {f"recall_{k}": float((found.first <= k).double().mean()) for k in (1, 5, 10)}
    return recalls | {"map_r": float(found.average_precision.mean())} | verified(vectors, labels)._asdict()


@pytest.mark.parametrize("held", [2**22, 30])
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_one_query_after_the_other(seed: int, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block and many blocks; identities with 1, 2 and more samples."""
    monkeypatch.setattr("frostline.tasks.neighbours.SIMILARITIES", held)
    vectors, _ = drawn(40, seed=seed)
    labels = torch.tensor([0, 1, 1, 2, 2, *([3] * 12), *([4] * 20), 5, 5, 6])
    assert scores_of(vectors, labels) == pytest.approx(naive_scores(vectors.numpy(), labels.numpy()), rel=1e-9)


def test_losses_and_scores_are_those_of_pytorch_metric_learning() -> None:
    """Numbers of pytorch-metric-learning 2.9.0 on these vectors: AccuracyCalculator, ArcFaceLoss, SupConLoss,
    BatchHardMiner with TripletMarginLoss and the mean over all triplets."""
    vectors, labels = drawn(40, seed=5)
    found = ranked(vectors, labels)
    assert float((found.first == 1).double().mean()) == pytest.approx(0.85, rel=1e-12)
    assert float(found.average_precision.mean()) == pytest.approx(0.5738611111111112, rel=1e-12)
    losses = {
        12.433656330053127: arcface(vectors, labels, drawn(6, seed=9)[0], margin=0.5, scale=16.0),
        3.426165801637815: supervised_contrastive(vectors, labels, vectors, labels, 0, temperature=0.1),
        0.694660070825629: batch_hard_triplet(vectors, labels, vectors, labels, 0, margin=0.3),
    }
    for expected, each in losses.items():
        assert float(each.mean()) == pytest.approx(expected, rel=1e-9)


def test_equal_similarities_count_against_the_samples_of_the_identity() -> None:
    """A collapsed embedding has the lowest scores, in any order of samples."""
    vectors, labels = torch.tensor([[1.0, 0.0]] * 12), torch.tensor([0, 0, 0, *([1] * 9)])
    for order in (torch.arange(12), torch.arange(12).flip(0)):
        scores = scores_of(vectors[order], labels[order])
        assert scores["recall_1"] == scores["tar"] == 0.0
        assert scores["eer"] == 1.0
        expected = naive_scores(vectors[order].numpy(), labels[order].numpy())
        assert scores["map_r"] == pytest.approx(expected["map_r"])
        assert scores["map_r"] < 0.25


def test_scores_without_pairs_are_the_lowest() -> None:
    alone = scores_of(*drawn(3, identities=3))
    assert math.isnan(alone.pop("map_r"))
    assert (alone["eer"], alone["tar"]) == (1.0, 0.0)
    metrics = task().metrics()
    vectors, labels = drawn(3, identities=3)
    metrics.update(vectors, batch(labels))
    assert metrics.compute()["map_r"] == 0.0
    assert [row["n"] for row in metrics.per_class()] == [0]


def test_batches_in_any_order_have_the_scores_of_all_samples() -> None:
    vectors, labels = drawn(24)
    metrics = task().metrics()
    for rows in (slice(10, 24), slice(0, 10)):
        own = Batch(torch.zeros(0), labels[rows], torch.arange(24)[rows])
        metrics.update(vectors[rows], own)
    scores = metrics.compute()
    assert scores["n"] == 24
    assert {name: scores[name] for name in scores_of(vectors, labels)} == pytest.approx(
        scores_of(vectors.float(), labels), abs=1e-6
    )
    assert scores["map_r_low"] < scores["map_r"] < scores["map_r_high"]
    rows = {row["identities"]: row["n"] for row in metrics.per_class()}
    assert rows == {"in training": 12, "not in training": 12}, "three of the six identities are those of training"
    metrics.reset()
    metrics.update(vectors, batch(labels))
    assert metrics.compute() == scores


def test_the_interval_is_over_identities() -> None:
    """Ten samples that succeed together are one observation: half of two identities is a wide interval."""
    groups = torch.tensor([0] * 10 + [1] * 10)
    assert interval("it", (groups == 0).double(), groups) == {"it_low": 0.0, "it_high": 1.0, "it_units": 2}
    many = torch.arange(400)
    low, high, number = interval("it", (many % 2).double(), many).values()
    assert (low, high, number) == (pytest.approx(0.45, abs=0.01), pytest.approx(0.55, abs=0.01), 400)
    more = torch.arange(2 * MOST_DRAWN + 2)  # by the normal distribution
    assert interval("it", (more % 2).double(), more)["it_low"] == pytest.approx(0.5 - 1.96 * 0.5 / len(more) ** 0.5)
    twice = more // 2  # pairs of one right and one wrong: every pair is half right
    assert interval("it", (more % 2).double(), twice)["it_high"] == pytest.approx(0.5)


def test_intervals_of_verification_are_about_those_of_the_whole_bootstrap() -> None:
    vectors, labels = drawn(number=60, width=8, identities=20)
    similar = vectors @ vectors.T
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    scores, same = similar[first, second], labels[first] == labels[second]
    rates = []
    for chosen in next(resamples(20))[:300].split(1):
        times = chosen[0].bincount(minlength=20).double()
        weight = torch.where(same, times[labels[first]], times[labels[first]] * times[labels[second]])
        thresholds = scores[same].unique()
        passed = scores >= thresholds[:, None]
        accepted = (passed * weight * same).sum(1) / (weight * same).sum()
        wrong = (passed * weight * ~same).sum(1) / (weight * ~same).sum()
        strict = (wrong <= 1e-3).nonzero()
        rates.append(
            [float(torch.maximum(wrong, 1 - accepted).min()), float(accepted[strict[0, 0]]) if len(strict) else 0]
        )
    bounds = torch.tensor(rates).quantile(torch.tensor([0.025, 0.975]), dim=0).T.tolist()
    found, exact = verified_intervals(vectors, labels), verified(vectors, labels)
    assert found["eer"] == pytest.approx(bounds[0], abs=0.03)
    assert found["tar"] == pytest.approx(bounds[1], abs=0.03)
    assert found["eer"][0] < exact.eer < found["eer"][1]
    assert verified_intervals(vectors, torch.zeros(60)) == {}
    assert verified_intervals(vectors, torch.arange(60)) == {}
