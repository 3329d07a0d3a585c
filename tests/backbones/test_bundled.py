"""The network that ships with the package, and the weights that ship with it."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from frostline.backbones.bundled import BundledBackbone
from frostline.data.pictures.cifar import read_parquet
from frostline.data.pictures.preprocess import evaluation_view
from frostline.errors import WeightsError
from frostline.paths import bundled_weights


def test_four_blocks_and_the_pool_have_the_shapes_of_the_docstring() -> None:
    backbone = BundledBackbone(weights=None).eval()
    x, shapes = torch.zeros(2, 3, 32, 32), []
    for block in backbone.blocks.values():
        x = block(x)
        shapes.append(tuple(x.shape))
    assert list(backbone.blocks) == ["stem", "stage1", "stage2", "stage3"]
    assert shapes == [(2, 16, 32, 32), (2, 48, 16, 16), (2, 112, 8, 8), (2, 208, 4, 4)]
    assert backbone.pool(x).shape == (2, backbone.features.width) == (2, 208)


def test_its_parameters_are_those_of_ten_convolutions() -> None:
    """3 × 3 weights and a norm's scale and shift for each: 3→16, and twice more at each of three widths."""
    pairs = [(3, 16), (16, 48), (48, 48), (48, 48), (48, 112), (112, 112), (112, 112)]
    pairs += [(112, 208), (208, 208), (208, 208)]
    expected = sum(9 * width_in * width + 2 * width for width_in, width in pairs)
    assert sum(value.numel() for value in BundledBackbone(weights=None).parameters()) == expected == 1_313_648


@pytest.mark.parametrize("side", [8, 33, 96])
def test_it_takes_pictures_of_any_side_from_its_smallest_up(side: int) -> None:
    backbone = BundledBackbone(weights=None).eval()
    assert backbone.spec.at(side).size == side
    assert backbone(torch.zeros(2, 3, side, side)).shape == (2, 208)


def test_without_weights_it_is_random_and_says_so() -> None:
    first, second = BundledBackbone(weights=None), BundledBackbone(weights=None)
    assert first.loaded == "random, from scratch"
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_load_false_reads_no_file(tmp_path: Path) -> None:
    assert BundledBackbone(weights=str(tmp_path / "absent.pth"), load=False).loaded == "random, from scratch"


@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
def test_weights_of_your_own_load_from_a_file(tmp_path: Path, name: str) -> None:
    state = BundledBackbone(weights=None).blocks.state_dict()
    if name.endswith(".pth"):
        torch.save(state, tmp_path / name)
    else:
        save_file(state, tmp_path / name)
    loaded = BundledBackbone(weights=str(tmp_path / name)).blocks.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = BundledBackbone(weights=None).blocks.state_dict()
    del state["stage3.widen.0.weight"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"1 missing \(stage3.widen.0.weight\)"):
        BundledBackbone(weights=str(tmp_path / "other.pth"))


# --- the weights that ship ---


def test_the_file_is_small_and_holds_this_network_and_no_more() -> None:
    assert bundled_weights().stat().st_size <= 3_000_000
    file = load_file(bundled_weights())
    assert file.keys() == BundledBackbone(weights=None).blocks.state_dict().keys()
    assert all(value.isfinite().all() for value in file.values())


def test_the_bundled_weights_are_the_ones_in_the_file() -> None:
    backbone = BundledBackbone(weights="bundled")
    file, loaded = load_file(bundled_weights()), backbone.blocks.state_dict()
    assert all(torch.equal(loaded[key], value.to(loaded[key].dtype)) for key, value in file.items())
    assert loaded["stem.0.weight"].dtype == torch.float32
    assert backbone.loaded.startswith(str(bundled_weights()))


@pytest.mark.long
def test_a_straight_line_tells_the_classes_of_cifar10_apart(shared: Path, tmp_path: Path) -> None:
    """Logistic regression on the features of 2,000 training pictures, measured on 2,000 test pictures."""
    backbone = BundledBackbone(weights="bundled").eval()
    features, labels = {}, {}
    for part in ("train", "test"):
        file = shared / "cifar10" / f"{part}.parquet"
        if not file.is_file():
            pytest.skip(f"there is no {file}")
        pq.write_table(pq.read_table(file).slice(0, 2000), tmp_path / f"{part}.parquet")  # a prefix is balanced
        pictures = read_parquet(tmp_path / f"{part}.parquet")
        opened = [Image.open(io.BytesIO(it)).convert("RGB") for it in pictures.encoded.to_pylist()]
        pixels = torch.stack([pil_to_tensor(it) for it in opened])
        features[part], labels[part] = features_of(backbone, pixels), pictures.labels.numpy()
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    line.fit(features["train"].numpy(), labels["train"])
    assert line.score(features["test"].numpy(), labels["test"]) >= 0.85


def features_of(backbone: BundledBackbone, pixels: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([backbone(evaluation_view(some, backbone.spec)) for some in pixels.split(250)])
