"""Log-mel spectrograms as pictures. Shapes: T values of a sound, F = ⌈T / hop⌉ frames, M mel bands.

The mel scale is HTK's: 2595 log10(1 + f / 700) for f in Hz (O'Shaughnessy 1987, "Speech communication", p. 150).
"""

import math
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

from frostline.contracts.specs import ImageSpec

WINDOW = 0.025  # seconds of a frame's Hann window
HOP = 0.01  # seconds between frames
FOURIER = 0.064  # seconds that each frame is padded to, so that narrow bands at low frequencies hold a frequency
RANGE = 80.0  # decibels below the loudest value that are shown; what is quieter becomes 0
BLOCK = 1000  # frames that are computed at a time, so that ten minutes take no more memory than ten seconds
SILENCE = 1e-10  # power below which a value counts as silence


@dataclass(frozen=True, kw_only=True)
class SoundSpec(ImageSpec):
    """A picture of `mels` rows and `frames` columns is resized to `size` × `size` and normalised as a picture.

    rate: values per second."""

    rate: int
    mels: int
    frames: int

    @property
    def seconds(self) -> float:
        """Length of the part of a sound that the network sees."""
        return self.frames * hop_of(self.rate) / self.rate


def sound_spec(spec: ImageSpec, *, rate: int, mels: int, frames: int) -> SoundSpec:
    own = {field.name: getattr(spec, field.name) for field in fields(ImageSpec)}
    return SoundSpec(**own, rate=rate, mels=mels, frames=frames)


def hop_of(rate: int) -> int:
    """Values between frames."""
    return round(HOP * rate)


def frames_of(values: int, rate: int) -> int:
    """Frames of a sound: one in the middle of each hop that has begun."""
    return max(1, -(-values // hop_of(rate)))


def _bands(framed: Tensor, rate: int, mels: int) -> Tensor:
    """(F, window) → (F, M) power."""
    size = fourier_size(rate)
    return torch.fft.rfft(framed, size).abs().square() @ mel_bands(rate, size, mels)


def fourier_size(rate: int) -> int:
    """Number of values that each frame is padded to: a power of two."""
    return int(2 ** math.ceil(math.log2(FOURIER * rate)))


def spectrogram(values: Tensor, rate: int, mels: int) -> Tensor:
    """(T,) → (M, F) uint8: 255 is the sound's loudest value, 0 is 80 dB below it or silence; low frequencies are in the
    last rows. Each sound is computed alone, so that its bits do not depend on others."""
    hop, window = hop_of(rate), round(WINDOW * rate)
    frames = frames_of(len(values), rate)
    # Frame i is centred on hop · (i + 1/2).
    left = window // 2 - hop // 2
    padded = torch.nn.functional.pad(values, (left, frames * hop + window - left - len(values)))
    framed = padded.unfold(0, window, hop)[:frames].split(BLOCK)
    bands = torch.cat([_bands(some * torch.hann_window(window), rate, mels) for some in framed])
    decibels = 10 * bands.clamp(min=SILENCE).log10()
    loudest = decibels.max()
    shown = (1 + (decibels - loudest) / RANGE).clamp(min=0) * (loudest > 10 * math.log10(SILENCE))
    return (shown * 255).round().to(torch.uint8).T.flip(0)


@cache
def mel_bands(rate: int, size: int, mels: int) -> Tensor:
    """(size / 2 + 1, M) weights of the frequencies in each band: triangles from 0 Hz to half the rate whose corners are
    evenly spaced on the mel scale."""
    corners = torch.linspace(0, _mel(rate / 2), mels + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (corners / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)[:, None]
    up = (frequencies - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    down = (hertz[2:] - frequencies) / (hertz[2:] - hertz[1:-1])
    return up.minimum(down).clamp(min=0).float()


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
