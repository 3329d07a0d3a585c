"""What in the texts on a page speaks for their answers.

Shapes: L tokens.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch

from frostline.contracts.batch import Batch
from frostline.contracts.specs import TextSpec
from frostline.data.module import Data
from frostline.data.split import Split
from frostline.data.texts.spans import Span, padded_out, spans_of
from frostline.data.texts.tokenized import Tokenizer
from frostline.errors import Costly, DataError
from frostline.pages.explained import Word
from frostline.pages.samples import Look
from frostline.saliency.running import resting, seconds_at
from frostline.saliency.texts import MOST_ERROR, STEPS, Shares, shares
from frostline.training.finetuner import FineTuner

LeftOut = Counter[tuple[str, str]]  # by the reason, of one and of several
NOT_WHOLE = "text is a pair or longer than the page shows", "texts are pairs or longer than the page shows"
NOT_EXACT = "text has shares that do not add up to its score", "texts have shares that do not add up to their scores"


def text_looks(
    model: FineTuner, data: Data, split: Split, device: torch.device, seconds: float | None, left_out: LeftOut
) -> Iterator[tuple[int, Look]]:
    """Yield looks by index. seconds: that may be spent; None for any time. left_out: counts texts without a look, by
    the reason. Raises Costly if the rest would take longer, ConfigError if the task has no evidence."""
    model.task.evidence(torch.zeros(1, model.task.num_outputs))
    spec = model.backbone.spec
    assert isinstance(spec, TextSpec)
    began, each = time.perf_counter(), None
    tokenizer = Tokenizer(spec, words=False)
    for place, index in enumerate(split.index.tolist()):
        loaded = split.__getitems__([place])
        if isinstance(loaded, DataError):
            raise loaded
        batch: Batch = data.transfer_batch_to_device(loaded, device, 0)
        text = split.source.shown(index)
        tokens = batch.inputs.values[0]
        if not isinstance(text, str) or not torch.equal(tokenizer.rows([(text,)])[0][:, :2].long(), tokens.cpu()):
            left_out[NOT_WHOLE] += 1
            continue
        if seconds is not None:
            each = each or _estimate(model, batch, device)
            if time.perf_counter() - began + each > seconds:
                raise Costly(f"their shares would take {each:.2g} s each")
        now = seconds_at(device)
        spans = spans_of(tokenizer, [text])
        padding = padded_out(tokens[:, 0], spans, tokenizer.padding)
        made = shares(model.backbone, model.head, model.task.evidence, batch.inputs, padding, quick=True)
        each = seconds_at(device) - now
        if made.error <= MOST_ERROR:
            yield index, Look(words=words_of(made, spans))
        else:
            left_out[NOT_EXACT] += 1


def _estimate(model: FineTuner, batch: Batch, device: torch.device) -> float:
    """Seconds of a text's shares, by one pass: a point on the path takes three, and text and baseline one each."""
    began = seconds_at(device)
    with resting(model):
        model(batch.inputs)
    return (3 * STEPS[0] + 3) * (seconds_at(device) - began)


def words_of(made: Shares, spans: Sequence[Span | None]) -> list[Word]:
    """Words in the order of the text, each with the shares of its tokens together."""
    tokens = [(span, share) for span, share in zip(spans, made.tokens.tolist(), strict=True) if span is not None]
    words = []
    for (text, _), group in groupby(tokens, key=lambda token: token[0][:2]):
        own = [*group]
        ends = min(span.start for span, _ in own), max(span.end for span, _ in own)
        words.append(Word(text, *ends, sum(share for _, share in own)))
    return words
