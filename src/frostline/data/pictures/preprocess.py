"""Preprocess uint8 pictures for the network without augmentation, for training, evaluation and prediction alike.

Shapes: pictures (B, 3, H, W) uint8; views (B, 3, *spec.sides) float.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.transforms.functional import center_crop

from frostline.contracts.specs import ImageSpec
from frostline.errors import DataError


def evaluation_view(pictures: Tensor, spec: ImageSpec, *, cut: bool = False) -> Tensor:
    """Resize, crop the centre, normalise, as torchvision's presets do; pictures of `spec.stretched` are resized without
    a crop. cut: whether the loader resized and cropped already."""
    x = scaled(pictures)
    if not cut:
        short = min(x.shape[-2:])
        # rounded down, as in torchvision
        sides = list(spec.stretched or (spec.resize * side // short for side in x.shape[-2:]))
        if sides != list(x.shape[-2:]):
            x = interpolate(x, sides, mode=spec.interpolation, antialias=True).clamp(0, 1)
        x = center_crop(x, list(spec.sides))
    return normalised(x, spec)


class Preprocess(nn.Module):
    """`evaluation_view` as a module. Raises DataError for other shapes, and for pictures that are not uint8: values
    of 0..1 would be nearly black."""

    def __init__(self, spec: ImageSpec, *, cut: bool) -> None:
        super().__init__()
        self.spec = spec
        self.cut = cut

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
            raise DataError(
                f"pixels must be (B, 3, H, W) in uint8, 0 to 255, not {tuple(pictures.shape)} in {pictures.dtype}",
                where="the input of the module",
                next_step="torchvision.io.decode_image(file, mode='RGB')[None], or (255 * pictures).to(torch.uint8)",
            )
        return evaluation_view(pictures, self.spec, cut=self.cut)


def scaled(pictures: Tensor) -> Tensor:
    """uint8 0..255 → float32 0..1, as a new tensor."""
    return pictures.to(torch.float32, copy=True).div_(255)


def _on_device(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """An export gets a tensor of its own: its trace would leave a fake one in the cache."""
    return torch.tensor(numbers, device=device) if torch.compiler.is_exporting() else _cached(numbers, device)


@cache
def _cached(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Cached, because a copy to a GPU waits for all work queued before."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, device=device)


def normalised(x: Tensor, spec: ImageSpec) -> Tensor:
    """Normalise by the spec's mean and std, in place: allocating memory for a large batch takes longer than the
    arithmetic. Returns channels last."""
    mean, std = (_on_device(tuple(numbers), x.device) for numbers in (spec.mean, spec.std))
    if x.is_contiguous(memory_format=torch.channels_last):
        # As rows of 3 · W numbers: broadcasting over the three channels alone is six times slower.
        width = x.shape[-1]
        x.permute(0, 2, 3, 1).view(-1, 3 * width).sub_(mean.repeat(width)).div_(std.repeat(width))
        return x
    x.sub_(mean.view(1, 3, 1, 1)).div_(std.view(1, 3, 1, 1))
    return x.contiguous(memory_format=torch.channels_last)


def pixels_of(views: Tensor, spec: ImageSpec) -> Tensor:
    """(B, 3, H, W) float views → uint8 pictures as the network sees them."""
    mean, std = (torch.tensor(numbers, device=views.device).view(1, 3, 1, 1) for numbers in (spec.mean, spec.std))
    return ((views.float() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
