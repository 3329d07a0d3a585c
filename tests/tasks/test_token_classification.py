"""Tags of words against seqeval, scikit-learn and torch, on padded batches of uneven sizes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from sklearn.metrics import log_loss
from torch import Tensor
from torch.nn.functional import cross_entropy

from batches import batch, decoded, loss_of
from frostline.contracts.targets import NO_TAG, Targets
from frostline.errors import ConfigError
from frostline.tasks.token_classification import TokenClassification, TokenClassificationMetrics

TAGS = ["O", "B-person", "I-person", "B-place", "I-place", "B-group", "I-group"]
SIZES = [1, 32, 7, 2]  # samples of each batch
COUNTS = [50, 10, 5, 10, 5, 15, 5]
Batches = list[tuple[Tensor, Tensor]]


def task(mean_words: float = 5.0, **settings: Any) -> TokenClassification:
    said: dict[str, Any] = {
        "label_smoothing": 0.0,
        "class_weights": "none",
        "l1": 0.0,
        "monitor": "val/f1",
        "mode": "max",
    }
    return TokenClassification(Targets("tags", TAGS, COUNTS, {"mean_words": mean_words}), **said | settings)


def drawn(seed: int, sizes: list[int] = SIZES) -> Batches:
    """Logits that favour the true tag; words begin at every second token or so; some samples have none."""
    draw = torch.Generator().manual_seed(seed)
    frequency = torch.tensor(COUNTS).float()
    batches = []
    for size in sizes:
        length = int(torch.randint(3, 20, (), generator=draw))
        tags = torch.multinomial(frequency, size * length, replacement=True, generator=draw).view(size, length)
        targets = tags.masked_fill(torch.rand(size, length, generator=draw) < 0.5, NO_TAG)
        targets[torch.rand(size, generator=draw) < 0.1] = NO_TAG
        logits = torch.randn(size, length, len(TAGS), generator=draw)
        logits += 2 * torch.nn.functional.one_hot(tags, len(TAGS))
        batches.append((logits, targets))
    return batches


def measured(batches: Batches) -> TokenClassificationMetrics:
    metrics = task().metrics()
    for logits, targets in batches:
        metrics.update(logits, batch(targets))
    return metrics


def sentences(batches: Batches) -> tuple[list[list[str]], list[list[str]]]:
    """Tags by name, true and predicted, of each sample's words."""
    rows = [row for logits, targets in batches for row in zip(logits, targets, strict=True)]
    true = [[TAGS[tag] for tag in targets[targets != NO_TAG].tolist()] for _, targets in rows]
    given_ = [[TAGS[tag] for tag in logits[targets != NO_TAG].argmax(1).tolist()] for logits, targets in rows]
    return true, given_


def require_seqevals(metrics: TokenClassificationMetrics, true: list[list[str]], predicted: list[list[str]]) -> None:
    scores, rows = metrics.compute(), metrics.per_class()
    assert (scores["precision"], scores["recall"], scores["f1"], scores["f1_macro"]) == pytest.approx(
        (
            precision_score(true, predicted, zero_division=0),
            recall_score(true, predicted, zero_division=0),
            f1_score(true, predicted, zero_division=0),
            f1_score(true, predicted, average="macro", zero_division=0) if any_entity(true, predicted) else 0.0,
        )
    )
    occur = {row["entity"]: row for row in rows if row["n"] or row["entity"] in named(predicted)}
    if not occur:
        return
    report = classification_report(true, predicted, output_dict=True, zero_division=0)
    assert occur.keys() == {name for name in report if not name.endswith(" avg")}
    for name, row in occur.items():
        said = report[name]
        expected = (said["support"], said["precision"], said["recall"], said["f1-score"])
        found = [0.0 if row[score] is None else row[score] for score in ("precision", "recall", "f1")]
        assert (row["n"], *found) == pytest.approx(expected)  # seqeval's are 0 if there is nothing to divide by
        assert (row["recall"] is None) == (row["n"] == 0)
        assert (row["precision"] is None) == (name not in named(predicted))
        assert row["f1"] is not None


