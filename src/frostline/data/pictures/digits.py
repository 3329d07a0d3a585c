"""scikit-learn's handwritten digits: 1,797 grey pictures of 8 × 8 pixels, 10 classes. They ship with the library.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998. scikit-learn ships only the
test split, from which all splits are taken here.
"""

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
        table = _table()
        grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # values are 0..16
        pixels = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
        labels = torch.from_numpy(table[:, -1].astype(np.int64))
        return Found([str(digit) for digit in range(10)], ArraySamples(pixels, labels))


def _table() -> np.ndarray:
    """Read (1797, 65): 64 pixels in 0..16, then the digit. Importing scikit-learn would take four times as long."""
    library = find_spec("sklearn")
    if library is not None and library.origin is not None and (file := Path(library.origin).parent / TABLE).is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
