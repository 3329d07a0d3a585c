"""A text backbone of three small blocks: model._target_=tiny_text.TinyText. Shapes: see `contracts.tokens`."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from frostline.backbones.base import Backbone
from frostline.contracts.features import Form
from frostline.contracts.specs import TextSpec
from frostline.contracts.tokens import Tokens

WIDTH = 16
VOCABULARY = 200


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.places = nn.Embedding(64, WIDTH)

    def forward(self, x: Tokens) -> Tokens:
        places = torch.arange(x.values.shape[1], device=x.values.device)
        values = self.words(x.values[:, :, 0]) + self.segments(x.values[:, :, 1]) + self.places(places)
        return x._replace(values=values)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mixed = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tokens) -> Tokens:
        query, key, value = self.mixed(self.norm(x.values)).chunk(3, dim=-1)
        mixed = scaled_dot_product_attention(query, key, value, x.mask[:, None, :])
        return x._replace(values=x.values + self.dropout(self.out(mixed)).relu())


class Mean(nn.Module):
    def forward(self, x: Tokens) -> Tensor:
        weight = x.mask[:, :, None].float()
        return ((x.values.float() * weight).sum(1) / weight.sum(1)).to(x.values.dtype)


class TinyText(Backbone):
    """weights: a folder with a tokenizer; there are none of the network."""

    def __init__(self, *, weights: str, load: bool = True, form: Form = "vector") -> None:
        super().__init__(
            name="tiny-text",
            blocks={"embeddings": Embeddings(), "layer_0": Layer(), "layer_1": Layer()},
            pool=Mean(),
            width=WIDTH,
            spec=TextSpec(tokenizer=weights, max_length=64),
            loaded="random, from scratch",
            form=form,
        )


def make_tokenizer(folder: Path) -> Path:
    """Whole words of "aa", "ab", ... and their pieces; [CLS] a [SEP] b [SEP]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijkl"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{a}" for a in letters)]
    words += [a + b for a in letters for b in letters][: VOCABULARY - len(words)]
    made = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder


class StillText(TinyText):
    """Without dropout, which ranks draw each for themselves."""

    def __init__(self, *, weights: str, load: bool = True, form: Form = "vector") -> None:
        super().__init__(weights=weights, load=load, form=form)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
