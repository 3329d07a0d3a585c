"""Log-mel spectrograms as the transformers library defines them for Whisper and for the AST.

Shapes: B sounds of T values at 16 kHz, F frames, M mel bands.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

WINDOW, HOP, FOURIER = 400, 160, 512  # values, of the AST
EMPHASIS = 0.97  # of the AST: share of the previous value that is subtracted from each
LEAST_POWER = {"whisper": 1e-10, "ast": 1.192092955078125e-07}
WHISPER_RANGE = 8.0  # powers of ten below the loudest value that are kept


class LogMel(nn.Module):
    """Casting the network must not cast the bands: they are stored as int32 with the same bits."""

    def __init__(self, bands: Any) -> None:
        """bands: an array (frequencies, M)."""
        super().__init__()
        bits = torch.as_tensor(bands, dtype=torch.float32).contiguous().view(torch.int32)
        self.register_buffer("bits", bits, persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        """(B, T), lengths (B,) → float32, in whatever precision the network computes."""
        with torch.autocast(waves.device.type, enabled=False):
            return self.spectrum(waves.float(), lengths)

    def spectrum(self, waves: Tensor, lengths: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def bands(self) -> Tensor:
        """(frequencies, M)."""
        assert isinstance(self.bits, Tensor)
        return self.bits.view(torch.float32)


class WhisperMel(LogMel):
    """(B, T) → (B, M, F) of 30 s. extractor: a WhisperFeatureExtractor."""

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor.mel_filters)
        self.fourier, self.hop, self.values = extractor.n_fft, extractor.hop_length, extractor.n_samples

    def extra_repr(self) -> str:
        return f"fourier={self.fourier}, hop={self.hop}, values={self.values}"

    def spectrum(self, waves: Tensor, lengths: Tensor) -> Tensor:
        waves = fitted(waves, self.values)
        window = torch.hann_window(self.fourier, device=waves.device)
        spectrum = torch.stft(waves, self.fourier, self.hop, window=window, return_complex=True)
        power = self.bands.T @ spectrum[..., :-1].abs().square()
        log = power.clamp(min=LEAST_POWER["whisper"]).log10()
        log = log.maximum(log.amax((1, 2), keepdim=True) - WHISPER_RANGE)
        return (log + 4) / 4


class AstMel(LogMel):
    """(B, T) → (B, F, M), padded with zeros before it is normalised. extractor: an ASTFeatureExtractor. bands: of its
    library."""

    def __init__(self, extractor: Any, bands: Any) -> None:
        super().__init__(bands)
        self.frames = extractor.max_length
        self.mean: float = extractor.mean if extractor.do_normalize else 0.0
        self.std: float = 2 * extractor.std if extractor.do_normalize else 1.0

    def extra_repr(self) -> str:
        return f"frames={self.frames}, mean={self.mean}, std={self.std}"

    def spectrum(self, waves: Tensor, lengths: Tensor) -> Tensor:
        framed = fitted(waves, (self.frames - 1) * HOP + WINDOW).unfold(1, WINDOW, HOP)
        framed = framed - framed.mean(-1, keepdim=True)
        framed = torch.cat([framed[..., :1] * (1 - EMPHASIS), framed[..., 1:] - EMPHASIS * framed[..., :-1]], -1)
        window = torch.hann_window(WINDOW, periodic=False, device=waves.device)
        power = torch.fft.rfft(framed * window, FOURIER).abs().square() @ self.bands
        log = power.clamp(min=LEAST_POWER["ast"]).log()
        real = torch.arange(self.frames, device=waves.device) <= ((lengths[:, None] - WINDOW) // HOP).clamp(min=0)
        return (log.masked_fill(~real[..., None], 0.0) - self.mean) / self.std


def fitted(waves: Tensor, values: int) -> Tensor:
    """(B, T) → (B, values): padded with zeros at the end, or cut."""
    return pad(waves, (0, max(values - waves.shape[1], 0)))[:, :values]
