"""Detection: scores are those of pycocotools, whatever the ranks; predictions are in pixels of the pictures."""

import contextlib
import io
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from frostline.contracts.batch import Batch
from frostline.contracts.targets import Targets
from frostline.tasks.detection import Detection

CLASSES = ["red", "green", "blue"]
TWELVE = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10", "mar_100", "mar_small",
          "mar_medium", "mar_large"]  # fmt: skip  # in COCOeval's order
SIDES = (400, 600)  # height and width


@pytest.fixture
def task() -> Detection:
    return made()


def made(**settings: Any) -> Detection:
    own: dict[str, Any] = {"threshold": 0.5, "l1": 0.0, "monitor": "val/map", "mode": "max"} | settings
    return Detection(Targets("boxes", CLASSES, [3, 2, 1], {}), **own)


def pictures(seed: int, number: int = 12) -> tuple[Tensor, Tensor]:
    """Outputs (N, 30, 6) and targets (N, 9, 7), some of them crowds, with areas of their own."""
    generator = np.random.default_rng(seed)
    outputs, targets = np.full((number, 30, 6), -1.0), np.full((number, 9, 7), -1.0)
    for place in range(number):
        true = int(generator.integers(0, 9))
        start = generator.uniform(0, 300, (true, 2))
        size = generator.uniform(5, 250, (true, 2)) * generator.choice([0.1, 1.0], (true, 1))
        boxes = np.concatenate([start, np.minimum(start + size, [[600, 400]])], 1)
        targets[place, :true, :4] = boxes
        targets[place, :true, 4] = generator.integers(0, 3, true)
        targets[place, :true, 5] = generator.random(true) < 0.15
        targets[place, :true, 6] = (boxes[:, 2:] - boxes[:, :2]).prod(1) * generator.uniform(0.5, 1, true)
        found = np.repeat(targets[place, :true], 3, 0)
        found[:, :4] += generator.normal(0, 6, (3 * true, 4))
        keep = (found[:, 2] > found[:, 0] + 1) & (found[:, 3] > found[:, 1] + 1)
        found = found[keep]
        labels = np.where(generator.random(len(found)) < 0.8, found[:, 4], generator.integers(0, 3, len(found)))
        scores = np.sort(generator.random(len(found)))[::-1]
        outputs[place, : len(found)] = np.concatenate(
            [found[:, :4] / [600, 400, 600, 400], scores[:, None], labels[:, None]], 1
        )
    return torch.from_numpy(outputs).float(), torch.from_numpy(targets).float()


def batch_of(targets: Tensor, sample: Tensor) -> Batch:
    sides = torch.tensor(SIDES).expand(len(sample), 2)
    return Batch(torch.zeros(len(sample)), targets, sample, own_sizes=sides)


