"""Print `--help` from the file names in conf/ and the YAML of the command. It imports no Hydra."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from frostline import __version__
from frostline.cli.sweep_arguments import is_sweep
from frostline.distributed.relaunch import config_folders
from frostline.errors import ConfigError, RunError, close_names
from frostline.paths import conf_dir

USAGE = f"""\
frostline {__version__}: fine-tune a pretrained network on your own data.

  frostline train model=resnet50 data=cifar10                          one option per question
  frostline train -m model=resnet18,resnet50 optimizer.lr=1e-3,1e-4    one run per combination
  frostline train resume=<run folder>                                  continue where a run stopped
  frostline lr_find model=resnet50 data=cifar10                        suggest a learning rate, phase by phase
  frostline rank models=[resnet18,resnet50] data=cifar10               compare backbones before any training
  frostline evaluate run=<run folder>                                  score it again on its test split
  frostline leaderboard <folder>                                       rank the runs of a folder, best first
  frostline report <run or sweep folder>                               its page, report.html, built anew
  frostline compare <run folder> <run folder>                          two runs on the same test samples
  frostline cache                                                      list cached outputs; clear=true deletes them
  frostline predict run=<run folder> input=<folder or file>            classes, numbers, texts, boxes, classes of pixels
  frostline explain run=<run folder> input=<picture>                   where its answer comes from; text='...' of texts
  frostline export run=<run folder> output=<file>.safetensors          its weights, adapters merged into them
  frostline index run=<run folder> input=<folder> output=<folder>      embed samples, to search them
  frostline search run=<run folder> index=<folder> input=<file>        the most similar samples of an index

