"""Scores and losses of pixels against torchmetrics, scikit-learn, torch and arithmetic; predictions as files."""

import io
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate
from torchmetrics.classification import MulticlassJaccardIndex

from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.data.pictures.masks import usual_palette
from frostline.errors import ConfigError
from frostline.tasks.segmentation import IGNORED, Segmentation

NAMES = ["road", "sky", "tree", "car"]
quick = settings(max_examples=40)


def task(
    classes: int = 4,
    *,
    counts: list[int] | None = None,
    values: list[int] | None = None,
    palette: list[int] | None = None,
    **more: Any,
) -> Segmentation:
    about = {"palette": palette or usual_palette(), "values": values or [*range(classes)]}
    targets = Targets("masks", NAMES[:classes], counts or [10] * classes, about)
    given = {"dice": 0.0, "class_weights": "none", "l1": 0.0, "monitor": "val/iou", "mode": "max"} | more
    return Segmentation(targets, **given)


def scored(masks: list[np.ndarray]) -> Batch:
    """Targets in the form of `MaskedPictures.scored_targets`."""
    sizes = torch.tensor([mask.shape for mask in masks])
    canvas = torch.full((len(masks), *sizes.amax(0).tolist()), IGNORED, dtype=torch.uint8)
    for slot, mask in zip(canvas, masks, strict=True):
        slot[: mask.shape[0], : mask.shape[1]] = torch.from_numpy(mask)
    return Batch(torch.zeros(len(masks), 1), canvas, torch.arange(len(masks)), own_sizes=sizes)


def training(masks: Tensor) -> Batch:
    return Batch(torch.zeros(len(masks), 1), masks, torch.arange(len(masks)))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[int, list[list[np.ndarray]], int]:
    """Classes, of which some may be absent; batches of masks of mixed sizes with ignored pixels; a seed of outputs."""
    classes = draw(st.integers(2, 4))
    there = draw(st.lists(st.integers(0, classes - 1), min_size=1, unique=True))
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    sides = st.tuples(st.integers(1, 9), st.integers(1, 9))
    sizes = draw(st.lists(st.lists(sides, min_size=1, max_size=3), min_size=1, max_size=3))
    batches = [[generator.choice([*there, IGNORED], size).astype(np.uint8) for size in batch] for batch in sizes]
    return classes, batches, draw(st.integers(0, 2**16))


@given(drawn=data_sets())
@quick
def test_scores_are_those_of_all_pixels_of_the_data_set_together(
    drawn: tuple[int, list[list[np.ndarray]], int],
) -> None:
    classes, batches, seed = drawn
    made = task(classes)
    metrics = made.metrics()
    truths: list[Tensor] = []
    logits: list[Tensor] = []
    for number, masks in enumerate(batches):
        outputs = noise(len(masks), classes, 3, 4, seed=seed + number)
        metrics.update(outputs, scored(masks))
        for each, mask in zip(outputs.split(1), masks, strict=True):
            large = interpolate(each, mask.shape, mode="bilinear", align_corners=False)
            logits.append(large[0].flatten(1).T)
            truths.append(torch.from_numpy(mask).flatten().long())
    truth, all_logits = torch.cat(truths), torch.cat(logits)
    counted, chosen = truth != IGNORED, all_logits.argmax(1)
    scores = metrics.compute()
    assert scores["n"] == sum(map(len, batches))
    if not counted.any():
        assert (scores["iou"], scores["accuracy"], scores["loss"]) == (0, 0, 0)
        return
    # torchmetrics leaves out what lies in neither, with average="macro", as we do.
    jaccard = MulticlassJaccardIndex(classes, average="macro", ignore_index=IGNORED)
    assert scores["iou"] == pytest.approx(float(jaccard(chosen[counted], truth[counted])), abs=1e-6)
    assert scores["accuracy"] == pytest.approx(float((chosen == truth)[counted].double().mean()))
    assert scores["loss"] == pytest.approx(float(cross_entropy(all_logits, truth, ignore_index=IGNORED)), rel=1e-5)
    matrix = confusion_matrix(truth[counted], chosen[counted], labels=[*range(classes)])
    rows = metrics.per_class()
    assert [row["class"] for row in rows] == NAMES[:classes]
    assert [row["n"] for row in rows] == matrix.sum(1).tolist()
    for place, row in enumerate(rows):
        union = matrix[place].sum() + matrix[:, place].sum() - matrix[place, place]
        assert (row["iou"] is None) == (union == 0)
        if union:
            assert row["iou"] == pytest.approx(matrix[place, place] / union)
        assert (row["recall"] is None) == (row["n"] == 0)
        if row["n"]:
            assert row["recall"] == pytest.approx(matrix[place, place] / matrix[place].sum())


