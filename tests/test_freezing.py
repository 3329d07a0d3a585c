"""The frost line and the parameter groups, on a small network with every kind of parameter."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import make_phase
from frostline.adapters.kinds import Dora
from frostline.backbones.base import Backbone
from frostline.contracts.features import vector
from frostline.contracts.specs import ImageSpec
from frostline.errors import PlanError
from frostline.heads.vector import MlpHead
from frostline.plan.freezing import (
    count,
    frozen_parameters,
    learning_weights,
    optimizer_groups,
    parameter_groups,
    rest_frozen,
    set_trainable,
)
from frostline.plan.phase import Phase

NAMES = ["stem", "middle", "bare", "top"]  # `bare` has no parameters
SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Stem(nn.Module):
    """A convolution with a bias, and a position table, which is no weight of a layer that multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, 4, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.position
        return out


def block(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.5))


def backbone() -> Backbone:
    """Its pool has dropout, as EfficientNet's and Inception's have."""
    blocks = {"stem": Stem(), "middle": block(4, 6), "bare": nn.MaxPool2d(2), "top": block(6, 8)}
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(0.5))
    return Backbone(name="tiny", blocks=blocks, pool=pool, width=8, spec=SPEC, loaded="random")


def head() -> MlpHead:
    return MlpHead(vector(8), 3, hidden=[5], activation="relu", dropout=0.1)


def phase(thaw: Any, lr_scale: float = 1.0, layer_decay: float = 1.0, **others: Any) -> Phase:
    return make_phase(thaw=thaw, epochs=1, lr_scale=lr_scale, layer_decay=layer_decay, curve="constant", **others)


def state(network: Backbone, top: nn.Module) -> dict[str, bool]:
    modules = {f"{name} trains": module.training for name, module in network.named_modules()}
    learning = {f"{name} learns": p.requires_grad for split in (network, top) for name, p in split.named_parameters()}
    return modules | learning


# --- the frost line ---


@pytest.mark.parametrize("frozen", range(5))
def test_exactly_what_lies_above_the_frost_line_learns(frozen: int) -> None:
    network, top = backbone(), head()
    set_trainable(network, top, phase(len(NAMES) - frozen))
    learning = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    resting = {name.split(".")[1] for name, p in network.named_parameters() if not p.requires_grad}
    assert learning == set(NAMES[frozen:]) - {"bare"}
    assert resting == set(NAMES[:frozen]) - {"bare"}
    assert all(p.requires_grad for p in top.parameters())
    assert set(frozen_parameters(network, top)) == {p for n in NAMES[:frozen] for p in network.blocks[n].parameters()}


@given(st.lists(st.integers(0, 4), max_size=5), st.integers(0, 4))
def test_the_state_follows_from_the_last_frost_line_alone(before: list[int], last: int) -> None:
    network, top, fresh, fresh_top = backbone(), head(), backbone(), head()
    for frozen in [*before, last, last]:
        network.train()
        set_trainable(network, top, phase(len(NAMES) - frozen))
    set_trainable(fresh, fresh_top, phase(len(NAMES) - last))
    assert state(network, top) == state(fresh, fresh_top)


@pytest.mark.parametrize("frozen", range(5))
def test_frozen_blocks_rest_after_train_and_the_others_train(frozen: int) -> None:
    network = backbone()
    network.train()
    rest_frozen(network, phase(len(NAMES) - frozen))
    modes = {name: {module.training for module in network.blocks[name].modules()} for name in NAMES}
    assert modes == {name: {number >= frozen} for number, name in enumerate(NAMES)}


def test_a_resting_norm_keeps_its_statistics_and_a_resting_dropout_drops_nothing() -> None:
    torch.manual_seed(0)
    network, top = backbone(), head()
    set_trainable(network, top, phase(len(NAMES) - 4))
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    x = torch.randn(4, 3, 8, 8)
    assert torch.equal(network(x), network(x))
    assert len(buffers) == 6
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in network.named_buffers())


def test_a_gradient_of_the_last_phase_is_forgotten_where_it_freezes() -> None:
    network, top = backbone(), head()
    top(network(torch.randn(4, 3, 8, 8))).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    set_trainable(network, top, phase(len(NAMES) - 2))
    with_gradient = {name.split(".")[1] for name, p in network.named_parameters() if p.grad is not None}
    assert with_gradient == {"top"}


# --- parameter groups ---


