"""Explain answers for texts by shares of their words. Shapes: L tokens."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch

from frostline.contracts.batch import Batch
from frostline.data.module import Data
from frostline.data.predicting import Predicted, Predicting
from frostline.data.split import Split
from frostline.data.texts.predicting import TextPredicting
from frostline.data.texts.spans import Span, padded_out, spans_of
from frostline.data.texts.tokenized import Tokenizer
from frostline.errors import Costly, DataError
from frostline.saliency.explainer import Answering, Explainer, Explanation, LeftOut, loaded
from frostline.saliency.look import Look, Word
from frostline.saliency.running import resting, seconds_at
from frostline.saliency.texts import MOST_ERROR, STEPS, Shares, require_texts, shares

NOT_WHOLE = "text is a pair or longer than the page shows", "texts are pairs or longer than the page shows"
NOT_EXACT = "text has shares that do not add up to its score", "texts have shares that do not add up to their scores"


class TextExplainer(Explainer):
    example_input = "text='...'"
    suffix = ".html"

    def explain(
        self, network: Answering, predicting: Predicting, batch: Batch, found: Predicted, chosen: int | None
    ) -> Explanation:
        assert isinstance(predicting, TextPredicting)  # what texts are predicted by
        texts = predicting.texts_in(found.given)
        spans = spans_of(predicting.tokenizer, [*texts.values()])
        padding = padded_out(batch.inputs.values[0, :, 0], spans, predicting.tokenizer.padding)
        made = shares(network.backbone, network.head, network.evidence, batch.inputs, padding, chosen)
        if not made.error <= MOST_ERROR:
            raise DataError(
                f"the shares of the words miss the answer's score by {made.error:.0%} after {made.steps} steps, so "
                "none is shown",
                where=", ".join(texts),
                next_step="explain another text, or another answer of it (answer=<name>)",
            )
        summary = f"integrated gradients from padding, {made.steps} steps, off by {made.error:.1%}"
        return Explanation(made.chosen, ("by", summary), texts=texts, words=words_of(made, spans))

    def looks(
        self,
        network: Answering,
        data: Data,
        split: Split,
        device: torch.device,
        seconds: float | None,
        left_out: LeftOut,
    ) -> Iterator[tuple[int, Look]]:
        """Texts whose shares are not exact have no look."""
        began, each = time.perf_counter(), None
        tokenizer = Tokenizer(require_texts(network.backbone), words=False)
        for place, index in enumerate(split.index.tolist()):
            batch = loaded(data, split, [place], device)
            text = split.source.shown(index)
            tokens = batch.inputs.values[0]
            if not isinstance(text, str) or not torch.equal(tokenizer.rows([(text,)])[0][:, :2].long(), tokens.cpu()):
                left_out[NOT_WHOLE] += 1
                continue
            if seconds is not None:
                each = each or _estimate(network, batch, device)
                if time.perf_counter() - began + each > seconds:
                    raise Costly(f"their shares would take {each:.2g} s each")
            now = seconds_at(device)
            spans = spans_of(tokenizer, [text])
            padding = padded_out(tokens[:, 0], spans, tokenizer.padding)
            made = shares(network.backbone, network.head, network.evidence, batch.inputs, padding, quick=True)
            each = seconds_at(device) - now
            if made.error <= MOST_ERROR:
                yield index, Look(words=words_of(made, spans))
            else:
                left_out[NOT_EXACT] += 1


def _estimate(network: Answering, batch: Batch, device: torch.device) -> float:
    """Seconds of a text's shares, by one pass: a point on the path takes three, and text and baseline one each."""
    began = seconds_at(device)
    with resting(network.backbone, network.head):
        network.head(network.backbone(batch.inputs))
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
