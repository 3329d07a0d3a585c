"""Encoders and decoders of the transformers library as backbones for text, if their architecture has a layout in
`transformers_layouts.py`."""

from typing import Any, Literal

import torch

from frostline.backbones.base import Backbone
from frostline.backbones.transformers_blocks import POOLS
from frostline.backbones.transformers_files import (
    Source,
    imported,
    pooling_of,
    pretrained,
    quiet,
    read_config,
    read_tokenizer,
    refused,
    require_layout,
    source_of,
    untrained,
)
from frostline.backbones.transformers_layouts import Chain, chain_of
from frostline.config.ranges import Probability
from frostline.contracts.features import Form
from frostline.contracts.specs import TextSpec
from frostline.contracts.tokens import Tokens
from frostline.errors import ConfigError, WeightsError

ENDLESS = 1_000_000  # tokens: a tokenizer with a larger maximum has no limit
LONGEST = 4096  # tokens, if neither network nor tokenizer has a limit
LENGTHS = (4, 2)  # tokens of the two texts on which a chain is compared with the library's network


class TransformersBackbone(Backbone):
    """`name`: on the hub, or a folder. `weights`: DEFAULT for those of `name`, another name or folder, or null for
    random ones with the config of `name`; the tokenizer has the same source. `pooling`: features are those of the first
    token (`cls`), the mean of all (`mean`) or those of the `last`; `auto` follows the files of the weights, else the
    family. `dropout`: of blocks that learn; null for the model's own. `remote_code`: whether Python code beside the
    weights may run.
    `load=False`: the architecture and spec of these weights, with random values.

    The output of the blocks is compared with the library's own hidden states on two short texts.
    Raises ConfigError if the model has no layout or its output differs, WeightsError if files cannot be loaded.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        pooling: Literal["auto", "cls", "mean", "last"],
        dropout: Probability | None,
        remote_code: bool,
        load: bool = True,
        form: Form = "vector",
    ) -> None:
        library = imported()
        key = "model.name" if weights is None else "model.weights"
        source = source_of(name if weights in (None, "DEFAULT") else weights, key, remote_code)
        with quiet(library):
            config = read_config(library, source, dropout)
            tokenizer = read_tokenizer(library, source)
            made = pretrained if weights is not None and load else untrained
            network, loaded = made(library, config, source)
            network.eval()  # so that the comparison draws no random numbers
            chain = _chain(source, network)
            spec = TextSpec(source.name, _max_length(chain, tokenizer), remote_code=source.remote_code)
            _require_a_row_for_each_token(source, network, tokenizer)
            width = _require_the_same(source, network, chain)
            how = (pooling_of(library, source) or chain.pooling) if pooling == "auto" else pooling
            _require_that_it_saw_the_text(source, chain, how)
        super().__init__(
            name=name, blocks=chain.blocks, pool=POOLS[how](), width=width, spec=spec, loaded=loaded, form=form
        )
        self.train()


def _chain(source: Source, network: Any) -> Chain:
    require_layout(source, type(network).__name__)
    try:
        return chain_of(network)
    except (NotImplementedError, AttributeError) as error:  # the layout names a part that this network lacks
        raise refused(source, f"its {type(network).__name__} does not match its layout: {error}") from error


def _max_length(chain: Chain, tokenizer: Any) -> int:
    ends = [chain.positions] if chain.positions is not None else []
    return min([*ends, *(end for end in [tokenizer.model_max_length] if end < ENDLESS)], default=LONGEST)


def _require_a_row_for_each_token(source: Source, network: Any, tokenizer: Any) -> None:
    rows = network.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise WeightsError(
            f"the tokenizer has {len(tokenizer)} tokens, but the network embeds {rows}: they do not belong together",
            where=source.name,
            next_step=source.next_step,
        )


def _require_that_it_saw_the_text(source: Source, chain: Chain, pooling: str) -> None:
    """Raises ConfigError for the first token of a decoder: it attends to no other, and many texts share it."""
    if pooling == "cls" and chain.pooling == "last":
        raise ConfigError(
            f"{source.name} is a decoder: its first token attends to no other and carries no information about a text",
            where="model.pooling",
            next_step="model.pooling=last, or mean",
        )


def _require_the_same(source: Source, network: Any, chain: Chain) -> int:
    """Return the number of features D. Raises ConfigError if the blocks do not return the library's hidden states."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    rows, padding = network.get_input_embeddings().num_embeddings, network.config.pad_token_id or 0
    ids = 3 + (31 * torch.arange(mask.numel()).view_as(mask)) % (rows - 3)  # ids below 3 may be padding
    ids = ids.masked_fill(~mask, padding)
    tokens = Tokens(torch.stack([ids, torch.zeros_like(ids)], -1), mask)
    with torch.no_grad():
        expected = network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        try:
            for block in chain.blocks.values():
                tokens = block(tokens)
        except (RuntimeError, TypeError) as error:
            raise refused(source, f"its blocks cannot run one after another: {error}") from error
    found = tokens.values
    same = found.shape == expected.shape and (found - expected)[mask].abs().max() <= 1e-4 * expected[mask].abs().max()
    if not same:
        raise refused(source, f"its blocks return {tuple(found.shape)}, which differ from the library's hidden states")
    return found.shape[-1]
