"""The text that is spoken in a sound, by connectionist temporal classification (CTC; Graves et al. 2006).

Shapes: B samples of at most L tokens, C characters; logits (B, L, 1 + C): output 0 is the blank of CTC, output 1 + c
stands for character c. Targets (B, 1 + W): the number of a sample's tokens, then up to W characters, UNKNOWN for one
that has no output, NO_TAG behind the end.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import ctc_loss
from torch.nn.utils.rnn import pad_sequence
from torchmetrics import Metric

from frostline.config.ranges import NonNegative
from frostline.contracts.batch import Batch
from frostline.contracts.targets import NO_TAG, Targets
from frostline.tasks.base import Metrics, Mode, Task
from frostline.tasks.edits import edits

BLANK = 0  # the output of CTC that writes nothing
SCORES: dict[str, Mode] = {"loss": "min", "cer": "min", "wer": "min"}


class Transcription(Task):
    kind = "transcripts"
    saves_cheaply = False
    hub_task = "automatic-speech-recognition"
    unit = "token"

    def __init__(self, targets: Targets, *, l1: NonNegative[float], monitor: str, mode: Literal["max", "min"]) -> None:
        super().__init__(monitor=monitor, mode=mode, l1=l1, scores=SCORES)
        self.characters = targets.names

    @property
    def num_outputs(self) -> int:
        return 1 + len(self.characters)

    def loss(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The mean over samples of the negative log-likelihood per character. Infinite, and never set to zero, for a
        sample with fewer tokens than its transcript needs; the data refuses such samples."""
        return {"loss": losses(outputs, batch.targets).mean()}

    def metrics(self) -> "TranscriptionMetrics":
        return TranscriptionMetrics(self.characters)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Tensor]:
        """(n,) indices of the characters of each sample."""
        return greedy(outputs, batch.targets[:, 0])

    def columns(self, predictions: Sequence[Tensor], top_k: int) -> dict[str, list[str]]:
        """The column `text`."""
        return {"text": ["".join(self.characters[place] for place in row.tolist()) for row in predictions]}

    def saved(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`target` (B, W) and `decoded` (B, V): indices of characters, with NO_TAG behind the end. `loss` (B,)."""
        none = batch.targets.new_full((1,), NO_TAG)  # so that no column is empty
        texts = [torch.cat([text, none]) for text in greedy(outputs, batch.targets[:, 0])]
        decoded = pad_sequence(texts, batch_first=True, padding_value=NO_TAG)
        return {"target": batch.targets[:, 1:], "decoded": decoded, "loss": losses(outputs, batch.targets)}


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """(B,) negative log-likelihood per character that has an output. On the CPU: on GPUs its gradient has no
    deterministic kernel."""
    lengths, wanted = targets[:, 0].cpu(), targets[:, 1:].cpu()
    has_output = wanted >= 0
    sizes = has_output.sum(1)
    logs = outputs.float().log_softmax(-1).transpose(0, 1).cpu()
    each = ctc_loss(logs, wanted[has_output] + 1, lengths, sizes, blank=BLANK, reduction="none")
    return (each / sizes.clamp(min=1)).to(outputs.device)


def greedy(outputs: Tensor, lengths: Tensor) -> list[Tensor]:
    """The characters of the best path: the best output of each of the first `lengths` tokens, without repetitions and
    blanks. (n,) indices of characters per sample."""
    best = outputs.argmax(-1)
    fresh = torch.ones_like(best, dtype=torch.bool)
    fresh[:, 1:] = best[:, 1:] != best[:, :-1]
    real = torch.arange(best.shape[1], device=best.device) < lengths[:, None]
    written = fresh & real & (best != BLANK)
    return [row[keep] - 1 for row, keep in zip(best, written, strict=True)]


class Errors(Metric):
    """Sums over all batches and ranks. loss: of samples. wrong_*: edits that predictions need; *: their true number."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss", torch.zeros((), dtype=torch.float32), dist_reduce_fx="sum")
        for name in ("wrong_characters", "characters", "wrong_words", "words", "samples"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, **added: Tensor | int) -> None:
        for name, value in added.items():
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, float]:
        return {name: getattr(self, name).item() for name in self.metric_state}


class TranscriptionMetrics(Metrics):
    """Error rates are edits of all samples together divided by their true number of characters or words, so that a long
    transcript weighs more, as in torchmetrics and jiwer."""

    def __init__(self, characters: list[str]) -> None:
        super().__init__()
        self.blank = characters.index(" ") if " " in characters else None
        self.sums = Errors()

    def update(self, outputs: Tensor, batch: Batch) -> None:
        given = [row.tolist() for row in greedy(outputs, batch.targets[:, 0])]
        wanted = [row[row != NO_TAG].tolist() for row in batch.targets[:, 1:]]
        pairs = list(zip(given, wanted, strict=True))
        words = [(self._words(own), self._words(true)) for own, true in pairs]
        self.sums.update(
            loss=losses(outputs, batch.targets).sum(),
            wrong_characters=sum(edits(own, true) for own, true in pairs),
            characters=sum(map(len, wanted)),
            wrong_words=sum(edits(own, true) for own, true in words),
            words=sum(len(true) for _, true in words),
            samples=len(pairs),
        )

    def _words(self, text: Sequence[int]) -> list[tuple[int, ...]]:
        """Divide a text at blanks. A word with an unknown character equals no other, as no output stands for it."""
        found: list[list[int]] = [[]]
        for character in text:
            if character == self.blank:
                found.append([])
            else:
                found[-1].append(character)
        return [tuple(word) for word in found if word]

    def compute(self) -> dict[str, float]:
        """`loss` per character, the mean over samples; `cer` and `wer`, error rates of characters and words, above 1 if
        predictions are much too long; `n` samples."""
        sums = self.sums.compute()
        return {
            "loss": sums["loss"] / max(sums["samples"], 1),
            "cer": sums["wrong_characters"] / max(sums["characters"], 1),
            "wer": sums["wrong_words"] / max(sums["words"], 1),
            "n": int(sums["samples"]),
        }

    def per_class(self) -> list[dict[str, Any]]:
        """A row for characters and one for words; `n` is their true number."""
        sums, scores = self.sums.compute(), self.compute()
        return [
            {"unit": unit, "n": int(sums[unit]), "error_rate": scores[score]}
            for unit, score in (("characters", "cer"), ("words", "wer"))
        ]

    def reset(self) -> None:
        self.sums.reset()
