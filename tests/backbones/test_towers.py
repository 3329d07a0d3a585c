"""Several networks as one chain of blocks: its order, its outputs, and what is frozen of each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_phase
from frostline.backbones.fusion import FusionBackbone
from frostline.backbones.towers import Towers, interleaved
from frostline.contracts.tokens import Tokens
from frostline.errors import ConfigError
from frostline.frozen.blocks import FrozenPass
from frostline.plan.freezing import set_trainable
from frostline.training.costs import measured_costs
from tiny import Chain, Levels, Tiny
from tiny_text import TinyText, make_tokenizer

IMAGE = {"_target_": "tiny.Chain", "weights": None}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture
def towers(tokenizer: str) -> Towers:
    torch.manual_seed(0)
    return Towers({"image": Levels(weights=None), "text": TinyText(weights=tokenizer)}, name="both").eval()


def inputs(number: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 90, (number, 6, 2), generator=generator)
    ids[:, :, 1] = 0
    pictures = torch.rand(number, 3, 8, 8, generator=generator)
    return {
        "image/a": pictures,
        "image/b": pictures.flip(0),
        "text/c": Tokens(ids, torch.arange(6) < torch.tensor([6, 4, 2])[:number, None]),
        "row": {"numbers": torch.ones(number, 2)},
    }


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_stems_come_first_and_tops_last_and_each_chain_keeps_its_order(lengths: list[int]) -> None:
    parts = {f"p{place}": length for place, length in enumerate(lengths)}
    order = interleaved(parts)
    assert len(order) == sum(lengths)
    for part, length in parts.items():
        assert [index for own, index in order if own == part] == [*range(length)]
    assert {(part, length - 1) for part, length in parts.items()} == {*order[-len(parts) :]}
    if min(lengths) > 1:
        assert {(part, 0) for part in parts} == {*order[: len(parts)]}


def test_the_chain_returns_what_each_tower_returns_alone(towers: Towers) -> None:
    given = inputs()
    with torch.no_grad():
        found = towers(given)
        for name, part in (("image/a", "image"), ("image/b", "image"), ("text/c", "text")):
            assert torch.equal(found[name], towers.towers[part](given[name]))
    assert found["row"] is given["row"]


@pytest.mark.parametrize("line", range(9))
def test_a_chain_can_be_cut_anywhere(towers: Towers, line: int) -> None:
    given = inputs()
    whole = FrozenPass(towers).through(given, 0, 8)
    with torch.no_grad():
        cut = towers.through(FrozenPass(towers).through(given, 0, line), line, 8)
    for name, value in towers.to_head(cut).items():
        if name != "row":
            torch.testing.assert_close(value, whole[name], rtol=1e-5, atol=1e-6)
    held = towers.held_at(line)
    assert all(1 <= place <= line for place in held)
    assert len(held) == sum(towers.passed(part, line) > 0 for part in towers.towers)


def test_every_weight_has_one_name_and_blocks_hold_all(towers: Towers) -> None:
    names = [name for name, _ in towers.named_parameters(remove_duplicate=False)]
    assert len(names) == len({*names}) == len([*towers.blocks.parameters()])
    assert {name.split(".")[1].split("_")[0] for name in names} == {"image", "text"}


def test_a_pool_rests_with_the_top_of_its_tower(towers: Towers) -> None:
    head = torch.nn.Linear(2, 2)
    towers.train()
    set_trainable(towers, head, make_phase(thaw=["text_layer_1"]))
    modes = {part: tower.pool.training for part, tower in towers.towers.items()}
    assert modes == {"image": False, "text": True}


def test_costs_count_a_tower_for_each_of_its_inputs(towers: Towers) -> None:
    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 2)

        def forward(self, features: dict[str, Any]) -> torch.Tensor:
            return self.layer(features["image/a"])  # type: ignore[no-any-return]

    once = {name: value for name, value in inputs(1).items() if name != "image/b"}
    costs = [measured_costs(towers, Head(), given, device=torch.device("cpu")) for given in (once, inputs(1))]
    assert [*costs[0]] == [*towers.blocks, "head"]
    assert costs[1]["image_stem"].kept == pytest.approx(2 * costs[0]["image_stem"].kept)
    assert costs[1]["text_layer_0"].kept == pytest.approx(costs[0]["text_layer_0"].kept)


def test_a_tower_is_any_backbone_that_takes_its_part(tokenizer: str) -> None:
    text = {"_target_": "tiny_text.TinyText", "weights": tokenizer}
    assert [*FusionBackbone(image=IMAGE, text=text, order="depth", form="parts").towers] == ["image", "text"]
    assert [*FusionBackbone(image=None, text={}, order="depth", form="parts").blocks] == []
    with pytest.raises(ConfigError, match=r"model.image names a backbone that takes texts"):
        FusionBackbone(image=text, text=None, order="depth", form="parts")
    with pytest.raises(ConfigError, match="which this head does not take"):
        FusionBackbone(image=IMAGE, text=None, order="depth")


def test_one_tower_can_come_whole_before_the_other(tokenizer: str) -> None:
    text = {"_target_": "tiny_text.TinyText", "weights": tokenizer}
    own = FusionBackbone(image=IMAGE, text=text, order="image_first", form="parts")
    assert [name.split("_")[0] for name in own.blocks] == ["image"] * 3 + ["text"] * 3
    assert own.held_at(4) == [3, 4], "all pictures are frozen, and their features cached, while texts thaw"
    other = FusionBackbone(image=IMAGE, text=text, order="text_first", form="parts")
    assert [name.split("_")[0] for name in other.blocks] == ["text"] * 3 + ["image"] * 3


def test_other_networks_do_not_return_parts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="but this head or task needs parts"):
        Tiny(weights=None, form="parts")
    assert Chain(weights=None).pools[0][0] == "stage2"
