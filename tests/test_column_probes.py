"""Baselines of tables: what scikit-learn finds, and what each column adds where the truth is known."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import log_loss
from torch import Tensor

from frostline.training.column_pairs import Pairs
from frostline.training.column_probes import LEAST, STRENGTHS, TREES, Block, Linear, Trees, biases
from frostline.training.table_baselines import _without_absent, affordable

N, M = 300, 100


def made(seed: int = 0) -> tuple[list[Block], Tensor, Tensor]:
    """A number that counts, a user and an item that do, features of which one counts, and noise of deviation 0.1."""
    draw = torch.Generator().manual_seed(seed)
    number = torch.randn(N + M, 1, generator=draw, dtype=torch.float64)
    features = torch.randn(N + M, 40, generator=draw, dtype=torch.float64)
    user, item = (torch.randint(0, codes, (N + M,), generator=draw) for codes in (10, 6))
    effects = [torch.randn(codes, generator=draw, dtype=torch.float64) for codes in (10, 6)]
    noise = 0.1 * torch.randn(N + M, generator=draw, dtype=torch.float64)
    targets = 2 * number[:, 0] + features[:, 3] + effects[0][user] + effects[1][item] + noise
    parts = {"number": number, "text": features, "user": user, "item": item}
    blocks = [Block(name, it[:N], it[N:]) for name, it in parts.items()]
    return blocks, targets[:N, None], targets[N:, None]


def error(predicted: Tensor, wanted: Tensor) -> float:
    return float((predicted - wanted).square().mean().sqrt())


def test_ridge_is_scikit_learns_on_scaled_columns() -> None:
    blocks, targets, wanted = made()
    columns = []
    for block in blocks:
        if block.coded:
            columns.append(np.eye(block.codes)[torch.cat([block.train, block.val]).numpy()])
        else:
            scaled = (torch.cat([block.train, block.val]) - block.train.mean(0)) / block.train.std(0, correction=0)
            columns.append(scaled.numpy() / block.width**0.5)
    x = np.hstack(columns)
    found = [SklearnRidge(alpha=alpha).fit(x[:N], targets.numpy()).predict(x[N:]).reshape(-1, 1) for alpha in STRENGTHS]
    expected = min(found, key=lambda it: float(np.square(it - wanted.numpy()).mean()))
    assert torch.allclose(Linear(blocks).ridge(targets, wanted), torch.from_numpy(expected), atol=1e-8)


def test_biases_are_a_ridge_on_one_column_for_each_code() -> None:
    blocks, targets, wanted = made()
    found = []
    x = np.hstack([np.eye(block.codes)[torch.cat([block.train, block.val]).numpy()] for block in blocks[2:]])
    centre = float(targets.mean())
    for alpha in STRENGTHS:
        model = SklearnRidge(alpha=alpha, fit_intercept=False).fit(x[:N], targets.numpy() - centre)
        found.append(model.predict(x[N:]).reshape(-1, 1) + centre)
    expected = min(found, key=lambda it: float(np.square(it - wanted.numpy()).mean()))
    assert torch.allclose(biases(blocks[2:], targets, wanted), torch.from_numpy(expected), atol=1e-7)


def test_trees_are_scikit_learns() -> None:
    blocks, targets, wanted = made()
    known = [blocks[0], *blocks[2:]]
    sides = [torch.cat([it.train, it.val]).double().reshape(N + M, -1) for it in known]
    x = torch.cat(sides, 1).numpy()
    model = HistGradientBoostingRegressor(
        max_iter=TREES, early_stopping=False, categorical_features=[False, True, True], random_state=0
    ).fit(x[:N], targets[:, 0].numpy())
    best = min(model.staged_predict(x[N:]), key=lambda it: float(np.square(it - wanted[:, 0].numpy()).mean()))
    assert Trees(known).regress(targets, wanted)[:, 0].numpy() == pytest.approx(best)
    assert (
        error(Trees(blocks).regress(targets, wanted), wanted)
        < error(Trees(known).regress(targets, wanted), wanted) * 1.1
    )


def test_each_finds_what_it_can() -> None:
    blocks, targets, wanted = made()
    linear = Linear(blocks)
    least = error(linear.ridge(targets, wanted), wanted)
    assert least < 0.13, "the noise is 0.1"
    assert least < error(Trees(blocks).regress(targets, wanted), wanted) < error(targets.mean(0), wanted)
    assert error(biases(blocks[2:], targets, wanted), wanted) < error(targets.mean(0), wanted)


def test_unknown_codes_have_no_bias() -> None:
    train, val = torch.tensor([0, 0, 1, -1]), torch.tensor([0, -1, 7])
    block = Block("user", train, val)
    targets = torch.tensor([[3.0], [3.0], [-3.0], [1.0]])
    found = biases([block], targets, torch.tensor([[3.0], [1.0], [-3.0]]))
    assert found[1].item() == pytest.approx(1.0), "the mean"
    assert found[0] > 2
    linear = Linear([Block("user", train, val)])
    predicted = linear.ridge(targets, torch.tensor([[3.0], [1.0], [1.0]]))
    assert predicted[1] == predicted[2], "a code beyond those of training is unknown, too"


def test_a_table_of_constants_is_its_mean() -> None:
    block = Block("same", torch.ones(5, 2), torch.ones(3, 2))
    targets = torch.arange(5.0)[:, None]
    assert Linear([block]).ridge(targets, torch.zeros(3, 1)).flatten().tolist() == pytest.approx([2.0] * 3)
    assert Pairs([block]).fit(targets, torch.zeros(3, 1), without=0).predicted.flatten().tolist() == [2.0] * 3


def test_logistic_regression_and_trees_know_classes() -> None:
    """Two classes by the sign of the target, of which scikit-learn's own classifiers find as much."""
    blocks, targets, wanted = made()
    labels, truth = (targets[:, 0] > 0).long(), (wanted[:, 0] > 0).long()
    found = Linear(blocks).logistic(labels, truth, 2)
    assert found.exp().sum(1).tolist() == pytest.approx([1.0] * M)
    linear = Linear(blocks)
    fits = [LogisticRegression(C=1 / it, max_iter=1000).fit(linear.train.numpy(), labels.numpy()) for it in STRENGTHS]
    best = min(fits, key=lambda it: log_loss(truth.numpy(), it.predict_proba(linear.val.numpy())))
    assert found.numpy() == pytest.approx(best.predict_log_proba(linear.val.numpy()), abs=1e-2)
    trees = Trees(blocks).classify(labels, truth, 2)
    always = float((truth == labels.mode().values).double().mean())
    assert float((found.argmax(1) == truth).double().mean()) > 0.9
    assert float((trees.argmax(1) == truth).double().mean()) > always + 0.1


