"""A LightningModule that saves time in each step, which counts where a small head learns from cached features."""

from typing import Any

import lightning as L

HOOK = "_current_fx_name"  # the name of the current hook, which Lightning writes some 50 times in a step


class LeanModule(L.LightningModule):
    def __setattr__(self, name: str, value: Any) -> None:
        """Write the name of the hook without torch's search for parameters: 0.3 µs instead of 1.8."""
        if name == HOOK:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)
