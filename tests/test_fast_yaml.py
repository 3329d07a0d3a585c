"""OmegaConf reads the same from YAML by libyaml as by PyYAML's own parser."""

import sys
from collections.abc import Callable, Iterator
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

Program = Callable[..., Answer]
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
@settings(max_examples=200)
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


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "{x: "])
def test_what_is_nested_too_deep_does_not_end_the_process(opening: str) -> None:
    with pytest.raises(RecursionError):
        fast(opening * 200_000)


def test_indentation_alone_nests_no_deeper_than_the_process_can() -> None:
    deep = "\n".join(f"{' ' * level}a:" for level in range(4400))
    assert len(deep) < fast_yaml.LONGEST
    assert list(fast(deep)) == ["a"]
    assert not fast_yaml._is_simple(deep + " " * fast_yaml.LONGEST)


# What a file of the user's own holds, what the error says, and where, after its name.
BROKEN = {
    "a key twice": (b"_target_: x\ndir: a\ndir: b\n", "not valid YAML: found duplicate key dir", ", line 3"),
    "no bracket": (b"defaults: [image_folder\n", "not valid YAML: expected ',' or ']'", ", line 2"),
    "a tab": (b"a:\n\tb: 1\n", "not valid YAML: found character '\\t'", ", line 2"),
    "two documents": (b"a: 1\n---\nb: 2\n", "not valid YAML: but found another document", ", line 2"),
    "a NUL": (b"a: \0", "not valid YAML: unacceptable character #x0000", ""),
    "no time": (b"b: !!timestamp x\n", "not valid YAML: a value cannot be read", ", line "),
    "no number": (b"b: 0x_\n", "not valid YAML: a value cannot be read", ", line "),
    "no boolean": (b"b: !!bool maybe\n", "not valid YAML: a value cannot be read", ", line "),
    "Latin-1": ("a: ö".encode("latin-1"), "this file is not in UTF-8", ""),
    "UTF-16": ("a: ö".encode("utf-16"), "this file is not in UTF-8", ""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_of_the_users_own_that_is_broken_is_named(case: str, program: Program, tmp_path: Path) -> None:
    content, what, line = BROKEN[case]
    file = tmp_path / "mine" / "data" / "it.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    for flags in ([], ["-m", "seed=0,1"]):
        answer = program("train", "--config-dir=mine", "data=it", "trainer=cpu", "dry_run=true", *flags)
        assert (answer.code, answer.out) == (1, "")
        assert answer.err.startswith("frostline: ")
        assert what in answer.err
        assert f"where: {file}{line}" in answer.err
        assert answer.err.count("\n") == 3


def test_a_file_that_may_not_be_read_is_named(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine" / "data" / "it.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("a: 1")
    real = open

    def refusing(path: Any, *args: Any, **settings: Any) -> Any:
        if str(path) == str(file):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **settings)

    monkeypatch.setattr("builtins.open", refusing)
    answer = program("train", "--config-dir=mine", "data=it", "trainer=cpu", "dry_run=true")
    assert answer.code == 1
    assert answer.err.startswith(f"frostline: this file cannot be read: Permission denied\n  where: {file}\n")


@pytest.fixture
def recursion() -> Iterator[None]:
    """Python's own limit: libraries that other tests import raise it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("recursion")
@pytest.mark.parametrize("content", ["x: &a [*a]\n", f"x: {'[' * 600}", f"x: {'[' * 100_000}"])
def test_a_file_that_is_too_deep_is_named(content: str, program: Program, tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "it.yaml").write_text(content)
    answer = program("train", "--config-dir=mine", "data=it", "trainer=cpu", "dry_run=true")
    assert answer.code == 1
    assert answer.err.startswith("frostline: a YAML file is nested too deep, or refers to itself\n")
    assert f"where: {tmp_path}/mine/data/it.yaml\n" in answer.err


def test_the_program_reads_with_it(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests parse the files of conf/ once for all."""
    monkeypatch.setattr(omegaconf._utils, "get_yaml_loader", fast_yaml.plain_loader)
    assert program("train", "--cfg", "job").code == 0
    assert omegaconf._utils.get_yaml_loader is fast_yaml.loader  # type: ignore[comparison-overlap]
    assert OmegaConf.create("lr: 1e-3") == {"lr": 0.001}