def test_a_reset_forgets_everything() -> None:
    made = task()
    once, twice = made.metrics(), made.metrics()
    first, second = (scored([np.full((4, 5), value, np.uint8)]) for value in (0, 1))
    twice.update(noise(1, 4, 2, 2), first)
    twice.reset()
    for metrics in (once, twice):
        metrics.update(noise(1, 4, 2, 2, seed=1), second)
    assert once.compute() == twice.compute()


# --- the loss ---


def masks_of(seed: int, *shape: int, classes: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, classes, shape, generator=generator)
    return masks.masked_fill(torch.rand(shape, generator=generator) < 0.2, IGNORED).to(torch.uint8)


def test_cross_entropy_is_torchs_over_all_pixels() -> None:
    masks, outputs = masks_of(0, 3, 8, 12), noise(3, 4, 2, 3)
    terms = task().loss(outputs, training(masks))
    large = interpolate(outputs, (8, 12), mode="bilinear", align_corners=False)
    expected = cross_entropy(large, masks.long(), ignore_index=IGNORED, reduction="sum") / masks.numel()
    assert list(terms) == ["cross_entropy"]
    assert float(terms["cross_entropy"]) == pytest.approx(float(expected))


def test_without_ignored_pixels_it_is_torchs_mean() -> None:
    masks, outputs = torch.randint(0, 4, (2, 8, 8)), noise(2, 4, 8, 8)
    loss = task().loss(outputs, training(masks.byte()))["cross_entropy"]
    assert float(loss) == pytest.approx(float(cross_entropy(outputs, masks)))


@pytest.mark.parametrize("dice", [0.0, 0.7])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_mean_over_shares_of_a_batch_is_the_mean_over_the_whole(dice: float, class_weights: str) -> None:
    """Each share has a weight, by which DDP's mean over ranks is the mean over all samples."""
    masks, outputs = masks_of(0, 6, 8, 8), noise(6, 4, 4, 4)
    masks[0] = IGNORED
    made = task(dice=dice, class_weights=class_weights, counts=[5, 10, 20, 40])
    whole = made.loss(outputs, training(masks))
    splits = [
        made.loss(some, training(its)) for some, its in zip(outputs.split([3, 3]), masks.split([3, 3]), strict=True)
    ]
    for name, value in whole.items():
        assert float(value) == pytest.approx(sum(float(split[name]) for split in splits) / 2, rel=1e-5)
    splits = [
        made.loss(some, training(its)) for some, its in zip(outputs.split([4, 2]), masks.split([4, 2]), strict=True)
    ]
    for name, value in whole.items():
        assert float(value) == pytest.approx((4 * float(splits[0][name]) + 2 * float(splits[1][name])) / 6, rel=1e-5)


def test_dice_by_hand() -> None:
    """Two classes of two pixels that are right for sure, one that does not count: (2 · 2 + 1) / (2 + 2 + 1) is 1."""
    masks = torch.tensor([[[0, 0], [1, 1]]], dtype=torch.uint8)
    sure = 100 * torch.tensor([[[[1.0, 1], [0, 0]], [[0, 0], [1.0, 1]]]])
    made = task(2, dice=1.0)
    assert float(made.loss(sure, training(masks))["dice"]) == pytest.approx(0, abs=1e-6)
    wrong = made.loss(sure.flip(1), training(masks))["dice"]
    assert float(wrong) == pytest.approx(1 - 1 / 5)
    even = made.loss(torch.zeros(1, 2, 2, 2), training(masks))["dice"]  # half of each: (2 · 1 + 1) / (2 + 2 + 1)
    assert float(even) == pytest.approx(1 - 3 / 5)
    masks[0, 0, 0] = IGNORED  # (2 · 0.5 + 1) / (1.5 + 1 + 1), and (2 · 1 + 1) / (1.5 + 2 + 1)
    even = made.loss(torch.zeros(1, 2, 2, 2), training(masks))["dice"]
    assert float(even) == pytest.approx(1 - (2 / 3.5 + 3 / 4.5) / 2)
    assert float(task(2, dice=0.5).loss(torch.zeros(1, 2, 2, 2), training(masks))["dice"]) == pytest.approx(
        float(even) / 2
    )