def test_sure_logits_of_two_classes_stay_finite() -> None:
    """scikit-learn's log-probabilities of a class whose probability rounds to 0 are infinite, with a warning."""
    train, val = torch.tensor([[-1.0], [1.0]] * 20), torch.tensor([[-900.0], [900.0]])
    found = Linear([Block("number", train, val)]).logistic(torch.tensor([0, 1] * 20), torch.tensor([0, 1]), 2)
    assert found.isfinite().all()
    assert found.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_class_that_the_drawn_rows_lack_keeps_its_place(absent: int) -> None:
    """Validation has all three; a draw of training rows may lack a rare one."""
    blocks, targets, wanted = made()
    drawn = torch.tensor([it for it in range(3) if it != absent])
    labels, truth = drawn[(targets[:, 0] > 0).long()], drawn[(wanted[:, 0] > 0).long()]
    truth[0] = absent
    for logits in (Linear(blocks).logistic(labels, truth, 3), Trees(blocks).classify(labels, truth, 3)):
        assert logits.shape == (M, 3)
        assert logits[:, absent].exp().tolist() == pytest.approx([LEAST] * M)
        assert float((logits.argmax(1) == truth).double().mean()) > 0.8


def test_drawn_rows_of_one_class_predict_it() -> None:
    blocks, _, wanted = made()
    labels, truth = torch.full((N,), 2), torch.arange(M) % 3
    for logits in (Linear(blocks).logistic(labels, truth, 3), Trees(blocks).classify(labels, truth, 3)):
        assert logits.exp()[0].tolist() == pytest.approx([LEAST, LEAST, 1.0])
        assert logits.shape == (len(wanted), 3)


def test_a_category_of_many_codes_is_left_out_of_trees() -> None:
    many = Block("many", torch.arange(N), torch.arange(M))
    blocks, targets, wanted = made()
    trees = Trees([*blocks, many])
    assert trees.left_out == ["many"]
    assert torch.equal(trees.regress(targets, wanted), Trees(blocks).regress(targets, wanted))


# --- pairs ---


def paired(seed: int = 0) -> tuple[list[Block], Tensor, Tensor]:
    """What a user thinks of each of two features; a number that is noise; noise of deviation 0.1."""
    draw = torch.Generator().manual_seed(seed)
    user = torch.randint(0, 8, (N + M,), generator=draw)
    taste = torch.randn(8, 2, generator=draw, dtype=torch.float64)
    features = torch.randn(N + M, 2, generator=draw, dtype=torch.float64)
    other = torch.randn(N + M, 1, generator=draw, dtype=torch.float64)
    targets = (taste[user] * features).sum(1) + 0.1 * torch.randn(N + M, generator=draw, dtype=torch.float64)
    parts = {"user": user, "text": features, "other": other}
    return [Block(name, it[:N], it[N:]) for name, it in parts.items()], targets[:N, None], targets[N:, None]


