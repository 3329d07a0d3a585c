"""Networks that find objects: the transformers library's own outputs, loss and boxes are the outside truth."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from frostline.backbones.detection_blocks import Fold
from frostline.backbones.detection_decoders import CLASSES
from frostline.backbones.detection_transformers import DetectionTransformer
from frostline.errors import ConfigError, FrostlineError, RunError, WeightsError
from frostline.heads.detr import Detr
from tiny_detr import KINDS, PROCESSOR, network_of, put

CLASSES_OF_LIBRARY = 5
SIDES = {"rf_detr": (64, 64)}  # it takes squares only
# left, top, right, bottom, class; the second picture has fewer
TARGETS = torch.tensor([[[5.0, 6, 30, 40, 0], [40, 10, 60, 60, 2]], [[20.0, 20, 44, 50, 1], [-1.0] * 5]])


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(kind, tmp_path_factory.mktemp(kind), CLASSES_OF_LIBRARY)


def backbone_of(folder: Path, **settings: Any) -> DetectionTransformer:
    given = {"name": str(folder), "weights": "DEFAULT", "dropout": None, "form": "pyramid"} | settings
    return DetectionTransformer(**given)


@pytest.fixture(scope="module")
def network(kind: str) -> Any:
    return network_of(kind, CLASSES_OF_LIBRARY)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> DetectionTransformer:
    """Shared: making one takes seconds. No test changes its weights."""
    return backbone_of(folder)


def with_classes_of(network: Any, backbone: DetectionTransformer, detections: int = 10) -> Detr:
    """The head, with the class layers of the library's network, too."""
    head = Detr(backbone.features, CLASSES_OF_LIBRARY, detections=detections)
    own = {name: value for name, value in network.state_dict().items() if CLASSES.search(name)}
    head.decoder.network.load_state_dict(own, strict=False)
    return head


def pictures_of(kind: str) -> Tensor:
    return torch.rand(2, 3, *SIDES.get(kind, (64, 96)), generator=torch.Generator().manual_seed(0))


