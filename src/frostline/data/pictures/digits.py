"""scikit-learn's handwritten digits: 1,797 grey pictures of 8 × 8 pixels, 10 classes. They ship with the library.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998. scikit-learn ships only the
test split, from which all splits are taken here.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from frostline.contracts.targets import Targets
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import ArraySamples
from frostline.data.reader import Found, Reader
from frostline.data.target_types.base import TargetType

TABLE = Path("datasets") / "data" / "digits.csv.gz"  # in scikit-learn's package; load_digits reads it


class Digits(Reader):
    name = "digits"
    where = "scikit-learn's load_digits()"
    modality = PictureModality

    def read(self, target: TargetType, known: Targets | None) -> Found:
        table = _table(_file())
        grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # values are 0..16
        pixels = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
        labels = torch.from_numpy(table[:, -1].astype(np.int64))
        return Found([str(digit) for digit in range(10)], ArraySamples(pixels, labels))


def _file() -> Path | None:
    """The table in scikit-learn's package, if it lies where it is known to."""
    library = find_spec("sklearn")
    if library is None or library.origin is None:
        return None
    file = Path(library.origin).parent / TABLE
    return file if file.is_file() else None


@cache
def _table(file: Path | None) -> np.ndarray:
    """Read (1797, 65): 64 pixels in 0..16, then the digit. Importing scikit-learn would take four times as long. All
    runs of a sweep share the table."""
    if file is not None:
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
