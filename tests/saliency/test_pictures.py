"""Maps over pictures: they find what decides, add up to the score, change with the weights, and need nothing thawed."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from conftest import short_form
from frostline.adapters.kinds import Lora
from frostline.backbones.base import Backbone
from frostline.contracts.features import vector
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.contracts.targets import Targets
from frostline.errors import ConfigError, Costly
from frostline.frozen.blocks import FrozenPass
from frostline.heads.vector import LinearHead, MlpHead
from frostline.saliency.drawing import heat, strengths, where
from frostline.saliency.pictures import saliency
from frostline.tasks.classification import Classification
from frostline.training.compiling import compile_in_place

SIDE, PATCH, CLASSES = 24, 6, 3
SPEC = ImageSpec(SIDE, SIDE, (0.5,) * 3, (0.25,) * 3)
SETTINGS = {"label_smoothing": 0.0, "class_weights": "none", "l1": 0.0, "monitor": "val/loss", "mode": "min"}
TASK = Classification(Targets("class", ["a", "b", "c"], [1] * CLASSES), **SETTINGS)  # type: ignore[arg-type]
MLP = {"hidden": [16], "activation": "relu", "dropout": 0.0}


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def convolution(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Top(nn.Sequential):
    """A block as in ConvNeXt or VGG: its map is inside, and it returns a vector."""

    def __init__(self, *last: nn.Module) -> None:
        super().__init__(convolution(16, 24), *last)


def backbone(top: nn.Module | None = None, pool: nn.Module | None = None) -> Backbone:
    blocks = {"stem": convolution(3, 16), "top": convolution(16, 24) if top is None else top}
    return Backbone(name="small", blocks=blocks, pool=pool or Mean(), width=24, spec=SPEC, loaded="")


class Planted(NamedTuple):
    """corners: (B, 2) top and left of the patch that decides the class."""

    pictures: Tensor
    targets: Tensor
    corners: Tensor


def planted(number: int, seed: int) -> Planted:
    draw = torch.Generator().manual_seed(seed)
    patches = 1.5 * torch.randn(CLASSES, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(9))
    pictures = 0.5 * torch.randn(number, 3, SIDE, SIDE, generator=draw)
    targets = torch.randint(CLASSES, (number,), generator=draw)
    corners = torch.randint(SIDE - PATCH + 1, (number, 2), generator=draw)
    for picture, target, (top, left) in zip(pictures, targets, corners.tolist(), strict=True):
        picture[:, top : top + PATCH, left : left + PATCH] = patches[target]
    return Planted(pictures, targets, corners)


def learn(network: nn.Module, steps: int, rate: float = 3e-3) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    for step in range(steps):
        seen = planted(64, step)
        optimizer.zero_grad()
        cross_entropy(network(seen.pictures), seen.targets).backward()
        optimizer.step()
    network.eval().requires_grad_(False)  # frozen, as most backbones are


def pointed(maps: Tensor, corners: Tensor) -> int:
    """The pointing game (Zhang et al. 2016, arXiv:1608.00507): number of the maps whose strongest cell has its middle
    on the patch, or touches it."""
    height, width = maps.shape[1:]
    rows, columns = (maps.flatten(1).argmax(1)[:, None] // torch.tensor([width, 1]) % torch.tensor([height, width])).T
    middles = torch.stack([(rows + 0.5) * SIDE / height, (columns + 0.5) * SIDE / width], 1)
    away = torch.maximum(corners - middles, middles - corners - PATCH).clamp(min=0)
    return int((away.amax(1) < SIDE / height / 2).sum())


def ranks(values: Tensor) -> Tensor:
    return values.flatten(1).argsort(1).argsort(1).double()


def correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's, the mean over pictures of its absolute value."""
    pairs = zip(ranks(first), ranks(second), strict=True)
    return sum(abs(float(torch.corrcoef(torch.stack(pair))[0, 1])) for pair in pairs) / len(first)


