"""FSDP2: each rank holds a shard of every parameter, frozen or not, and gathers a block only while it runs."""

from collections.abc import Iterable
from functools import reduce
from operator import add
from typing import Any

from torch import Tensor, contiguous_format, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from frostline.errors import ConfigError

# Flags that select an optimizer's implementation; not every implementation supports sharded tensors.
WAYS = {"fused", "foreach", "capturable", "differentiable"}


def shard(model: nn.Module, parts: Iterable[nn.Module], mesh: DeviceMesh) -> None:
    """Shard each of `parts`, then the `model` that holds them, over a one-dimensional mesh. Idempotent.

    torch shards only contiguous tensors, so the weights of convolutions lose their channels-last format.
    """
    if isinstance(model, FSDPModule):
        return
    model.to(memory_format=contiguous_format)
    for part in (*parts, model):
        fully_shard(part, mesh=mesh)


def require_apart(blocks: nn.ModuleDict, name: str) -> None:
    """Raise ConfigError if a block reads a table of a block below it, which is sharded again by then."""
    reading = [block for block, module in blocks.items() if getattr(module, "below", ())]
    if reading:
        raise ConfigError(
            f"fsdp shards each block by itself, but in {name} block {reading[-1]} shares a table with a block below it",
            where="trainer.strategy",
            next_step="trainer=ddp, or another model",
        )


def whole(tensor: Tensor) -> Tensor:
    """Return the full tensor. A collective call: every rank has to make it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's shard, sharing memory with the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the model's state dict with full tensors. A collective call: every rank has to make it."""
    return {name: whole(value) for name, value in model.state_dict().items()}


def total(terms: Iterable[Tensor]) -> Tensor | float:
    """Sum scalars over all shards of the tensors that they were computed from; 0.0 without scalars."""
    found = list(terms)
    return whole(reduce(add, found)) if found else 0.0


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Move to the device of `like`; if `like` is sharded, every rank passes the full tensor and gets its own shard."""
    moved = tensor.to(like.device)
    if isinstance(like, DTensor) and not isinstance(moved, DTensor):
        return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
    return moved


def load_whole(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load full tensors, which every rank passes. Raises RuntimeError if they do not fit the model."""
    own = model.state_dict()
    model.load_state_dict({name: sharded_like(v, own[name]) if name in own else v for name, v in state.items()})


def load_whole_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load full tensors, saved by one process or several. Parameters are matched by their order, not by their indices
    in `state`. The optimizer keeps its own implementation flags (WAYS)."""
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    shards = {
        number: {key: _state_like(value, parameter) for key, value in state["state"][number].items()}
        for number, parameter in zip(numbers, own, strict=True)
        if number in state["state"]
    }
    groups = [
        saved | {way: group[way] for way in WAYS & group.keys()}
        for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({"state": shards, "param_groups": groups})


def _state_like(value: Any, parameter: nn.Parameter) -> Any:
    """Shard a tensor of the parameter's shape like the parameter; others, such as a step count, stay whole."""
    like = isinstance(value, Tensor) and value.shape == parameter.shape
    return sharded_like(value, parameter) if like else value
