"""Views of pictures: torchvision's preprocessing for evaluation, and for training what the docstrings promise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import models

from frostline.backbones.torchvision import TorchvisionBackbone
from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures import augment as augment_module
from frostline.data.pictures.augment import DRAWS, STRENGTHS, Augment, Level
from frostline.data.pictures.counter_random import uniform
from frostline.data.pictures.preprocess import evaluation_view
from frostline.data.target_types.find import target_type
from frostline.errors import ConfigError

SPEC = ImageSpec(size=24, resize=28, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PLAIN = replace(SPEC, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))  # views as values from 0 to 1


def augment(
    level: Level,
    *,
    flip: bool = True,
    erase: float = 0.0,
    spec: ImageSpec = PLAIN,
    seed: int = 0,
    classes: int = 3,
    kind: str = "class",
) -> Augment:
    target = target_type(kind)
    return Augment(level, flip=flip, erase=erase, spec=spec, seed=seed, target=target, num_classes=classes)


def batch(pictures: Tensor, sample: Tensor | None = None, sizes: Tensor | None = None) -> Batch:
    sample = torch.arange(len(pictures)) if sample is None else sample
    return Batch(pictures, sample % 3, sample, sizes)


def noise(n: int, height: int = 32, width: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 3, height, width), generator=torch.Generator().manual_seed(n)).byte()


def ramps(n: int, height: int, width: int) -> Tensor:
    """Red tells the place from left to right, green from top to bottom, both from 0 to 1; blue the half."""
    across = ((torch.arange(width) + 0.5) / width).expand(height, width)
    down = ((torch.arange(height) + 0.5) / height).unsqueeze(1).expand(height, width)
    return (255 * torch.stack([across, down, (across > 0.5).float()])).round().byte().expand(n, -1, -1, -1)


# --- evaluation ---


@pytest.mark.parametrize("height_width", [(32, 32), (375, 500), (500, 333), (100, 100), (640, 41), (75, 300)])
@pytest.mark.parametrize(
    ("name", "weights"),
    [("resnet50", "IMAGENET1K_V1"), ("resnet50", "IMAGENET1K_V2"), ("efficientnet_b0", "DEFAULT"),
     ("swin_t", "DEFAULT"), ("inception_v3", "DEFAULT"), ("vgg16", "IMAGENET1K_FEATURES")],
)  # fmt: skip
def test_the_evaluation_view_is_torchvisions_preset(name: str, weights: str, height_width: tuple[int, int]) -> None:
    """Within one step of the 256 of a colour: torchvision rounds after each direction of its resizing, we never do."""
    with torch.device("meta"):
        spec = TorchvisionBackbone(name, weights=weights, load=False).spec
    pictures = noise(2, *height_width)
    expected = models.get_model_weights(name)[weights].transforms()(pictures)
    view = evaluation_view(pictures, spec)
    assert view.shape == expected.shape
    steps = (view - expected).abs() * torch.tensor(spec.std).view(3, 1, 1) * 255
    assert steps.max() <= 1.01


def test_pictures_that_arrive_cut_are_only_normalised() -> None:
    pictures = noise(4, 24, 24)
    expected = (pictures / 255 - torch.tensor(SPEC.mean).view(3, 1, 1)) / torch.tensor(SPEC.std).view(3, 1, 1)
    assert torch.allclose(evaluation_view(pictures, SPEC, cut=True), expected, atol=1e-6)


def test_without_augmentation_training_sees_the_evaluation_view() -> None:
    pictures = noise(4, 40, 60)
    before = batch(pictures)
    after = augment("none", spec=SPEC)(before, epoch=3)
    assert torch.equal(after.inputs, evaluation_view(pictures, SPEC))
    assert after[1:] == before[1:]


def test_without_augmentation_padded_pictures_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="padded"):
        augment("none")(batch(noise(2), sizes=torch.tensor([[32, 20], [10, 32]])), epoch=0)


# --- a sample's view is its own ---


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_a_sample_looks_the_same_whatever_its_neighbours(level: Level) -> None:
    """With `strong`, those that are not mixed; a mixed one takes half from its neighbour."""
    pictures, sample = noise(40), torch.arange(100, 140)
    mixed = uniform(0, 2, sample, DRAWS)[:, 9] < STRENGTHS[level].mix
    together = augment(level)(batch(pictures, sample), epoch=2).inputs
    chosen = (~mixed).nonzero().flatten().flip(0)[:6]
    assert len(chosen) == 6
    few = augment(level)(batch(pictures[chosen], sample[chosen]), epoch=2).inputs
    assert torch.allclose(few, together[chosen], atol=1e-5)


@pytest.mark.parametrize("size", [24, 96])
def test_a_picture_looks_the_same_however_much_it_is_padded(size: int) -> None:
    whole = noise(20, 40, 30)
    padded = torch.zeros(20, 3, 64, 60, dtype=torch.uint8)
    padded[:, :, :40, :30] = whole
    made = augment("standard", spec=replace(PLAIN, size=size))
    alone = made(batch(whole), epoch=0).inputs
    assert torch.allclose(made(batch(padded, sizes=torch.tensor([[40, 30]] * 20)), epoch=0).inputs, alone, atol=1e-4)


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_the_same_epoch_gives_the_same_views_and_another_gives_others(level: Level) -> None:
    same = batch(noise(8))
    views = [augment(level)(same, epoch).inputs for epoch in (0, 0, 1)]
    assert torch.equal(views[0], views[1])
    differ = (views[0] - views[2]).abs().amax((1, 2, 3))
    assert (differ > 0.05).all()
    assert not torch.allclose(augment(level, seed=1)(same, 0).inputs, views[0], atol=0.05)


@pytest.mark.parametrize("level", ["standard", "strong"])
@pytest.mark.parametrize("size", [24, 32])
def test_views_are_the_same_bits_made_one_at_a_time_or_together(
    level: Level, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And however the loader lays them into memory; 32 pixels are shifted and not resampled."""
    pictures, spec = noise(9), replace(PLAIN, size=size, resize=size)
    together = augment(level, spec=spec)(batch(pictures), epoch=1).inputs
    last = pictures.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(level, spec=spec)(batch(last), epoch=1).inputs, together)
    assert together.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(augment_module, "CHUNK", 2 * pictures[0].numel())  # 9 pictures in 5 chunks
    assert torch.equal(augment(level, spec=spec)(batch(pictures), epoch=1).inputs, together)
    sizes = torch.tensor([[20 + number, 32 - number] for number in range(9)])
    padded = [augment(level, spec=spec)(batch(pictures, sizes=sizes), epoch=1).inputs]
    monkeypatch.undo()
    padded.append(augment(level, spec=spec)(batch(pictures, sizes=sizes), epoch=1).inputs)
    assert torch.equal(*padded)


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_views_made_alone_do_not_depend_on_the_padding(level: Level) -> None:
    pictures, sizes = noise(9), torch.tensor([[20 + number, 32 - number] for number in range(9)])
    wider = torch.nn.functional.pad(pictures, (0, 40, 0, 3))
    made = [augment(level)._views_alone(x, sizes.tolist(), torch.full((9, 16), 0.3)) for x in (pictures, wider)]
    assert torch.equal(*made)
    assert made[0].is_contiguous(memory_format=torch.channels_last)
    alone, padded = (augment("standard")(batch(pictures, sizes=sizes), 1, alone=it).inputs for it in (True, False))
    assert torch.allclose(alone, padded, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (33, 33), (224, 224), (24, 40)])
