"""Maps of what in a picture speaks for an answer.

Shapes: B pictures, K outputs, D channels, maps of H × W cells, L = P + H · W tokens, the first P of no cell.

A map is activation × gradient, summed over channels. Behind a mean and a linear head the gradient is the head's weight,
so that the map needs no backward: a class activation map (Zhou et al. 2016, arXiv:1512.04150), whose mean is the score
without its constant. Elsewhere it is HiResCAM (Draelos and Carin 2020, arXiv:2011.08891): Grad-CAM takes the mean of
the gradients over all cells first, and points to cells that the answer does not use if each cell has weights of its
own, as in VGG's fully connected layers. Behind a mean, Grad-CAM is the same.
Deviations of layer norms behind the map are constants (`steadily`).

Transformers have no map behind their last layer, if a class token has gathered all that the answer needs. There the
tokens before the first layer are taken: what the answer depends on passes through them, and through each in its own
cell. Their gradients change so much that STEPS points on the path from a picture of the mean colour are averaged
(integrated gradients, Sundararajan et al. 2017, arXiv:1703.01365): in a small transformer that learned to find a patch,
the strongest cell lay on it in 97 of 100 pictures, with one gradient in 88, behind later layers in 88 to 78. Attention
alone (rollout) would not tell classes apart.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.contracts.specs import ImageSpec
from frostline.errors import Costly
from frostline.heads.vector import LinearHead
from frostline.saliency.places import Place, place_of, replaced, through
from frostline.saliency.running import Evidence, eagerly, no_map, require_whole, resting, seconds_at, steadily

STEPS = 8


class Saliency(NamedTuple):
    """outputs: (B, K) of the network. chosen: (B,) index of the explained output. maps: (B, H, W) float32, how much
    each cell adds to its score; negative: it speaks against. how: the method in words. is_quick: whether it took two
    passes at most."""

    outputs: Tensor
    chosen: Tensor
    maps: Tensor
    how: str
    is_quick: bool = True


def saliency(
    backbone: Backbone,
    head: nn.Module,
    evidence: Evidence,
    inputs: Tensor,
    chosen: Tensor | None = None,
    *,
    seconds: float | None = None,
) -> Saliency:
    """inputs: (B, 3, H, W) as the network takes them. chosen: (B,) outputs to explain; None: those with the highest
    score of each picture. seconds: that may be spent where two passes are not enough; None for any time. Frozen
    parameters, adapters and compiled blocks are no hindrance: gradients are of activations, and what was compiled runs
    eagerly. Raises ConfigError if the network takes no pictures or has no map, Costly if it would take longer."""
    require_pictures(backbone)
    blocks = [*backbone.blocks.values()]
    number = len(inputs)
    inputs = torch.cat([inputs, inputs]) if number == 1 else inputs  # so that windows are not taken for pictures
    with resting(backbone, head), eagerly([*blocks, head]), torch.no_grad():
        began = seconds_at(inputs.device)
        held, watched = through(blocks, inputs)
        vector = backbone.to_head(backbone.pool(held[-1]))
        outputs = head(vector)
        scores = evidence(outputs.float())
        chosen = scores[:number].argmax(1) if chosen is None else chosen.to(scores.device)
        place = place_of(held, watched, inputs)
        layer = _linear(head)
        if place.module is None and layer is not None and _is_mean(held[-1], vector, place):
            cells = held[-1] if place.channels_last else held[-1].movedim(1, -1)
            maps = _chosen(evidence(nn.functional.linear(cells.float(), layer.weight.float())), number, chosen)
            return Saliency(outputs[:number], chosen, maps, "class activation map")
        run = _Run(backbone, head, evidence, torch.cat([chosen, chosen]) if number == 1 else chosen)
        if place.prefix is None:
            maps = _of_map(run, held, place)[:number]
            return Saliency(outputs[:number], chosen, maps, "activation × gradient")
        if seconds is not None:
            _require_time(seconds_at(inputs.device) - began, seconds, backbone.name)
        maps = _of_tokens(run, held, place)[:number]
        return Saliency(outputs[:number], chosen, maps, f"integrated gradients of tokens, {STEPS} steps", False)


def _require_time(of_pass: float, seconds: float, name: str) -> None:
    """Raises Costly if STEPS passes with gradients would take longer than `seconds`. of_pass: seconds of one without;
    gradients take three times as long."""
    needed = 3 * STEPS * of_pass
    if needed > seconds:
        raise Costly(f"their maps would take {needed:.2g} s")


def require_pictures(backbone: Backbone) -> ImageSpec:
    """Its spec. Raises ConfigError for networks of texts, waveforms and tables, and for one that is sharded over
    processes."""
    if not isinstance(backbone.spec, ImageSpec):
        raise no_map(backbone)
    require_whole(backbone)
    return backbone.spec


def _linear(head: nn.Module) -> nn.Linear | None:
    layer = head.layers[-1] if isinstance(head, LinearHead) else None
    return layer if type(layer) is nn.Linear else None


def _is_mean(last: Tensor, vector: Tensor, place: Place) -> bool:
    """Whether the features are the mean of the last block's map: compared with it, as pools have many forms."""
    if place.prefix is not None or last.ndim != 4 or vector.ndim != 2:
        return False
    mean = last.float().mean((1, 2) if place.channels_last else (2, 3))
    return mean.shape == vector.shape and torch.allclose(mean, vector.float(), rtol=1e-2, atol=1e-3)


