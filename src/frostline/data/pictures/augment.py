"""Augment batches of uint8 pictures on the device that trains. Each picture has its own random numbers.

Shapes: pictures (B, 3, H, W) uint8, which may be padded at the right and bottom; views (B, 3, *spec.sides) float.
"""

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.counter_random import uniform
from frostline.data.pictures.preprocess import Preprocess, normalised, scaled
from frostline.data.target_types.base import TargetType
from frostline.data.views import AugmentedViews
from frostline.errors import ConfigError

Level = Literal["none", "standard", "strong"]


class Strength(NamedTuple):
    """min_area: smallest share of a picture's area that a view shows. degrees: largest rotation, in either direction.
    colour: brightness, contrast and saturation are scaled by up to 1 ± colour. mix: share of pictures that are mixed
    with another. shifts: whether pictures of the network's size are moved by whole pixels, up to ± SHIFT of their side,
    instead of resampled: at 32 pixels the blur of resampling costs more than variation in scale gains."""

    min_area: float
    degrees: float
    colour: float
    mix: float
    shifts: bool


STRENGTHS = {"standard": Strength(0.6, 0.0, 0.0, 0.0, True), "strong": Strength(0.25, 15.0, 0.4, 2 / 3, False)}
SHIFT = 1 / 8  # 4 of 32 pixels, as in He et al. 2016 (arXiv:1512.03385), section 4.2
ASPECT = math.log(4 / 3)  # a view's sides differ by up to 4:3, as in Inception's crops (Szegedy et al. 2015)
DRAWS = 16  # random numbers per picture and epoch
CHUNK = 2**21  # numbers that a CPU augments at a time: the allocator reuses memory for so few, and maps more anew


def require_erasable(level: Level, erase: float) -> None:
    """Raises ConfigError if `erase` is set without augmentation, which it is a part of."""
    if erase and level == "none":
        raise ConfigError(
            f"data.erase={erase} does nothing without augmentation",
            where="data",
            next_step="data.erase=0, or data.augment=standard",
        )


class Crop(NamedTuple):
    """The part of each picture that its view shows, in pixels of the picture. size, centre: (B, 2), vertical first.
    mirror: (B,), -1 if left and right change places. angle: (B,) radians; None if no picture is turned."""

    size: Tensor
    centre: Tensor
    mirror: Tensor
    angle: Tensor | None


