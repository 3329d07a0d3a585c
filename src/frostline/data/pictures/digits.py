"""scikit-learn's handwritten digits: 1,797 grey pictures of 8 × 8 pixels, 10 classes. They come with the library.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998; scikit-learn holds its test
part only, so parts are split here.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from frostline.data.pictures.module import PictureData
from frostline.data.pictures.sources import ArrayPictures
from frostline.data.source import Sources

TABLE = Path("datasets") / "data" / "digits.csv.gz"  # in scikit-learn's folder, as its load_digits reads it


class Digits(PictureData):
    name = "digits"
    where = "scikit-learn's load_digits()"

    def read(self) -> Sources:
        table = _table()
        grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # values are 0..16
        pixels = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
        labels = torch.from_numpy(table[:, -1].astype(np.int64))
        return Sources([str(digit) for digit in range(10)], ArrayPictures(pixels, labels), None, None)


def _table() -> np.ndarray:
    """(1797, 65): 64 pixels in 0..16, then the digit. To import scikit-learn takes four times as long as the table."""
    library = find_spec("sklearn")
    if library is not None and library.origin is not None and (file := Path(library.origin).parent / TABLE).is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
