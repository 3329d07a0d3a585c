"""Every layout against torchvision itself: its logits, its parameters, its preprocessing."""

import inspect
import urllib.error
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchvision import models

from conftest import short_form
from frostline.backbones.torchvision import TorchvisionBackbone, _empty
from frostline.backbones.torchvision_layouts import LAYOUTS, Layout, layout_of
from frostline.errors import ConfigError, WeightsError
from frostline.paths import conf_dir

NAMED = [
    str(config["name"])
    for config in map(OmegaConf.load, sorted((conf_dir() / "model").glob("*.yaml")))
    if "torchvision" in config.get("defaults", [])
]
# A model of each family that has no YAML of its own, and the side of its pictures; None: the spec's.
OTHER_FAMILIES: dict[str, int | None] = {
    "alexnet": 64, "googlenet": 64, "maxvit_t": None, "mnasnet0_5": 64, "mobilenet_v2": 64, "regnet_y_400mf": 64,
    "shufflenet_v2_x0_5": 64,
}  # fmt: skip
COMPARED = list(dict.fromkeys([*NAMED, *OTHER_FAMILIES]))
# One of each way to be taken apart, of small size.
LIGHT = ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet"]
WITHOUT_LAYOUT = ["squeezenet1_0", "squeezenet1_1"]
EVERY_MODEL = models.list_models(module=models)
# Builders that complain unless they get these settings; the values are those that go with published weights.
AS_PUBLISHED = {"transform_input": True, "aux_logits": True, "init_weights": False}
OPTIONS: dict[str, dict[str, Any]] = {"inception_v3": AS_PUBLISHED, "googlenet": AS_PUBLISHED}


class Pair(NamedTuple):
    name: str
    original: nn.Module
    backbone: TorchvisionBackbone
    pictures: Tensor


def original(name: str, **more: Any) -> nn.Module:
    """torchvision's own model in eval mode, random, with every parameter and statistic in play."""
    torch.manual_seed(0)
    network: nn.Module = models.get_model(name, weights=None, **OPTIONS.get(name, {}), **more).eval()
    with torch.no_grad():
        for value in network.parameters():
            if value.numel() < 10_000 or not value.any():  # scales of 1 or 1e-6, biases of 0, a last layer of 0
                value.add_(torch.empty_like(value).uniform_(-0.3, 0.3))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return network


def saved(network: nn.Module, folder: Path) -> Path:
    file = folder / "weights.pth"
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture(scope="module", params=short_form(COMPARED, *LIGHT))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    network = original(request.param)
    file = saved(network, tmp_path_factory.mktemp("weights"))
    backbone = TorchvisionBackbone(request.param, weights=str(file)).eval()
    file.unlink()  # up to half a gigabyte
    side = OTHER_FAMILIES.get(request.param) or backbone.spec.size
    return Pair(request.param, network, backbone, torch.randn(2, 3, side, side))


def layout_and_rest(network: nn.Module) -> tuple[Layout, list[nn.Module]]:
    layout = layout_of(network)
    assert layout is not None
    return layout, [network.get_submodule(name) for name in (layout.last, *layout.unused)]


def test_every_layout_is_compared() -> None:
    assert {"resnet50", "vit_b_16"} <= {*NAMED}
    families = {inspect.signature(models.get_model_builder(name)).return_annotation for name in COMPARED}
    assert len(families) == len(LAYOUTS)


def test_logits_are_torchvisions_own(pair: Pair) -> None:
    layout, (last, *_) = layout_and_rest(pair.original)
    with torch.inference_mode():
        expected = pair.original(pair.pictures.clone())
        logits = last(pair.backbone(pair.pictures.clone()))
    assert expected.isfinite().all()
    assert not torch.allclose(expected[0], expected[1])  # the pictures reach the logits
    assert torch.equal(logits, expected), f"they differ by up to {(logits - expected).abs().max():.1e}"
    assert pair.backbone.features.width == last.in_features
    assert layout.last in pair.backbone.loaded


