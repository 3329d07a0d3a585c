"""Shares of the tokens of a text in an answer: integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365).

The path leads from the same text with padding in place of all but special tokens. The shares add up to the difference
of the two scores, as far as the sum over the path is exact; how far it is not is the error.

Shapes: one text of L tokens; K outputs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.contracts.specs import TextSpec
from frostline.contracts.tokens import Tokens
from frostline.errors import ConfigError, needs
from frostline.saliency.places import replaced
from frostline.saliency.running import Evidence, eagerly, resting

MOST_ERROR = 0.1  # of the difference between the scores of text and baseline; above it nothing is shown
STEPS = (32, 128, 512)  # points on the path, more of them until the error is at most MOST_ERROR
AT_ONCE = 16  # texts in a batch

Scored = Callable[[Tensor, Tensor, Tensor], Tensor]  # ids, segments, mask (B, L) → (B, K) scores
Given = tuple[Tensor, Tensor, Tensor, Tensor]  # ids, ids of the baseline, segments and mask, (1, L) each


class Shares(NamedTuple):
    """outputs: (1, K) of the network. chosen: the explained output. tokens: (L,) share of each token in its score.
    score, baseline: of the text, and of the padding. error: of the sum of shares, as a share of the difference between
    the two scores. steps: points on the path."""

    outputs: Tensor
    chosen: int
    tokens: Tensor
    score: float
    baseline: float
    error: float
    steps: int


def shares(
    backbone: Backbone,
    head: nn.Module,
    evidence: Evidence,
    text: Tokens,
    padding: Tensor,
    chosen: int | None = None,
    *,
    quick: bool = False,
) -> Shares:
    """text: values (1, L, 2). padding: (L,) ids of the baseline. chosen: the output to explain; None: the one with the
    highest score. quick: whether to take the fewest steps, whatever the error, without captum, whose import takes
    0.6 s. Computed in float32. Raises ConfigError if the network takes no texts or captum is missing."""
    require_texts(backbone)
    segments, mask = text.values[..., 1], text.mask

    def scored(ids: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        return evidence(head(backbone(Tokens(torch.stack([ids, segments], -1), mask))).float())

    ids, blocks = text.values[..., 0], [*backbone.blocks.values()]
    with resting(backbone, head), eagerly([*blocks, head]), torch.autocast(ids.device.type, enabled=False):
        with torch.no_grad():
            outputs = head(backbone(text))
            chosen = int(evidence(outputs.float())[0].argmax()) if chosen is None else chosen
            own, below = (float(scored(it, segments, mask)[0, chosen]) for it in (ids, padding[None]))
        embedding, given = _embedding(blocks[0], text), (ids, padding[None], segments, mask)
        by = partial(_summed if quick else _by_captum, scored, embedding, given, chosen)
        found = _closest(by, own - below, STEPS[:1] if quick else STEPS)
    return Shares(outputs, chosen, found[0], own, below, *found[1:])


def require_texts(backbone: Backbone) -> TextSpec:
    if not isinstance(backbone.spec, TextSpec):
        raise ConfigError(
            f"the inputs of this network are {backbone.spec.kind}s, not texts",
            where=backbone.name,
            next_step="explain a run on texts or pictures",
        )
    return backbone.spec


def _closest(by: Callable[[int], Tensor], difference: float, each: Sequence[int]) -> tuple[Tensor, float, int]:
    """Shares, their error and the number of steps: the first that are exact enough, else those of the longest sum. by:
    (L,) shares by steps."""
    for steps in each:
        tokens = by(steps)
        missing = abs(float(tokens.sum()) - difference)
        error = missing / abs(difference) if difference else float("inf")
        if error <= MOST_ERROR:
            break
    return tokens, error, steps


def _by_captum(scored: Scored, embedding: nn.Module, given: Given, chosen: int, steps: int) -> Tensor:
    with needs(
        "captum", "which explains texts", where="explain", extra="explain", otherwise="explain a run on pictures"
    ):
        from captum.attr import LayerIntegratedGradients
    ids, padding, segments, mask = given
    method: Any = LayerIntegratedGradients(scored, embedding)
    found = method.attribute(
        ids, padding, chosen, (segments, mask), n_steps=steps, internal_batch_size=AT_ONCE, method="gausslegendre"
    )
    return _of_tokens(found)


def _summed(scored: Scored, embedding: nn.Module, given: Given, chosen: int, steps: int) -> Tensor:
    """The same sum as captum's, by the same points and weights."""
    ids, padding, segments, mask = given
    places, weights = (torch.from_numpy(own).float() / 2 for own in np.polynomial.legendre.leggauss(steps))
    start, difference = embedding(padding).detach(), (embedding(ids) - embedding(padding)).detach()
    total = torch.zeros_like(difference)
    for own, weight in zip((places + 0.5).split(AT_ONCE), weights.split(AT_ONCE), strict=True):
        leaf = (start + own.to(start)[:, None, None] * difference).requires_grad_()
        taken = partial(_instead, leaf)
        with torch.enable_grad(), replaced(embedding, 1, taken):
            scores = scored(*(it.expand(len(own), -1) for it in (ids, segments, mask)))
            (gradient,) = torch.autograd.grad(scores[:, chosen].sum(), leaf)
        total += torch.einsum("b,bld->ld", weight.to(gradient), gradient)
    return _of_tokens(total * difference)


def _instead(leaf: Tensor, _: Tensor) -> Tensor:
    return leaf.clone()


def _of_tokens(found: Tensor) -> Tensor:
    """(1, L, D) → (L,) on the CPU."""
    return found.detach().float().sum(-1)[0].cpu()


def _embedding(block: nn.Module, text: Tokens) -> nn.Module:
    """The module of the first block that turns token ids into vectors. Raises ConfigError if there is none."""
    found: list[nn.Module] = []

    def look(module: nn.Module) -> Callable[..., None]:
        def is_given(_: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor) and torch.equal(given[0], text.values[..., 0]):
                found.append(module)

        return is_given

    hooks = [it.register_forward_pre_hook(look(it)) for it in block.modules() if isinstance(it, nn.Embedding)]
    try:
        with torch.no_grad():
            block(text)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ConfigError(
            "this network has no table of token embeddings to follow",
            where="model",
            next_step="explain a run with another network (model=minilm)",
        )
    return found[0]
