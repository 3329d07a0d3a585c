"""The generator against plain Python, and its numbers against what uniform numbers are like."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frostline.data.pictures.counter_random import uniform

SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 2**31)


def splitmix64(state: int) -> Iterator[int]:
    """Steele, Lea and Flood 2014, figure 17, on Python's unbounded integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        yield z ^ (z >> 31)


def finalised(z: int) -> int:
    return next(splitmix64((z - 0x9E3779B97F4A7C15) % 2**64))


def expected(seed: int, epoch: int, sample: int, draws: int) -> list[float]:
    """A key from seed and epoch, a stream for each sample from it, the upper 24 bits of each of its numbers."""
    key = next(splitmix64(next(splitmix64(seed)) ^ (epoch * 0x9E3779B97F4A7C15)))
    stream = splitmix64(finalised((key + sample * 0x9E3779B97F4A7C15) % 2**64))
    return [(next(stream) >> 40) / 2**24 for _ in range(draws)]


def test_the_reference_gives_the_published_numbers() -> None:
    """The first outputs for seed 1234567, as in the test vectors of Rosetta Code and of java.util.SplittableRandom."""
    stream = splitmix64(1234567)
    assert [next(stream) for _ in range(5)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@given(seed=SEEDS, epoch=EPOCHS, samples=st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_numbers_are_those_of_plain_python(seed: int, epoch: int, samples: list[int]) -> None:
    got = uniform(seed, epoch, torch.tensor(samples), 6)
    assert got.dtype == torch.float32
    assert got.tolist() == [expected(seed, epoch, sample, 6) for sample in samples]


@given(seed=SEEDS, epoch=EPOCHS)
def test_numbers_lie_from_0_up_to_but_not_1(seed: int, epoch: int) -> None:
    got = uniform(seed, epoch, torch.arange(500), 14)
    assert got.min() >= 0
    assert got.max() < 1


@pytest.mark.parametrize("seed", [0, 1, 2**32])
def test_numbers_are_uniform_and_uncorrelated(seed: int) -> None:
    """Within five standard errors, over samples, draws and epochs."""
    u = torch.stack([uniform(seed, epoch, torch.arange(2000), 14) for epoch in range(5)]).double()
    n = u.numel()
    assert abs(u.mean() - 1 / 2) < 5 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 5 * (1 / 180 / n) ** 0.5
    tenths = torch.histc(u.float(), 10, 0, 1) / n
    assert (tenths - 0.1).abs().max() < 5 * (0.09 / n) ** 0.5
    flat = (u - 0.5) * 12**0.5
    for neighbour in (flat.roll(1, 0), flat.roll(1, 1), flat.roll(1, 2)):  # the epoch, the sample, the draw before
        assert abs((flat * neighbour).mean()) < 5 / n**0.5


def test_a_samples_numbers_do_not_depend_on_its_batch() -> None:
    alone = uniform(3, 4, torch.tensor([17]), 8)
    among = uniform(3, 4, torch.tensor([5, 90, 17, 2, 17]), 8)
    assert torch.equal(alone[0], among[2])
    assert torch.equal(alone[0], among[4])


def test_more_draws_leave_the_first_as_they_were() -> None:
    index = torch.arange(10)
    assert torch.equal(uniform(0, 0, index, 14)[:, :3], uniform(0, 0, index, 3))


def test_epochs_seeds_and_samples_have_numbers_of_their_own() -> None:
    numbers = [uniform(seed, epoch, torch.arange(50), 1) for seed in range(20) for epoch in range(20)]
    rows = {tuple(row.flatten().tolist()) for row in numbers}
    assert len(rows) == 400
    assert len(torch.cat(numbers).unique()) > 0.999 * 20_000  # 24 bits: a dozen meet by chance


def test_torchs_own_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    uniform(0, 0, torch.arange(5), 3)
    assert torch.equal(before, torch.get_rng_state())