class Augment(AugmentedViews):
    """flip: mirror half of the pictures, left to right. erase: side of a square of the mean colour that covers part of
    each picture, as a share of the picture's side (Cutout, DeVries & Taylor 2017, arXiv:1708.04552). cut: see
    `evaluation_view`.

    Random numbers are a function of (seed, epoch, sample). Raises ConfigError as `require_erasable` does.
    """

    def __init__(
        self,
        level: Level,
        *,
        flip: bool,
        erase: float,
        spec: ImageSpec,
        seed: int,
        target: TargetType,
        num_classes: int,
        cut: bool = False,
    ) -> None:
        require_erasable(level, erase)
        strength = STRENGTHS.get(level)
        shifts = strength is not None and strength.shifts and target.reflects
        self.strength: Strength | None = strength and strength._replace(shifts=shifts)
        self.flip = flip
        self.erase = erase
        self.spec = spec
        self.seed = seed
        self.target = target
        self.num_classes = num_classes
        self.cut = cut
        self.preprocess = Preprocess(spec, cut=cut)

    def describe(self) -> list[Any]:
        """The augmentation as plain values, without those of the spec."""
        return [list(self.strength) if self.strength is not None else None, self.flip, self.erase, self.seed, self.cut]

    def plain(self, batch: Batch) -> Batch:
        return batch._replace(inputs=self.preprocess(batch.pictures))

    def augmented(self, batch: Batch, epoch: int, *, alone: bool) -> Batch:
        return self(batch, epoch, alone=alone)

    def __call__(self, batch: Batch, epoch: int, *, alone: bool = False) -> Batch:
        """alone: remove each picture's padding first. The last bits of a view depend on the padding, and that on the
        other pictures of the batch.

        Without augmentation, raises ValueError if pictures are padded: the loader must cut them to one size.
        """
        if self.strength is None:
            if batch.sizes is not None:
                raise ValueError("padded pictures have no common evaluation view")
            return self.plain(batch)
        u = uniform(self.seed, epoch, batch.sample, DRAWS)
        targets = self._followed(batch.targets, batch.sizes, u)
        if alone and batch.sizes is not None:
            views = self._views_alone(batch.pictures, batch.sizes.tolist(), u)
        else:
            views = self._views(batch.pictures, batch.sizes, u)
        batch = batch._replace(inputs=views, targets=targets)
        return self._mixed(batch, u[:, 9:14], self.strength.mix) if self.mixes else batch

    def follow(self, targets: Any, sample: Tensor, epoch: int) -> Any:
        """Return the targets of pictures of one size, augmented as in `epoch`."""
        return self._followed(targets, None, uniform(self.seed, epoch, sample, DRAWS))

    def _followed(self, targets: Any, sizes: Tensor | None, u: Tensor) -> Any:
        return self.target.follow(targets, _Geometry(self, sizes, u))

    def _views(self, x: Tensor, sizes: Tensor | None, u: Tensor) -> Tensor:
        step = max(1, CHUNK // x[0].numel()) if x.device.type == "cpu" else len(x)
        sized = [None] * -(-len(x) // step) if sizes is None else sizes.split(step)
        parts = [self._view(*part) for part in zip(x.split(step), sized, u.split(step), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _views_alone(self, x: Tensor, sizes: list[list[int]], u: Tensor) -> Tensor:
        own = [x[at : at + 1, :, :height, :width] for at, (height, width) in enumerate(sizes)]
        return torch.cat([self._view(picture, None, u[at : at + 1]) for at, picture in enumerate(own)])

    def _view(self, x: Tensor, sizes: Tensor | None, u: Tensor) -> Tensor:
        assert self.strength is not None
        x = scaled(self.moved(x, sizes, u)) if self._shifts(x, sizes) else self.moved(scaled(x), sizes, u)
        if self.strength.colour:
            x = _recoloured(x, 1 + self.strength.colour * (2 * u[:, 6:9] - 1))
        x = normalised(x, self.spec)
        if self.erase:
            side = torch.full_like(u[:, 0], self.erase)
            x = x * (1 - _boxes(u[:, 14:16], side, self.spec.sides))
        return x

    def _shifts(self, x: Tensor, sizes: Tensor | None) -> bool:
        """Whether pictures are moved by whole pixels instead of resampled."""
        assert self.strength is not None
        return self.strength.shifts and sizes is None and x.shape[-2:] == self.spec.sides

    def moved(self, x: Tensor, sizes: Tensor | None, u: Tensor, mode: str = "bilinear") -> Tensor:
        """(B, K, H, W) → (B, K, *spec.sides)."""
        if self._shifts(x, sizes):
            return self._shifted(x, u)
        return self._cropped(x.float(), sizes, u, mode).to(x.dtype)

    def _shifted(self, x: Tensor, u: Tensor) -> Tensor:
        """Move by whole pixels, with reflection padding, and mirror half of the pictures if `flip`."""
        rows, columns = map(_reflected, u[:, 2:4].unbind(1), self.spec.sides)
        if self.flip:
            columns = torch.where(u[:, 4:5] < 0.5, columns.flip(1), columns)
        pixel = (rows[:, :, None] * x.shape[-1] + columns[:, None, :]).view(len(x), 1, -1).expand(-1, x.shape[1], -1)
        return x.flatten(2).gather(2, pixel).view_as(x)  # six times as fast as x[picture, :, rows, columns]

    def _cropped(self, x: Tensor, sizes: Tensor | None, u: Tensor, mode: str) -> Tensor:
        """Resample a random crop of each picture to the network's size: area, aspect ratio, position, mirror and
        rotation in one pass."""
        canvas = x.new_tensor(x.shape[-2:])
        size = canvas.expand(len(x), 2) if sizes is None else sizes.to(x.dtype)  # (B, 2): height, width
        crop = self.crop_of(size, u)
        # affine_grid maps the view's corners, at ±1, to canvas coordinates: scale by the crop's share, shift to its
        # centre.
        scale, shift = crop.size / canvas, 2 * crop.centre / canvas - 1
        # padding_mode="border" repeats the canvas's last pixels; `end` clamps to the last pixels of a padded picture.
        end = 2 * (size - 0.5) / canvas - 1
        if crop.angle is not None:
            grid = _turned_grid(scale, shift, crop.mirror, crop.angle, self.spec.sides)
            grid = grid if sizes is None else grid.minimum(end.flip(1).view(-1, 1, 1, 2))
        else:
            grid = _upright_grid(scale, shift, crop.mirror, None if sizes is None else end, self.spec.sides)
        return grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False)

    def crop_of(self, size: Tensor, u: Tensor) -> Crop:
        """size: (B, 2), height and width of the pictures. u: (B, DRAWS)."""
        assert self.strength is not None
        area = size.prod(1) * (self.strength.min_area + (1 - self.strength.min_area) * u[:, 0])
        aspect = torch.exp(ASPECT * (2 * u[:, 1] - 1))
        crop = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1).minimum(size)
        centre = crop / 2 + u[:, 2:4] * (size - crop)
        mirror = torch.where(u[:, 4] < 0.5, -1.0, 1.0) if self.flip else torch.ones_like(u[:, 4])
        degrees = self.strength.degrees
        return Crop(crop, centre, mirror, math.radians(degrees) * (2 * u[:, 5] - 1) if degrees else None)

    def _mixed(self, batch: Batch, u: Tensor, share: float) -> Batch:
        """Mix a `share` of the pictures with the previous one of the batch: half by mixup (Zhang et al. 2018,
        arXiv:1710.09412), half by CutMix (Yun et al. 2019, arXiv:1905.04899), both with lambda ~ Beta(1, 1). Targets
        are mixed by `TargetType.mixed`."""
        x = batch.pictures
        keep = u[:, 1].view(-1, 1, 1, 1)
        blend = keep.expand(-1, 1, *x.shape[-2:])
        cut = 1 - _boxes(u[:, 2:4], (1 - u[:, 1]).sqrt(), (x.shape[-2], x.shape[-1]))
        coin = u[:, 0].view(-1, 1, 1, 1)
        own = torch.where(coin < share / 2, blend, torch.where(coin < share, cut, torch.ones_like(blend)))
        x = own * x + (1 - own) * x.roll(1, 0)
        kept = own.mean((1, 2, 3)).unsqueeze(1)
        targets = self.target.mixed(batch.targets, kept, self.num_classes)
        return batch._replace(inputs=x, targets=targets)


class _Geometry(NamedTuple):
    """The `Geometry` of pictures (B, 2) `sizes`, None if all have the network's size. u: (B, DRAWS)."""

    augment: Augment
    sizes: Tensor | None
    u: Tensor

    @property
    def sides(self) -> tuple[int, int]:
        return self.augment.spec.sides

    def maps(self, maps: Tensor) -> Tensor:
        mode = "bilinear" if maps.is_floating_point() else "nearest"
        return self.augment.moved(maps, self.sizes, self.u, mode=mode)

    def boxes(self, boxes: Tensor) -> Tensor:
        # On the CPU, as boxes of cached views are: other devices round otherwise.
        device, boxes = boxes.device, boxes.cpu()
        sides = boxes.new_tensor(self.sides)
        size = sides.expand(len(boxes), 2) if self.sizes is None else self.sizes.cpu().to(boxes.dtype)
        crop = self.augment.crop_of(size, self.u.cpu())
        corners = boxes[..., [0, 1, 2, 1, 0, 3, 2, 3]].unflatten(-1, (4, 2))  # (B, M, 4, 2): x, y
        # The inverse of `_turned_grid`: from pixels of the picture to the view's coordinates, at ±1 at its edges.
        x, y = (2 * (corners - crop.centre.flip(1)[:, None, None]) / crop.size.flip(1)[:, None, None]).unbind(-1)
        if crop.angle is not None:
            cos, sin = crop.angle.cos()[:, None, None], crop.angle.sin()[:, None, None]
            x, y = cos * x + sin * y, cos * y - sin * x
        seen = torch.stack([x * crop.mirror[:, None, None], y], -1)
        pixels = (seen + 1) / 2 * sides.flip(0)
        return torch.cat([pixels.amin(2), pixels.amax(2)], -1).to(device)


def _reflected(u: Tensor, side: int) -> Tensor:
    """(B,) → (B, side) pixel indices along a side, shifted by up to SHIFT of it; indices outside are reflected."""
    reach = int(side * SHIFT)
    by = (u * (2 * reach + 1)).long() - reach
    place = (by.unsqueeze(1) + torch.arange(side, device=u.device)).abs()
    return torch.minimum(place, 2 * (side - 1) - place)


def _turned_grid(scale: Tensor, shift: Tensor, mirror: Tensor, angle: Tensor, sides: tuple[int, int]) -> Tensor:
    """scale, shift: (B, 2), height and width → (B, *sides, 2), as `grid_sample` takes it."""
    cos, sin = angle.cos(), angle.sin()
    across = torch.stack([scale[:, 1] * cos * mirror, -scale[:, 1] * sin, shift[:, 1]], 1)
    down = torch.stack([scale[:, 0] * sin * mirror, scale[:, 0] * cos, shift[:, 0]], 1)
    return affine_grid(torch.stack([across, down], 1), [len(scale), 3, *sides], False)


def _upright_grid(scale: Tensor, shift: Tensor, mirror: Tensor, end: Tensor | None, sides: tuple[int, int]) -> Tensor:
    """`_turned_grid` at angle 0 to the same bits, twenty times as fast at 224 pixels: horizontal coordinates depend on
    the column alone, vertical ones on the row. end: (B, 2), largest coordinates."""
    rows, columns = (torch.linspace(-1, 1, side, device=scale.device) * (side - 1) / side for side in sides)
    down, across = rows * scale[:, :1] + shift[:, :1], columns * (scale[:, 1] * mirror)[:, None] + shift[:, 1:]
    if end is not None:
        down, across = down.minimum(end[:, :1]), across.minimum(end[:, 1:])
    shape = (-1, *sides)
    return torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], 3)


def _recoloured(x: Tensor, factors: Tensor) -> Tensor:
    """factors (B, 3): brightness, contrast, saturation. Grey weights: ITU-R BT.601, as Pillow and torchvision use."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    grey = x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    x = x * brightness
    x = torch.lerp((x * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True), x, contrast)
    x = torch.lerp((x * grey).sum(1, keepdim=True), x, saturation)
    return x.clamp(0, 1)


def _boxes(centre: Tensor, side: Tensor, sides: tuple[int, int]) -> Tensor:
    """(B, 1, *sides): 1 inside a box, else 0. centre: (B, 2), side: (B,), both as shares of `sides`."""
    rows, columns = (
        ((torch.arange(size, device=centre.device) + 0.5) / size - at[:, None]).abs() < side.view(-1, 1) / 2
        for size, at in zip(sides, centre.unbind(1), strict=True)
    )
    return (rows[:, :, None] & columns[:, None, :]).float().unsqueeze(1)
