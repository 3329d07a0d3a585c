"""scikit-learn's handwritten digits: 1,797 grey pictures of 8 × 8 pixels, 10 classes. They come with the library.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998; scikit-learn holds its test
part only, so parts are split here.
"""

import numpy as np
import torch

from frostline.data.module import PictureData
from frostline.data.parts import PictureSet
from frostline.data.pictures import ArrayPictures


class Digits(PictureData):
    name = "digits"
    where = "scikit-learn's load_digits()"

    def read(self) -> PictureSet:
        from sklearn.datasets import load_digits  # a second of imports that other data need not pay for

        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # values are 0..16
        pixels = torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1).contiguous()
        labels = torch.from_numpy(digits.target.astype(np.int64))
        return PictureSet([str(digit) for digit in range(10)], ArrayPictures(pixels, labels), None, None)
