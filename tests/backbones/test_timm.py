"""Every layout against timm itself: its features, its groups of parameters, its preprocessing; and a run with some."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config
from timm.models import group_parameters
from torch import Tensor, nn

from conftest import Answer, make_phase, short_form
from frostline.backbones.timm import TimmBackbone
from frostline.backbones.timm_layouts import LAYOUTS
from frostline.errors import ConfigError, WeightsError
from frostline.frozen.blocks import FrozenPass, lowered
from frostline.frozen.key import prefix_digests
from frostline.heads.vector import LinearHead
from frostline.paths import conf_dir
from frostline.plan.freezing import set_trainable
from tiny import MORE

# The smallest models of each layout, and more where models of one class differ: tokens, pooling, rotary positions.
EXAMPLES = {
    "ByobNet": ["test_byobnet"],
    "ConvNeXt": ["test_convnext", "convnextv2_atto"],
    "CspNet": ["cs3darknet_focus_s"],
    "DaVit": ["davit_tiny"],
    "DenseNet": ["densenet121"],
    "EdgeNeXt": ["edgenext_xx_small"],
    "EfficientNet": ["test_efficientnet", "test_efficientnet_ln"],
    "Eva": ["vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224"],
    "FocalNet": ["focalnet_tiny_srf"],
    "HighPerfGpuNet": ["hgnetv2_b0"],
    "MambaOut": ["test_mambaout"],
    "MaxxVit": ["test_coatnet"],
    "MobileNetV3": ["mobilenetv3_small_050", "mobilenetv4_conv_small"],
    "NormFreeNet": ["test_nfnet"],
    "RegNet": ["regnety_002"],
    "ResNet": ["test_resnet", "resnet10t"],
    "ResNetV2": ["resnetv2_18"],
    "RexNet": ["rexnet_100"],
    "StarNet": ["starnet_s050"],
    "SwinTransformer": ["swin_tiny_patch4_window7_224"],
    "SwinTransformerV2": ["swinv2_tiny_window8_256"],
    "VisionTransformer": ["test_vit", "test_vit2", "test_vit3", "test_vit4", "deit3_small_patch16_224"],
    "VisionTransformerDistilled": ["deit_tiny_distilled_patch16_224"],
    "VovNet": ["ese_vovnet19b_slim_dw"],
}
LARGER = ("DaVit", "FocalNet", "SwinTransformer", "SwinTransformerV2")  # these layouts have no small model
SIDE = 64  # pixels, of networks that take any size
TINY = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"]


class Pair(NamedTuple):
    original: Any
    backbone: TimmBackbone
    pictures: Tensor


def fingerprint(value: Tensor) -> int:
    some = value.detach().flatten()[:: max(1, value.numel() // 1000)].double()
    return hash((tuple(value.shape), some.sum().item(), (some * torch.arange(1, len(some) + 1)).sum().item()))


def original(name: str, **more: Any) -> Any:
    """timm's own model in eval mode, random, with every parameter and statistic in play."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **more).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.empty_like(value).uniform_(-0.1, 0.1))  # scales of 1 or 1e-6, tokens and biases of 0
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


def saved(network: nn.Module, file: Path) -> Path:
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file


def random(name: str, **more: Any) -> TimmBackbone:
    return TimmBackbone(name, **({"weights": None, "drop_path_rate": None} | more))


