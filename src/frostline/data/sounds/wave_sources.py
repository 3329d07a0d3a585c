"""Sources of sounds as values, decoded once or on access. Shapes: N sounds of T values, float32."""

import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frostline.contracts.specs import WaveSpec
from frostline.contracts.tokens import Tokens, padded
from frostline.data.pictures.sources import DIGEST, SKETCH
from frostline.data.sample_cache import Decoder, SampleCache
from frostline.data.sounds.files import Header, read_sound
from frostline.data.sounds.sources import MOST_SECONDS, SoundFiles
from frostline.storage.entry import Entry

VERSION = 1  # version of the decoded values; part of the key, so that a new number invalidates the cache
BYTES = 4  # of a value


class WaveFiles(SoundFiles):
    """lengths: values of each sound, at most the spec's limit. framed: whether `targets` begin with the number of
    tokens that the network returns for a sound."""

    spec: WaveSpec  # type: ignore[assignment]  # whatever a picture's spec is used for is overridden
    lengths: Tensor

    def __init__(
        self,
        files: Sequence[Path],
        labels: Tensor,
        *,
        headers: Sequence[Header],
        root: Path,
        spec: WaveSpec,
        framed: bool,
    ) -> None:
        super().__init__(files, labels, headers=headers, root=root, spec=spec)
        self.framed = framed
        values = torch.tensor([self._values(header) for header in self.headers], dtype=torch.int64)
        self.lengths = values if spec.limit is None else values.clamp(max=spec.limit)

    def _values(self, header: Header) -> int:
        """Values of a decoded sound; a very short one is padded with silence."""
        return max(self.read_header(header).values_at(self.spec.rate), self.spec.least)

    def keep(self, cache: SampleCache, name: str) -> None:
        if not cache.has_room(self.decoded_bytes):
            return
        entry = cache.ragged(self.decoding(), self._measured, len(self.files), self._packed, name, None)
        self._decoded = None if entry is None else PackedWaves(entry)

    def hold(self, *, shows: bool = False) -> None:
        with Decoder(len(self.files), self.kind.many, shows=shows) as decoder:
            self._decoded = [wave.numpy() for wave in decoder(self._read, range(len(self.files)))]

    @property
    def decoded_bytes(self) -> int:
        return BYTES * sum(map(self._values, self.headers))

    @property
    def decoded_by(self) -> Sequence[str]:
        return [f"waves {VERSION}", *(f"{name} {metadata.version(name)}" for name in ("soundfile", "scipy"))]

    def decoding(self) -> dict[str, Any]:
        own = [self.spec.rate, self.spec.least]
        return {"sounds": self.content, "waves": own, "versions": [*self.decoded_by]}

    def fetch(self, index: Sequence[int] | Tensor, *, whole: bool) -> tuple[Tokens, None]:  # type: ignore[override]
        """values (B, T, 1). whole: whole sounds; otherwise their middle, up to the spec's limit."""
        places = torch.as_tensor(index).tolist()
        found = [self._read(i) if self._decoded is None else torch.from_numpy(self._decoded[i]) for i in places]
        limit = None if whole else self.spec.limit
        return padded([middle(wave, limit)[:, None] for wave in found]), None

    def targets(self, index: Tensor) -> Tensor:
        labels = super().targets(index)
        if not self.framed:
            return labels
        tokens = self.spec.tokens_of(self.lengths[index])[:, None]
        return torch.cat([tokens, labels.view(len(index), -1)], dim=1)

    def sketch(self, index: int) -> bytes:
        assert self._decoded is not None
        return _digest(self._decoded[index][:: SKETCH * SKETCH])

    def pixel_digest(self, index: int) -> bytes:
        assert self._decoded is not None
        return _digest(self._decoded[index])

    def _decode(self, place: int, encoded: bytes) -> Tensor:
        return fitted(read_sound(self.files[place], self.spec.rate, MOST_SECONDS, encoded), self.spec)

    def _measured(self, place: int) -> Tensor:
        return torch.tensor(BYTES * self._values(self.headers[place]))

    def _packed(self, place: int) -> Tensor:
        return self._read(place).view(torch.uint8)


class PackedWaves(Sequence[np.ndarray]):
    """The sounds of a complete entry, read from its memory map."""

    def __init__(self, entry: Entry) -> None:
        assert entry.starts is not None
        self._entry = entry  # a reference keeps the store from removing it
        self._flat = entry.flat.numpy()
        self._starts = entry.starts.tolist()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, place: int) -> np.ndarray:  # type: ignore[override]
        wave: np.ndarray = np.array(self._flat[self._starts[place] : self._starts[place + 1]]).view(np.float32)
        return wave


def fitted(wave: Tensor, spec: WaveSpec) -> Tensor:
    """(T,) → at least the spec's fewest values, padded with silence at the end."""
    return torch.nn.functional.pad(wave, (0, max(spec.least - len(wave), 0)))


def middle(wave: Tensor, most: int | None) -> Tensor:
    """(T,) → at most `most` values."""
    spare = 0 if most is None else max(len(wave) - most, 0)
    return wave[spare // 2 : len(wave) - (spare - spare // 2)]


def _digest(wave: np.ndarray) -> bytes:
    digest = hashlib.blake2b(str(wave.shape).encode(), digest_size=DIGEST)
    digest.update(np.ascontiguousarray(wave).data)
    return digest.digest()
