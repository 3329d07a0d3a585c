"""Pictures that are passed from Python: what is no picture is named as it was given."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.data.pictures.in_memory import as_picture
from frostline.errors import DataError

GREY = np.arange(30, dtype=np.uint8).reshape(6, 5)
COLOUR = np.stack([GREY + 9, GREY, GREY], -1)  # (H, W, C)
TURNED: dict[str, tuple[Any, str, str]] = {
    "tensor": (torch.from_numpy(COLOUR), "a tensor of torch.uint8 with the shape (6, 5, 3)", "(C, H, W)"),
    "array": (COLOUR.transpose(2, 0, 1), "an array of uint8 with the shape (3, 6, 5)", "(H, W, C)"),
    "grey tensor": (torch.from_numpy(GREY)[..., None], "a tensor of torch.uint8 with the shape (6, 5, 1)", "(C, H, W)"),
}


@pytest.mark.parametrize("kind", TURNED)
def test_a_picture_with_its_channels_elsewhere_is_named_as_it_was_given(kind: str) -> None:
    given, said, wanted = TURNED[kind]
    with pytest.raises(DataError) as error:
        as_picture(given, "sample 1")
    assert error.value.what == f"this is not a picture: {said}"
    step, _, forms = error.value.next_step.partition("; or ")
    assert step.endswith(f"of the shape {wanted}")
    assert "a uint8 tensor (3, H, W)" in forms
    picture = eval(step.removeprefix("predict([").partition("]),")[0], {"np": np, "picture": given})
    own = as_picture(picture, "sample 1")
    assert isinstance(own, Image.Image)
    assert own.size == (5, 6)


@pytest.mark.parametrize("batch", [torch.from_numpy(COLOUR).movedim(-1, 0)[None], COLOUR[None]])
def test_a_batch_is_no_picture(batch: Any) -> None:
    with pytest.raises(DataError, match=r"with the shape \(1, ") as error:
        as_picture(batch, "sample 0")
    assert error.value.next_step.startswith("predict([*batch])")


def test_other_arrays_are_described_without_a_call() -> None:
    for given in (torch.zeros(3, 4, 5), np.zeros((6, 5, 7), np.uint8), torch.zeros(7, 4, 5, dtype=torch.uint8)):
        with pytest.raises(DataError) as error:
            as_picture(given, "sample 0")
        assert str(tuple(given.shape)) in error.value.what
        assert error.value.next_step.startswith("pass a path, a PIL image")
