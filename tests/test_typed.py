"""Settings as they are typed: Hydra and a shell read what was meant."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from conftest import SMALL, Answer
from frostline import quoting
from frostline.cli.typed import quoted_settings, with_home
from frostline.distributed.relaunch import config_dirs, whole_config_dirs
from frostline.errors import ConfigError
from frostline.quoting import command_of, hydra_quoted, list_of, with_program

VALUES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20) | st.text(
    "a'\"\\ =,()[]{}$ö/.#!`", min_size=1, max_size=12
)


def read(setting: str) -> object:
    """As it arrives in the configuration."""
    value = OverridesParser.create().parse_override(setting).value()
    value = value.text if isinstance(value, QuotedString) else value
    return OmegaConf.create({"key": value})["key"] if isinstance(value, str) and value != "???" else value


@given(VALUES)
def test_hydra_reads_a_quoted_value_as_it_was(value: str) -> None:
    assert read(f"key={hydra_quoted(value)}") == value


@pytest.mark.parametrize(
    "name", ["2026", "-1", "1e3", "1_000", ".5", "5.", "true", "NULL", "nan", "-inf", "+3", "1.2.3"]
)
def test_a_folder_that_is_named_like_a_number_stays_text(name: str) -> None:
    assert read(f"key={hydra_quoted(name)}") == name


@given(VALUES)
def test_a_shell_hands_on_a_command_as_it_was_meant(value: str) -> None:
    words = shlex.split(command_of("train", resume=value))
    assert words[:2] == ["frostline", "train"]
    assert words[2] == f"resume={hydra_quoted(value)}"


def test_a_real_shell_does_too() -> None:
    for value in (
        "a b",
        "~/x",
        "a^b",
        "it's",
        'say "hi"',
        "größe (1)",
        "a=b",
        "$HOME",
        "back\\slash",
        "`date`",
        "wow!",
    ):
        command = command_of("train", resume=value).replace("frostline", "printf '%s\\n'", 1)
        said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout
        assert said.splitlines() == ["train", f"resume={hydra_quoted(value)}"]


@pytest.mark.parametrize(
    "typed",
    ["seed=3", "data.dir=a/b", "head.hidden=[64, 32]", "model=a,b", "+callbacks.x={_target_: a.B}", "a='b c'", "-m",
     "~a", "optimizer.betas=[0.9,0.99]", "data.dir=${oc.env:HOME}", "a.b=null", "lr=1e-3", "a=b c"],
)  # fmt: skip
def test_what_hydra_reads_stays_as_it_is(typed: str) -> None:
    assert quoted_settings([typed]) == [typed]


@pytest.mark.parametrize("value", ["größe", "a (1)", "a=b", ",", "评论.csv", "a;b", "#1", "~/x", "a^b"])
def test_what_hydra_cannot_read_is_quoted(value: str) -> None:
    (setting,) = quoted_settings([f"data.dir={value}"])
    assert read(setting) == value


@pytest.mark.parametrize("name", ["a,b", "set [old]", "it's", "{x}", "x: y"])
def test_the_name_of_what_is_there_is_quoted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    (setting,) = quoted_settings([f"data.dir={name}"])
    assert read(setting) == name


LISTS = [["cat", "dog"], ["0", "1", "10"], ["007"], ["null", "True"], ["a b", "it's"], ["1e3"]]


@pytest.mark.parametrize("names", LISTS)
def test_a_proposed_list_is_read_as_the_names_it_is_of(names: list[str]) -> None:
    (setting,) = shlex.split(list_of("data.classes", names))
    items = OverridesParser.create().parse_override(setting).value()
    assert [item.text if isinstance(item, QuotedString) else item for item in items] == names


def test_a_sweep_over_values_of_any_letters_stays_a_sweep() -> None:
    assert quoted_settings(["data.dir=größe,kleine"], sweeps=True) == ["data.dir='größe',kleine"]


@pytest.mark.parametrize("text", ["Great film, loved it", "it's great", "2024", "null", "[a] {b}", "a=b", "$x", "ä\\"])
def test_a_text_to_predict_is_text_whatever_is_in_it(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (typed,) = quoted_settings([f"text={text}"])
    assert OverridesParser.create().parse_override(typed).value() == text


@pytest.mark.parametrize(
    "text", ["'hello'", '"good" she said "bad"', "cost ${oc.env:HOME}", "a \\${b} \\", "[a, b]", "x=1"]
)
def test_a_text_to_predict_is_taken_literally(text: str) -> None:
    (setting,) = quoted_settings([f"text={text}"])
    assert read(setting) == text


@pytest.mark.parametrize("name", ["it's.csv", 'a "b".csv', "[a].csv", "{a} b.csv", "a,b.csv", "a (1).csv"])
@pytest.mark.parametrize("key", ["output", "logs_dir", "run_dir", "data.dir"])
def test_a_place_may_have_any_name(key: str, name: str) -> None:
    (setting,) = quoted_settings([f"{key}={name}"])
    assert read(setting) == name


def test_a_place_that_is_quoted_or_swept_already_stays() -> None:
    assert quoted_settings(["output='a b'"]) == ["output='a b'"]
    assert quoted_settings(["data.dir=a,b"], sweeps=True) == ["data.dir=a,b"]
    assert quoted_settings(["logs_dir=${oc.env:HOME}/(a) b"]) == ["logs_dir='${oc.env:HOME}/(a) b'"]


def test_what_a_message_proposes_names_the_program_as_the_shell_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "frostline: a frostline run\n  where: frostline train\n"
    message += "  next:  frostline train 'resume=my frostline runs/r'  # goes on\n"
    message += "    or:  torchrun -m frostline train -m ...\n    or:  frostline --help\n    or:  frostline-2 it"
    assert with_program(message) == message, "it is on the path"
    monkeypatch.setattr(quoting.shutil, "which", lambda name: None)
    monkeypatch.setattr(quoting.sys, "executable", str(Path.cwd() / "my env" / "bin" / "python"))
    assert with_program(message) == message, "there is no such file"
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    assert with_program(message).splitlines()[1:] == [
        "  where: frostline train",
        "  next:  'my env/bin/frostline' train 'resume=my frostline runs/r'  # goes on",
        "    or:  torchrun -m frostline train -m ...",
        "    or:  'my env/bin/frostline' --help",
        "    or:  frostline-2 it",
    ]


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [(["train", "-m", "resume=x"], "train resume=<its folder>"), (["predict", "-m", "run=a,b"], "predict --help")],
)
def test_errors_propose_commands_for_a_shell_that_does_not_find_the_program(
    typed: list[str], proposed: str, program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quoting.shutil, "which", lambda name: None)
    place = Path(sys.executable).with_name("frostline")
    assert place.is_file()
    assert program(*typed).err.endswith(f"\n  next:  {shlex.quote(str(place))} {proposed}\n")


def test_folders_of_configs_as_typed_and_for_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["frostline", "--config-dir", "my conf", "model=bundled"])
    assert config_dirs() == ["--config-dir", "my conf"], "workers compare them with what the sweep was typed with"
    assert whole_config_dirs() == [f"--config-dir={tmp_path}/my conf"]
    monkeypatch.setattr(sys, "argv", ["frostline", "--config-dir"])
    assert config_dirs() == ["--config-dir"], "what it lacks is reported elsewhere"


def test_a_deletion_stays() -> None:
    assert quoted_settings(["~text", "~answer", "~data.dir=a b"]) == ["~text", "~answer", "~data.dir=a b"]


# --- the home folder ---


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("run=~/it", "run=HOME/it"),
        ("data.dir=~/a,~/b,c", "data.dir=HOME/a,HOME/b,c"),
        ("models=[~/a,~/b]", "models=[HOME/a,HOME/b]"),
        ("--config-dir=~/mine", "--config-dir=HOME/mine"),
        ("~cache", "~cache"),
        ("~data.dir=~/a", "~data.dir=~/a"),
        ("text=~/it", "text=~/it"),
        ("+text=~/it", "+text=~/it"),
        ("data.dir='a,~/b'", "data.dir='a,~/b'"),
        ("run='~/b'", "run='HOME/b'"),
        ("models=[~/a, ~/b]", "models=[HOME/a, HOME/b]"),
        ("data.dir={dir: ~/a}", "data.dir={dir: HOME/a}"),
        ("data.dir=choice(~/a,~/b)", "data.dir=choice(HOME/a,HOME/b)"),
        ("data.group_pattern=[~/]+(.)", "data.group_pattern=[~/]+(.)"),
        ("x=a,~/b", "x=a,~/b"),
        ("x=http:~/a", "x=http:~/a"),
        ("data.dir=a~/b", "data.dir=a~/b"),
        ("data.dir=x=~/b", "data.dir=x=~/b"),
        ("seed=~", "seed=~"),
    ],
)
def test_a_tilde_is_the_home_folder(typed: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert with_home([typed]) == [expected.replace("HOME", "/home/me")]


def test_a_home_folder_of_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for home, expected in (("/", "/it"), (r"/home/a\1,b", r"'/home/a\1,b/it'")):
        monkeypatch.setenv("HOME", home)
        assert with_home(["run=~/it"]) == [f"run={expected}"]
    typed = ["--config-dir", "~/it", "--config-dir=~/it"]
    assert with_home(typed) == ["--config-dir", r"/home/a\1,b/it", r"--config-dir=/home/a\1,b/it"]
    assert with_home(["data.dir=~/a,~/b"]) == [r"data.dir='/home/a\1,b/a','/home/a\1,b/b'"]
    monkeypatch.setenv("HOME", "/home/jörg")
    (typed,) = with_home(["models=[~/a, b]"])
    assert read(typed) == ["/home/jörg/a", "b"]
    assert with_home(["data.dir=a: ~/b"]) == ["data.dir=a: '/home/jörg/b'"]
    monkeypatch.setenv("HOME", "")
    with pytest.raises(ConfigError, match="where: run=~/it"):
        with_home(["run=~/it"])


@pytest.mark.usefixtures("untrained")
def test_a_sweep_lies_in_the_home_folder(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    typed = [*SMALL, "schedule=head_only", "logger=none", "sweep.test=none", "seed=0,1", "hydra.sweep.dir=~/it"]
    assert program("train", "-m", *typed).code == 0
    assert (tmp_path / "home" / "it" / "leaderboard.csv").is_file()
    assert not list(tmp_path.rglob("~"))
    assert program("leaderboard", "folder=~/it").code == 0
    assert program("train", "sweep.resume=~/it").code == 0
