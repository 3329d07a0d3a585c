"""Folders for runs: nothing that lies there is overwritten, and two that begin at once do not meet."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ASIDE, SMALL, Answer
from frostline.errors import RunError
from frostline.runs.folders import claimed, free_folder, require_writable, reserved, reserved_at_once, stamp

QUICK = [*SMALL, *ASIDE, "schedule=head_only"]


@pytest.mark.parametrize("there", ["config.yaml", "checkpoints", "notes.txt"])
def test_a_folder_that_holds_something_is_no_run_dir(
    there: str, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / there).write_text("of a project")
    answer = program("train", *QUICK, "run_dir=it")
    assert answer.code == 1
    assert f"this folder holds other files: {there}" in answer.err
    assert (tmp_path / "it" / there).read_text() == "of a project"
    assert len(list((tmp_path / "it").iterdir())) == 1


def test_hidden_files_are_nothing(tmp_path: Path) -> None:
    (tmp_path / ".nfs123").touch()
    assert free_folder(tmp_path) == tmp_path


def test_a_run_gets_a_number_and_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "run.json").write_text("{}")
    assert free_folder(tmp_path / "it") == tmp_path / "it-2"


def test_the_slower_of_two_commands_writes_nothing(tmp_path: Path) -> None:
    """It chose the folder while it was empty; the other one has trained there since."""
    seen = stamp(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with (
        pytest.raises(RunError, match="another process has written to this folder"),
        claimed(tmp_path, leads=True, seen=seen),
    ):
        pytest.fail("it writes")
    with claimed(tmp_path, leads=True, seen=stamp(tmp_path)):
        pass


def test_two_of_one_second_have_a_folder_each(tmp_path: Path) -> None:
    place = tmp_path / "a" / "12-00-00"
    with reserved(place) as first, reserved(place) as second:
        assert (first, second) == (place, tmp_path / "a" / "12-00-00-2")
    assert list(tmp_path.iterdir()) == [], "nothing came of them"
    assert reserved_at_once(str(place)) == str(place)
    assert reserved_at_once(str(place)) == f"{place}-2"


def test_a_link_to_nowhere_above_is_told(tmp_path: Path, program: Callable[..., Answer]) -> None:
    """Not taken for folder after folder that is there already."""
    (tmp_path / "logs").symlink_to(tmp_path / "purged")
    answer = program("train", *QUICK)
    assert answer.code == 1
    assert "cannot write to the folder" in answer.err


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
def test_a_launchers_variable_that_was_left_in_the_shell_is_told(
    name: str, tmp_path: Path, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    answer = program("train", *QUICK, "run_dir=it")
    assert answer.code == 1
    assert f"{name}=1 is" in answer.err
    assert f"next:  unset {name}" in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "variables",
    [{"SLURM_NTASKS": "abc"}, {"SLURM_NTASKS": "2", "SLURM_NNODES": "0"}, {"TORCHELASTIC_RUN_ID": "x"},
     {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "two", "GROUP_WORLD_SIZE": "1"}],
)  # fmt: skip
def test_variables_that_are_not_whole_are_told(
    variables: dict[str, str], program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    answer = program("train", *QUICK, "run_dir=it")
    assert answer.code == 1
    assert answer.err.startswith("frostline: variables of ")
    assert "next:  unset " in answer.err


@pytest.mark.parametrize(
    ("setting", "step"), [("run_dir", "run_dir=<a writable folder>"), (None, "chmod -R u+w /proc/frostline")]
)
def test_a_folder_that_cannot_be_written_says_what_names_another_or_what_makes_it_writable(
    setting: str | None, step: str
) -> None:
    with pytest.raises(RunError) as refused:
        require_writable(Path("/proc/frostline"), setting)
    assert refused.value.next_step == step