def test_an_upright_part_lies_where_torch_s_own_grid_has_it(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.rand(6, 2, generator=generator), torch.rand(6, 2, generator=generator) - 0.5
    mirror, angle = torch.tensor([1.0, -1.0]).repeat(3), torch.zeros(6)
    expected = augment_module._turned_grid(scale, shift, mirror, angle, size)
    assert torch.equal(augment_module._upright_grid(scale, shift, mirror, None, size), expected)
    end = torch.rand(6, 2, generator=generator)
    expected = expected.minimum(end.flip(1).view(-1, 1, 1, 2))
    assert torch.equal(augment_module._upright_grid(scale, shift, mirror, end, size), expected)


def test_the_pictures_themselves_are_left_alone() -> None:
    pictures = noise(4)
    before = pictures.clone()
    augment("strong")(batch(pictures), epoch=0)
    assert torch.equal(pictures, before)


# --- what a view shows ---


def views_of_ramps(level: Level, *, flip: bool, height: int = 48, width: int = 64, n: int = 300) -> Tensor:
    made = augment(level, flip=flip)
    made.strength = STRENGTHS[level]._replace(colour=0.0, mix=0.0)
    return made(batch(ramps(n, height, width)), epoch=0).inputs


def test_a_standard_view_shows_a_part_of_at_least_the_promised_area_and_of_a_moderate_aspect() -> None:
    views = views_of_ramps("standard", flip=False)
    spans = (views[:, :2].amax((2, 3)) - views[:, :2].amin((2, 3))) * SPEC.size / (SPEC.size - 1)  # between centres
    area = spans.prod(1)
    sides = spans * torch.tensor([64.0, 48.0])
    aspect = sides[:, 0] / sides[:, 1]
    assert area.min() > 0.6 - 0.03
    assert area.max() <= 1.01
    assert area.max() - area.min() > 0.25  # the areas are spread
    assert aspect.min() > 3 / 4 - 0.05
    assert aspect.max() < 4 / 3 + 0.05


def test_the_part_lies_anywhere() -> None:
    views = views_of_ramps("standard", flip=True)
    left, right = views[:, 0].amin((1, 2)), views[:, 0].amax((1, 2))
    assert left.min() < 0.03
    assert right.max() > 0.97
    assert abs(views[:, :2].mean((0, 2, 3)) - 0.5).max() < 0.02  # on the whole in the centre


def mirrored(views: Tensor) -> Tensor:
    """Whether red falls from left to right."""
    middle = views.shape[-1] // 2
    return views[:, 0, :, :middle].mean((1, 2)) > views[:, 0, :, middle:].mean((1, 2))


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_without_flip_no_picture_is_mirrored(level: Level) -> None:
    assert not mirrored(views_of_ramps(level, flip=False)).any()


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_with_flip_half_of_the_pictures_are_mirrored(level: Level) -> None:
    assert 110 < mirrored(views_of_ramps(level, flip=True)).sum() < 190  # of 300, within 4.6 standard deviations


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_no_picture_is_upside_down(level: Level) -> None:
    green = views_of_ramps(level, flip=True)[:, 1]
    assert (green[:, 12:].mean((1, 2)) > green[:, :12].mean((1, 2))).all()


def test_only_strong_views_are_rotated_and_by_no_more_than_15_degrees() -> None:
    def slope(views: Tensor) -> Tensor:
        """Degrees by which a line of equal green is tilted; near the centre nothing is cut off."""
        inner = views[:, 1, 8:16, 8:16]
        across, down = inner.diff(dim=2).mean((1, 2)), inner.diff(dim=1).mean((1, 2))
        return torch.atan2(across, down).rad2deg().abs()

    assert slope(views_of_ramps("standard", flip=True, height=64)).max() < 0.5
    tilted = slope(views_of_ramps("strong", flip=True, height=64))
    assert 12 < tilted.max() < 21  # a view squeezed by 4:3 tilts lines a little more than it is rotated
    assert tilted.mean() > 5


def test_a_mirrored_and_rotated_view_is_not_sheared() -> None:
    """Left to right and top to bottom stay at right angles."""
    inner = views_of_ramps("strong", flip=True, height=64)[:, :2, 8:16, 8:16]
    gradients = torch.stack([inner.diff(dim=3).mean((2, 3)), inner.diff(dim=2).mean((2, 3))], 2)  # (B, colour, x or y)
    red, green = torch.nn.functional.normalize(gradients, dim=2).unbind(1)
    assert (red * green).sum(1).abs().max() < 0.05


def test_standard_keeps_to_the_values_of_the_picture() -> None:
    pictures = noise(50) // 2 + 40  # 40..167
    views = augment("standard")(batch(pictures), epoch=0).inputs
    assert views.min() >= 40 / 255 - 1e-5
    assert views.max() <= 167 / 255 + 1e-5


def test_standard_keeps_a_colour_to_the_spec_s_normalisation() -> None:
    colour = torch.tensor([200, 100, 50], dtype=torch.uint8)
    views = augment("standard", spec=SPEC)(batch(colour.view(1, 3, 1, 1).expand(5, 3, 30, 20)), epoch=0).inputs
    expected = (colour / 255 - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std)
    assert torch.allclose(views, expected.view(1, 3, 1, 1).expand_as(views), atol=1e-4)


@pytest.mark.parametrize("level", ["standard", "strong"])
@pytest.mark.parametrize("spec", [PLAIN, replace(PLAIN, size=96, resize=96)], ids=["smaller", "larger"])
def test_padding_never_shows(level: Level, spec: ImageSpec) -> None:
    """Black pictures in the corner of white canvases; black stays black whatever happens to colours."""
    sizes = torch.randint(20, 65, (200, 2), generator=torch.Generator().manual_seed(0))
    canvas = torch.full((200, 3, 64, 64), 255, dtype=torch.uint8)
    for slot, (height, width) in zip(canvas, sizes.tolist(), strict=True):
        slot[:, :height, :width] = 0
    views = augment(level, spec=spec)(batch(canvas, sizes=sizes), epoch=0).inputs
    assert views.abs().max() < 1e-4


def test_strong_changes_colours_and_stays_within_0_and_1() -> None:
    grey = torch.full((200, 3, 32, 32), 128, dtype=torch.uint8)
    made = augment("strong")
    made.strength = STRENGTHS["strong"]._replace(mix=0.0)
    views = made(batch(grey), epoch=0).inputs.mean((2, 3))
    assert torch.allclose(views.amin(1), views.amax(1), atol=1e-5)  # grey stays grey: saturation is no tint
    assert 0.6 * 128 / 255 - 1e-3 <= views.min() < 0.65 * 128 / 255
    assert 1.35 * 128 / 255 < views.max() <= 1.4 * 128 / 255 + 1e-3
    bright = made(batch(noise(50)), epoch=0).inputs
    assert (bright.min(), bright.max()) == (0, 1)


# --- pictures that have the size already are shifted, not resampled ---


def shifted_views(pictures: Tensor, *, flip: bool) -> Tensor:
    views: Tensor = augment("standard", flip=flip)(batch(pictures), epoch=0).inputs
    return (views * 255).round().byte()


def test_at_its_size_a_picture_is_shifted_by_whole_pixels_with_its_own_mirror_image_at_the_border() -> None:
    """Each view is one of the 7 · 7 windows, or of their mirror images, that NumPy cuts out of a reflected picture."""
    pictures = noise(400, 24, 24)
    views, reach = shifted_views(pictures, flip=True), 24 // 8
    seen = set()
    for picture, view in zip(pictures.numpy(), views.numpy(), strict=True):
        padded = np.pad(picture, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        windows = {(y, x): padded[:, y : y + 24, x : x + 24] for y in range(7) for x in range(7)}
        found = [(*at, flipped) for at, window in windows.items() for flipped in (False, True)
                 if np.array_equal(view, window[:, :, ::-1] if flipped else window)]  # fmt: skip
        assert len(found) == 1
        seen.add(found[0])
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(7))
    assert len(seen) > 85  # of 98; of 400 throws into 98 boxes all but two are hit


def test_at_its_size_flip_mirrors_half_of_the_pictures_or_none() -> None:
    pictures = ramps(300, 24, 24)
    assert not mirrored(shifted_views(pictures, flip=False).float()).any()
    assert 110 < mirrored(shifted_views(pictures, flip=True).float()).sum() < 190


def test_at_its_size_strong_resamples_all_the_same() -> None:
    made = augment("strong", flip=False)
    made.strength = STRENGTHS["strong"]._replace(colour=0.0, mix=0.0)
    red = made(batch(ramps(100, 24, 24)), epoch=0).inputs[:, 0]
    assert (red.amax((1, 2)) - red.amin((1, 2))).min() < 0.7  # a part of the picture, enlarged


# --- mixing ---


def black_and_white(n: int = 300, *, run: int = 1) -> tuple[Tensor, Tensor]:
    """Views of black pictures, class 0, and white ones, class 1, in turns of `run`; targets (B, 2)."""
    made = augment("strong", classes=2)
    made.strength = STRENGTHS["strong"]._replace(colour=0.0)
    white = torch.arange(n) // run % 2
    pictures = (255 * white).byte().view(n, 1, 1, 1).expand(n, 3, 32, 32)
    mixed = made(Batch(pictures, white, torch.arange(n)), epoch=0)
    return mixed.inputs, mixed.targets


@pytest.mark.parametrize("run", [1, 2])  # by twos, the neighbours before and after are of different classes
def test_mixed_targets_are_the_share_of_pixels(run: int) -> None:
    views, targets = black_and_white(run=run)
    assert targets.shape == (300, 2)
    assert torch.allclose(targets.sum(1), torch.ones(300), atol=1e-6)
    assert targets.min() >= 0
    assert torch.allclose(targets[:, 1], views.mean((1, 2, 3)), atol=1e-5)


def test_a_third_is_mixed_by_mixup_a_third_by_cutmix_and_a_third_not_at_all() -> None:
    views, targets = black_and_white()
    own = targets[torch.arange(300), torch.arange(300) % 2]
    pure = own > 1 - 1e-6
    even = (views.amax((1, 2, 3)) - views.amin((1, 2, 3))) < 1e-5
    cut = ~even
    blended = even & ~pure & (own > 1e-6)
    for kind in (pure, blended, cut):
        assert 70 < kind.sum() < 130  # of 300, within 3.7 standard deviations
    assert set(views[cut].round(decimals=4).unique().tolist()) == {0.0, 1.0}  # each pixel from one picture or the other
    assert abs(own[blended].mean() - 0.5) < 0.15
    assert own[blended].max() - own[blended].min() > 0.8  # lambda ~ Beta(1, 1)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_labels_and_numbers_are_mixed_as_the_pictures_are(kind: str) -> None:
    """A label that white pictures have, one that all have, and a number that is the brightness of the picture."""
    made = augment("strong", kind=kind)
    made.strength = STRENGTHS["strong"]._replace(colour=0.0)
    white = torch.arange(300) % 2
    pictures = (255 * white).byte().view(300, 1, 1, 1).expand(300, 3, 32, 32)
    targets = torch.stack([white.float(), torch.ones(300), 1000.0 + 50 * white], 1)
    mixed = made(Batch(pictures, targets, torch.arange(300)), epoch=0)
    brightness = mixed.inputs.mean((1, 2, 3))
    assert torch.allclose(mixed.targets[:, 0], brightness, atol=1e-5)
    assert torch.allclose(mixed.targets[:, 1], torch.ones(300))
    assert torch.allclose(mixed.targets[:, 2], 1000 + 50 * brightness, atol=1e-3)
    assert 0.2 < mixed.targets[:, 0].std() < 0.5, "some are whole and some are not"


def test_standard_leaves_targets_as_class_indices() -> None:
    before = batch(noise(6))
    assert torch.equal(augment("standard")(before, epoch=0).targets, before.targets)


# --- erasing ---


def test_an_erased_square_has_the_mean_colour_and_covers_its_share() -> None:
    """A square of a quarter of the side covers 1/16 of the picture, less what lies outside."""
    white = torch.full((400, 3, 24, 24), 255, dtype=torch.uint8)
    shifted = replace(SPEC, mean=(0.0, 0.0, 0.0))  # so that a view of white is nowhere 0
    views = augment("standard", erase=0.25, spec=shifted)(batch(white), epoch=0).inputs
    erased = (views == 0).all(1).float().mean((1, 2))
    assert 0 < erased.max() <= 1 / 16
    assert 0.75 / 16 < erased.mean() < 1 / 16
    assert len(torch.unique((views == 0).all(1).flatten(1), dim=0)) > 100, "each at a place of its own"


def test_without_augmentation_nothing_can_be_erased() -> None:
    with pytest.raises(ConfigError, match=r"data.erase=0.25 does nothing"):
        augment("none", erase=0.25)


# --- targets that move with their pictures ---


def of_masks(level: Level, sides: tuple[int, int], *, colours: bool = True) -> Augment:
    """For targets that are masks, of pictures of any sides. colours: whether they change, too."""
    made = augment(level, spec=replace(PLAIN, stretched=sides), kind="masks")
    if not colours:
        made.strength = STRENGTHS[level]._replace(colour=0.0)
    return made


SIDES = [(32, 32), (24, 40), (64, 32)]  # of pictures of 32 × 32: shifted where nothing else is asked for, else cropped


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("level", ["standard", "strong"])
def test_masks_move_exactly_with_their_pictures(level: Level, sides: tuple[int, int]) -> None:
    """Each pixel of a mask is numbered, and its picture is as bright as its row and its column: a number that the view
    of the mask shows is that of the nearest pixel to where the view of the picture was taken from."""
    height, width = 15, 17
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask = (rows * width + columns).to(torch.uint8).expand(64, -1, -1)
    picture = torch.stack([10 * rows, 10 * columns, rows]).to(torch.uint8).expand(64, -1, -1, -1)
    made = of_masks(level, sides, colours=False)
    seen = made(Batch(picture, mask, torch.arange(64)), epoch=3)
    assert seen.targets.dtype == torch.uint8
    assert seen.targets.shape == (64, *sides)
    found = torch.stack([seen.targets // width, seen.targets % width], 1)  # row and column of each pixel
    taken = seen.inputs[:, :2] * 255 / 10
    assert (found - taken).abs().max() <= 0.5 + 1e-3
    assert not torch.equal(seen.targets[0], seen.targets[1])


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_shifted_masks_are_their_pictures_to_the_last_pixel(size: tuple[int, int]) -> None:
    """Pictures of the network's sides, whose channels are twenty times the class."""
    mask = torch.randint(0, 12, (32, *size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pictures = (20 * mask).unsqueeze(1).expand(-1, 3, -1, -1)
    seen = of_masks("standard", size)(Batch(pictures, mask, torch.arange(32)), epoch=1)
    assert torch.equal(
        (seen.inputs * 255).round().to(torch.uint8), (20 * seen.targets).unsqueeze(1).expand_as(pictures)
    )
    assert not torch.equal(seen.targets, mask)


@pytest.mark.parametrize("level", ["standard", "strong"])
@pytest.mark.parametrize("sides", SIDES)
def test_masks_that_follow_alone_are_those_of_the_batch(level: Level, sides: tuple[int, int]) -> None:
    """`follow` serves cached pictures, which have the network's sides."""
    mask = torch.randint(0, 255, (16, *sides), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    made, sample = of_masks(level, sides), torch.arange(50, 66)
    seen = made(Batch(noise(16, *sides), mask, sample), epoch=2)
    assert torch.equal(made.follow(mask, sample, 2), seen.targets)
    assert not torch.equal(made.follow(mask, sample, 1), seen.targets)


def test_pictures_with_masks_are_never_mixed() -> None:
    made = of_masks("strong", (32, 32))
    assert not made.mixes
    mask = torch.arange(8).to(torch.uint8).view(8, 1, 1).expand(8, 32, 32)
    assert torch.equal(made(Batch(noise(8), mask, torch.arange(8)), epoch=0).targets, mask)


@pytest.mark.parametrize("level", ["standard", "strong"])
def test_without_flip_a_mask_is_not_mirrored(level: Level) -> None:
    mask = (10 * torch.arange(20)).to(torch.uint8).expand(40, 20, 20)
    made = of_masks(level, (20, 20))
    made.flip = False
    seen = made(Batch(noise(40, 20, 20), mask, torch.arange(40)), epoch=0).targets.float()
    assert (seen[:, :, 10:].mean((1, 2)) > seen[:, :, :10].mean((1, 2))).all()


def test_the_evaluation_view_of_stretched_pictures_is_the_whole_picture() -> None:
    spec = replace(SPEC, stretched=(24, 40))
    pictures = noise(2, 24, 40)
    assert evaluation_view(pictures, spec, cut=True).shape == (2, 3, 24, 40)
    wide, whole = ramps(2, 48, 200), ramps(2, 24, 40)
    expected = evaluation_view(whole, spec, cut=True)
    stretched = evaluation_view(wide, spec)
    torch.testing.assert_close(stretched[:, :2, :, 2:-2], expected[:, :2, :, 2:-2], rtol=0, atol=0.05)
    assert torch.equal(evaluation_view(whole, spec), expected)


# --- boxes ---


@pytest.mark.parametrize("level", ["standard", "strong"])
@pytest.mark.parametrize("sides", SIDES)
def test_boxes_move_with_their_pictures(level: Level, sides: tuple[int, int]) -> None:
    """Each picture is black but for its box; without rotation, the view's white part is the box, to half a pixel."""
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(32, 2, generator=generator) * 0.5
    stop = start + 0.2 + 0.3 * torch.rand(32, 2, generator=generator)
    height, width = sides
    boxes = (torch.cat([start, stop], 1) * torch.tensor([width, height, width, height])).round()
    pictures = torch.zeros(32, 3, *sides, dtype=torch.uint8)
    for picture, (left, top, right, bottom) in zip(pictures, boxes.int().tolist(), strict=True):
        picture[:, top:bottom, left:right] = 255
    targets = torch.cat([boxes, torch.ones(32, 1)], 1).unsqueeze(1)
    made = augment(level, spec=replace(PLAIN, stretched=sides), kind="boxes")
    seen = made(Batch(pictures, targets, torch.arange(32)), epoch=1)
    assert torch.equal(made.follow(targets, torch.arange(32), 1), seen.targets)
    shown = 0
    for view, (left, top, right, bottom, label) in zip(seen.inputs, seen.targets[:, 0].tolist(), strict=True):
        if label < 0:
            continue
        shown += 1
        rows, columns = (view[0] > view.max() / 2).nonzero().unbind(1)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        off = [float(edge) - wanted for edge, wanted in zip(edges, (left, top, right, bottom), strict=True)]
        if level == "standard":
            assert max(map(abs, off)) <= 0.51 + 1e-3
        else:  # the box around a turned box: corners that are less than half a pixel wide are not seen
            assert min(off[0], off[1], -off[2], -off[3]) >= -0.6
            assert max(map(abs, off)) <= 5
    assert shown >= 28


def test_pictures_with_boxes_are_not_moved_with_reflected_edges() -> None:
    """An object would be there twice, and have one box."""
    picture = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    picture[:, :, :, 2:4] = 255
    boxes = torch.tensor([2.0, 0, 4, 32, 0]).expand(64, 1, 5)
    seen = augment("standard", spec=replace(PLAIN, stretched=(32, 32)), kind="boxes", flip=False)(
        Batch(picture, boxes, torch.arange(64)), epoch=0
    )
    parts = (seen.inputs[:, 0, 16] > 0.5).float().diff(dim=1, prepend=torch.zeros(64, 1)).clamp(min=0).sum(1)
    assert parts.max() == 1
    assert parts.mean() > 0.5
