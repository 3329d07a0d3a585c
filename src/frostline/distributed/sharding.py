"""FSDP2: each rank holds a shard of every parameter, frozen or not, and gathers a block only while it is at work."""

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

# In which an optimizer can make its steps; not every one is open to shards.
WAYS = {"fused", "foreach", "capturable", "differentiable"}


def shard(model: nn.Module, parts: Iterable[nn.Module], mesh: DeviceMesh) -> None:
    """Each of `parts`, then the `model` that holds them, over a mesh of one dimension. A second call changes nothing.

    torch shards contiguous tensors alone, so convolutions lose their channels-last weights.
    """
    if isinstance(model, FSDPModule):
        return
    model.to(memory_format=contiguous_format)
    for part in (*parts, model):
        fully_shard(part, mesh=mesh)


def require_apart(blocks: nn.ModuleDict, name: str) -> None:
    """Raises ConfigError where a block reads a table that lies in one below it: there it is in shards by then."""
    reading = [block for block, module in blocks.items() if getattr(module, "below", ())]
    if reading:
        raise ConfigError(
            f"fsdp shards block by block, and in {name} block {reading[-1]} shares a table with a block below it",
            where="trainer.strategy",
            next_step="trainer=ddp, or another model",
        )


def whole(tensor: Tensor) -> Tensor:
    """As one process has it. On all ranks, as it gathers."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """The numbers of it that lie on this rank: the tensor's own, not a copy."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's, as one process has it. On all ranks, as it gathers."""
    return {name: whole(value) for name, value in model.state_dict().items()}


def total(terms: Iterable[Tensor]) -> Tensor | float:
    """The sum of scalars, over all shards of the tensors that they are from."""
    found = list(terms)
    return whole(reduce(add, found)) if found else 0.0


def sharded_like(tensor: Tensor, like: Tensor) -> Tensor:
    """On the device of `like`; and where that is sharded, this rank's shard of what every rank has whole."""
    moved = tensor.to(like.device)
    if isinstance(like, DTensor) and not isinstance(moved, DTensor):
        return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
    return moved


def load_whole(model: nn.Module, state: dict[str, Tensor]) -> None:
    """state: of the whole model, on every rank. Raises RuntimeError where it is of another model."""
    own = model.state_dict()
    model.load_state_dict({name: sharded_like(v, own[name]) if name in own else v for name, v in state.items()})


def load_whole_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """state: of one process or of many, whole: its parameters are those of `optimizer` in the same order, whatever
    their numbers are. It goes on making its steps in its own way."""
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
    """A count of steps is every rank's; what has the parameter's shape is sharded like it."""
    like = isinstance(value, Tensor) and value.shape == parameter.shape
    return sharded_like(value, parameter) if like else value
