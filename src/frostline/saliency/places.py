"""Find where a network still has a map of its picture.

Shapes: B pictures, D channels, maps of H × W cells, L = P + H · W tokens, of which the first P stand for no cell.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn

from frostline.errors import ConfigError


class Place(NamedTuple):
    """Where a network still has a map: what a block returns, or (module) what one of its modules returns at its call
    number `call`. grid: H and W. prefix: P if it has tokens, else None."""

    block: int
    module: nn.Module | None
    call: int
    grid: tuple[int, int]
    channels_last: bool
    prefix: int | None


class Watched(NamedTuple):
    """The last map that a module within a block returned."""

    module: nn.Module
    call: int
    shape: tuple[int, ...]


def through(blocks: Sequence[nn.Module], inputs: Tensor) -> tuple[list[Any], list[Watched | None]]:
    """Return the input of each block and the output of the last; and what each block has of maps."""
    held: list[Any] = [inputs]
    aspect = inputs.shape[-2] / inputs.shape[-1]
    found: list[Watched | None] = []
    for block in blocks:
        last: list[Watched] = []
        calls: dict[nn.Module, int] = {}

        def look(module: nn.Module, _: Any, out: Any, last: Any = last, calls: dict[nn.Module, int] = calls) -> None:
            calls[module] = calls.get(module, 0) + 1
            if isinstance(out, Tensor) and len(out) == len(inputs) and _is_map(tuple(out.shape), aspect):
                last[:] = [Watched(module, calls[module], tuple(out.shape))]

        hooks = [module.register_forward_hook(look) for module in block.modules()]
        try:
            held.append(block(held[-1]))
        finally:
            for hook in hooks:
                hook.remove()
        found.append(last[0] if last else None)
    return held, found


def place_of(held: Sequence[Any], watched: Sequence[Watched | None], inputs: Tensor) -> Place:
    """The last map before the answer; of a transformer, the tokens that its first block returns. held, watched: from
    `through`. Raises ConfigError if there is none."""
    shapes = [tuple(out.shape) if isinstance(out, Tensor) else () for out in held[1:]]
    aspect = inputs.shape[-2] / inputs.shape[-1]
    tokens = next((number for number, shape in enumerate(shapes) if len(shape) == 3), None)
    if tokens is not None and (seen := watched[tokens]) is not None:
        grid, _ = _grid(seen.shape, aspect)
        if (prefix := shapes[tokens][1] - prod(grid)) >= 0:
            return Place(tokens, None, 0, grid, False, prefix)
    for number in reversed(range(len(shapes))):
        if _is_map(shapes[number], aspect):
            return Place(number, None, 0, *_grid(shapes[number], aspect), None)
        if (seen := watched[number]) is not None:
            return Place(number, seen.module, seen.call, *_grid(seen.shape, aspect), None)
    raise ConfigError(
        "this network keeps no map of the picture, so that nothing can be said about its parts",
        where="model",
        next_step="explain a run with another network (model=efficientnet_lite0)",
    )


def _is_map(shape: tuple[int, ...], aspect: float) -> bool:
    """Whether there are several cells: pooled channels, as in squeeze and excitation, have one."""
    return len(shape) == 4 and min(_grid(shape, aspect)[0]) > 1


def _grid(shape: tuple[int, ...], aspect: float) -> tuple[tuple[int, int], bool]:
    """H and W of a map (B, D, H, W) or (B, H, W, D), and whether it is the second, as its sides have the aspect of the
    picture; the first if both may be."""
    _, a, b, c = shape
    first, last = abs(b / c - aspect), abs(a / b - aspect)
    return ((a, b), True) if last < first else ((b, c), False)


@contextmanager
def replaced(module: nn.Module, call: int, taken: Callable[[Tensor], Tensor]) -> Iterator[None]:
    calls = 0

    def replace(_: nn.Module, __: Any, out: Tensor) -> Tensor | None:
        nonlocal calls
        calls += 1
        return taken(out) if calls == call else None

    hook = module.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()
