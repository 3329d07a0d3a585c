"""Every sample once an epoch, on any number of ranks."""

from itertools import chain, zip_longest
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.loader import EpochBatches, Share
from frostline.data.pictures.sources import ArrayPictures, FilePictures
from frostline.data.split import Split, Transfers, loader
from frostline.errors import DataError

SAMPLES = st.integers(1, 300)
SIZES = st.integers(1, 64)
RANKS = st.integers(1, 6)
EPOCHS = st.integers(0, 50)


def ranks(
    num_samples: int, batch_size: int, world_size: int, *, shuffle: bool = True, epoch: int = 0, seed: int = 0
) -> list[list[Share]]:
    """Per rank the batches that it gets."""
    samplers = [
        EpochBatches(num_samples, batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


def can_be_shared(num_samples: int, batch_size: int, world_size: int) -> bool:
    return num_samples // -(-num_samples // batch_size) >= world_size


@given(n=SAMPLES, size=SIZES, world=RANKS, epoch=EPOCHS)
def test_every_sample_comes_once_over_all_ranks(n: int, size: int, world: int, epoch: int) -> None:
    assume(can_be_shared(n, size, world))
    assert sorted(chain(*chain(*ranks(n, size, world, epoch=epoch)))) == list(range(n))


@given(n=SAMPLES, size=SIZES, world=RANKS)
def test_every_sample_is_evaluated_once_over_all_ranks(n: int, size: int, world: int) -> None:
    assume(n >= world)
    shares = ranks(n, size, world, shuffle=False)
    assert sorted(chain(*chain(*shares))) == list(range(n))
    assert all(chain(*shares))  # no empty batch: the mean loss of nothing is not a number
    assert len({len(own) for own in shares}) == 1  # nor a rank that waits for another


@given(n=SAMPLES, size=SIZES, world=RANKS)
def test_global_batches_are_full_within_one_and_never_too_large(n: int, size: int, world: int) -> None:
    assume(can_be_shared(n, size, world))
    together = [sum(map(len, batch)) for batch in zip(*ranks(n, size, world), strict=True)]
    assert len(together) == -(-n // size)
    assert max(together) <= size
    assert max(together) - min(together) <= 1


@given(n=SAMPLES, size=SIZES, world=RANKS, epoch=EPOCHS)
def test_all_ranks_take_equally_many_steps_as_they_say(n: int, size: int, world: int, epoch: int) -> None:
    """Else the ranks wait for each other's gradients for ever."""
    assume(can_be_shared(n, size, world))
    lengths = [len(EpochBatches(n, size, shuffle=True, seed=0, rank=r, world_size=world)) for r in range(world)]
    assert [len(batches) for batches in ranks(n, size, world, epoch=epoch)] == lengths
    assert len(set(lengths)) == 1


@given(n=SAMPLES, size=SIZES, world=RANKS)
def test_the_length_of_an_evaluation_is_what_comes(n: int, size: int, world: int) -> None:
    assume(n >= world)
    lengths = [len(EpochBatches(n, size, shuffle=False, seed=0, rank=r, world_size=world)) for r in range(world)]
    assert [len(batches) for batches in ranks(n, size, world, shuffle=False)] == lengths


@given(n=SAMPLES, size=SIZES, world=RANKS, epoch=EPOCHS, shuffle=st.booleans())
def test_the_weighted_mean_of_the_ranks_is_the_mean_of_the_batch(
    n: int, size: int, world: int, epoch: int, shuffle: bool
) -> None:
    """DDP averages gradients over ranks, so each rank's mean loss is to count by its share."""
    assume(can_be_shared(n, size, world) if shuffle else n >= world)
    loss = torch.linspace(1, 7, n, dtype=torch.float64) ** 2
    for batch in zip_longest(*ranks(n, size, world, epoch=epoch, shuffle=shuffle), fillvalue=Share()):
        of_ranks = [share.weight * loss[list(share)].mean() for share in batch if share]
        assert sum(of_ranks) / world == pytest.approx(loss[list(chain(*batch))].mean().item())


@given(n=SAMPLES, size=SIZES, seed=st.integers(0, 2**40), epoch=EPOCHS)
def test_the_order_is_a_function_of_seed_and_epoch(n: int, size: int, seed: int, epoch: int) -> None:
    sampler = EpochBatches(n, size, shuffle=True, seed=seed)
    for other in (epoch + 1, 0, epoch):  # whatever came before
        sampler.set_epoch(other)
        list(sampler)
    assert list(sampler) == ranks(n, size, 1, seed=seed, epoch=epoch)[0]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(chain(*ranks(100, 10, 1, seed=s, epoch=e)[0])) for s in range(10) for e in range(10)}
    assert len(orders) == 100


@given(n=SAMPLES, size=SIZES, epoch=EPOCHS)
def test_an_evaluation_keeps_the_order(n: int, size: int, epoch: int) -> None:
    assert list(chain(*ranks(n, size, 1, shuffle=False, epoch=epoch)[0])) == list(range(n))


def test_ranks_that_would_get_nothing_are_refused_with_the_batch_size_they_need() -> None:
    with pytest.raises(DataError, match="batches of 2 samples cannot be shared by 4 processes") as refused:
        EpochBatches(100, 2, shuffle=True, seed=0, world_size=4)
    assert "data.batch_size=4" in refused.value.next_step
    with pytest.raises(DataError, match="batches of 3 samples cannot be shared by 4 processes"):
        EpochBatches(3, 2, shuffle=False, seed=0, world_size=4)


def test_a_batch_size_that_leaves_a_crumb_is_not_what_is_advised() -> None:
    with pytest.raises(DataError, match="batches of 1 samples cannot be shared by 2 processes") as refused:
        EpochBatches(101, 2, shuffle=True, seed=0, world_size=2)
    assert "data.batch_size=3 or more" in refused.value.next_step
    assert min(EpochBatches(101, 3, shuffle=True, seed=0, world_size=2).sizes) == 2


@given(st.lists(st.integers(1, 60), min_size=8, max_size=80).map(torch.tensor), st.integers(2, 4), st.integers(1, 40))
def test_what_is_advised_where_ranks_would_get_nothing_is_enough(lengths: Tensor, ranks: int, size: int) -> None:
    said = {"batch_size": size, "batch_tokens": 1}

    def made() -> EpochBatches:
        return EpochBatches(
            len(lengths),
            said["batch_size"],
            shuffle=True,
            seed=0,
            world_size=ranks,
            lengths=lengths,
            max_tokens=said["batch_tokens"],
        )

    places = []
    for _ in said:
        try:
            made()
        except DataError as error:
            setting, value = error.next_step.removeprefix("data.").split(" or more")[0].split("=")
            places.append((error.where, f"data.{setting}"))
            said[setting] = int(value)
    assert all(where == setting for where, setting in places)
    assert min(made().sizes) >= ranks


def pictures(n: int = 23) -> ArrayPictures:
    """Picture number i has the value i everywhere, and i % 3 is its class."""
    return ArrayPictures(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 2, 2), torch.arange(n) % 3)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_real_data_loader_hands_out_whole_batches(num_workers: int) -> None:
    split = Split(pictures(), torch.arange(1, 23), whole=False)  # not the first
    batches = EpochBatches(len(split), 5, shuffle=True, seed=0, rank=1, world_size=2)
    handed_out = loader(split, batches, num_workers)
    for epoch in range(2):
        _set_sampler_epoch(handed_out, epoch)  # as Lightning does at the start of an epoch
        expected = ranks(22, 5, 2, epoch=epoch)[1]
        got = list(handed_out)
        assert len(got) == len(handed_out) == 5
        for batch, share in zip(got, expected, strict=True):
            assert batch.sample.tolist() == [place + 1 for place in share]
            assert torch.equal(batch.inputs[:, 0, 0, 0], batch.sample.byte())
            assert torch.equal(batch.targets, batch.sample % 3)
            assert batch.weight == share.weight
            assert batch.sizes is None
    assert {share.weight for share in expected} != {1.0}  # shares of 2 and of 3 of batches of 5: the weight matters


def test_without_a_number_workers_are_no_more_than_batches() -> None:
    split = Split(pictures(), torch.arange(23), whole=False)
    assert loader(split, EpochBatches(23, 23, shuffle=False, seed=0), None).num_workers == 1
    assert loader(split, EpochBatches(23, 5, shuffle=False, seed=0), 0).num_workers == 0


def test_one_place_of_a_part_is_a_batch_of_one() -> None:
    split = Split(pictures(), torch.tensor([4, 9, 2]), whole=False)
    batch = split[1]
    values: Tensor = batch.inputs.unique()
    assert (values.tolist(), batch.targets.tolist(), batch.sample.tolist()) == ([9], [0], [9])
    assert split.labels.tolist() == [1, 0, 2]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_of_the_data_comes_out_of_a_worker_whole(tmp_path: Path, num_workers: int) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    spec = ImageSpec(size=8, resize=8, mean=(0, 0, 0), std=(1, 1, 1))
    files = FilePictures([tmp_path / "broken.png"] * 2, torch.tensor([0, 1]), root=tmp_path, spec=spec)
    batches = EpochBatches(2, 1, shuffle=False, seed=0)
    first, _ = loader(Split(files, torch.arange(2), whole=True), batches, num_workers)
    with pytest.raises(DataError, match="does not decode") as refused:
        Transfers().on_before_batch_transfer(first, 0)
    assert refused.value.where == tmp_path / "broken.png"


# --- texts of several lengths ---

LENGTHS = st.lists(st.integers(1, 200), min_size=4, max_size=150).map(torch.tensor)


@given(LENGTHS, st.integers(1, 32), st.integers(200, 4000), st.integers(0, 3), st.booleans())
def test_every_text_comes_once_within_the_budget(
    lengths: Tensor, size: int, budget: int, epoch: int, shuffle: bool
) -> None:
    sampler = EpochBatches(len(lengths), size, shuffle=shuffle, seed=1, lengths=lengths, max_tokens=budget)
    sampler.set_epoch(epoch)
    batches = [list(batch) for batch in sampler]
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    for batch in batches:
        assert len(batch) <= size
        assert len(batch) == 1 or len(batch) * int(lengths[batch].max()) <= budget


@given(LENGTHS, st.integers(1, 32), st.integers(200, 4000))
def test_epochs_have_as_many_batches_of_the_same_sizes_and_other_companies(
    lengths: Tensor, size: int, budget: int
) -> None:
    sampler = EpochBatches(len(lengths), size, shuffle=True, seed=1, lengths=lengths, max_tokens=budget)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(sorted(len(batch) for batch in sampler))
    assert epochs[0] == epochs[1] == epochs[2] == sorted(sampler.sizes)


def test_texts_of_a_batch_are_about_as_long() -> None:
    lengths = torch.randint(1, 100, (1000,), generator=torch.Generator().manual_seed(0))
    sampler = EpochBatches(1000, 10, shuffle=True, seed=0, lengths=lengths)
    inside = torch.tensor([float(lengths[list(batch)].double().std()) for batch in sampler]).mean()
    assert inside < 0.15 * float(lengths.double().std())


def test_the_first_batches_of_an_evaluation_are_of_any_length_and_the_same_each_time() -> None:
    lengths = torch.randint(1, 100, (1000,), generator=torch.Generator().manual_seed(0))
    sampler = EpochBatches(1000, 10, shuffle=False, seed=0, lengths=lengths)
    batches = list(sampler)
    few = lengths[[place for batch in batches[:10] for place in batch]].float()
    assert few.min() < 30
    assert few.max() > 70
    sampler.set_epoch(5)
    assert list(sampler) == batches


@given(LENGTHS, st.integers(4, 32), st.integers(800, 4000))
def test_each_text_weighs_the_same_in_an_epoch_over_all_ranks(lengths: Tensor, size: int, budget: int) -> None:
    weights: dict[int, float] = {}
    for rank in range(2):
        try:
            sampler = EpochBatches(
                len(lengths), size, shuffle=True, seed=0, rank=rank, world_size=2, lengths=lengths, max_tokens=budget
            )
        except DataError:
            return
        for share in sampler:
            weights |= {place: share.weight / len(share) / 2 for place in share}
    mean = len(sampler.sizes) / len(lengths)
    if max(sampler.sizes) - min(sampler.sizes) > 1:
        assert all(weight == pytest.approx(mean) for weight in weights.values())
    else:
        assert all(weight * (max(sampler.sizes)) <= 1.0001 * 2 for weight in weights.values())


@given(LENGTHS, st.integers(1, 16), st.integers(0, 40))
def test_a_resume_goes_on_with_the_batches_that_were_left(lengths: Tensor, size: int, done: int) -> None:
    sampler = EpochBatches(len(lengths), size, shuffle=True, seed=3, lengths=lengths, max_tokens=1000)
    sampler.set_epoch(2)
    whole = [list(batch) for batch in sampler]
    sampler.resume_at(2, done)
    assert [list(batch) for batch in sampler] == whole[done:]
