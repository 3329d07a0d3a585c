"""Masks as targets: what a split has of each class, how it is divided, and what cannot be learned."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from frostline.contracts.targets import Targets
from frostline.data.target_types.find import target_type
from frostline.errors import ConfigError, DataError
from frostline.tasks.segmentation import IGNORED
from moves import Moves

MASKS = target_type("masks")
NAMES = ["road", "sky", "car"]
# Pixels of each class in four pictures; the last has none that counts.
PIXELS = torch.tensor([[90, 10, 0], [50, 0, 50], [100, 0, 0], [0, 0, 0]])


def test_counts_are_pictures_that_show_a_class() -> None:
    assert MASKS.counts(NAMES, PIXELS) == {"road": 3, "sky": 1, "car": 1}


def test_a_picture_counts_for_the_rarest_class_that_it_shows() -> None:
    assert MASKS.strata(PIXELS).tolist() == [1, 2, 0, 3]


def test_described_are_the_pixels_of_each_class() -> None:
    targets = MASKS.describe(NAMES, PIXELS)
    assert targets == Targets("masks", NAMES, [240, 10, 50], {})
    assert MASKS.frequencies(targets, 4) == "3 classes, the most frequent 'road' (80 % of the pixels)"


def test_one_class_alone_cannot_be_learned() -> None:
    MASKS.require_learnable(MASKS.describe(NAMES, PIXELS), 4, "here")
    with pytest.raises(DataError, match="every training pixel has the class 'road'"):
        MASKS.require_learnable(Targets("masks", NAMES, [240, 0, 0]), 4, "here")


def test_masks_follow_a_geometry_as_maps_of_one_channel() -> None:
    masks = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)

    def mirrored(maps: Tensor) -> Tensor:
        assert maps.shape == (2, 1, 3, 4)
        return maps.flip(-1)

    assert torch.equal(MASKS.follow(masks, Moves(maps=mirrored)), masks.flip(-1))


def test_named_maps_follow_and_what_belongs_to_whole_pictures_stays() -> None:
    """Also those of a teacher beside boxes."""
    label, logits = torch.tensor([1, 0]), torch.rand(2, 5)
    masks, maps = torch.arange(24, dtype=torch.uint8).view(2, 3, 4), torch.rand(2, 5, 3, 4)
    targets = {"mask": masks, "teacher": maps, "label": label, "logits": logits}
    geometry = Moves(maps=lambda maps: maps.flip(-1), sides=(3, 4))
    for kind in (MASKS, target_type("boxes")):
        moved = kind.follow(targets, geometry)
        assert torch.equal(moved["mask"], masks.flip(-1))
        assert torch.equal(moved["teacher"], maps.flip(-1))
        assert moved["label"] is label
        assert moved["logits"] is logits


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 5, 2, 2), (2, 1, 5, 3, 4)])
def test_a_named_target_that_is_no_map_of_the_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"not the target 'tokens' of the shape .*\(\.\.\., 3, 4\)") as refused:
        MASKS.follow({"tokens": torch.zeros(shape)}, Moves(maps=lambda maps: maps, sides=(3, 4)))
    assert refused.value.next_step == "data.augment=none"


def test_masks_are_never_mixed() -> None:
    assert not MASKS.mixes
    with pytest.raises(ConfigError, match="cannot be mixed"):
        MASKS.mix(PIXELS, PIXELS, torch.ones(4, 1), 3)


def test_a_table_does_not_give_masks() -> None:
    with pytest.raises(ConfigError, match="cannot hold a class for each pixel"):
        MASKS.read(None, [], None, [])  # type: ignore[arg-type]


# --- rows for probes ---


def test_a_cell_has_the_most_frequent_class_of_its_pixels_that_count() -> None:
    no = IGNORED
    mask = [
        [0, 0, 2, 2, no, no],
        [0, 1, 2, 1, no, no],
        [no, no, no, 1, 1, 2],
        [no, 2, no, no, 2, 1],
    ]
    features = torch.arange(6.0).view(1, 1, 2, 3)
    found = MASKS.rows(features, torch.tensor([mask], dtype=torch.uint8))
    assert found.names.tolist() == [0, 2, 2, 1, 1], "of two that are as frequent, the first"
    assert found.features.flatten().tolist() == [0, 1, 3, 4, 5], "the third has no pixel that counts"
    assert found.sample.tolist() == [0] * 5


@pytest.mark.parametrize("sides", [(12, 8), (13, 9), (16, 5)])
def test_cells_are_those_of_the_map_that_is_enlarged_to_the_mask(sides: tuple[int, int]) -> None:
    """A map of 4 × 3 cells, by the classes of the pixels, one by one; the third mask has none that counts."""
    masks = torch.randint(0, 4, (3, *sides), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    masks[masks == 3] = IGNORED
    masks[2] = IGNORED
    masks[0, : -(-sides[0] // 4), : -(-sides[1] // 3)] = IGNORED
    features = torch.randn(3, 5, 4, 3)
    expected = []
    for sample, mask in enumerate(masks.tolist()):
        for cell in range(12):
            inside = Counter(
                value
                for y, row in enumerate(mask)
                for x, value in enumerate(row)
                if value != IGNORED and (y * 4 // sides[0], x * 3 // sides[1]) == divmod(cell, 3)
            )
            if inside:
                name = max(inside, key=lambda value: (inside[value], -value))
                expected.append((sample, name, features[sample, :, cell // 3, cell % 3].tolist()))
    found = MASKS.rows(features, masks)
    rows = zip(found.sample.tolist(), found.names.tolist(), found.features.tolist(), strict=True)
    assert list(rows) == expected
    assert 12 < len(expected) < 24


def test_masks_without_a_pixel_that_counts_give_no_row() -> None:
    found = MASKS.rows(torch.randn(2, 5, 2, 2), torch.full((2, 4, 4), IGNORED, dtype=torch.uint8))
    assert (found.features.shape, found.names.shape, found.sample.shape) == ((0, 5), (0,), (0,))


def test_whole_cells_of_one_class_give_back_the_features() -> None:
    classes = torch.tensor([[[0, 1], [2, 0]]])
    found = MASKS.rows(one_hot(classes).movedim(-1, 1), classes.repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert torch.equal(found.features, one_hot(found.names))
