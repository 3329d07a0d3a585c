"""Any encoder or decoder of the transformers library whose architecture has a layout in `transformers_layouts.py` as a
backbone for text."""

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

ENDLESS = 1_000_000  # tokens: above, a tokenizer means that it sets no end
LONGEST = 4096  # tokens, where neither network nor tokenizer sets an end
LENGTHS = (4, 2)  # tokens of the two texts that are sent both ways


class TransformersBackbone(Backbone):
    """`name`: on the hub, or a folder. `weights`: DEFAULT for those of the name, another name or folder, or null for
    random ones of the name's config; the tokenizer comes from the same place. `pooling`: features are those of the
    first token (`cls`), of all (`mean`), of the `last` one, or as the weights' files and their family have it (`auto`).
    `dropout`: of blocks that learn; null for the model's own. `remote_code`: whether Python code that lies beside the
    weights may run.
    `load=False`: the shape and the spec that belong to these weights, without their values.

    What the blocks give is compared with the library's own hidden states, of two short texts.
    Raises ConfigError for a model that is no known chain of blocks; WeightsError.
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
            network.eval()  # so that what is tried here takes no random numbers
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
    except (NotImplementedError, AttributeError) as error:  # a part that the layout names and this network lacks
        raise refused(source, f"its {type(network).__name__} is not as its layout has it: {error}") from error


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
    """Raises ConfigError for the first token of a decoder: it has seen no other, and is often the same in each text."""
    if pooling == "cls" and chain.pooling == "last":
        raise ConfigError(
            f"{source.name} is a decoder: its first token attends to no other and carries no information about a text",
            where="model.pooling",
            next_step="model.pooling=last, or mean",
        )


def _require_the_same(source: Source, network: Any, chain: Chain) -> int:
    """The number of features D, once the blocks gave what the library gives for the tokens of two texts."""
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    rows, padding = network.get_input_embeddings().num_embeddings, network.config.pad_token_id or 0
    ids = 3 + (31 * torch.arange(mask.numel()).view_as(mask)) % (rows - 3)  # below 3 some have their padding
    ids = ids.masked_fill(~mask, padding)
    tokens = Tokens(torch.stack([ids, torch.zeros_like(ids)], -1), mask)
    with torch.no_grad():
        expected = network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        try:
            for block in chain.blocks.values():
                tokens = block(tokens)
        except (RuntimeError, TypeError) as error:
            raise refused(source, f"its blocks do not fit on each other: {error}") from error
    found = tokens.values
    same = found.shape == expected.shape and (found - expected)[mask].abs().max() <= 1e-4 * expected[mask].abs().max()
    if not same:
        raise refused(source, f"its blocks give {tuple(found.shape)}, and not the hidden states of the library's own")
    return found.shape[-1]
