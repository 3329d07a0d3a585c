"""Frostline fine-tunes a pretrained network on your data from one line; `open` predicts with what came of it.

What needs torch is imported when it is asked for: `import frostline` takes no time.
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

# The library stands on all rooms: these names come from the topmost. `__init__.pyi` has their types.
_LATE = {"open": "open_run", "Prediction": "Prediction", "Predictor": "Predictor"}


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module("frostline.commands.predictor"), _LATE[name])
    raise AttributeError(f"module 'frostline' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
