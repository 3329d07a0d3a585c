"""Short tones with some noise, in a folder for each pitch."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000
PITCHES = {"low": 300.0, "high": 1500.0}


def tone(hertz: float, seconds: float = 0.3, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """(T,) float32: a tone whose loudness rises and falls, with noise 40 dB below it."""
    at = np.arange(round(seconds * rate)) / rate
    loudness = np.sin(np.pi * at / seconds)
    noise = np.random.default_rng(seed).standard_normal(len(at))
    return (0.5 * loudness * np.sin(2 * np.pi * hertz * at) + 0.005 * noise).astype(np.float32)


def put(folder: Path, number: int = 12, suffix: str = ".wav") -> Path:
    """Write `number` tones for each pitch, all different, of 0.2 to 0.4 s."""
    for name, hertz in PITCHES.items():
        (folder / name).mkdir(parents=True)
        for take in range(number):
            values = tone(hertz * (1 + 0.02 * take), 0.2 + 0.2 * take / number, seed=take)
            soundfile.write(folder / name / f"{take}{suffix}", values, RATE)
    return folder