def _chosen(cells: Tensor, number: int, chosen: Tensor) -> Tensor:
    """(B, H, W, K) → (B, H, W) of the chosen output."""
    return cells[:number].gather(-1, chosen[:, None, None, None].expand(-1, *cells.shape[1:3], 1))[..., 0]


class _Run(NamedTuple):
    """chosen: (B,) output whose score is explained."""

    backbone: Backbone
    head: nn.Module
    evidence: Evidence
    chosen: Tensor

    @property
    def blocks(self) -> list[nn.Module]:
        return [*self.backbone.blocks.values()]

    def gradient(self, x: Any, start: int, leaf: Tensor) -> Tensor:
        """The gradient of the scores with respect to `leaf`. x: output of `start` blocks, computed from it with a
        graph."""
        for block in self.blocks[start:]:
            x = block(x)
        scores = self.evidence(self.head(self.backbone.to_head(self.backbone.pool(x))).float())
        (gradient,) = torch.autograd.grad(scores.gather(1, self.chosen[:, None]).sum(), leaf)
        return gradient.float()


def _of_map(run: _Run, held: Sequence[Any], place: Place) -> Tensor:
    """(B, H, W). Run the network again from the map on, with a graph."""
    leaf: list[Tensor] = []

    def taken(out: Tensor) -> Tensor:
        """A copy with a graph: layers may write to what they get."""
        leaf.append(out.detach().requires_grad_())
        return leaf[0].clone()

    with torch.enable_grad(), steadily([*run.blocks[place.block :], run.head]):
        if place.module is None:
            x = taken(held[place.block + 1])
        else:
            with replaced(place.module, place.call, taken):
                x = run.blocks[place.block](held[place.block])
        gradient = run.gradient(x, place.block + 1, leaf[0])
    return (leaf[0].detach().float() * gradient).sum(-1 if place.channels_last else 1)


def _of_tokens(run: _Run, held: Sequence[Any], place: Place) -> Tensor:
    """(B, H, W). The path leads from the tokens of a picture of the mean colour, whose normalised values are 0."""
    assert place.prefix is not None
    plain: Any = torch.zeros_like(held[0][:1])
    for block in run.blocks[: place.block + 1]:
        plain = block(plain)
    difference = held[place.block + 1] - plain
    total = torch.zeros_like(difference, dtype=torch.float32)
    for step in range(STEPS):
        leaf = (plain + (step + 0.5) / STEPS * difference).detach().requires_grad_()
        with torch.enable_grad():
            total += run.gradient(leaf.clone(), place.block + 1, leaf)
    product = (total / STEPS * difference.float()).sum(-1)
    return product[:, place.prefix :].unflatten(1, place.grid)
