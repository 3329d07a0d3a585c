"""Batches of P identities with K samples: full, of all identities, the same for a seed and an epoch on all ranks."""

from itertools import chain

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from frostline.data.identity_batches import IdentityBatches, per_identity_of
from frostline.errors import ConfigError, DataError

quick = settings(max_examples=30)
LABELS = st.lists(st.integers(1, 30), min_size=2, max_size=12).map(
    lambda sizes: torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
)
SIZES, K, EPOCHS = st.integers(4, 40), st.integers(2, 5), st.integers(0, 20)


def batches(
    labels: Tensor, size: int, number: int, *, epoch: int = 0, seed: int = 0, world: int = 1
) -> list[list[list[int]]]:
    """Per rank the batches that it gets."""
    made = [IdentityBatches(labels, size, number, seed=seed, rank=rank, world_size=world) for rank in range(world)]
    for sampler in made:
        sampler.set_epoch(epoch)
    return [[list(share) for share in sampler] for sampler in made]


@given(labels=LABELS, size=SIZES, number=K, epoch=EPOCHS)
@quick
def test_each_batch_has_as_many_of_each_identity_and_each_epoch_all_identities(
    labels: Tensor, size: int, number: int, epoch: int
) -> None:
    assume(size >= 2 * number)
    identities = min(size // number, int(labels.max()) + 1)
    (own,) = batches(labels, size, number, epoch=epoch)
    counts = labels.bincount()
    for batch in own:
        found = labels[batch].bincount()
        assert found[found > 0].tolist() == [number] * identities
        for identity in found.nonzero().flatten().tolist():
            different = len({place for place in batch if labels[place] == identity})
            assert different == min(number, int(counts[identity])), "no sample twice that need not be"
    assert {int(labels[place]) for place in chain(*own)} == {*range(len(counts))}
    sampler = IdentityBatches(labels, size, number, seed=0)
    assert len(own) == len(sampler) == max(-(-len(labels) // (identities * number)), -(-len(counts) // identities))


@given(labels=LABELS, size=SIZES, number=K, epoch=EPOCHS, seed=st.integers(0, 2**40))
@quick
def test_an_epoch_is_a_function_of_its_seed_and_number(
    labels: Tensor, size: int, number: int, epoch: int, seed: int
) -> None:
    assume(size >= 2 * number)
    sampler = IdentityBatches(labels, size, number, seed=seed)
    for other in (epoch + 1, 0, epoch):
        sampler.set_epoch(other)
        list(sampler)
    (expected,) = batches(labels, size, number, seed=seed, epoch=epoch)
    assert [list(share) for share in sampler] == expected
    sampler.resume_at(epoch, 1)
    assert [list(share) for share in sampler] == expected[1:], "a resume continues with what was left"


@given(labels=LABELS, size=st.integers(8, 40), number=K, world=st.integers(2, 4), epoch=EPOCHS)
@quick
def test_ranks_share_the_batches_of_one_process(labels: Tensor, size: int, number: int, world: int, epoch: int) -> None:
    assume(size >= 2 * number and number * min(size // number, int(labels.max()) + 1) >= world)
    (alone,) = batches(labels, size, number, epoch=epoch)
    shared = batches(labels, size, number, epoch=epoch, world=world)
    assert [[*chain(*each)] for each in zip(*shared, strict=True)] == [
        [*chain(*(batch[rank::world] for rank in range(world)))] for batch in alone
    ]


def test_weights_make_the_mean_over_ranks_that_of_the_batch() -> None:
    labels = torch.arange(5).repeat_interleave(6)
    shares = [[*IdentityBatches(labels, 9, 3, seed=0, rank=rank, world_size=2)] for rank in range(2)]
    for one, other in zip(*shares, strict=True):
        assert (len(one), len(other)) == (5, 4)
        assert (one.weight, other.weight) == (pytest.approx(10 / 9), pytest.approx(8 / 9))


def test_frequent_identities_occur_more_often_and_all_of_their_samples_do_in_time() -> None:
    labels = torch.tensor([0] * 40 + [1] * 8 + [2] * 8 + [3] * 8)
    (own,) = batches(labels, 8, 4)
    occurs = [sum(bool((labels[batch] == identity).any()) for batch in own) for identity in range(4)]
    assert occurs == [8, 3, 3, 2] or sorted(occurs[1:]) == [2, 3, 3]
    assert occurs[0] == 8 == len(own), "at most once in each batch"
    seen = {place for epoch in range(6) for batch in batches(labels, 8, 4, epoch=epoch)[0] for place in batch}
    assert seen == {*range(64)}


def test_identities_meet_all_others() -> None:
    labels = torch.arange(12).repeat_interleave(16)
    (own,) = batches(labels, 12, 4)
    met = {
        frozenset(pair)
        for batch in own
        for pair in zip(labels[batch].tolist(), labels[batch].roll(4).tolist(), strict=True)
    }
    assert len(met) > 25, "of 66 pairs, in 16 batches of 3"


def test_a_batch_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="no room for two identities with 4 samples each") as refused:
        IdentityBatches(torch.arange(20) // 4, 7, 4, seed=0)
    assert "data.batch_size=8" in refused.value.next_step
    with pytest.raises(DataError, match="cannot be shared by 9 processes"):
        IdentityBatches(torch.arange(20) // 4, 8, 4, seed=0, world_size=9)


def test_the_number_of_samples_follows_the_data_where_it_is_open() -> None:
    pairs = torch.arange(10) // 2
    assert per_identity_of(pairs, 4, is_open=True, where="it") == (2, [])
    with pytest.raises(DataError, match="no identity has 4 training samples: the largest has 2 of them") as refused:
        per_identity_of(pairs, 4, is_open=False, where="it")
    assert refused.value.next_step.startswith("data.per_identity=2;")
    with pytest.raises(DataError, match="no identity has two training samples") as refused:
        per_identity_of(torch.arange(5), 4, is_open=True, where="it")
    assert "task.loss=arcface data.per_identity=null" in refused.value.next_step
    number, notes = per_identity_of(torch.tensor([0, 0, 0, 0, 1, 1, 2]), 4, is_open=True, where="it")
    assert (number, notes) == (4, ["2 identities have fewer than 4 training samples, which a batch repeats"])