`frostline <command> --help` lists questions, options and values; `--cfg job` prints the composed configuration;
`--config-dir <folder>` adds options of your own. An error shows its traceback with HYDRA_FULL_ERROR=1."""

COMMANDS = ("train", "lr_find", "rank", "evaluate", "leaderboard", "report", "compare", "cache", "predict", "explain",
            "export", "index", "search")  # fmt: skip

# Flags of Hydra that are useful here (hydra._internal.utils.get_args_parser).
FLAGS = {"--help", "-h", "--version", "--cfg", "-c", "--package", "-p", "--resolve", "--multirun", "-m", "--config-dir",
         "-cd", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"}  # fmt: skip

SHOWN = ("job", "hydra", "all")
FOLDER, PART = "<a folder of options>", "<a part of the configuration, such as optimizer>"
WITH_VALUE = {"--config-dir": FOLDER, "-cd": FOLDER, "--package": PART, "-p": PART}


TRAINING = ("train", "lr_find")  # commands that compose a training; lr_find takes the overrides of train too
RANKED_ON = ("data", "cache", "trainer")  # config groups of `rank`, besides its `models`


def print_help(command: str | None = None) -> bool:
    """Print the help or the version and return True, if the command line asks for it. command: None if its name is the
    first argument."""
    name = command or (sys.argv[1] if len(sys.argv) > 1 else "--help")
    if name == "--version" or (name in COMMANDS and "--version" in sys.argv):
        text = __version__
    elif name in ("--help", "-h", "help"):
        text = USAGE
    elif name in COMMANDS and {"--help", "-h"} & set(sys.argv):
        text = help_of(name, config_folders())
    else:
        return False
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        silence_stdout()
        failure = RunError(f"this cannot be printed: {error.strerror}", next_step="frostline --help | less")
        print(f"frostline: {failure}", file=sys.stderr)
        sys.exit(1)
    return True


def silence_stdout() -> None:
    """Discard what is printed from here on: the reader has closed the pipe, as in `frostline --help | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def help_of(command: str, others: Sequence[Path] = ()) -> str:
    """others: folders given by --config-dir."""
    files = [conf_dir() / f"{name}.yaml" for name in (TRAINING if command == "lr_find" else [command])]
    values = [line for file in files for line in _values(file)]
    groups: dict[str, set[str]] = {}
    for folder in [conf_dir(), *others] if command in (*TRAINING, "rank") else []:
        for file in folder.glob("*/*.yaml"):
            if not file.name.startswith("_") and (command != "rank" or file.parent.name in ("model", *RANKED_ON)):
                groups.setdefault(file.parent.name, set()).add(file.stem)
    questions = ["", "questions (question=option):", *(_group(*group) for group in sorted(groups.items()))]
    questions = questions if groups else []
    return "\n".join([USAGE, *questions, "", "values (key=value), with their defaults:", *values])


def require_known_flags(arguments: Sequence[str]) -> None:
    """Raises ConfigError for an unknown flag such as `--lr 3`, where Hydra would print its own usage, and for a flag
    without its value."""
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("-") and name not in FLAGS:
            raise ConfigError(
                f"there is no option '{name}': {close_names(name, FLAGS)}",
                where="command line",
                next_step="write settings as key=value, without dashes: optimizer.lr=3e-4",
            )
    for argument, following in pairwise([*arguments, ""]):
        name, says, wanted = argument.partition("=")
        wanted = wanted if says else following
        if name in WITH_VALUE and (not wanted or wanted.startswith("-")):
            raise ConfigError(f"'{name}' needs a value", where="command line", next_step=f"{name} {WITH_VALUE[name]}")
        if name in ("--cfg", "-c") and wanted not in SHOWN:
            raise ConfigError(
                f"'{wanted}' cannot be shown: {close_names(wanted, SHOWN)}", where="--cfg", next_step="--cfg job"
            )
        if name in ("--cfg", "-c"):
            _require_showable(wanted, arguments)


def _require_showable(wanted: str, arguments: Sequence[str]) -> None:
    """wanted: the value of --cfg. Raises ConfigError for what Hydra cannot print with it."""
    if is_sweep(arguments):
        raise ConfigError(
            "-m runs several trainings, and --cfg prints the settings of one",
            where="-m",
            next_step="leave -m out, and give each setting one value",
        )
    if "--resolve" in arguments and wanted != "job":
        raise ConfigError(
            "Hydra's own settings have values only within a run",
            where="--resolve",
            next_step=f"--cfg job --resolve; or --cfg {wanted}, without --resolve",
        )


# Settings of commands that may be given as folders alone, in this order.
ALONE = {"leaderboard": ("folder",), "compare": ("first", "second"), "report": ("run",)}


def named_alone(command: str, arguments: Sequence[str]) -> list[str]:
    """Name the folders that are given alone: `leaderboard logs` means `leaderboard folder=logs`."""
    keys = iter(ALONE.get(command, ()))
    named = []
    for before, argument in pairwise(["", *arguments]):
        is_setting = "=" in argument or argument.startswith(("-", "~")) or before in WITH_VALUE
        key = None if is_setting else next(keys, None)
        named.append(argument if key is None else f"{key}={argument}")
    return named


def settings_first(arguments: Sequence[str]) -> list[str]:
    """Move settings before flags and their values: argparse refuses settings on both sides of a flag."""
    settings: list[str] = []
    rest: list[str] = []
    for before, argument in pairwise(["", *arguments]):
        says = argument.startswith("~") or (not argument.startswith("-") and "=" in argument)
        (settings if says and before not in WITH_VALUE else rest).append(argument)
    return settings + rest


def _group(name: str, options: set[str]) -> str:
    """`  model        bundled, convnext_tiny, ...`"""
    lines = [f"  {name:12}"]
    for option in sorted(options):
        if len(lines[-1]) + len(option) > 116:
            lines.append(" " * 14)
        lines[-1] += f" {option},"
    return "\n".join(lines).removesuffix(",")


def _values(config: Path) -> list[str]:
    """The lines of the file that set values, with their comments."""
    kept, wanted = [], False
    for line in config.read_text(encoding="utf-8").splitlines():
        if line[:1].isalpha():
            wanted = not line.startswith(("defaults:", "hydra:"))
        if wanted and line and not line.startswith("#"):
            kept.append(f"  {line}")
    return kept