@pytest.mark.parametrize("seed", range(3))
def test_entities_of_words_that_were_cut_off_are_missed_and_they_alone(seed: int) -> None:
    """Words that were cut off count as predicted `O`; loss and word scores use the other words."""
    batches = drawn(seed)
    short = [(logits[:, : logits.shape[1] // 2], targets) for logits, targets in batches]
    padded = []
    for logits, targets in short:
        outside = torch.zeros(len(targets), targets.shape[1] - logits.shape[1], len(TAGS))
        outside[:, :, TAGS.index("O")] = 1
        padded.append((torch.cat([logits, outside], 1), targets))
    found = measured(short)
    require_seqevals(found, *sentences(padded))
    seen = [(logits, targets[:, : logits.shape[1]]) for logits, targets in short]
    scores, of_seen = found.compute(), measured(seen).compute()
    assert (scores["loss"], scores["accuracy"]) == (of_seen["loss"], of_seen["accuracy"])
    assert scores["recall"] < of_seen["recall"]
    for (logits, targets), (_, cut) in zip(short, seen, strict=True):
        assert torch.equal(loss_of(task(), logits, targets), loss_of(task(), logits, cut))


def named(tags: list[list[str]]) -> set[str]:
    return {tag[2:] for sentence in tags for tag in sentence if tag != "O"}


def any_entity(*several: list[list[str]]) -> bool:
    return any(named(tags) for tags in several)


# --- scores ---


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_seqevals_and_scikit_learns(seed: int) -> None:
    batches = drawn(seed)
    metrics, (true, predicted) = measured(batches), sentences(batches)
    require_seqevals(metrics, true, predicted)
    places = [targets != NO_TAG for _, targets in batches]
    logits = torch.cat([logits[chosen] for (logits, _), chosen in zip(batches, places, strict=True)])
    wanted = torch.cat([targets[chosen] for (_, targets), chosen in zip(batches, places, strict=True)])
    scores = metrics.compute()
    probabilities = logits.double().softmax(1).numpy()
    assert scores["loss"] == pytest.approx(log_loss(wanted, probabilities, labels=range(len(TAGS))), rel=1e-5)
    assert scores["accuracy"] == pytest.approx((logits.argmax(1) == wanted).double().mean().item())
    assert scores["n"] == sum(SIZES)


@st.composite
def tagged(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Any tags, legal or not, true and predicted, of any number of words."""
    tags = st.tuples(st.integers(0, len(TAGS) - 1), st.integers(0, len(TAGS) - 1))
    pairs = draw(st.lists(st.lists(tags, max_size=9), min_size=1, max_size=6))
    return tuple([[pair[side] for pair in sentence] for sentence in pairs] for side in (0, 1))  # type: ignore[return-value]


@given(said=tagged(), gap=st.integers(0, 2), cut=st.integers(0, 6))
def test_scores_of_any_tags_are_seqevals(said: tuple[list[list[int]], list[list[int]]], gap: int, cut: int) -> None:
    """Words `gap` tokens apart, in two batches."""
    length = (gap + 1) * max(1, *(len(sentence) for sentence in said[0]))
    true, guessed = (torch.full((len(said[0]), length), NO_TAG) for _ in range(2))
    for row, (wanted, given_) in enumerate(zip(*said, strict=True)):
        for tags, values in ((true, wanted), (guessed, given_)):
            tags[row, : (gap + 1) * len(values) : gap + 1] = torch.tensor(values, dtype=torch.int64)
    logits = torch.nn.functional.one_hot(guessed.clamp(min=0), len(TAGS)).float()
    batches = [(logits[rows], true[rows]) for rows in (slice(cut), slice(cut, None)) if len(true[rows])]
    names = [[[TAGS[tag] for tag in sentence] for sentence in side if sentence] for side in said]
    if names[0]:
        require_seqevals(measured(batches), *names)
    else:
        assert measured(batches).compute()["f1"] == 0.0


def test_scores_are_seqevals_on_tags_of_people(shared: Path) -> None:
    true = list(conll(shared / "wnut17" / "test.conll"))
    tags = sorted({tag for sentence in true for tag in sentence})
    draw = torch.Generator().manual_seed(0)
    metrics = TokenClassificationMetrics(tags)
    predicted = []
    for sentence in true:
        targets = torch.tensor([tags.index(tag) for tag in sentence])
        noisy = torch.where(torch.rand(len(targets), generator=draw) < 0.2, targets.roll(1), targets)
        predicted.append([tags[tag] for tag in noisy.tolist()])
        metrics.update(torch.nn.functional.one_hot(noisy, len(tags))[None].float(), batch(targets[None]))
    require_seqevals(metrics, true, predicted)
    assert sum(row["n"] for row in metrics.per_class()) == 1079  # as the data set says


def conll(file: Path) -> Iterator[list[str]]:
    for sentence in file.read_text(encoding="utf-8").split("\n\n"):
        if sentence.strip():
            yield [line.split("\t")[1] for line in sentence.strip("\n").split("\n")]


def test_scores_do_not_depend_on_batches_nor_on_padding() -> None:
    batches = drawn(seed=0)
    one_by_one = [(logits[i : i + 1], targets[i : i + 1]) for logits, targets in batches for i in range(len(targets))]
    padded = [
        (torch.nn.functional.pad(logits, (0, 0, 0, 3), value=9.0), torch.nn.functional.pad(t, (0, 3), value=NO_TAG))
        for logits, t in one_by_one
    ]
    assert measured(padded).compute() == pytest.approx(measured(batches).compute(), rel=1e-5)
    assert measured(padded).per_class() == measured(batches).per_class()


def test_what_ranks_have_counted_adds_up() -> None:
    """Merge states with the reductions that torchmetrics uses between ranks."""
    batches = drawn(seed=0)
    whole, shares = measured(batches), [measured(batches[:2]), measured(batches[2:])]
    shares[0].sums.merge_state(shares[1].sums)
    assert shares[0].compute() == pytest.approx(whole.compute(), rel=1e-5)
    assert shares[0].per_class() == whole.per_class()


def test_a_type_that_never_occurs_has_a_row_and_does_not_lower_the_mean() -> None:
    tags = torch.tensor([[0, 1, 2, 0, 3]])
    metrics = measured([(torch.nn.functional.one_hot(tags, len(TAGS)).float(), tags)])
    assert metrics.compute()["f1_macro"] == 1.0
    assert metrics.per_class()[2] == {"entity": "group", "n": 0, "precision": None, "recall": None, "f1": None}


def test_scores_are_of_full_precision_whatever_the_logits_are() -> None:
    logits, targets = drawn(seed=0, sizes=[64])[0]
    rounded = logits.bfloat16()
    assert measured([(rounded, targets)]).compute() == measured([(rounded.float(), targets)]).compute()


def test_logits_that_are_no_numbers_have_scores_too() -> None:
    """The run says what is wrong when the epoch has ended."""
    assert measured([(torch.full((4, 3, len(TAGS)), torch.nan), torch.ones(4, 3).long())]).compute()["n"] == 4


def test_a_reset_forgets_everything() -> None:
    metrics = measured(drawn(seed=0))
    metrics.reset()
    again = drawn(seed=1)
    for logits, targets in again:
        metrics.update(logits, batch(targets))
    assert metrics.compute() == measured(again).compute()


# --- the loss ---


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_loss_is_torchs_of_each_word(smoothing: float, class_weights: str) -> None:
    logits, targets = drawn(seed=0, sizes=[16])[0]
    weight = torch.tensor([100 / (7 * count) for count in COUNTS]) if class_weights == "balanced" else None
    chosen = targets != NO_TAG
    each = cross_entropy(logits[chosen], targets[chosen], label_smoothing=smoothing, reduction="none")
    each = each if weight is None else each * weight[targets[chosen]]
    loss = loss_of(task(3.0, label_smoothing=smoothing, class_weights=class_weights), logits, targets)
    torch.testing.assert_close(loss, each.sum() / (16 * 3.0))


def test_a_tag_that_no_word_has_is_not_taught_by_smoothing() -> None:
    counts = [9000, 500, 0, 300, 200]
    settings: dict[str, Any] = {"label_smoothing": 0.1, "class_weights": "balanced", "l1": 0.0}
    said = Targets("tags", TAGS[:5], counts, {"mean_words": 1.0})
    it = TokenClassification(said, **settings, monitor="val/f1", mode="max")
    logits = torch.zeros(1, 1, 5, requires_grad=True)
    loss_of(it, logits, torch.tensor([[1]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 2] > 0, "its logit falls"
    present = torch.tensor([count for count in counts if count])
    assert it.class_weights is not None
    torch.testing.assert_close(it.class_weights[[0, 1, 3, 4]], 10_000 / (4 * present))


def test_the_mean_over_shares_of_a_batch_is_the_mean_over_the_whole() -> None:
    """However many words a share has: gradients of ranks, each weighed by its samples, are those of one process."""
    logits, targets = drawn(seed=0, sizes=[12])[0]
    it = task()
    shares = [slice(0, 4), slice(4, 5), slice(5, 12)]
    assert len({int((targets[share] != NO_TAG).sum()) for share in shares}) == 3
    mean = sum(loss_of(it, logits[share], targets[share]) * len(targets[share]) / 12 for share in shares)
    torch.testing.assert_close(mean, loss_of(it, logits, targets))


def test_a_batch_without_words_teaches_nothing() -> None:
    logits = torch.randn(2, 3, len(TAGS), requires_grad=True)
    loss = loss_of(task(), logits, torch.full((2, 3), NO_TAG))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_half_precision_logits_are_weighed_in_full_precision() -> None:
    logits, targets = drawn(seed=0, sizes=[16])[0]
    loss = loss_of(task(), logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, loss_of(task(), logits.bfloat16().float(), targets))


def test_nothing_of_the_task_is_in_a_checkpoint() -> None:
    assert task(class_weights="balanced").state_dict() == {}
    assert task().metrics().state_dict() == {}


# --- predictions ---


def test_a_word_has_the_probabilities_of_its_first_token() -> None:
    logits = drawn(seed=0, sizes=[1])[0][0][:, :3].bfloat16()
    probabilities = decoded(task(), logits)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, logits.float().softmax(2))


def test_a_table_has_a_row_for_each_word_and_no_tag_where_the_network_saw_none() -> None:
    one = torch.tensor([0.1, 0.7, 0.0, 0.2, 0.0, 0.0, 0.0])
    lost = torch.full_like(one, torch.nan)
    predictions = [torch.stack([one, lost]), torch.zeros(0, len(TAGS)), torch.stack([one.roll(2)])]
    said = task().word_columns([["Ada", "!"], [], ["Rome"]], predictions, top_k=2)
    assert said == {
        "sentence": ["1", "1", "3"],
        "word": ["Ada", "!", "Rome"],
        "tag": ["B-person", "", "B-place"],
        "probability": ["0.700000", "", "0.700000"],
        "tag_2": ["B-place", "", "B-group"],
        "probability_2": ["0.200000", "", "0.200000"],
    }


def test_there_is_an_output_for_each_tag() -> None:
    assert task().num_outputs == len(TAGS)


def test_a_score_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="no score 'val/r2'") as refused:
        task(monitor="val/r2")
    assert "val/f1" in refused.value.next_step