def test_the_weights_in_the_blocks_are_all_but_those_left_out(pair: Pair) -> None:
    """Parameters and buffers by value, so that what was loaded is compared and not only what was built."""
    layout, _ = layout_and_rest(pair.original)
    kept = [
        value
        for key, value in pair.original.state_dict().items()
        if not key.startswith(tuple(f"{name}." for name in (layout.last, *layout.unused)))
    ]
    held = [value for block in pair.backbone.blocks.values() for value in block.state_dict().values()]
    assert Counter(fingerprint(value) for value in held) == Counter(fingerprint(value) for value in kept)


def fingerprint(value: Tensor) -> tuple[object, ...]:
    exact = value.double().flatten()
    return tuple(value.shape), exact.sum().item(), exact[:: max(1, len(exact) // 7)].sum().item()


def test_the_spec_is_torchvisions_preprocessing(pair: Pair) -> None:
    preset = models.get_model_weights(pair.name)["DEFAULT"].transforms()
    spec = pair.backbone.spec
    assert ([spec.size], [spec.resize]) == (preset.crop_size, preset.resize_size)
    assert (list(spec.mean), list(spec.std)) == (list(preset.mean), list(preset.std))
    assert spec.interpolation == preset.interpolation.value


@pytest.fixture
def regnets_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """RegNet's builder computes its widths with tensors, which have to be real."""
    compute = models.regnet.BlockParams.from_init_params

    def on_cpu(*args: Any, **kwargs: Any) -> Any:
        with torch.device("cpu"):
            return compute(*args, **kwargs)

    monkeypatch.setattr(models.regnet.BlockParams, "from_init_params", on_cpu)


def test_torchvision_has_eighty_models_and_two_of_them_no_layout() -> None:
    assert len(EVERY_MODEL) >= 80
    assert set(WITHOUT_LAYOUT) < set(EVERY_MODEL)


@pytest.mark.usefixtures("regnets_on_meta")
@pytest.mark.parametrize("name", short_form([name for name in EVERY_MODEL if name not in WITHOUT_LAYOUT], *NAMED))
def test_blocks_cover_every_parameter_once(name: str) -> None:
    with torch.device("meta"):
        network = models.get_model(name, weights=None, **OPTIONS.get(name, {}))
    layout, rest = layout_and_rest(network)
    assert isinstance(rest[0], nn.Linear)
    assert not list(layout.pool.parameters())
    for kind in (nn.Module.parameters, nn.Module.buffers):
        times = Counter(id(value) for module in [*layout.blocks.values(), *rest] for value in kind(module))
        assert set(times.values()) <= {1}
        assert set(times) == {id(value) for value in kind(network)}


PUBLISHED = [
    (name, weights.name)
    for name in EVERY_MODEL
    if name not in WITHOUT_LAYOUT
    for weights in models.get_model_weights(name)
]
USUAL = [(name, models.get_model_weights(name)["DEFAULT"].name) for name in NAMED]
LARGER = ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")


@pytest.mark.usefixtures("regnets_on_meta")
@pytest.mark.parametrize(("name", "weights"), short_form(PUBLISHED, *(it for it in USUAL if it[0] in LIGHT), LARGER))
def test_pictures_of_the_published_size_and_of_the_smallest_become_features(name: str, weights: str) -> None:
    with torch.device("meta"):
        backbone = TorchvisionBackbone(name, weights=weights, load=False).eval()
        for side in (backbone.spec.size, backbone.spec.min_size):
            assert backbone(torch.empty(2, 3, side, side)).shape == (2, backbone.features.width)
    preset = models.get_model_weights(name)[weights].transforms()
    assert ([backbone.spec.size], [backbone.spec.resize]) == (preset.crop_size, preset.resize_size)


@pytest.mark.parametrize("name", WITHOUT_LAYOUT)
def test_a_model_without_layout_is_refused_with_a_next_step(name: str) -> None:
    with pytest.raises(ConfigError, match=name) as refused:
        TorchvisionBackbone(name, weights=None)
    assert "choose another model" in refused.value.next_step


def test_an_unknown_model_brings_up_the_close_names() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*resnet50") as refused:
        TorchvisionBackbone("resnet5O", weights=None)
    assert "model.name=" in refused.value.next_step


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "raft_small", "resnet50_quantized"])
def test_models_for_other_tasks_are_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no classification model '{name}'"):
        TorchvisionBackbone(name, weights=None)


