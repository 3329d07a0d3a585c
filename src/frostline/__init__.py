"""Frostline fine-tunes a pretrained network on your data with one command; `open` loads a run and predicts with it.

`import frostline` is fast: names that need torch are imported on first access.
"""

import importlib

from frostline.errors import (
    ConfigError,
    DataError,
    FrostlineError,
    PlanError,
    RankError,
    RunError,
    WeightsError,
)

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "DataError",
    "FrostlineError",
    "PlanError",
    "Prediction",
    "Predictor",
    "RankError",
    "RunError",
    "WeightsError",
    "__version__",
    "open",
]

# Imported on first access, because `commands` imports torch. `__init__.pyi` has their types.
_LATE = {"open": "open_run", "Prediction": "Prediction", "Predictor": "Predictor"}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module("frostline.commands.predictor"), _LATE[name])
    raise AttributeError(f"module 'frostline' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
