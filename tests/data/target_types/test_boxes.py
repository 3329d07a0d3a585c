"""Boxes around objects: counts, strata, and what an augmented view shows of a box."""

import pytest
import torch

from frostline.contracts.targets import Targets
from frostline.data.target_types.find import target_type
from frostline.errors import ConfigError, DataError
from moves import Moves

BOXES = target_type("boxes")
NAMES = ["cell", "rare"]
COUNTS = torch.tensor([[3, 0], [2, 1], [0, 0], [1, 0]])


def test_statistics_count_boxes_and_splits_count_pictures() -> None:
    assert BOXES.counts(NAMES, COUNTS) == {"cell": 3, "rare": 1}
    assert BOXES.describe(NAMES, COUNTS) == Targets("boxes", NAMES, [6, 1], {})
    assert BOXES.strata(COUNTS).tolist() == [0, 1, 2, 0]


def test_frequencies_are_in_words() -> None:
    assert (
        BOXES.frequencies(Targets("boxes", NAMES, [6, 2]), 4) == "8 boxes of 2 classes, the most frequent 'cell' (75 %)"
    )
    assert BOXES.frequencies(Targets("boxes", ["cell"], [1200]), 4) == "1,200 boxes of the class 'cell'"


def test_one_class_can_be_learned_but_no_box_cannot() -> None:
    BOXES.require_learnable(Targets("boxes", ["cell"], [6]), 4, "here")
    with pytest.raises(DataError, match="no training picture has a box"):
        BOXES.require_learnable(Targets("boxes", NAMES, [0, 0]), 4, "here")


def test_boxes_are_cut_at_the_edges_and_left_out_beyond() -> None:
    """Views of 32 × 48 pixels, of pictures that are moved by 10 pixels to the left."""
    rows = [
        [12.0, 2, 20, 10, 1],  # stays
        [5, 2, 15, 10, 0],  # half of it stays
        [2, 2, 11, 10, 0],  # a ninth of it
        [9.2, 2, 10.8, 10, 0],  # less than a pixel
        [50, 25, 58, 40, 1],  # bottom cut
        [-1, -1, -1, -1, -1],  # fills up
    ]
    moved = BOXES.follow(torch.tensor([rows]), Moves(boxes=lambda boxes: boxes - torch.tensor([10.0, 0, 10, 0])))
    nothing = [-1.0] * 5
    expected = [[2.0, 2, 10, 10, 1], [0, 2, 5, 10, 0], nothing, nothing, [40, 25, 48, 32, 1], nothing]
    assert moved.tolist() == [expected]


def test_named_boxes_are_moved() -> None:
    boxes = torch.tensor([[[20.0, 2, 30, 10, 1]]])
    moved = BOXES.follow({"boxes": boxes, "teacher": boxes}, Moves(boxes=lambda boxes: boxes + 1))
    assert moved["boxes"].tolist() == moved["teacher"].tolist() == [[[21, 3, 31, 11, 1]]]
    with pytest.raises(ConfigError, match="not the target 'found'"):
        BOXES.follow({"found": torch.zeros(1, 2, 6)}, Moves())


def test_no_boxes_at_all_are_moved() -> None:
    assert BOXES.follow(torch.zeros(3, 0, 5), Moves(boxes=lambda boxes: boxes)).shape == (3, 0, 5)


def test_boxes_are_never_mixed() -> None:
    assert not BOXES.mixes
    with pytest.raises(ConfigError, match="cannot be mixed"):
        BOXES.mix(COUNTS, COUNTS, torch.ones(4, 1), 2)
