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
        ("model.image=none", "model@model.image=_none"),
        ("model.image=null,resnet18", "model@model.image=_none,resnet18"),
        ("model.image.weights=null", "model.image.weights=null"),
        ("model.image={a: 1}", "model.image={a: 1}"),
        ("model.weights=bundled", "model.weights=bundled"),
        ("model.image", "model.image"),
    ],
)
def test_an_argument_that_chooses_one_is_rewritten(typed: str, arrives: str) -> None:
    assert with_nested([typed]) == [arrives]


@pytest.mark.parametrize("typed", ["model.image", "model.text"])
def test_an_unknown_option_within_is_named_as_it_was_typed(program: Callable[..., Answer], typed: str) -> None:
    answer = program("train", "model=fusion", "data=table", f"{typed}=resnet5000")
    assert answer.code == 1
    assert "there is no model 'resnet5000': did you mean resnet50" in answer.err
    assert f"where: {typed}=resnet5000\n" in answer.err
    assert f"    or:  {typed}=none\n" in answer.err
    assert "where: model=resnet5000\n" in program("train", "model=resnet5000").err


def test_an_option_that_has_none_within_says_which_has(program: Callable[..., Answer]) -> None:
    answer = program("train", "data=digits", "model.image=bundled")
    assert answer.code == 1
    assert "this model has no 'model.image'" in answer.err
    assert "it belongs to model=fusion" in answer.err
    assert "model 'fusion' has its own head" in program("rank", "models=[fusion]").err