def test_pairs_are_a_ridge_on_products_of_columns() -> None:
    blocks, targets, wanted = paired()
    user = np.eye(8)[torch.cat([blocks[0].train, blocks[0].val]).numpy()]
    scaled = [torch.cat([it.train, it.val]) - it.train.mean(0) for it in blocks[1:]]
    dense = [(it / (it[:N].std(0, correction=0) * it.shape[1] ** 0.5)).numpy() for it in scaled]
    parts = [user, *dense]
    pairs = [np.einsum("ni,nj->nij", a, b).reshape(N + M, -1) for at, a in enumerate(parts) for b in parts[at + 1 :]]
    x = np.hstack([*parts, *pairs])
    centre = float(targets.mean())
    fits = [SklearnRidge(alpha=it, fit_intercept=False).fit(x[:N], targets.numpy() - centre) for it in STRENGTHS]
    found = [it.predict(x[N:]).reshape(-1, 1) + centre for it in fits]
    expected = min(found, key=lambda it: float(np.square(it - wanted.numpy()).mean()))
    fit = Pairs(blocks).fit(targets, wanted)
    assert fit.weight == 1
    assert torch.allclose(fit.predicted, torch.from_numpy(expected), atol=1e-6)


def test_pairs_find_a_taste_that_no_sum_holds() -> None:
    blocks, targets, wanted = paired()
    whole = Pairs(blocks).fit(targets, wanted)
    assert error(whole.predicted, wanted) < 0.2
    assert error(Linear(blocks).ridge(targets, wanted), wanted) > 3 * error(whole.predicted, wanted)
    without = [error(Pairs(blocks).fit(targets, wanted, at, whole).predicted, wanted) for at in range(3)]
    assert without[0] > 3 * error(whole.predicted, wanted)
    assert without[1] > 3 * error(whole.predicted, wanted)
    assert without[2] == pytest.approx(error(whole.predicted, wanted), rel=0.02)


def test_products_are_left_out_where_the_truth_is_a_sum() -> None:
    blocks, _, _ = made()
    number, features = blocks[0], Block("few", blocks[1].train[:, 2:5], blocks[1].val[:, 2:5])
    draw = torch.Generator().manual_seed(1)
    both = torch.cat([number.train, number.val]) + torch.cat([features.train, features.val])[:, 1:2]
    targets, wanted = (both + torch.randn(N + M, 1, generator=draw, dtype=torch.float64)).split([N, M])
    fit = Pairs([number, features]).fit(targets, wanted)
    assert fit.weight == 0
    assert torch.allclose(fit.predicted, Linear([number, features]).ridge(targets, wanted), atol=1e-6)


def test_many_features_are_seen_by_their_principal_directions() -> None:
    """24 of 40 features have a small variance; what depends on these is not found."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(N + M, 40, generator=draw, dtype=torch.float64)
    features[:, 16:] *= 1e-3
    targets = torch.stack([features[:, 3], 1e3 * features[:, 30]], 1)
    fit = Pairs([Block("text", features[:N], features[N:])]).fit(targets[:N], targets[N:])
    errors = (fit.predicted - targets[N:]).square().mean(0).sqrt()
    assert errors[0] < 0.1
    assert errors[1] > 0.9


# --- limits ---


def test_the_widest_names_are_left_out_first() -> None:
    """A fit on N rows and w columns takes 2 N w² and 8 w³/3 operations."""
    blocks = [
        Block("users", torch.arange(4000), torch.zeros(1).long()),
        Block("items", torch.arange(2500), torch.zeros(1).long()),
        Block("text", torch.zeros(10, 384), torch.zeros(1, 384)),
        Block("empty", torch.full((10,), -1), torch.zeros(1).long()),
    ]
    used, left_out = affordable(blocks, 10_000)
    assert [block.name for block in used] == ["items", "text"]
    assert left_out == ["users"]
    used, left_out = affordable(blocks, 20_000)
    assert ([block.name for block in used], left_out) == (["text"], ["users", "items"])
    wide = [Block("text", torch.zeros(10, 5000), torch.zeros(1, 5000))]
    assert affordable(wide, 20_000) == ([], ["text"])


def test_rows_without_a_picture_are_marked() -> None:
    train, val = torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([[5.0], [7.0]])
    lacks = torch.tensor([False, False, True]), torch.tensor([True, False])
    filled, other = _without_absent(train, val, *lacks)
    assert filled.tolist() == [[1, 0], [3, 0], [2, 1]]
    assert other.tolist() == [[2, 1], [7, 0]]
    nowhere = torch.zeros(3).bool(), torch.zeros(2).bool()
    assert _without_absent(train, val, *nowhere)[0] is train
