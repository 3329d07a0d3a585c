"""What a backbone expects of a picture, at another size."""

from dataclasses import FrozenInstanceError, replace

import pytest

from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.errors import ConfigError

SPEC = ImageSpec(size=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), min_size=32)
FIXED = replace(SPEC, sizes="fixed")


def test_another_size_takes_the_whole_picture_and_keeps_the_rest() -> None:
    assert SPEC.at(160) == replace(SPEC, size=160, resize=160)
    assert SPEC.at(32).size == 32
    assert SPEC.size == 224


def test_the_networks_own_size_asked_for_by_number_cuts_nothing_off_either() -> None:
    assert SPEC.at(224) == replace(SPEC, resize=224)


def test_no_size_leaves_the_spec_as_it_is() -> None:
    assert SPEC.at(None) is SPEC
    assert FIXED.at(None) is FIXED


def test_a_fixed_network_takes_its_own_size_only() -> None:
    assert FIXED.at(224) is FIXED
    with pytest.raises(ConfigError, match="takes pictures of 224 pixels only, not 160") as raised:
        FIXED.at(160)
    assert (raised.value.where, raised.value.next_step) == (
        "data.image_size", "data.image_size=224, or leave it null",
    )  # fmt: skip


def test_a_picture_may_be_too_small() -> None:
    with pytest.raises(ConfigError, match="at least 32 pixels, not 31") as raised:
        SPEC.at(31)
    assert raised.value.next_step == "data.image_size=32 or more"


def test_a_spec_says_what_it_is_for_and_cannot_be_changed() -> None:
    assert (SPEC.kind, TextSpec(tokenizer="any", max_length=128).kind) == ("picture", "text")
    with pytest.raises(FrozenInstanceError):
        SPEC.size = 160  # type: ignore[misc]