Made = tuple[Backbone, nn.Module]
NETWORKS: dict[str, Callable[[], Made]] = {
    "a linear head on a mean": lambda: (backbone(), LinearHead(vector(24), CLASSES, dropout=0.1)),
    "two layers on a mean": lambda: (backbone(), MlpHead(vector(24), CLASSES, **MLP)),  # type: ignore[arg-type]
    "a norm below the head": lambda: (
        backbone(Top(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.LayerNorm(24)), nn.Identity()),
        LinearHead(vector(24), CLASSES, dropout=0.0),
    ),
    "weights for each cell": lambda: (
        backbone(Top(nn.Flatten(1), nn.Linear(24 * (SIDE // 4) ** 2, 24)), nn.Identity()),
        LinearHead(vector(24), CLASSES, dropout=0.0),
    ),
}


@pytest.fixture(scope="module")
def learned() -> Callable[[str], Made]:
    """Networks of NETWORKS that have learned to tell the patches apart, each trained once."""
    made: dict[str, Made] = {}

    def of(name: str) -> Made:
        if name not in made:
            torch.manual_seed(0)
            made[name] = NETWORKS[name]()
            learn(nn.Sequential(*made[name]), 120 if name == "a linear head on a mean" else 200)
        return made[name]

    return of


@pytest.mark.parametrize("name", short_form(NETWORKS, "a linear head on a mean", "a norm below the head"))
def test_the_strongest_cell_lies_on_the_patch_that_decides(learned: Callable[[str], Made], name: str) -> None:
    network, test = learned(name), planted(100, 1000)
    found = saliency(*network, TASK.evidence, test.pictures)
    assert found.maps.shape[1:] == (6, 6)
    assert (found.chosen == test.targets).float().mean() >= 0.95
    assert pointed(found.maps, test.corners) >= 95
    assert found.how == ("class activation map" if name == "a linear head on a mean" else "activation × gradient")


@pytest.mark.parametrize("name", short_form(NETWORKS, "a linear head on a mean", "a norm below the head"))
def test_random_weights_give_other_maps(learned: Callable[[str], Made], name: str) -> None:
    """The sanity check of Adebayo et al. 2018, arXiv:1810.03292: a map of edges would stay as it is."""
    pictures = planted(30, 1000).pictures
    body, head = learned(name)
    chosen = saliency(body, head, TASK.evidence, pictures).chosen
    first = saliency(body, head, TASK.evidence, pictures, chosen).maps
    torch.manual_seed(1)
    others = [saliency(*NETWORKS[name](), TASK.evidence, pictures, chosen).maps for _ in range(3)]
    assert sum(correlation(first, other) for other in others) / 3 < 0.35
    assert correlation(first, first) == pytest.approx(1)


def test_the_cells_of_a_class_activation_map_add_up_to_the_score(learned: Callable[[str], Made]) -> None:
    body, head = learned("a linear head on a mean")
    found = saliency(body, head, TASK.evidence, planted(5, 1).pictures)
    scores = TASK.evidence(found.outputs - head.layers[-1].bias)  # type: ignore[index,union-attr,operator]
    assert torch.allclose(found.maps.mean((1, 2)), scores.gather(1, found.chosen[:, None])[:, 0], atol=1e-5)


def test_the_map_with_a_gradient_is_the_class_activation_map_behind_a_mean(learned: Callable[[str], Made]) -> None:
    body, head = learned("a linear head on a mean")
    pictures = planted(5, 1).pictures
    other = nn.Sequential(head.layers[-1])  # type: ignore[index]  # no LinearHead, so that it is not recognised
    found, again = (saliency(body, it, TASK.evidence, pictures) for it in (head, other))
    assert again.how == "activation × gradient"
    assert torch.allclose(found.maps, 36 * again.maps, atol=1e-4)


@pytest.mark.parametrize("name", short_form(NETWORKS, "a linear head on a mean", "a norm below the head"))
def test_one_picture_has_the_map_that_it_has_among_others(learned: Callable[[str], Made], name: str) -> None:
    pictures = planted(3, 1).pictures
    all_of_them, alone = (saliency(*learned(name), TASK.evidence, it) for it in (pictures, pictures[:1]))
    assert alone.maps.shape == (1, 6, 6)
    assert torch.allclose(alone.maps, all_of_them.maps[:1], atol=1e-5)
    assert torch.equal(alone.chosen, all_of_them.chosen[:1])


def test_maps_leave_the_network_as_it_was(learned: Callable[[str], Made]) -> None:
    body, head = copy.deepcopy(learned("a norm below the head"))
    body.blocks["stem"].train()
    before = copy.deepcopy(nn.Sequential(body, head).state_dict())
    saliency(body, head, TASK.evidence, planted(3, 1).pictures)
    assert all(torch.equal(value, before[name]) for name, value in nn.Sequential(body, head).state_dict().items())
    assert [body.blocks[name].training for name in body.blocks] == [True, False]
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in body.parameters())
    assert not any(module._forward_hooks for module in body.modules())


def test_compiled_networks_have_the_maps_of_plain_ones(learned: Callable[[str], Made]) -> None:
    """Also after a frozen pass, whose outputs are tensors of inference mode."""
    body, head = copy.deepcopy(learned("a norm below the head"))
    pictures = planted(3, 1).pictures
    plain = saliency(body, head, TASK.evidence, pictures)
    compile_in_place([*body.blocks.values(), head])
    compiled = body.blocks["stem"].forward
    FrozenPass(copy.deepcopy(learned("a norm below the head")[0])).through(pictures, 0, 1)
    assert torch.equal(saliency(body, head, TASK.evidence, pictures).maps, plain.maps)
    assert body.blocks["stem"].forward is compiled


def test_adapters_count(learned: Callable[[str], Made]) -> None:
    body, head = copy.deepcopy(learned("a linear head on a mean"))
    pictures, chosen = planted(3, 1).pictures, torch.tensor([0, 1, 2])
    plain = saliency(body, head, TASK.evidence, pictures, chosen)
    Lora(2, 4.0, 0.0, rslora=False, targets=None).put_into(body, ["top"])
    assert torch.allclose(saliency(body, head, TASK.evidence, pictures, chosen).maps, plain.maps, atol=1e-5)
    for name, parameter in body.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    assert not torch.allclose(saliency(body, head, TASK.evidence, pictures, chosen).maps, plain.maps, atol=1e-2)


# --- transformers ---


class Stem(nn.Module):
    """(B, 3, H, W) → (B, 1 + N, D), of patches of 4 × 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.places = nn.Parameter(0.1 * torch.randn(1, 37, 32))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.places


class First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def transformer() -> Made:
    layers = [nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True) for _ in range(2)]
    blocks = {"stem": Stem(), **{f"layer{number}": layer for number, layer in enumerate(layers)}}
    made = Backbone(name="vit", blocks=blocks, pool=First(), width=32, spec=SPEC, loaded="")
    return made, LinearHead(vector(32), CLASSES, dropout=0.0)


def score(network: Made, x: Tensor, chosen: Tensor) -> Tensor:
    body, head = network
    return TASK.evidence(head(body(x))).gather(1, chosen[:, None])[:, 0]


def test_the_cells_of_a_transformer_add_up_to_what_the_picture_adds() -> None:
    """To the score of a plain picture; the class token is the same in both."""
    torch.manual_seed(0)
    network, pictures = transformer(), planted(4, 1).pictures
    nn.Sequential(*network).eval()
    found = saliency(*network, TASK.evidence, pictures)
    assert found.maps.shape == (4, 6, 6)
    with torch.no_grad():
        added = score(network, pictures, found.chosen) - score(network, torch.zeros_like(pictures), found.chosen)
    assert torch.allclose(found.maps.sum((1, 2)), added, rtol=0.05, atol=0.01)


def test_maps_of_transformers_may_take_too_long() -> None:
    network, pictures = transformer(), planted(2, 1).pictures
    with pytest.raises(Costly, match="would take"):
        saliency(*network, TASK.evidence, pictures, seconds=0.0)
    assert saliency(*network, TASK.evidence, pictures, seconds=60.0).maps.shape == (2, 6, 6)


@pytest.mark.long
def test_a_transformer_points_to_the_patch() -> None:
    torch.manual_seed(0)
    network, test = transformer(), planted(100, 1000)
    learn(nn.Sequential(*network), 600, 2e-3)
    found = saliency(*network, TASK.evidence, test.pictures)
    assert (found.chosen == test.targets).float().mean() >= 0.95
    assert pointed(found.maps, test.corners) >= 95


# --- refused, and drawn ---


def refused(made: Backbone) -> str:
    with pytest.raises(ConfigError) as caught:
        saliency(made, LinearHead(vector(24), CLASSES, dropout=0.0), TASK.evidence, planted(2, 1).pictures)
    return str(caught.value)


def test_networks_without_a_map_are_refused() -> None:
    flat = nn.Sequential(nn.Flatten(1), nn.Linear(3 * SIDE**2, 24))
    assert "no map" in refused(
        Backbone(name="flat", blocks={"stem": flat}, pool=nn.Identity(), width=24, spec=SPEC, loaded="")
    )
    texts = backbone()
    texts.spec = TextSpec("none", 16)
    assert "texts" in refused(texts)


def test_only_what_speaks_for_the_answer_is_drawn() -> None:
    cells = torch.tensor([[-4.0, 0.0], [1.0, 2.0]])
    assert strengths(cells).tolist() == [[0, 0], [0.5, 1]]
    assert strengths(-torch.ones(2, 2)).sum() == 0
    drawn = heat(cells, (8, 8))
    assert drawn.getpixel((0, 0))[3] == 0 < drawn.getpixel((0, 7))[3] < drawn.getpixel((7, 7))[3]  # type: ignore[index]


CORNERS: Sequence[tuple[tuple[int, int], str]] = [((0, 0), "top left"), ((4, 4), "centre"), ((8, 4), "bottom")]


@pytest.mark.parametrize(("cell", "said"), CORNERS)
def test_where_most_lies_is_said_in_words(cell: tuple[int, int], said: str) -> None:
    cells = torch.zeros(9, 9)
    cells[cell] = 1
    assert where(cells) == said
    assert where(torch.zeros(9, 9)) == "nowhere"
