"""A run's settings as plain values: written to YAML, read again by OmegaConf, addressed by dotted keys."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from frostline.config.plain import NEWLINES, Settings, resolved, selected, yaml_of
from frostline.runs.opening import read_settings

# What OmegaConf or YAML could take for something else than a string.
LIKE_OTHERS = ["1e-3", "1_000", "0x1F", "012", "1:30", "nan", "-.inf", "y", "N", "yes", "off", "True", "null", "~", "",
               "2026-11-30", "=", "<<", "- a", "a: b", "# a", "*a", "&a", "%a", "'", '"', "a\nb", " a ", "\udce9",
               "Grüße", "???", "caf\x85", "a\u2028b", "\ufeff"]  # fmt: skip
# `${` is escaped: see below.
STRINGS = st.sampled_from(LIKE_OTHERS) | st.text(
    st.characters(exclude_characters="$", exclude_categories=["Cs"]), max_size=9
)
NAMES = st.sampled_from(["dir", "classes", "_target_", "augment"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_omegaconf_reads_what_was_written(content: dict[str, object]) -> None:
    assert OmegaConf.to_container(OmegaConf.create(yaml_of(Settings(content))), resolve=False) == content


@pytest.mark.parametrize("text", LIKE_OTHERS)
def test_a_string_stays_a_string_for_every_reader(text: str, tmp_path: Path) -> None:
    data = Settings(_target_="it", classes=[text], dir=text)
    settings = Settings(model={"_target_": "it"}, task={"_target_": "it"}, run_dir="run", data=data)
    written = yaml_of(settings)
    assert yaml.safe_load(written) == OmegaConf.to_container(OmegaConf.create(written)) == settings
    (tmp_path / "config.yaml").write_text(written, encoding="utf-8")
    if text != "\udce9":  # PyYAML's parser in C refuses bytes that are no UTF-8, and so does read_settings
        assert read_settings(tmp_path / "config.yaml")["data"] == settings.data
    if not NEWLINES & {*text}:
        assert written == OmegaConf.to_yaml(OmegaConf.create(resolved(settings)))


@pytest.mark.parametrize("text", ["${seed}", "a/${b}/${c}", "\\${d}", "\\\\${d}", "$${e}", "${", "\\$", "x\\"])
def test_what_looks_like_an_interpolation_stays_text(text: str, tmp_path: Path) -> None:
    data = Settings(_target_="it", dir=text, classes=[text])
    settings = Settings(model={"_target_": "it"}, task={"_target_": "it"}, run_dir="run", data=data)
    (tmp_path / "config.yaml").write_text(yaml_of(settings), encoding="utf-8")
    assert Settings.of(OmegaConf.create(read_settings(tmp_path / "config.yaml"))) == settings


def test_the_same_values_twice_are_written_twice() -> None:
    shared = {"epochs": 3}
    assert yaml_of(Settings(head=shared, all=shared)) == "head:\n  epochs: 3\nall:\n  epochs: 3\n"


def test_dotted_keys() -> None:
    content = {"report": False, "nets": [{"weights": "w"}], "data": {"dir": "???", "crop": {"size": 3}}, "cache": None}
    settings = Settings.of(OmegaConf.create(content))
    for cfg in (settings, OmegaConf.create(content)):
        keys = ["data.crop.size", "report", "nets[0].weights", "nets[1]", "report.pictures", "data.absent", "data.dir"]
        assert [selected(cfg, key) for key in keys] == [3, False, "w", None, None, None, None]
    copied = settings.deep_copy()
    for key, value in {"data.crop.size": 4, "cache.dir": "kept", "nets[0].weights": "v", "a.b": 1}.items():
        copied.put(key, value)
    assert copied == {"report": False, "nets": [{"weights": "v"}], "data": {"dir": "???", "crop": {"size": 4}},
                      "cache": {"dir": "kept"}, "a": {"b": 1}}  # fmt: skip
    assert settings == content, "a copy shares nothing"