def test_without_weights_the_backbone_is_random_and_says_so() -> None:
    first, second = (TorchvisionBackbone("mobilenet_v3_small", weights=None) for _ in range(2))
    assert first.loaded == "random, from scratch"
    assert not torch.equal(next(first.parameters()), next(second.parameters()))
    assert first.spec == TorchvisionBackbone("mobilenet_v3_small", weights="DEFAULT", load=False).spec


def test_load_false_asks_for_no_file_and_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("it was downloaded"))
    for weights in ("DEFAULT", str(tmp_path / "absent.pth")):
        assert TorchvisionBackbone("resnet18", weights=weights, load=False).features.width == 512


def test_without_a_network_the_message_offers_a_file_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match="name resolution") as refused:
        TorchvisionBackbone("resnet18", weights="DEFAULT")
    assert "model.weights=<file>" in refused.value.next_step
    assert "model.weights=null" in refused.value.next_step
    assert refused.value.where == models.ResNet18_Weights.DEFAULT.url


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache file in which torch looks for mobilenet_v3_small's published weights before it downloads them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it was downloaded"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / PurePosixPath(models.MobileNet_V3_Small_Weights.DEFAULT.url).name


def test_published_weights_on_this_machine_need_no_network(cached: Path) -> None:
    network = original("mobilenet_v3_small")
    torch.save(network.state_dict(), cached)
    backbone = TorchvisionBackbone("mobilenet_v3_small", weights="DEFAULT")
    assert torch.equal(backbone.blocks["stem"][0].weight, network.features[0][0].weight)
    assert "MobileNet_V3_Small_Weights.IMAGENET1K_V1" in backbone.loaded


@pytest.mark.parametrize("content", [b"", b"<html>Sign in to this hotel's network</html>"])
def test_a_broken_file_among_the_published_weights_is_named(cached: Path, content: bytes) -> None:
    cached.write_bytes(content)
    with pytest.raises(WeightsError) as refused:
        TorchvisionBackbone("mobilenet_v3_small", weights="DEFAULT")
    assert "model.weights=<file>" in refused.value.next_step


@pytest.mark.parametrize(
    ("weights", "resize"),
    [("IMAGENET1K_V1", 256), ("IMAGENET1K_V2", 232), ("DEFAULT", 232), ("ResNet50_Weights.IMAGENET1K_V1", 256)],
)
def test_the_name_of_the_weights_chooses_the_spec(weights: str, resize: int) -> None:
    with torch.device("meta"):
        assert TorchvisionBackbone("resnet50", weights=weights, load=False).spec.resize == resize


def test_weights_that_torchvision_does_not_know_bring_up_close_names() -> None:
    with pytest.raises(WeightsError, match=r"did you mean .*IMAGENET1K_V2") as refused:
        TorchvisionBackbone("resnet50", weights="IMAGENET1K_V3")
    assert "model.weights=<file>" in refused.value.next_step


def test_the_weights_of_another_model_are_not_taken() -> None:
    with pytest.raises(WeightsError, match="no such weights file"):
        TorchvisionBackbone("resnet50", weights="ResNet18_Weights.IMAGENET1K_V1")


def test_a_vision_transformer_takes_pictures_of_one_size() -> None:
    with torch.device("meta"):
        spec = TorchvisionBackbone("vit_b_16", weights=None).spec
    assert spec.sizes == "fixed"
    assert spec.at(224) == spec.at(None) == spec
    with pytest.raises(ConfigError, match="224 pixels only, not 32") as refused:
        spec.at(32)
    assert refused.value.where == "data.image_size"


