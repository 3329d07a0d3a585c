"""Estimate the time and memory of a phase from one measured pass of a few samples through each block."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from frostline.backbones.base import Backbone
from frostline.backbones.towers import Towers
from frostline.contracts.tokens import Tokens, values_of, with_values
from frostline.contracts.tree import Value, largest, mapped, moved, part_of, repeated
from frostline.errors import ConfigError
from frostline.plan.freezing import Group, count_of
from frostline.plan.phase import Phase

# Samples per pass at 224 pixels a side, and at most. Smaller pictures use more, as their batches are larger, too;
# larger ones use fewer, as a step of one may be all that fits into memory.
SAMPLES, MOST_SAMPLES = 4, 32
SHORT = 0.01  # seconds; one pass shorter than that is unreliable
OVERHEAD = 1.15  # optimizer, data and logging beside forward and backward; assumed, not measured
# Accuracy: the quickstart, estimated at 4 and 28 s, took 2.1 and 13.6 s (2026-11-22, two CPU cores, neither with
# validation): a sample costs more in a batch of 4 than of 44. So the estimate is high where nothing else runs.


class Cost(NamedTuple):
    """Costs of one block per sample: seconds forward and backward, and bytes saved for backward."""

    forward: float
    backward: float
    kept: float


Costs = dict[str, Cost]
Context = Callable[[], AbstractContextManager[Any]]
Input = Value | list[Tensor]  # of a block or a head


class EpochSamples(NamedTuple):
    """Samples of one device in an epoch: those that it trains on, and those of validation."""

    trained: float
    scored: float


class Blocks(NamedTuple):
    """Costs of all blocks of a backbone, and the features that its head gets, on the CPU."""

    costs: Costs
    features: Any


def measured_costs(
    backbone: Backbone, head: nn.Module, sample: Value, *, device: torch.device, context: Context = nullcontext
) -> Costs:
    """Measure copies of blocks and head, and restore the random state. sample: (1, ...), an input of the backbone."""
    return with_head(measured_blocks(backbone, sample, device, context), head, device, context)


def measured_blocks(backbone: Backbone, sample: Value, device: torch.device, context: Context) -> Blocks:
    """Measure copies of the blocks, and restore the random state. sample: (1, ...)."""
    with _measuring(device):
        samples = min(MOST_SAMPLES, max(1, SAMPLES * 3 * 224**2 // largest(sample)))
        x = moved(repeated(sample, samples), device)
        if isinstance(backbone, Towers):
            assert isinstance(x, Mapping)
            costs, features = _of_towers(backbone, x, device, context)
        else:
            costs, features = _of_chain(backbone, x, device, context)
        return Blocks(costs, _moved(features, torch.device("cpu")))


def with_head(blocks: Blocks, head: nn.Module, device: torch.device, context: Context) -> Costs:
    """Measure a copy of a head on the features of measured blocks, and add its costs to theirs."""
    with _measuring(device):
        return {**blocks.costs, "head": _measured(_own(head, device), _moved(blocks.features, device), context)[0]}


def _moved(features: Any, device: torch.device) -> Any:
    return [it.to(device) for it in features] if isinstance(features, list) else moved(features, device)


@contextmanager
def _measuring(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        yield
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # run.json records the peak of training


def _of_chain(backbone: Backbone, x: Any, device: torch.device, context: Context) -> tuple[Costs, Any]:
    """Costs of the blocks, and the features."""
    costs, held = {}, {}
    for name, block in backbone.blocks.items():
        costs[name], x = _measured(_own(block, device), x, context)
        held[name] = x
    return costs, backbone.to_head(held if backbone.levels else backbone.pool(x))


def _of_towers(backbone: Towers, x: Mapping[str, Any], device: torch.device, context: Context) -> tuple[Costs, Any]:
    """A tower costs as much again for each further input of its part."""
    found: Costs = {}
    features = dict(x)
    for part, tower in backbone.towers.items():
        names = [name for name in x if part_of(name) == part]
        own, given = _of_chain(tower, x[names[0]], device, context)
        found |= {f"{part}_{name}": Cost(*(len(names) * value for value in cost)) for name, cost in own.items()}
        features |= dict.fromkeys(names, given)
    return {name: found[name] for name in backbone.blocks}, features


def phase_seconds(costs: Costs, phase: Phase, blocks: list[str], trained: float, scored: float, passed: float) -> float:
    """Seconds on one device to train on `trained` samples and to score `scored`, all epochs together. passed: passes of
    a sample through the frozen blocks."""
    learning = [costs[name] for name in _differentiated(phase, blocks)]
    forward, backward = (sum(times) for times in ([it.forward for it in learning], [it.backward for it in learning]))
    frozen = sum(cost.forward for cost in costs.values()) - forward
    return (passed * frozen + trained * (forward + backward) + scored * forward) * OVERHEAD


def phase_bytes(
    costs: Costs, phase: Phase, blocks: list[str], samples: int, groups: list[Group], states: int, weights: int
) -> float:
    """Peak bytes of a step: weights, gradients, optimizer states, and what backward needs. samples: of the step.
    states: optimizer states per parameter. weights: their bytes."""
    learning = 4 * count_of(groups)
    kept = sum(costs[name].kept for name in _differentiated(phase, blocks))
    return weights + learning * (1 + states) + samples * kept


def optimizer_states(make: Callable[[list[dict[str, Any]]], Optimizer], device: torch.device) -> int:
    """Numbers in the optimizer's state per parameter: 0 for plain SGD, 1 with momentum, 2 for Adam.

    Raises ConfigError if the optimizer fails at a step, where some settings are first rejected.
    """
    parameter = nn.Parameter(torch.zeros(7, device=device))
    optimizer = make([{"params": [parameter]}])
    parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"the optimizer rejects its settings: {error}", where="optimizer", next_step="correct that setting"
        ) from error
    return sum(1 for state in optimizer.state[parameter].values() if isinstance(state, Tensor) and state.numel() == 7)


def _differentiated(phase: Phase, blocks: list[str]) -> list[str]:
    return [*blocks[phase.frost_line(blocks) :], "head"]


def _own(part: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(part).to(device).requires_grad_(True).eval()


def _measured(part: nn.Module, x: Input, context: Context) -> tuple[Cost, Tensor | Tokens]:
    """The fastest of two passes, or of three short ones: the first pass also selects kernels."""
    passes = [_pass(part, x, context) for _ in range(2)]
    last = passes[-1][0]
    if (last.forward + last.backward) * _number(x) < SHORT:
        passes.append(_pass(part, x, context))
    forward, backward = (min(getattr(cost, way) for cost, _ in passes) for way in ("forward", "backward"))
    return Cost(forward, backward, last.kept), passes[-1][1]


def _pass(part: nn.Module, x: Input, context: Context) -> tuple[Cost, Tensor | Tokens]:
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in part.parameters()}
    inputs, number, device = _leaf(x), _number(x), _device(x)
    start = _now(device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), context():
        out: Tensor | Tokens = part(inputs)
    given = values_of(out)
    middle = _now(device)
    if given.requires_grad:
        given.backward(torch.ones_like(given))
    end = _now(device)
    size = sum(nbytes for place, nbytes in kept.items() if place not in own)
    cost = Cost((middle - start) / number, (end - middle) / number, size / number)
    return cost, with_values(out, given.detach())


def _leaf(x: Input) -> Input:
    """The same values as a leaf, at which the gradient stops."""
    if isinstance(x, list):
        return [it.detach().requires_grad_() for it in x]
    return mapped(lambda it: it.detach().requires_grad_(it.is_floating_point()), x)


def _number(x: Input) -> int:
    return len(_first(x))


def _device(x: Input) -> torch.device:
    return _first(x).device


def _first(x: Any) -> Tensor:
    """The first tensor of a value."""
    while isinstance(x, list | Mapping):
        x = x[0] if isinstance(x, list) else next(iter(x.values()))
    return values_of(x)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