@pytest.mark.parametrize("thaw", ["none", "all", "middle", 0, 1, 2, 3, 4])
def test_the_groups_hold_every_learning_parameter_once_and_no_other(thaw: str | int) -> None:
    network, top, it = backbone(), head(), phase(thaw)
    set_trainable(network, top, it)
    grouped = [id(p) for group in parameter_groups(network, top, it) for p in group.parameters]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for split in (network, top) for p in split.parameters() if p.requires_grad}


def test_weight_decay_acts_on_the_weights_that_multiply_and_on_nothing_else() -> None:
    network, top = backbone(), head()
    names = {id(p): name for split in (network, top) for name, p in split.named_parameters()}
    groups = parameter_groups(network, top, phase("all"))
    decaying = {names[id(p)] for group in groups if group.decays for p in group.parameters}
    assert decaying == {
        "blocks.stem.conv.weight", "blocks.middle.0.weight", "blocks.top.0.weight",
        "layers.0.weight", "layers.3.weight",
    }  # fmt: skip
    spared = {names[id(p)] for group in groups if not group.decays for p in group.parameters}
    assert {"blocks.stem.position", "blocks.stem.conv.bias", "blocks.top.1.weight", "layers.3.bias"} < spared
    assert len(decaying | spared) == len(names)


def test_a_rate_falls_with_the_depth_of_the_block_counted_over_blocks_without_parameters_too() -> None:
    groups = parameter_groups(backbone(), head(), phase("all", lr_scale=0.5, layer_decay=0.1))
    assert {group.block: group.lr_scale for group in groups} == pytest.approx(
        {"head": 0.5, "top": 0.05, "middle": 0.0005, "stem": 0.00005}
    )
    by_block = [group.block for group in groups]
    assert list(dict.fromkeys(by_block)) == ["head", "top", "middle", "stem"]


def test_a_group_is_named_after_its_block_and_says_whether_it_decays() -> None:
    groups = optimizer_groups(parameter_groups(backbone(), head(), phase("top")), phase("top"))
    assert [(group["name"], group["lr_scale"], group.get("weight_decay")) for group in groups] == [
        ("head", 1.0, None), ("head/no_decay", 1.0, 0.0), ("top", 1.0, None), ("top/no_decay", 1.0, 0.0),
    ]  # fmt: skip


def test_the_optimizers_own_decay_holds_where_a_group_names_none() -> None:
    network, top = backbone(), head()
    made = torch.optim.SGD(
        optimizer_groups(parameter_groups(network, top, phase("none")), phase("none")), lr=0.1, weight_decay=0.5
    )
    assert {group["name"]: group["weight_decay"] for group in made.param_groups} == {"head": 0.5, "head/no_decay": 0.0}
    assert {id(w) for w in learning_weights(made.param_groups)} == {id(top.layers[0].weight), id(top.layers[3].weight)}


def test_the_count_is_of_numbers_and_not_of_tensors() -> None:
    assert count(head().parameters()) == 8 * 5 + 5 + 5 * 3 + 3


@pytest.mark.parametrize("thaw", ["none", 0])
def test_a_phase_in_which_nothing_learns_is_refused(thaw: str | int) -> None:
    network, top = backbone(), nn.Flatten()
    set_trainable(network, top, phase(len(NAMES) - 4))
    with pytest.raises(PlanError, match="phase 'it' trains nothing") as raised:
        parameter_groups(network, top, phase(thaw))
    assert raised.value.where == "schedule.phases.it.thaw"


def test_a_head_without_parameters_will_do_where_a_block_learns() -> None:
    network, top, it = backbone(), nn.Flatten(), phase("top")
    set_trainable(network, top, it)
    assert [group.name for group in parameter_groups(network, top, it)] == ["top", "top/no_decay"]


# --- parts of blocks ---


def learning(network: Backbone) -> set[str]:
    return {name.removeprefix("blocks.") for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("norms", {"middle.1.weight", "middle.1.bias", "top.1.weight", "top.1.bias"}),
        ("biases", {"stem.conv.bias"}),
        (["norms", "biases"],
         {"stem.conv.bias", "middle.1.weight", "middle.1.bias", "top.1.weight", "top.1.bias"}),
    ],
)  # fmt: skip
def test_only_the_norms_or_the_biases_of_thawed_blocks_learn(only: Any, names: set[str]) -> None:
    network, top = backbone(), head()
    set_trainable(network, top, phase("all", only=only))
    assert learning(network) == names
    assert all(p.requires_grad for p in top.parameters()), "the head is new: it learns whole"


def adapted() -> Backbone:
    """DoRA in the two upper blocks: factors and magnitudes."""
    network = backbone()
    Dora(2, 4, 0.5, None).put_into(network, ["middle", "top"])
    return network


