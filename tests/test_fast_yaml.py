"""OmegaConf reads the same from YAML by libyaml as by PyYAML's own parser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import omegaconf._utils
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from conftest import Answer
from frostline.config import fast_yaml
from frostline.paths import conf_dir

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TEXTS = [
    "a: 1e-3", "a: 1_000", "a: 0x1f", "a: 12:30:45", "a: 2026-11-30", "a: yes", "a: ~", "a: .inf", "a: '1'", "a: é",
    "a: |\n  x\n  y", "a: &x [1]\nb: *x", "<<: {a: 1}\nb: 2", "a: ${b}", "? a\n: b", "", "# nothing", "a:\n- 1\n- b: 2",
]  # fmt: skip
WRONG = [
    "a:\t1", "a: 1\t# c", "a: [\t1]", "a: \ud800", "a: 1\na: 2", "a: [1,2", "a: b: c", "\ta: 1", "a: @x", "'a",
    "a: 1\n---\nb: 2", "a: \x00", "a: !!x/y [1]",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def libyaml() -> None:
    assert yaml.__with_libyaml__
    assert isinstance(fast_yaml.loader()("a: 1"), yaml.cyaml.CParser)


def plain(text: str) -> Any:
    return yaml.load(text, Loader=fast_yaml.plain_loader())


def fast(text: str) -> Any:
    return yaml.load(text, Loader=fast_yaml.loader())


@pytest.mark.parametrize("file", sorted(conf_dir().rglob("*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_files_of_conf_read_the_same(file: Path) -> None:
    text = file.read_text()
    assert repr(fast(text)) == repr(plain(text))
    with file.open() as stream:
        assert repr(yaml.load(stream, Loader=fast_yaml.loader())) == repr(plain(text))


@pytest.mark.parametrize("text", TEXTS)
def test_values_read_the_same(text: str) -> None:
    assert repr(fast(text)) == repr(plain(text))


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_was_written_reads_the_same(content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, allow_unicode=True)
    assert repr(fast(text)) == repr(plain(text))


@pytest.mark.parametrize("text", WRONG)
def test_errors_are_the_same(text: str) -> None:
    with pytest.raises((yaml.YAMLError, UnicodeError)) as expected:
        plain(text)
    with pytest.raises((yaml.YAMLError, UnicodeError)) as found:
        fast(text)
    assert (type(found.value), str(found.value)) == (type(expected.value), str(expected.value))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_what_is_nested_too_deep_does_not_end_the_process(opening: str) -> None:
    with pytest.raises(RecursionError):
        fast(opening * 100_000)


def test_the_program_reads_with_it(program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests parse the files of conf/ once for all."""
    monkeypatch.setattr(omegaconf._utils, "get_yaml_loader", fast_yaml.plain_loader)
    assert program("train", "--cfg", "job").code == 0
    assert omegaconf._utils.get_yaml_loader is fast_yaml.loader  # type: ignore[comparison-overlap]
    assert OmegaConf.create("lr: 1e-3") == {"lr": 0.001}
