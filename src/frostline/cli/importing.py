"""Import the heavy libraries, which is most of the start of a command."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import torch and Lightning without garbage collections, and leave what they made out of later ones: they make
    600,000 objects that stay, and nine collections of all of them take a tenth of the start."""
    if "lightning" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