@pytest.fixture(
    scope="module",
    params=short_form(
        [name for names in EXAMPLES.values() for name in names],
        *[names[0] for layout, names in EXAMPLES.items() if layout not in LARGER],
    ),
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    network = original(request.param)
    file = saved(network, tmp_path_factory.mktemp("weights") / "weights.safetensors")
    backbone = random(request.param, weights=str(file)).eval()
    file.unlink()
    side = backbone.spec.size if backbone.spec.sizes == "fixed" else SIDE
    return Pair(network, backbone, torch.randn(2, 3, side, side))


# --- layouts ---


def test_every_layout_is_compared_and_told_in_the_how_to() -> None:
    assert sorted(EXAMPLES) == sorted(LAYOUTS)
    how_to = (conf_dir().parent / "src/frostline/backbones/README.md").read_text(encoding="utf-8")
    assert [name for name in LAYOUTS if f"`{name}`" not in how_to] == []


def test_features_are_timms_own(pair: Pair) -> None:
    with torch.inference_mode():
        expected = pair.original.forward_head(pair.original.forward_features(pair.pictures.clone()), pre_logits=True)
        features = pair.backbone(pair.pictures.clone())
    assert type(pair.original).__name__ in LAYOUTS
    assert expected.isfinite().all()
    assert not torch.allclose(expected[0], expected[1])  # the pictures reach the features
    assert features.shape == (2, pair.backbone.features.width)
    assert torch.equal(features, expected), f"they differ by up to {(features - expected).abs().max():.1e}"


def test_the_weights_in_the_blocks_are_all_but_the_classifiers(pair: Pair) -> None:
    """Parameters and buffers by value, so that what was loaded is compared and not only what was built."""
    classifiers = pair.original.pretrained_cfg["classifier"]
    left_out = tuple(f"{name}." for name in ([classifiers] if isinstance(classifiers, str) else classifiers))
    kept = [value for key, value in pair.original.state_dict().items() if not key.startswith(left_out)]
    held = [value for block in pair.backbone.blocks.values() for value in block.state_dict().values()]
    assert Counter(map(fingerprint, held)) == Counter(map(fingerprint, kept))
    assert not list(pair.backbone.pool.parameters())


def test_blocks_follow_timms_group_matcher(pair: Pair) -> None:
    """Its groups in its order, the first one the stem; what it leaves with the classifier lies in the last block."""
    groups = group_parameters(pair.original, pair.original.group_matcher(coarse=True), reverse=True)
    names = {fingerprint(value): name for name, value in pair.original.named_parameters()}
    depth_of = [
        {groups[names[fingerprint(value)]] for value in block.parameters()} for block in pair.backbone.blocks.values()
    ]
    last = len(depth_of) - 1
    assert next(iter(pair.backbone.blocks)) == "stem"
    assert [sorted(depths)[0] for depths in depth_of] == list(range(len(depth_of)))
    assert all(depths == {depth} for depth, depths in enumerate(depth_of[:-1]))
    assert depth_of[-1] <= {last, last + 1}


def test_the_spec_is_timms_preprocessing(pair: Pair) -> None:
    config = resolve_data_config(pretrained_cfg=pair.original.pretrained_cfg)
    resize, crop, _, normalize = create_transform(**config).transforms
    spec = pair.backbone.spec
    assert (spec.resize, (spec.size, spec.size)) == (resize.size, crop.size)
    assert torch.equal(torch.tensor([*spec.mean, *spec.std]), torch.cat([normalize.mean, normalize.std]))
    assert spec.interpolation == resize.interpolation.value


def test_pictures_of_the_smallest_size_become_features(pair: Pair) -> None:
    spec = pair.backbone.spec
    side = spec.size if spec.sizes == "fixed" else spec.min_size
    with torch.inference_mode():
        assert pair.backbone(torch.randn(1, 3, side, side)).isfinite().all()


@pytest.mark.parametrize("name", short_form(TINY, "test_resnet"))
def test_low_precision_is_as_near_as_autocast(name: str, tmp_path: Path) -> None:
    file = saved(original(name), tmp_path / "weights.pth")
    backbone = random(name, weights=str(file)).eval().to(memory_format=torch.channels_last)
    side = backbone.spec.size if backbone.spec.sizes == "fixed" else SIDE
    x = torch.randn(16, 3, side, side).contiguous(memory_format=torch.channels_last)
    stop = len(backbone.blocks)
    exact = FrozenPass(backbone)(x, 0, stop)
    low = FrozenPass(backbone, torch.bfloat16)(x, 0, stop)
    with torch.autocast("cpu", torch.bfloat16):
        usual = FrozenPass(backbone)(x, 0, stop)
    error, usual_error = ((value.float() - exact).norm() / exact.norm() for value in (low, usual))
    assert error <= 2 * usual_error + 0.01


def test_statistics_of_timms_norms_stay_in_float32_in_low_precision() -> None:
    blocks = random("test_efficientnet").blocks.values()
    kept = [m for block in blocks for m in lowered(block, torch.bfloat16).modules() if isinstance(m, nn.BatchNorm2d)]
    assert kept
    assert {value.dtype for norm in kept for value in norm.buffers() if value.is_floating_point()} == {torch.float32}


def test_another_version_of_timm_has_other_keys() -> None:
    backbone = random("test_resnet")
    before = prefix_digests(backbone)
    for block in backbone.blocks.values():
        block.timm_version = "0.9"  # type: ignore[assignment]
    assert not set(before[1:]) & set(prefix_digests(backbone)[1:])


# --- what is refused ---


def test_an_architecture_without_layout_is_refused_with_the_list_before_any_download(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: pytest.fail("it was downloaded"))
    with torch.device("meta"), pytest.raises(ConfigError, match="no layout of blocks is known for Xcit") as refused:
        random("xcit_nano_12_p8_224", weights="DEFAULT")
    assert all(name in refused.value.what for name in LAYOUTS)
    assert "choose another model" in refused.value.next_step


def test_blocks_that_give_something_else_than_timm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without_activation = LAYOUTS["ResNet"].replace("act1 ", "")  # type: ignore[union-attr]
    monkeypatch.setitem(LAYOUTS, "ResNet", without_activation)
    with pytest.raises(ConfigError, match=r"test_resnet cannot be split into a chain.*differ from timm's own features"):
        random("test_resnet")


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("conv1 bn1 act1 maxpool layer1 layer2 layer3 global_pool", "are in no step, or in two: layer4"),
        ("conv1 bn1 act1 maxpool layer2 layer1 layer3 layer4 global_pool", "puts layer1 below the layers before"),
        ("conv1 bn1 act1 maxpool layer1 layer2 layer3 layer4 layer5 global_pool", "no attribute .layer5"),
    ],
)
def test_a_layout_that_does_not_fit_says_why(layout: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS, "ResNet", layout)
    with pytest.raises(ConfigError, match=said):
        random("test_resnet")