def truth(outputs: Tensor, targets: Tensor) -> COCOeval:
    said: dict[str, Any] = {
        "images": [{"id": place} for place in range(len(outputs))],
        "categories": [{"id": place} for place in range(3)],
        "annotations": [],
    }
    results = []
    for place in range(len(outputs)):
        for left, top, right, bottom, label, crowd, area in targets[place][targets[place, :, 4] >= 0].tolist():
            said["annotations"].append({"id": len(said["annotations"]) + 1, "image_id": place, "area": area,
                                        "category_id": int(label), "iscrowd": int(crowd),
                                        "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
        rows = outputs[place][outputs[place, :, 5] >= 0]
        scale = torch.tensor([600, 400, 600, 400, 1, 1])
        for left, top, right, bottom, score, label in (rows * scale).tolist():
            results.append({"image_id": place, "category_id": int(label), "score": score,
                            "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = said
        coco.createIndex()
        evaluated = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    return evaluated


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_pycocotools(seed: int, task: Detection) -> None:
    outputs, targets = pictures(seed)
    metrics = task.metrics()
    for rows in torch.arange(12).split(5):
        metrics.update(outputs[rows], batch_of(targets[rows], rows))
    evaluated = truth(outputs, targets)
    wanted = {name: score for name, score in zip(TWELVE, evaluated.stats.tolist(), strict=True) if score >= 0}
    assert metrics.compute() == pytest.approx(wanted | {"n": 12}, abs=1e-6)
    for place, row in enumerate(metrics.per_class()):
        own = evaluated.eval["precision"][:, :, place, 0, 2]
        assert row["class"] == CLASSES[place]
        assert row["n"] == int(((targets[..., 4] == place) & (targets[..., 5] == 0)).sum())
        assert row["ap"] == pytest.approx(own[own > -1].mean(), abs=1e-6)
        found = evaluated.eval["recall"][:, place, 0, 2]
        assert row["recall"] == pytest.approx(found[found > -1].mean(), abs=1e-6)


def test_scores_do_not_depend_on_the_order_of_pictures(task: Detection) -> None:
    """Ranks take turns: what one process sees in order, two see in shares. Equal scores tell orders apart."""
    outputs, targets = pictures(5)
    outputs[..., 4] = torch.where(outputs[..., 4] >= 0, (outputs[..., 4] * 4).round() / 4, -1.0)
    ends = []
    for order in (torch.arange(12), torch.arange(12).flip(0), torch.arange(12).view(2, 6).T.flatten()):
        metrics = task.metrics()
        for rows in order.split(5):
            metrics.update(outputs[rows], batch_of(targets[rows], rows))
        ends.append((metrics.compute(), metrics.per_class()))
        metrics.reset()
        assert metrics.found.seen == []
    assert ends[0] == ends[1] == ends[2]


def test_a_class_or_size_without_objects_has_no_score(task: Detection) -> None:
    outputs, targets = torch.full((2, 3, 6), -1.0), torch.full((2, 1, 7), -1.0)
    targets[0, 0] = torch.tensor([10, 10, 15, 15, 1, 0, 25])
    metrics = task.metrics()
    metrics.update(outputs, batch_of(targets, torch.arange(2)))
    scores = metrics.compute()
    assert scores["map"] == 0
    assert scores["n"] == 2
    assert "map_small" in scores
    assert "map_large" not in scores
    assert [row["ap"] for row in metrics.per_class()] == [None, 0, None]


def test_predictions_are_in_pixels_of_the_picture(task: Detection) -> None:
    outputs, targets = pictures(1)
    found = task.decode(outputs, batch_of(targets, torch.arange(12)))
    for own, rows in zip(found, outputs, strict=True):
        wanted = rows[rows[:, 5] >= 0]
        assert torch.allclose(own[:, :4], wanted[:, :4] * torch.tensor([600, 400, 600, 400]))
        assert torch.equal(own[:, 4:], wanted[:, 4:])


def test_columns_count_objects_from_the_threshold_on(task: Detection) -> None:
    first = torch.tensor([[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.5, 2], [0, 0, 9, 9, 0.4, 2]])
    assert task.columns([first, torch.zeros(0, 6)], 5) == {
        "objects": ["2", "0"],
        "red": ["1", "0"],
        "green": ["0", "0"],
        "blue": ["1", "0"],
    }


def test_a_class_may_have_the_name_of_a_column() -> None:
    task = Detection(Targets("boxes", ["objects", "drawn", "cell"], [1, 1, 1]), threshold=0.5, l1=0.0,
                     monitor="val/map", mode="max")  # fmt: skip
    found = torch.tensor([[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.8, 0]])
    assert task.columns([found], 5) == {
        "objects": ["2"],
        "objects (class)": ["2"],
        "drawn (class)": ["0"],
        "cell": ["0"],
    }


def test_the_file_of_all_predictions_is_what_pycocotools_reads(task: Detection, tmp_path: Path) -> None:
    outputs, targets = pictures(2, 3)
    found = task.decode(outputs, batch_of(targets, torch.arange(3)))
    (tmp_path / "it.json").write_bytes(task.files_of_all(["a.png", "b.png", "ü.png"], found)["detections.json"]())
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "it.json"))
    assert [it["file_name"] for it in coco.loadImgs([1, 2, 3])] == ["a.png", "b.png", "ü.png"]
    assert [it["name"] for it in coco.loadCats([1, 2, 3])] == CLASSES
    rows = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert len(rows) == len(found[0])
    left, top, right, bottom, score, label = found[0][0].tolist()
    assert rows[0]["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.006)
    assert (rows[0]["category_id"], rows[0]["score"]) == (int(label) + 1, pytest.approx(score, abs=1e-6))
    assert json.loads((tmp_path / "it.json").read_text())["annotations"][0]["id"] == 1


def test_saved_rows_hold_true_and_predicted_boxes(task: Detection) -> None:
    outputs, targets = pictures(3, 4)
    outputs[1], targets[1] = -1, -1  # neither
    columns = task.saved(outputs, batch_of(targets, torch.arange(4)))
    assert len({len(column) for column in columns.values()}) == 1
    assert all(one <= other for one, other in pairwise(columns["sample"].tolist()))
    for place in (0, 2, 3):
        own = columns["sample"] == place
        truly = own & columns["is_target"]
        assert torch.equal(columns["box"][truly], targets[place][targets[place, :, 4] >= 0][:, :4])
        assert torch.equal(
            columns["score"][own & ~columns["is_target"]], outputs[place][outputs[place, :, 5] >= 0][:, 4]
        )
    empty = columns["sample"] == 1
    assert columns["label"][empty].tolist() == [-1]


def test_boxes_are_drawn_on_the_picture() -> None:
    picture = Image.new("RGB", (160, 100), "black")  # drawn three times as large
    found = torch.tensor([[20.0, 30, 60, 70, 0.9, 1], [100, 30, 130, 70, 0.3, 0]])
    pixels = np.asarray(made().drawn(picture, found))
    assert pixels.shape == (300, 480, 3)
    assert pixels[150, 60].tolist() == [0x00, 0x72, 0xB2]  # the left edge, in the colour of the second class
    assert not pixels[100:200, 70:170].any()
    assert not pixels[:, 290:].any()  # below the threshold
    assert pixels[68:88, 60:120].any()  # the label


def test_pictures_with_as_many_boxes_as_the_head_returns_are_counted(task: Detection) -> None:
    """Boxes below the threshold fill up what is cut, so that they do not count."""
    rows = torch.tensor([[0.1, 0.1, 0.2, 0.2, 0.9, 0], [0.3, 0.3, 0.4, 0.4, 0.6, 1]])
    low = torch.tensor([[0.1, 0.1, 0.2, 0.2, 0.9, 0], [0.3, 0.3, 0.4, 0.4, 0.4, 1]])
    batch = batch_of(torch.zeros(2, 0, 7), torch.arange(2))
    (note,) = task.notes(task.decode(torch.stack([rows, low]), batch))
    assert note == (
        "one picture has 2 boxes, the most that this run returns (head.detections), and may have more objects"
    )
    padded = torch.cat([rows, torch.full((1, 6), -1.0)])
    assert task.notes(task.decode(torch.stack([padded, padded]), batch)) == []


def test_a_name_of_two_lines_is_drawn_in_one(task: Detection) -> None:
    two = Detection(Targets("boxes", ["red\ncell"], [1], {}), threshold=0.5, l1=0.0, monitor="val/map", mode="max")
    drawn = two.drawn(Image.new("RGB", (64, 48)), torch.tensor([[5.0, 5, 30, 30, 0.9, 0]]))
    assert drawn.size == (512, 384)


def test_true_boxes_are_drawn_as_predictions(task: Detection) -> None:
    rows = torch.tensor([[[5.0, 6, 30, 40, 2, 0, 850], [-1] * 7], [[-1] * 7, [-1] * 7]])
    first, second = task.truths(batch_of(rows, torch.arange(2)))
    assert first.tolist() == [[5, 6, 30, 40, math.inf, 2]]
    assert second.shape == (0, 6)
    picture, surest = Image.new("RGB", (64, 48)), torch.tensor([[5.0, 6, 30, 40, 1, 2]])
    true, found = (np.asarray(task.drawn(picture, rows)).any(2).sum() for rows in (first, surest))
    assert true < found, "the label has no score"
