"""What the page shows of samples beside themselves, within the time that it may take."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from frostline.commands.looks import Allowance, Explaining, _looks, allowance_of
from frostline.contracts.features import vector
from frostline.contracts.tokens import Tokens
from frostline.data.split import Split
from frostline.data.texts.tokenized import Tokenizer, TokenSource
from frostline.heads.vector import LinearHead
from frostline.runs.record import Record
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


def test_a_page_may_cost_a_share_of_its_training() -> None:
    record = Record(command="", seed=0, seconds={"total": 200.0}, foreign=["code"])
    seconds, again = allowance_of(record, Path("/runs/a b"))
    assert seconds == 2.0
    assert again.startswith("frostline report trust=true saliency=true ")
