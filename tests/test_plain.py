"""A run's settings as plain values: written to YAML, read again by OmegaConf, addressed by dotted keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from frostline.config.plain import Settings, selected, yaml_of

# What OmegaConf or YAML could take for something else than a string.
LIKE_OTHERS = ["1e-3", "1_000", "0x1F", "012", "1:30", "nan", "-.inf", "y", "N", "yes", "off", "True", "null", "~", "",
               "2026-11-30", "=", "<<", "- a", "a: b", "# a", "*a", "&a", "%a", "'", '"', "a\nb", " a ", "\udce9",
               "Grüße", "???"]  # fmt: skip
STRINGS = st.sampled_from(LIKE_OTHERS) | st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), VALUES, min_size=1))
def test_omegaconf_reads_what_was_written(content: dict[str, object]) -> None:
    assert OmegaConf.to_container(OmegaConf.create(yaml_of(Settings(content))), resolve=False) == content


@pytest.mark.parametrize("text", LIKE_OTHERS)
def test_a_string_stays_a_string(text: str) -> None:
    written = yaml_of(Settings(data=Settings(classes=[text], dir=text)))
    assert OmegaConf.to_container(OmegaConf.create(written)) == {"data": {"classes": [text], "dir": text}}


def test_the_same_values_twice_are_written_twice() -> None:
    shared = {"epochs": 3}
    assert yaml_of(Settings(head=shared, all=shared)) == "head:\n  epochs: 3\nall:\n  epochs: 3\n"


def test_dotted_keys() -> None:
    content = {"report": False, "data": {"dir": "cells", "crop": {"size": 3}}}
    settings = Settings.of(OmegaConf.create(content))
    for cfg in (settings, OmegaConf.create(content)):
        keys = ["data.crop.size", "report", "report.pictures", "data.absent", "absent.size"]
        assert [selected(cfg, key) for key in keys] == [3, False, None, None, None]
    copied = settings.copy()
    copied.put("data.crop.size", 4)
    copied.put("cache.dir", "kept")
    assert (copied.data.crop.size, copied.cache.dir, settings) == (4, "kept", content)