def test_balanced_weights_are_inverse_to_the_pixels_of_a_class() -> None:
    made = task(2, counts=[30, 10], class_weights="balanced")
    weights = cast(Tensor, made.class_weights)
    assert float(weights[1] / weights[0]) == pytest.approx(3)
    assert float((weights * torch.tensor([30.0, 10.0])).sum()) == pytest.approx(40)  # the mean pixel weighs 1
    masks, outputs = masks_of(1, 2, 4, 4, classes=2), noise(2, 2, 4, 4)
    expected = cross_entropy(outputs, masks.long(), weights, ignore_index=IGNORED, reduction="sum") / masks.numel()
    assert float(made.loss(outputs, training(masks))["cross_entropy"]) == pytest.approx(float(expected))
    assert "class_weights" not in made.state_dict()


def test_a_batch_of_ignored_pixels_alone_has_a_loss_of_zero_and_finite_gradients() -> None:
    outputs = noise(2, 4, 4, 4).requires_grad_()
    terms = task(dice=1.0).loss(outputs, training(torch.full((2, 8, 8), IGNORED, dtype=torch.uint8)))
    assert float(terms["cross_entropy"].detach()) == 0
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


# --- predictions ---


def test_a_prediction_has_the_own_size_of_its_picture() -> None:
    made = task()
    batch = scored([np.zeros((5, 9), np.uint8), np.zeros((12, 3), np.uint8)])
    outputs = noise(2, 4, 4, 4)
    masks = made.decode(outputs, batch)
    assert [(tuple(mask.shape), mask.dtype) for mask in masks] == [((5, 9), torch.uint8), ((12, 3), torch.uint8)]
    large = interpolate(outputs[:1], (5, 9), mode="bilinear", align_corners=False)
    assert torch.equal(masks[0].long(), large.argmax(1)[0])


def test_columns_name_the_most_frequent_classes_and_their_shares() -> None:
    masks = [torch.tensor([[0, 0, 0, 3]], dtype=torch.uint8), torch.tensor([[2, 2], [1, 2]], dtype=torch.uint8)]
    columns = task().columns(masks, top_k=2)
    assert columns == {
        "label": ["road", "tree"], "share": ["0.750000", "0.750000"],
        "label_2": ["car", "sky"], "share_2": ["0.250000", "0.250000"],
    }  # fmt: skip
    assert list(task(2).columns([torch.zeros(1, 1, dtype=torch.uint8)], top_k=9)) == [
        "label", "share", "label_2", "share_2",
    ]  # fmt: skip


def test_a_file_holds_the_values_and_colours_of_the_training_masks() -> None:
    """Value 0 did not count there, so that the classes are numbered from value 1 on, and the last is 200."""
    palette = [channel for value in range(256) for channel in (value, 255 - value, value // 2)]
    made = task(values=[1, 2, 4, 200], palette=palette)
    prediction = torch.tensor([[0, 1, 2], [3, 3, 0]], dtype=torch.uint8)
    files = made.files(prediction)
    assert list(files) == [".png"]
    with Image.open(io.BytesIO(files[".png"])) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (3, 2))
        assert np.asarray(picture).tolist() == [[1, 2, 4], [200, 200, 1]]
        assert np.asarray(picture.convert("RGB"))[1, 0].tolist() == [200, 55, 100]
        assert np.asarray(picture.convert("RGB"))[0, 2].tolist() == [4, 251, 2]


def test_a_score_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="no score 'val/f1'") as refused:
        task(monitor="val/f1")
    assert "val/iou" in refused.value.next_step


def test_what_the_files_look_like_stays_out_of_checkpoints() -> None:
    assert task().state_dict() == {}


def test_true_masks_are_drawn_as_predictions_and_ignored_pixels_show_the_picture() -> None:
    masks = [np.array([[0, 1, IGNORED]], np.uint8), np.array([[3], [2]], np.uint8)]
    first, second = task().truths(scored(masks))
    assert (first.tolist(), second.tolist()) == (masks[0].tolist(), masks[1].tolist())
    picture = Image.new("RGB", (3, 1), (200, 100, 0))
    drawn = task().drawn(picture, first)
    assert drawn.getpixel((2, 0)) == (200, 100, 0)
    assert drawn.getpixel((0, 0)) == task().drawn(picture, torch.zeros(1, 3, dtype=torch.uint8)).getpixel((0, 0))
    assert drawn.getpixel((1, 0)) != drawn.getpixel((0, 0))
