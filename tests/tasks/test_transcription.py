"""Transcription: the loss against torch's own, error rates against torchmetrics, and what greedy decoding writes."""

import math
import random

import pytest
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss
from torchmetrics.text import CharErrorRate, WordErrorRate

from frostline.contracts.batch import Batch
from frostline.contracts.targets import NO_TAG, UNKNOWN, Targets
from frostline.errors import ConfigError
from frostline.tasks.transcription import Transcription, greedy

NAMES = [" ", "a", "b", "c"]
TARGETS = Targets("transcripts", NAMES, [3, 4, 5, 6])


def task(**settings: object) -> Transcription:
    return Transcription(TARGETS, **{"l1": 0.0, "monitor": "val/cer", "mode": "min"} | settings)  # type: ignore[arg-type]


def batch_of(texts: list[str], frames: list[int], width: int = 0) -> Batch:
    """A `?` stands for a character without an output."""
    width = max(width, *map(len, texts))
    rows = [
        [NAMES.index(c) if c in NAMES else UNKNOWN for c in text] + [NO_TAG] * (width - len(text)) for text in texts
    ]
    targets = torch.tensor([[count, *row] for count, row in zip(frames, rows, strict=True)])
    return Batch(None, targets, torch.arange(len(texts)))


def outputs_of(paths: list[str], length: int = 0) -> Tensor:
    """Outputs whose best path is given: `_` is the blank."""
    length = max(length, *map(len, paths))
    best = torch.tensor([[("_" + "".join(NAMES)).index(c) for c in path.ljust(length, "c")] for path in paths])
    return 10.0 * torch.nn.functional.one_hot(best, 1 + len(NAMES)).float()


def random_outputs(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, length, 1 + len(NAMES), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("path", "frames", "text"),
    [
        ("aabb", 4, "ab"),
        ("a_a", 3, "aa"),
        ("_aa_ b_", 7, "a b"),
        ("____", 4, ""),
        ("abccc", 2, "ab"),  # what lies behind the sound is padding
        ("aab", 3, "ab"),
    ],
)
def test_greedy_decoding_drops_repetitions_and_blanks(path: str, frames: int, text: str) -> None:
    own = task()
    decoded = own.decode(outputs_of([path], 8), batch_of(["a"], [frames]))
    assert own.columns(decoded, 5) == {"text": [text]}


def test_the_loss_is_torchs_mean() -> None:
    texts, frames = ["ab", "c", "a bc"], [6, 3, 9]
    outputs = random_outputs(3, 9)
    wanted = [torch.tensor([NAMES.index(c) + 1 for c in text]) for text in texts]
    expected = ctc_loss(
        outputs.log_softmax(-1).transpose(0, 1), torch.cat(wanted), torch.tensor(frames), torch.tensor([2, 1, 4])
    )
    found = task().loss(outputs, batch_of(texts, frames))["loss"]
    torch.testing.assert_close(found, expected)


def test_the_mean_over_shares_is_the_mean_over_the_batch() -> None:
    own, outputs = task(), random_outputs(4, 9)
    texts, frames = ["ab", "c", "a bc", "b"], [6, 3, 9, 5]
    whole = own.loss(outputs, batch_of(texts, frames))["loss"]
    parts = [own.loss(outputs[s], batch_of(texts[s], frames[s], 4))["loss"] for s in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    torch.testing.assert_close(own.loss(outputs[:2, :7], batch_of(texts[:2], frames[:2]))["loss"], parts[0])


def test_a_sound_without_room_for_its_text_is_not_hidden() -> None:
    loss = task().loss(random_outputs(1, 2), batch_of(["abc"], [2]))["loss"]
    assert math.isinf(loss)


def test_gradients_at_padding_are_zero() -> None:
    outputs = random_outputs(2, 9).requires_grad_()
    task().loss(outputs, batch_of(["ab", "c"], [9, 4]))["loss"].backward()
    assert outputs.grad is not None
    assert outputs.grad[1, 4:].abs().max() == 0
    assert outputs.grad[1, :4].abs().max() > 0


def texts_of(number: int, draw: random.Random) -> list[str]:
    words = ["".join(draw.choice("abc") for _ in range(draw.randint(1, 4))) for _ in range(3 * number)]
    return [" ".join(words[3 * n : 3 * n + draw.randint(1, 3)]) for n in range(number)]


def test_error_rates_are_those_of_torchmetrics() -> None:
    draw = random.Random(0)
    wanted = texts_of(12, draw)
    own, outputs, frames = task(), random_outputs(12, 20, seed=1), [draw.randint(8, 20) for _ in range(12)]
    metrics = own.metrics()
    for part in (slice(0, 5), slice(5, 12)):
        metrics.update(outputs[part], batch_of(wanted[part], frames[part]))
    given = own.columns(greedy(outputs, torch.tensor(frames)), 1)["text"]
    scores = metrics.compute()
    assert scores["cer"] == pytest.approx(CharErrorRate()(given, wanted).item(), abs=1e-6)
    assert scores["wer"] == pytest.approx(WordErrorRate()(given, wanted).item(), abs=1e-6)
    assert scores["n"] == 12
    assert scores["cer"] > 0.2
    rows = metrics.per_class()
    assert [row["unit"] for row in rows] == ["characters", "words"]
    assert [row["n"] for row in rows] == [sum(map(len, wanted)), sum(len(text.split()) for text in wanted)]
    metrics.reset()
    metrics.update(outputs_of(["a_b_"]), batch_of(["ab"], [4]))
    assert (metrics.compute()["cer"], metrics.compute()["wer"]) == (0.0, 0.0)


def test_a_character_without_an_output_counts_as_an_error() -> None:
    metrics, outputs = task().metrics(), outputs_of(["a_b c"])
    metrics.update(outputs, batch_of(["?b c"], [5]))
    scores = metrics.compute()
    assert (scores["cer"], scores["wer"]) == (0.25, 0.5)
    assert math.isfinite(scores["loss"])


def test_what_is_saved_has_a_row_per_sound() -> None:
    saved = task().saved(outputs_of(["a_b", "___"]), batch_of(["ab", "c"], [3, 3]))
    assert saved["target"].tolist() == [[1, 2], [3, NO_TAG]]
    assert saved["decoded"].tolist() == [[1, 2, NO_TAG], [NO_TAG, NO_TAG, NO_TAG]]


def test_an_error_rate_is_best_if_small() -> None:
    with pytest.raises(ConfigError, match="the best val/cer is the smallest"):
        task(mode="max")
    assert task().num_outputs == 5