def labels_of(pictures: Tensor) -> list[dict[str, Tensor]]:
    """TARGETS as the library takes them."""
    height, width = pictures.shape[-2:]
    found = []
    for rows in TARGETS:
        left, top, right, bottom, label = rows[rows[:, 4] >= 0].unbind(1)
        boxes = [(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width,
                 (bottom - top) / height]  # fmt: skip
        found.append({"class_labels": label.long(), "boxes": torch.stack(boxes, 1)})
    return found


def test_outputs_are_those_of_the_library(kind: str, network: Any, backbone: DetectionTransformer) -> None:
    network.eval()
    backbone.eval()
    head, pictures = with_classes_of(network, backbone).eval(), pictures_of(kind)
    with torch.no_grad():
        truth = network(pictures)
        found = head.decoder(backbone(pictures))
        rows = head(backbone(pictures))
    assert torch.allclose(found.logits, truth.logits, atol=1e-5)
    assert torch.allclose(found.boxes, truth.pred_boxes, atol=1e-5)
    processor = transformers.RTDetrImageProcessor(**PROCESSOR)
    sides = [pictures.shape[-2:]] * 2
    best = processor.post_process_object_detection(truth, threshold=0.0, target_sizes=sides)
    height, width = pictures.shape[-2:]
    for own, one in zip(rows, best, strict=True):
        edges = (one["boxes"] / torch.tensor([width, height] * 2)).clamp(0, 1)
        theirs = torch.cat([edges, one["scores"][:, None], one["labels"][:, None]], 1)
        number = min(10, len(theirs))
        best_scores = one["scores"].sort(descending=True).values[:number]
        assert torch.allclose(own[:number, 4], best_scores, atol=1e-6)
        # Some untrained queries score alike to the last bits, which differ between processors, and so does their order.
        assert (torch.cdist(own[:number], theirs, p=float("inf")).min(1).values < 1e-5).all()


def test_loss_and_gradients_are_those_of_the_library(kind: str, network: Any, backbone: DetectionTransformer) -> None:
    network.train()
    backbone.train()
    head, pictures = with_classes_of(network, backbone).train(), pictures_of(kind)
    torch.manual_seed(3)  # denoising draws labels and boxes
    truth = network(pictures, labels=labels_of(pictures)).loss
    torch.manual_seed(3)
    terms = head(backbone(pictures), TARGETS)
    found = sum(terms.values())
    assert float(found.detach()) == pytest.approx(float(truth.detach()), rel=1e-5)
    assert len(terms) >= 3
    truth.backward()
    found.backward()
    theirs = [*network.parameters()]
    compared = 0
    for own in [*backbone.parameters(), *head.parameters()]:
        same = next(it for it in theirs if it.shape == own.shape and torch.equal(it, own))
        if own.ndim > 1:  # others are often equal in value
            assert (own.grad - same.grad).abs().max() <= 1e-3 * same.grad.abs().max()
            compared += 1
    assert compared > 20


@pytest.mark.parametrize("classes", [1, 3])
def test_each_parameter_learns_from_each_batch(kind: str, backbone: DetectionTransformer, classes: int) -> None:
    """Ranks wait for each other's gradients, also where no picture of a batch has an object."""
    backbone.train()
    head = Detr(backbone.features, classes, detections=10).train()
    named = [*backbone.named_parameters(), *head.named_parameters()]
    there = TARGETS.clone()
    there[..., 4].clamp_(max=classes - 1)
    for targets in (there, torch.full((2, 1, 5), -1.0), torch.zeros(2, 0, 5)):
        for _, one in named:
            one.grad = None
        terms = head(backbone(pictures_of(kind)), targets)
        sum(terms.values()).backward()
        assert [name for name, one in named if one.grad is None] == []
        assert all(one.grad.isfinite().all() for _, one in named)


def test_classes_are_new_and_all_else_has_the_weights(kind: str, network: Any, backbone: DetectionTransformer) -> None:
    first, second = (Detr(backbone.features, 3, detections=10) for _ in range(2))
    stored = dict(network.named_parameters())
    assert not {id(one) for one in backbone.parameters()} & {id(one) for one in first.parameters()}
    compared = 0
    for name, value in first.decoder.network.state_dict().items():
        if CLASSES.search(name):
            assert {3, 4} & {*value.shape}, name  # denoising queries have one class more
        elif name in stored:
            assert torch.equal(value, stored[name]), name
            compared += 1
    assert compared > 30
    assert not {one.data_ptr() for one in first.parameters()} & {one.data_ptr() for one in second.parameters()}
    left = backbone.loaded.partition("left out on purpose: ")[2]
    assert (
        "class_embed, model.enc_out_class_embed, mask_token, layer 4"
        if kind == "rf_detr"
        else "model.decoder.class_embed, model.denoising_class_embed, model.enc_score_head"
    ) in left


def test_a_frozen_block_returns_the_same_in_training(kind: str, backbone: DetectionTransformer) -> None:
    """Positions do not depend on the mode."""
    value = pictures_of(kind)
    for block in backbone.blocks.values():
        with torch.no_grad():
            plain, value = value, block.eval()(value)
            if not any(isinstance(it, torch.nn.BatchNorm2d) for it in block.modules()):
                assert torch.equal(block.train()(plain), value)


def test_outputs_are_float32_in_lower_precision(kind: str, backbone: DetectionTransformer) -> None:
    backbone.train()
    head = Detr(backbone.features, 3, detections=10).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = head(backbone(pictures_of(kind)), TARGETS)
        rows = head.eval()(backbone(pictures_of(kind)))
    assert {it.dtype for it in terms.values()} == {torch.float32}
    assert rows.dtype == torch.float32


@pytest.mark.parametrize("widths", [(3,), (3, 5), (2, 3, 4)])
def test_folded_maps_open_to_the_bit(widths: tuple[int, ...]) -> None:
    strides = (8, 16, 32)[-len(widths) :]
    maps = [torch.randn(2, width, 64 // it, 96 // it) for width, it in zip(widths, strides, strict=True)]
    fold = Fold(widths, strides)
    folded = fold(maps)
    assert folded.shape[-2:] == (2, 3)
    assert all(torch.equal(one, other) for one, other in zip(fold.open(folded), maps, strict=True))


def test_pictures_have_a_cell_for_each_query(tmp_path: Path) -> None:
    """The decoder begins with the best cells of all maps: 300 of 16² + 8² + 4² at 128 pixels."""
    for kind, side in (("rt_detr", 128), ("rf_detr", 288)):
        name, settings = KINDS[kind]
        config = getattr(transformers, name)(**settings | {"num_queries": 300})
        config.save_pretrained(tmp_path)
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
        spec: Any = backbone_of(tmp_path, weights=None).spec
        assert (spec.min_size, spec.size) == (side, side)


# --- what is refused ---


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put("rt_detr", tmp_path_factory.mktemp("plain"))


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_other_forms_are_refused(plain: Path) -> None:
    with pytest.raises(ConfigError, match="returns features as pyramid, but this head or task needs vector"):
        backbone_of(plain, form="vector")


def test_a_missing_tensor_is_named(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "own")
    state = load_file(folder / "model.safetensors")
    del state["model.enc_bbox_head.layers.0.weight"]
    save_file(state | {"more": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 missing \(model.enc_bbox_head.layers.0.weight\)"):
        backbone_of(folder)


def test_an_extra_tensor_is_named(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "own")
    state = load_file(folder / "model.safetensors") | {"mask_head.weight": torch.zeros(1)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "extra: mask_head.weight;" in backbone_of(folder).loaded


def test_preprocessing_that_is_not_ours_is_refused(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "own")
    for change in ({"rescale_factor": 1.0}, {"do_rescale": False}, {"resample": 0}):  # 0: the nearest pixel
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | change))
        with pytest.raises(ConfigError, match="scaled otherwise"):
            backbone_of(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"cannot read the preprocessor_config\.json"):
        backbone_of(folder)


def test_normalisation_is_the_published_one(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "own")
    own = {"do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | own))
    spec: Any = backbone_of(folder).spec
    assert (spec.mean, spec.std, spec.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")


def test_an_architecture_without_a_layout_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(FrostlineError, match="no layout of blocks is known for BertModel; available: DFineModel"):
        backbone_of(tmp_path)


def test_random_weights_need_the_config_alone(plain: Path, tmp_path: Path) -> None:
    folder = copied(plain, tmp_path / "own")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot read the weights"):
        backbone_of(folder)
    assert backbone_of(folder, weights=None).loaded == "random, from scratch"
    assert backbone_of(folder, load=False).loaded == "random, from scratch"


def test_dropout_is_set_in_blocks_and_decoder(plain: Path) -> None:
    backbone = backbone_of(plain, dropout=0.25)
    head = Detr(backbone.features, 3, detections=10)
    assert head.decoder.network.config.dropout == 0.25
    assert backbone.blocks["encoder"].encoder.config.dropout == 0.25


def test_boxes_that_are_not_finite_end_the_run(plain: Path) -> None:
    backbone = backbone_of(plain)
    head = Detr(backbone.features, 3, detections=10).train()
    maps = [torch.full_like(one, torch.nan) for one in backbone(pictures_of("rt_detr"))]
    with pytest.raises(RunError, match="not finite"):
        head(maps, TARGETS)


def test_a_backbone_without_a_decoder_has_other_heads() -> None:
    from frostline.contracts.features import Features

    with pytest.raises(ConfigError, match="not pretrained with a decoder") as error:
        Detr(Features("pyramid", (4, 6), (16, 32)), 3, detections=10)
    assert "head=faster_rcnn" in str(error.value)


def test_more_detections_than_queries_are_filled_up(plain: Path) -> None:
    backbone = backbone_of(plain).eval()
    head = Detr(backbone.features, 2, detections=50).eval()
    rows = copy.deepcopy(head)(backbone(pictures_of("rt_detr")))
    assert rows.shape == (2, 50, 6)
    assert ((rows[:, :, 5] >= 0).sum(1) == 24).all()  # 12 queries with 2 classes each