def test_an_unknown_model_brings_up_the_close_names() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*convnextv2_tiny") as refused:
        random("convnextv2_tini")
    assert "model.name=" in refused.value.next_step
    with pytest.raises(ConfigError, match="has no model '🦊'"):
        random("🦊")


def test_an_unknown_tag_brings_up_the_close_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean .*fcmae_ft_in22k_in1k\b") as refused:
        random("convnextv2_tiny.fcmae_ft_in22k")
    assert "convnextv2_tiny alone" in refused.value.next_step


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm.* is not installed") as refused:
        random("test_resnet")
    assert 'pip install "frostline[timm]"' in refused.value.next_step


def test_a_model_without_stochastic_depth_refuses_a_rate() -> None:
    with pytest.raises(ConfigError, match="drop_path_rate") as refused:
        random("densenet121", drop_path_rate=0.1)
    assert refused.value.next_step == "model.drop_path_rate=null"


# --- weights ---


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and nothing in the caches: every way in which timm downloads fails as it does then."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("Cannot find the requested files, and no connection: name resolution failed")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("frostline.backbones.timm.go_offline", lambda: False)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", unreachable)
    return tmp_path


def test_without_a_network_the_message_offers_a_file_or_none(offline: Path) -> None:
    with pytest.raises(WeightsError, match=r"test_resnet cannot be downloaded.*name resolution") as refused:
        random("test_resnet", weights="DEFAULT")
    assert "model.weights=<file>" in refused.value.next_step
    assert "model.weights=null" in refused.value.next_step
    assert refused.value.where == "timm/test_resnet.r160_in1k"
    assert [file for file in offline.rglob("*") if file.is_file()] == []


def test_load_false_asks_for_no_file_and_no_network(offline: Path) -> None:
    for weights in ("DEFAULT", str(offline / "absent.pth")):
        assert random("test_resnet", weights=weights, load=False).features.width == 96


def test_published_weights_come_through_timm_and_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = original("test_resnet")
    file = saved(network, tmp_path / "model.safetensors")
    asked: list[str] = []

    def found(repo_id: str, filename: str, **_: Any) -> str:
        asked.append(f"{repo_id} {filename}")
        return str(file)

    monkeypatch.setattr("timm.models._hub.hf_hub_download", found)
    backbone = random("test_resnet", weights="DEFAULT").eval()
    pictures = torch.randn(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        assert torch.equal(network.fc(backbone(pictures)), network(pictures))
    assert backbone.loaded == "timm's test_resnet.r160_in1k"
    assert asked == ["timm/test_resnet.r160_in1k model.safetensors"]


def test_a_model_without_published_weights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = timm.get_pretrained_cfg("test_resnet", allow_unregistered=False)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: replace(bare, hf_hub_id=None, url=None))
    with pytest.raises(WeightsError, match="timm publishes no weights for test_resnet") as refused:
        random("test_resnet", weights="DEFAULT")
    assert "model.weights=null" in refused.value.next_step


def test_weights_of_another_model_name_both_sides(tmp_path: Path) -> None:
    file = saved(original("test_convnext"), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"missing \(.*extra \(") as refused:
        random("test_resnet", weights=str(file))
    assert refused.value.where == file


def test_a_file_whose_classifier_has_other_classes_loads(tmp_path: Path) -> None:
    network = original("test_vit", num_classes=3)
    backbone = random("test_vit", weights=str(saved(network, tmp_path / "mine.pth")))
    assert torch.equal(backbone.blocks["stem"][0].cls_token, network.cls_token)  # type: ignore[index]
    assert "left out on purpose: head.bias, head.weight" in backbone.loaded