def test_inception_takes_pictures_from_75_pixels_up() -> None:
    with torch.device("meta"):
        backbone = TorchvisionBackbone("inception_v3", weights=None).eval()
        assert backbone(torch.empty(2, 3, 75, 75)).shape == (2, 2048)
        with pytest.raises(RuntimeError, match=r"too small|can't be greater"):
            backbone(torch.empty(2, 3, 74, 74))
    assert backbone.spec.at(75).size == 75
    with pytest.raises(ConfigError, match="at least 75 pixels, not 74"):
        backbone.spec.at(74)


@pytest.mark.parametrize("name", short_form(["inception_v3", "googlenet"], "googlenet"))
def test_weights_saved_without_the_auxiliary_classifiers_load(name: str, tmp_path: Path) -> None:
    """That is how torchvision hands out these models, and how users save them."""
    network = original(name)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith(("AuxLogits.", "aux"))}
    torch.save(state, tmp_path / "weights.pth")
    backbone = TorchvisionBackbone(name, weights=str(tmp_path / "weights.pth")).eval()
    pictures = torch.randn(1, 3, 75, 75)
    with torch.inference_mode():
        assert torch.equal(network.fc(backbone(pictures.clone())), network(pictures.clone()))


def test_a_file_whose_last_layer_has_other_classes_loads(tmp_path: Path) -> None:
    network = original("resnet18", num_classes=3)
    backbone = TorchvisionBackbone("resnet18", weights=str(saved(network, tmp_path)))
    assert torch.equal(backbone.blocks["layer4"][1].conv2.weight, network.layer4[1].conv2.weight)
    assert "left out on purpose: fc.bias, fc.weight" in backbone.loaded


def test_densenets_published_key_names_load(tmp_path: Path) -> None:
    """The files of 2017 say `denselayer1.norm.1.weight`; torchvision's builder renames them as it loads."""
    network = original("densenet121")
    state = {
        key.replace(".norm1", ".norm.1").replace(".norm2", ".norm.2").replace(".conv1", ".conv.1").replace(
            ".conv2", ".conv.2"
        ): value
        for key, value in network.state_dict().items()
    }  # fmt: skip
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "old.pth")
    backbone = TorchvisionBackbone("densenet121", weights=str(tmp_path / "old.pth")).eval()
    pictures = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network.classifier(backbone(pictures.clone())), network(pictures.clone()))


def test_files_from_before_batchnorm_counted_its_batches_load(tmp_path: Path) -> None:
    """torchvision's oldest files have no `num_batches_tracked`."""
    network = original("resnet18")
    state = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
    torch.save(state, tmp_path / "old.pth")
    backbone = TorchvisionBackbone("resnet18", weights=str(tmp_path / "old.pth"))
    assert torch.equal(backbone.blocks["layer4"][1].bn2.running_var, network.layer4[1].bn2.running_var)


class Bare(nn.Module):
    """A network with values that no weights file has."""

    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        if buffer:
            self.register_buffer("table", torch.ones(2), persistent=False)
        else:
            self.table = torch.ones(2)


@pytest.mark.parametrize("buffer", [True, False])
def test_a_network_with_values_outside_of_its_weights_is_built_as_ever(buffer: bool) -> None:
    assert _empty(lambda: Bare(buffer=buffer)) is None


def test_a_network_that_reads_values_to_be_made_is_built_as_ever(tmp_path: Path) -> None:
    assert _empty(lambda: nn.Linear(int(torch.ones(3).sum()), 2)) is None
    network = models.regnet_y_400mf()
    backbone = TorchvisionBackbone("regnet_y_400mf", weights=str(saved(network, tmp_path)))
    assert len(backbone.state_dict()) == len(network.state_dict()) - 2, "all but the classifier"


def test_no_random_weights_are_drawn_if_others_follow(tmp_path: Path) -> None:
    file = saved(models.resnet18(), tmp_path)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    backbone = TorchvisionBackbone("resnet18", weights=str(file))
    assert torch.equal(torch.rand(3), expected)
    assert not any(value.is_meta for value in backbone.state_dict().values())
