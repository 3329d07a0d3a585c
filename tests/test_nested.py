"""Options within options, typed like settings."""

from collections.abc import Callable

import pytest

from conftest import Answer
from frostline.cli.nested import nested, options_with, with_nested


def test_options_within_options_are_those_of_the_yaml() -> None:
    assert nested()["model.image"] == "model@model.image"
    assert options_with("model.text") == ["model=fusion"]
    assert options_with("model.weights") == []


@pytest.mark.parametrize(
    ("typed", "arrives"),
    [
        ("model.image=resnet50", "model@model.image=resnet50"),
        ("model.text=null", "model@model.text=_none"),
        ("model.image=null,resnet18", "model@model.image=_none,resnet18"),
        ("model.image.weights=null", "model.image.weights=null"),
        ("model.image={a: 1}", "model.image={a: 1}"),
        ("model.weights=bundled", "model.weights=bundled"),
        ("model.image", "model.image"),
    ],
)
def test_an_argument_that_chooses_one_is_rewritten(typed: str, arrives: str) -> None:
    assert with_nested([typed]) == [arrives]


def test_an_option_that_has_none_within_says_which_has(program: Callable[..., Answer]) -> None:
    answer = program("train", "data=digits", "model.image=bundled")
    assert answer.code == 1
    assert "this model has no 'model.image'" in answer.err
    assert "it belongs to model=fusion" in answer.err
    assert "'fusion' has several" in program("rank", "models=[fusion]").err