FACTORS = {f"top.0.lora_{factor}.default.weight" for factor in "AB"}
ADAPTER = FACTORS | {"top.0.lora_magnitude_vector.default.weight"}


@pytest.mark.parametrize(
    ("thaw", "only", "names"),
    [
        ("top", "adapters", ADAPTER),
        ("top", ["adapters", "norms"], ADAPTER | {"top.1.weight", "top.1.bias"}),
        ("top", "norms", {"top.1.weight", "top.1.bias"}),
        ("top", None, ADAPTER | {"top.0.base_layer.weight", "top.1.weight", "top.1.bias"}),
        ("none", "adapters", set()),
    ],
)
def test_only_the_adapters_of_thawed_blocks_learn(thaw: Any, only: Any, names: set[str]) -> None:
    network, top = adapted(), head()
    set_trainable(network, top, phase("all"))  # what learned in another phase does not go on
    set_trainable(network, top, phase(thaw, only=only))
    assert learning(network) == names
    assert all(p.requires_grad for p in top.parameters())


def test_a_block_whose_adapters_learn_trains_and_one_below_the_frost_line_rests_with_its_own() -> None:
    network = adapted()
    network.train()
    rest_frozen(network, phase("top", only="adapters"))
    trains = [network.get_submodule(f"blocks.{name}.0.lora_dropout.default").training for name in ("middle", "top")]
    assert trains == [False, True]
    assert network.get_submodule("blocks.top.3").training, "the network's own dropout, too"


def test_the_factors_of_an_adapter_decay_and_what_scales_does_not() -> None:
    network, top, it = adapted(), head(), phase("all", only="adapters", layer_decay=0.5)
    set_trainable(network, top, it)
    groups = parameter_groups(network, top, it)
    names = {id(p): name.removeprefix("blocks.") for name, p in network.named_parameters()}
    own = {group.name: {names[id(p)] for p in group.parameters} for group in groups if group.block == "top"}
    assert own == {"top": FACTORS, "top/no_decay": ADAPTER - FACTORS}
    assert {group.block: group.lr_scale for group in groups} == {"head": 1.0, "top": 0.5, "middle": 0.125}


def test_named_blocks_learn_and_those_above_rest() -> None:
    network, top = backbone(), head()
    network.train()
    set_trainable(network, top, phase(["stem"]))
    assert learning(network) == {"stem.conv.weight", "stem.conv.bias", "stem.position"}
    assert network.blocks["stem"].training
    assert not any(module.training for module in network.blocks["top"].modules())
    top(network(torch.randn(4, 3, 8, 8))).sum().backward()
    assert network.get_submodule("blocks.stem.conv").weight.grad is not None, "through the frozen blocks above"
    groups = parameter_groups(network, top, phase(["stem"], layer_decay=0.1))
    assert {group.block: group.lr_scale for group in groups} == pytest.approx({"head": 1.0, "stem": 1e-4})


def test_frozen_norms_of_thawed_blocks_rest_and_still_learn_their_weights() -> None:
    network, top = backbone(), head()
    network.train()
    set_trainable(network, top, phase("all", norm="frozen"))
    assert {name for name, module in network.named_modules() if not module.training} == {
        "blocks.middle.1", "blocks.top.1",
    }  # fmt: skip
    assert "top.1.weight" in learning(network)


def test_a_phase_has_its_own_weight_decay() -> None:
    network, top, it = backbone(), head(), phase("top", weight_decay=0.25)
    set_trainable(network, top, it)
    groups = optimizer_groups(parameter_groups(network, top, it), it)
    assert {group["name"]: group["weight_decay"] for group in groups} == {
        "head": 0.25, "head/no_decay": 0.0, "top": 0.25, "top/no_decay": 0.0,
    }  # fmt: skip


def test_blocks_without_any_of_what_is_asked_for_are_refused() -> None:
    network, top, it = backbone(), head(), phase(["bare"])
    set_trainable(network, top, it)
    with pytest.raises(PlanError, match="phase 'it' trains nothing: bare: no parameters"):
        parameter_groups(network, top, it)


@pytest.mark.parametrize(("thaw", "same"), [("none", True), (["middle"], False), ("top", False)])
def test_a_frozen_backbone_gives_the_same_features_twice(thaw: Any, same: bool) -> None:
    """Dropout of the pool is off while the top block is frozen, and acts again with it."""
    it, x = backbone(), torch.randn(4, 3, 8, 8)
    it.train()
    rest_frozen(it, phase(thaw))
    assert torch.equal(it(x), it(x)) is same
    assert it.pool.training is (thaw == "top")
