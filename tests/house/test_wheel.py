"""What an installed user gets: the package, its configuration, its command."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def files_below(folder: Path) -> dict[str, bytes]:
    """By path relative to `folder`, without what running leaves."""
    found = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of the wheel, built by hatchling in this environment: no network, no isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_configuration_is_in_the_wheel_file_by_file_and_byte_by_byte(wheel: dict[str, bytes]) -> None:
    prefix = "frostline/conf/"
    shipped = {name.removeprefix(prefix): content for name, content in wheel.items() if name.startswith(prefix)}
    assert "train.yaml" in shipped
    assert shipped == files_below(ROOT / "conf")


def test_the_package_is_in_the_wheel_whole_and_nothing_else(wheel: dict[str, bytes]) -> None:
    shipped = {name.removeprefix("frostline/"): content for name, content in wheel.items() if ".dist-info/" not in name}
    assert {"py.typed", "cli/main.py", "data/module.py"} <= set(shipped)
    package = {name: content for name, content in shipped.items() if not name.startswith("conf/")}
    assert package == files_below(ROOT / "src" / "frostline")


def test_the_command_is_called_frostline(wheel: dict[str, bytes]) -> None:
    (name,) = [name for name in wheel if name.endswith(".dist-info/entry_points.txt")]
    entries = configparser.ConfigParser()
    entries.read_string(wheel[name].decode())
    assert dict(entries["console_scripts"]) == {"frostline": "frostline.__main__:main"}
