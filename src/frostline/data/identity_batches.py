"""Batches of P identities with K samples each: a function of (seed, epoch), like other batches. Shapes: N samples of I
identities, B batches in an epoch.
"""

import torch
from torch import Tensor

from frostline.data.loader import EpochBatches
from frostline.errors import ConfigError, DataError, counted


class IdentityBatches(EpochBatches):
    """Yields batches of exactly P × K samples; in each epoch every identity occurs, as often as its samples ask for,
    and never twice in a batch. An identity with fewer than K samples repeats them.

    labels: (N,) identity of each sample. batch_size: of the global batch, at most; P is as large as fits into it.

    Raises ConfigError if fewer than two identities fit into a batch, DataError if a batch has fewer samples than ranks.
    """

    def __init__(
        self, labels: Tensor, batch_size: int, per_identity: int, *, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        _, self.owner, self.counts = labels.unique(return_inverse=True, return_counts=True)
        identities = min(batch_size // per_identity, len(self.counts))
        if identities < 2:
            raise ConfigError(
                f"a batch of {batch_size} samples has no room for two identities with {per_identity} samples each",
                where="data.batch_size, data.per_identity",
                next_step=f"data.batch_size={2 * per_identity}  # or more; or data.per_identity=2",
            )
        size = identities * per_identity
        self.shape = identities, per_identity
        batches = max(-(-len(labels) // size), -(-len(self.counts) // identities))
        self.turns = _turns(self.counts, batches, identities)
        super().__init__(batches * size, size, shuffle=True, seed=seed, rank=rank, world_size=world_size)

    def _batches(self) -> list[Tensor]:
        # The large odd factor gives each (seed, epoch) a generator seed of its own.
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        identities, per_identity = self.shape
        turn = torch.randperm(len(self.counts), generator=generator)
        times = self.turns[turn]
        identity = turn.repeat_interleave(times)  # (P B,) of each place in a batch, and how often it came before
        before = torch.arange(len(identity)) - (times.cumsum(0) - times).repeat_interleave(times)
        chosen = _dealt(identity.view(identities, -1), generator).T  # (B, P)
        shuffled = torch.rand(len(self.owner), generator=generator).argsort()
        members = shuffled[self.owner[shuffled].argsort(stable=True)]
        first = self.counts.cumsum(0) - self.counts
        whose = identity[chosen]
        turns = before[chosen][..., None] * per_identity + torch.arange(per_identity)
        places = first[whose][..., None] + turns % self.counts[whose][..., None]  # K in a row, around: all different
        return list(members[places].flatten(1))


def _turns(counts: Tensor, batches: int, identities: int) -> Tensor:
    """(I,) in how many of the batches each identity occurs: in proportion to its samples, from 1 to all."""
    places = batches * identities
    wanted = counts.double() * places / counts.sum()
    turns = wanted.floor().long().clamp(1, batches)
    while (missing := places - int(turns.sum())) != 0:
        step = 1 if missing > 0 else -1
        room = turns < batches if missing > 0 else turns > 1
        lacks = ((wanted - turns) * step).masked_fill(~room, -torch.inf)
        turns[lacks.argsort(descending=True, stable=True)[: min(abs(missing), int(room.sum()))]] += step
    return turns


def _dealt(identity: Tensor, generator: torch.Generator) -> Tensor:
    """(P, B) identities, each in adjacent places at most B times → (P, B) places: a column is a batch, without an
    identity twice. Each row is dealt to the batches in an order of its own."""
    number, batches = identity.shape
    dealt = torch.empty(number, batches, dtype=torch.int64)
    order = torch.arange(batches)
    for row in range(number):
        new = torch.randperm(batches, generator=generator)
        if row:  # the identity that goes on from the row above takes other batches here
            taken = order[identity[row - 1] == identity[row, 0]]
            again = torch.isin(new, taken)
            new = torch.cat([new[~again], new[again]])
        dealt[row, new] = torch.arange(row * batches, (row + 1) * batches)
        order = new
    return dealt


def per_identity_of(labels: Tensor, wanted: int, *, is_open: bool, where: object) -> tuple[int, list[str]]:
    """K, and sentences on identities with fewer samples. is_open: whether K may be smaller than `wanted`. Raises
    DataError if no identity has K."""
    counts = labels.bincount()
    most = int(counts.max())
    number = min(wanted, most) if is_open else wanted
    if number > most or number < 2:
        raise DataError(
            f"no identity has {max(number, 2)} training samples: the largest has {counted(most, 'one', 'of them')}"
            if most > 1
            else "no identity has two training samples, so that there is nothing to bring together",
            where=where if is_open else "data.per_identity",
            next_step=f"data.per_identity={most}; or add samples of the same identities"
            if most > 1
            else "add samples of the same identities; or task.loss=arcface data.per_identity=null",
        )
    fewer = int(((counts > 0) & (counts < number)).sum())
    subject = counted(fewer, "identity has", "identities have")
    return number, [f"{subject} fewer than {number} training samples, which a batch repeats"] if fewer else []