def test_a_tag_among_the_weights_is_told_where_it_belongs() -> None:
    with pytest.raises(WeightsError, match="not a weights file") as refused:
        random("test_resnet", weights="r160_in1k")
    assert "model.name=<name>.r160_in1k" in refused.value.next_step


def test_what_is_tried_leaves_statistics_and_random_numbers_alone() -> None:
    torch.manual_seed(3)
    timm.create_model("test_resnet")
    expected = torch.rand(1)
    torch.manual_seed(3)
    backbone = random("test_resnet")
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(3)
    plain = timm.create_model("test_resnet").state_dict()
    held = {key.split(".", 2)[2]: value for key, value in backbone.state_dict().items()}  # without `blocks.<name>.`
    assert all(torch.equal(value, plain[key]) for key, value in held.items())
    assert all(norm.num_batches_tracked == 0 for norm in backbone.modules() if isinstance(norm, nn.BatchNorm2d))
    assert all(module.training for module in backbone.modules())


# --- a run ---


def test_stochastic_depth_is_off_in_frozen_blocks_and_on_in_others() -> None:
    backbone = random("test_convnext", drop_path_rate=0.9)
    set_trainable(backbone.train(), LinearHead(backbone.features, 3, dropout=0.0), make_phase(thaw=1))
    x, line = torch.randn(32, 3, SIDE, SIDE), len(backbone.blocks) - 1
    for module in backbone.modules():
        if hasattr(module, "gamma") and isinstance(module.gamma, nn.Parameter):  # scales of 1e-6 would hide it
            nn.init.ones_(module.gamma)
    with torch.no_grad():
        below = backbone.through(x, 0, line)
        assert torch.equal(backbone.through(x, 0, line), below)
        above = backbone.through(below, line, line + 1)
        assert not torch.equal(backbone.through(below, line, line + 1), above)


SHORT = ["model=timm", *MORE, "data.train_limit=60", "trainer=cpu", "trainer.precision=32-true"]
SHORT += [
    "logger=none",
    "report=false",
    "optimizer.lr=0.01",
    "callbacks.progress=null",
    "data.augment=none",
    "schedule=last_block",
]
SHORT += ["schedule.phases.head.epochs=1", "schedule.every_phase.solve=false", "schedule.phases.last.epochs=1"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("test_resnet", ["data.image_size=32"]),
        pytest.param("test_convnext", ["data.image_size=32", "model.drop_path_rate=0.2"], marks=pytest.mark.long),
        pytest.param("test_vit", ["data.image_size=160", "trainer.limit_test_batches=1"], marks=pytest.mark.long),
    ],
)
def test_a_run_keeps_what_is_frozen_and_keeping_its_outputs_changes_no_bit(
    name: str, more: list[str], program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    file = saved(original(name), tmp_path / "weights.safetensors")
    own = [*SHORT, f"model.name={name}", f"model.weights={file}", *more]
    states, records = [], []
    for cache in ("never", "always"):
        answer = program("train", *own, f"cache={cache}", f"run_dir={tmp_path / cache}")
        assert answer.code == 0, answer.err
        last = torch.load(tmp_path / cache / "checkpoints" / "last.ckpt", weights_only=True)
        states.append(last["state_dict"])
        records.append(json.loads((tmp_path / cache / "run.json").read_text()))
    assert [[row["cached"] for row in record["phases"]] for record in records] == [[False, False], [True, True]]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert states[0].keys() == states[1].keys()
    assert [key for key in states[0] if not torch.equal(states[0][key], states[1][key])] == []

    start = random(name, weights=str(file))
    top = list(start.blocks)[-1]
    now = {key.removeprefix("backbone."): value for key, value in states[0].items() if key.startswith("backbone.")}
    moved = {key for key, value in start.state_dict().items() if not torch.equal(value, now[key])}
    assert moved
    assert {key.split(".")[1] for key in moved} == {top}
    assert {key for key, _ in start.named_parameters() if key.startswith(f"blocks.{top}.")} <= moved


def test_a_checkpoint_gives_the_same_numbers_again(program: Callable[..., Answer], tmp_path: Path) -> None:
    own = ["model.name=test_efficientnet", "model.weights=null", "data.image_size=32"]
    answer = program("train", *SHORT, *own, f"run_dir={tmp_path / 'run'}")
    assert answer.code == 0, answer.err
    loss = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]["test/loss"]
    again = program("evaluate", f"run={tmp_path / 'run'}", "trust=true")
    assert again.code == 0, again.err
    assert f"test/loss {loss:.4f}" in again.out


def test_the_name_is_asked_for(program: Callable[..., Answer]) -> None:
    answer = program("train", "model=timm")
    assert answer.code == 1
    assert "model.name" in answer.err
