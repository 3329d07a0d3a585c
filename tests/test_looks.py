"""What the page shows of samples beside themselves, within the time that it may take."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.commands.looks import Allowance, Explaining, _looks, allowance_of
from frostline.contracts.features import vector
from frostline.contracts.specs import TextSpec, WaveSpec
from frostline.contracts.tokens import Tokens
from frostline.data.split import Split
from frostline.data.texts.tokenized import Tokenizer, TokenSource
from frostline.heads.vector import LinearHead
from frostline.runs.record import Record
from frostline.saliency.explain_texts import TextExplainer
from frostline.saliency.explainer import Answering
from frostline.saliency.look import Look
from tiny_text import WIDTH, TinyText, make_tokenizer

TEXTS = ["aa ab ac", "ba <b> bb", "ca cb"]


def evidence(outputs: Tensor) -> Tensor:
    return outputs - outputs.mean(-1, keepdim=True)


class Network(nn.Module):
    """As much of a FineTuner as looks need."""

    def __init__(self, tokenizer: Path) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone, self.head = TinyText(weights=str(tokenizer)), LinearHead(vector(WIDTH), 2, dropout=0.0)
        self.task: Any = SimpleNamespace(num_outputs=2, draws=False, evidence=evidence)

    def forward(self, x: Tokens) -> Tensor:
        return self.head(self.backbone(x))  # type: ignore[no-any-return]


@pytest.fixture
def shows(tmp_path: Path) -> Explaining:
    network: Any = Network(make_tokenizer(tmp_path))
    rows = Tokenizer(network.backbone.spec, words=False).rows([(text,) for text in TEXTS])
    source = TokenSource.of(rows, torch.zeros(3, dtype=torch.long))
    source.excerpts |= {0: TEXTS[0], 1: TEXTS[1], 2: TEXTS[2][:-1]}  # the last one is cut off
    split = Split(source, torch.arange(3), scored=True)
    data: Any = SimpleNamespace(test_split=split, transfer_batch_to_device=lambda batch, device, _: batch)
    return Explaining(network, data, torch.device("cpu"), nullcontext)


def test_words_of_whole_texts_have_shares(shows: Explaining) -> None:
    before = [module.training for module in shows.model.modules()]
    found, why = _looks(shows, None, [1, 0, 2])
    assert [*found] == [1, 0], "those at the front first"
    assert why == "one text is a pair or longer than the page shows"
    for index, look in found.items():
        said = [TEXTS[index][word.start : word.end] for word in look.words]
        assert said == (["aa", "ab", "ac"] if index == 0 else ["ba", "<", "b", ">", "bb"])
        assert any(abs(word.share) > 1e-3 for word in look.words)
    assert [module.training for module in shows.model.modules()] == before


def test_texts_that_would_take_too_long_are_told(shows: Explaining) -> None:
    found, why = _looks(shows, Allowance(0.0, "frostline report saliency=true"), [1, 0])
    assert found == {}
    assert why == "for 2 samples it would take more than 1 % of the training; frostline report saliency=true makes them"


@dataclass(frozen=True)
class OwnSpec(TextSpec):
    explainer = "test_looks.OwnExplainer"


class OwnExplainer(TextExplainer):
    def looks(self, network: Answering, data: Any, split: Split, *_: Any) -> Iterator[tuple[int, Look]]:
        for index in split.index.tolist():
            yield index, Look(where=f"{index} of {network.backbone.name}")


def test_a_spec_brings_its_own_explainer(shows: Explaining) -> None:
    shows.model.backbone.spec = OwnSpec("none", 16)
    found, why = _looks(shows, None, [2, 0])
    assert ({index: look.where for index, look in found.items()}, why) == (
        {2: "2 of tiny-text", 0: "0 of tiny-text"},
        "",
    )
    shows.model.backbone.spec = WaveSpec(16_000, 400, 320)
    assert _looks(shows, None, [2]) == ({}, "the inputs of this network (sounds) have no map")


def test_a_page_may_cost_a_share_of_its_training() -> None:
    record = Record(command="", seed=0, seconds={"total": 200.0}, foreign=["code"])
    seconds, again = allowance_of(record, Path("/runs/a b"))
    assert seconds == 2.0
    assert again.startswith("frostline report trust=true saliency=true ")
