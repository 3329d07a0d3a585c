"""Folders that go when they are empty, and files that are whole or not there."""

from pathlib import Path

import pytest

from frostline import paths
from frostline.errors import ConfigError
from frostline.paths import at_home, bundled_weights, conf_dir, remove_empty, user_cache, write_atomically
from frostline.runs.folders import reserved


def test_only_empty_folders_go_the_inner_before_the_outer(tmp_path: Path) -> None:
    inner, outer, kept = tmp_path / "a" / "b" / "c", tmp_path / "a" / "b", tmp_path / "a"
    inner.mkdir(parents=True)
    (kept / "file").touch()
    remove_empty([inner, outer, kept, tmp_path / "never made", kept / "file"])
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]


def test_a_folder_is_kept_while_a_folder_in_it_is(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    remove_empty([tmp_path / "a"])
    assert inner.is_dir()


def test_what_is_reserved_nobody_takes_and_it_goes_where_nothing_came_of_it(tmp_path: Path) -> None:
    wanted = tmp_path / "runs" / "12-00-00-it"
    with reserved(wanted) as first, reserved(wanted) as second:
        assert (first, second) == (wanted, wanted.with_name("12-00-00-it-2"))
        (second / "run.json").touch()
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["runs", "12-00-00-it-2", "run.json"]
    (second / "run.json").unlink()
    second.rmdir()
    second.parent.rmdir()
    with reserved(wanted) as only:
        assert only.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_and_the_weights_lie_where_a_checkout_has_them() -> None:
    root = Path(__file__).resolve().parents[1]
    assert conf_dir() == root / "conf"
    assert (conf_dir() / "train.yaml").is_file()
    assert bundled_weights() == root / "src/frostline/backbones/bundled.safetensors"


def test_the_configuration_of_an_installed_package_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "frostline"
    (package / "conf").mkdir(parents=True)
    monkeypatch.setattr(paths, "__file__", str(package / "paths.py"))
    assert conf_dir() == package / "conf"


def test_a_file_is_written_whole_over_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "it.txt"
    file.write_text("old and longer than the new one")
    write_atomically(file, "größer\n")
    assert file.read_bytes() == "größer\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["it.txt"]


def test_until_it_is_complete_a_reader_sees_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "it.txt"
    file.write_text("old")
    seen: list[str] = []
    monkeypatch.setattr(paths.os, "fsync", lambda descriptor: seen.append(file.read_text()))
    write_atomically(file, "new")
    assert (seen, file.read_text()) == (["old"], "new")


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(draft: Path, target: Path) -> Path:
        raise PermissionError("no")

    (tmp_path / "it.txt").write_text("old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PermissionError):
        write_atomically(tmp_path / "it.txt", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("it.txt", "old")]


@pytest.mark.parametrize(
    ("variable", "folder"), [("FROSTLINE_CACHE_DIR", "kept"), ("XDG_CACHE_HOME", "kept/frostline")]
)
def test_what_is_kept_needs_no_home_where_its_folder_is_named(
    variable: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container whose user has a number and no name."""
    homeless(monkeypatch)
    monkeypatch.setenv(variable, str(tmp_path / "kept"))
    assert user_cache() == tmp_path / folder


@pytest.mark.parametrize("said", ["~/pictures", "~nobody.of.this.name/pictures"])
def test_a_home_that_nobody_knows_is_told(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    homeless(monkeypatch)
    with pytest.raises(ConfigError, match="is not a known home folder"):
        at_home(said)
    with pytest.raises(ConfigError, match=r"FROSTLINE_CACHE_DIR\n +or: +set HOME"):
        user_cache()


def test_a_tilde_is_the_home_folder_in_the_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell replaces it; what a container is started with it does not see."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", "~/kept")
    assert user_cache() == tmp_path / "kept"


def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME, and of a user that the system does not list."""
    for name in ("HOME", "FROSTLINE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Path would take it for the root folder."""
    monkeypatch.setenv("HOME", "")
    with pytest.raises(ConfigError, match="is not a known home folder"):
        at_home("~/pictures")
    assert at_home("/pictures") == Path("/pictures")
