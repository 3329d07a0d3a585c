"""Heads with outputs for pixels, on a pyramid of maps: decoders of segmentation-models-pytorch. Shapes: maps
(B, D, H, W) from fine to coarse → outputs (B, K, H, W) at the resolution of the finest, K = num_outputs.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from frostline.config.ranges import Positive, Probability
from frostline.contracts.features import Features, Form, Unit
from frostline.errors import ConfigError, needs

FPN_LEVELS = 4
FPN_GROUPS = 32  # of channels, in the decoder's GroupNorm


class Unet(nn.Module):
    """Ronneberger et al. 2015, arXiv:1505.04597. channels: widths of the decoder, from coarse to fine, one for each
    level but the coarsest; further ones are ignored. Raises ConfigError if there are too few."""

    takes: ClassVar[Mapping[Unit, Form]] = {"pixel": "pyramid"}

    def __init__(
        self, features: Features, num_outputs: int, *, channels: list[Positive[int]], dropout: Probability
    ) -> None:
        super().__init__()
        steps = len(features.widths) - 1
        if len(channels) < steps:
            raise ConfigError(
                f"this backbone returns {steps + 1} levels, which need {steps} widths, not {len(channels)}",
                where="head.channels",
                next_step="head.channels=[256,128,64]",
            )
        decoder = _decoders().unet.decoder.UnetDecoder
        # The library expects the picture itself as the first level, and uses only its size.
        self.decoder = decoder([0, *features.widths], channels[:steps], n_blocks=steps)
        self.last = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(channels[steps - 1], num_outputs, 3, padding=1))

    def forward(self, features: list[Tensor]) -> Tensor:
        outputs: Tensor = self.last(self.decoder([features[0], *features]))
        return outputs


class Fpn(nn.Module):
    """Kirillov et al. 2019, arXiv:1901.02446. channels: width of the pyramid; segmentation_channels: width of the
    branch of each level, a multiple of 32. Raises ConfigError if it is none, or if there are not four levels."""

    takes: ClassVar[Mapping[Unit, Form]] = {"pixel": "pyramid"}

    def __init__(
        self,
        features: Features,
        num_outputs: int,
        *,
        channels: Positive[int],
        segmentation_channels: Positive[int],
        dropout: Probability,
    ) -> None:
        super().__init__()
        if len(features.widths) != FPN_LEVELS:
            raise ConfigError(
                f"this head takes {FPN_LEVELS} levels, but the backbone returns {len(features.widths)}",
                where="head, model",
                next_step="head=unet, head=linear, or a network that halves its input five times (model=resnet50)",
            )
        if segmentation_channels % FPN_GROUPS:
            raise ConfigError(
                f"the channels must be a multiple of {FPN_GROUPS}, not {segmentation_channels}",
                where="head.segmentation_channels",
                next_step=f"head.segmentation_channels={-(-segmentation_channels // FPN_GROUPS) * FPN_GROUPS}",
            )
        self.decoder = _decoders().fpn.decoder.FPNDecoder(
            list(features.widths),
            FPN_LEVELS,
            pyramid_channels=channels,
            segmentation_channels=segmentation_channels,
            dropout=dropout,
        )
        self.last = nn.Conv2d(self.decoder.out_channels, num_outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        outputs: Tensor = self.last(self.decoder(features))
        return outputs


def _decoders() -> Any:
    with needs(
        "segmentation_models_pytorch",
        "which provides the decoder of this head",
        where="head",
        extra="segmentation",
        otherwise="head=linear",
    ):
        import segmentation_models_pytorch.decoders.fpn.decoder
        import segmentation_models_pytorch.decoders.unet.decoder
    return segmentation_models_pytorch.decoders
