"""Print errors, and turn those of Hydra, YAML files and the operating system into errors with a next step."""

import errno
import re
import socket
import sys
import traceback
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError
from yaml.reader import ReaderError

from frostline.config import fast_yaml
from frostline.distributed.launcher import follows, launched, require_starter, tell_torchrun
from frostline.errors import ConfigError, DataError, FrostlineError, RunError, first_line, shown
from frostline.paths import conf_dir
from frostline.quoting import with_program

SOME_FILE = "a file of the options on the command line"
# What Hydra raises before and between jobs.
COMPOSING = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError, RecursionError)


def tell(failure: FrostlineError) -> None:
    """Rank 0 prints its error. Another rank prints its own only if it may differ and torchrun does not collect it."""
    message = with_program(shown(str(failure)))
    try:
        launch = launched()
        require_starter()
    except ConfigError:  # the rank of this process is unknown
        print(f"frostline: {message}", file=sys.stderr)
        return
    if not follows():
        print(f"frostline: {message}", file=sys.stderr)
        tell_torchrun(failure.what)
    elif not tell_torchrun(str(failure)) and "torch" in sys.modules:  # else all ranks report the same
        rank = f"process {launch.rank} on {socket.gethostname()}: " if launch is not None else ""
        print(f"frostline: {rank}{message}", file=sys.stderr)


def unexpected(error: Exception) -> RunError:
    what = f"an unexpected error: {type(error).__name__}: {first_line(error)}"
    return _caused_by(error, what, "see the traceback above", "report it, with the command; the other jobs go on")


def is_of_frostline(error: Exception) -> bool:
    """Whether code of Frostline raised the error, or called what raised it: then it is a bug, not a wrong setting. What
    reads a YAML file for OmegaConf does not count."""
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [name.partition(".")[0] for name in modules if name != fast_yaml.__name__]
    return next((it for it in reversed(packages) if it in ("hydra", "omegaconf", "frostline")), "") == "frostline"


def with_maker(error: FrostlineError) -> FrostlineError:
    """Propose the command that creates the data of the chosen recipe, if the error is about a missing file or folder
    that its YAML names. A comment there holds the command."""
    if not isinstance(error, DataError):
        return error
    recipe = conf_dir() / "experiment" / f"{HydraConfig.get().runtime.choices.get('experiment')}.yaml"
    text = recipe.read_text(encoding="utf-8") if recipe.is_file() else ""
    command = re.search("`(python (benchmarks/[^` ]+)[^`]*)`", text)
    script = None if command is None else conf_dir().parent / command[2]
    if command is None or script is None or not script.is_file():  # a wheel has none of them
        return error
    own = [OmegaConf.select(OmegaConf.create(text), f"data.{name}") for name in ("dir", "file")]
    if str(error.where) in own and not Path(str(error.where)).exists():
        error.next_step = f"{command[1].replace(command[2], str(script))}; or {error.next_step}"
    return error


def not_composed(error: Exception, command: str, *, begun: bool) -> FrostlineError:
    """begun: whether a job has started already."""
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        if begun:
            return refused(error)
        if (file := _file_of(error)) is not None:
            return ConfigError(
                f"this file cannot be read: {error.strerror}", where=file, next_step="correct its permissions"
            )
        return RunError(
            f"the folder of the sweep cannot be made: {error.strerror}",
            where=error.filename,
            next_step="logs_dir=<folder>",
        )
    if isinstance(error, YAMLError | UnicodeDecodeError):
        return _not_read(error)
    if isinstance(error, RecursionError):
        return ConfigError(
            "a YAML file is nested too deep, or refers to itself",
            where=_file_of(error) or SOME_FILE,
            next_step="correct it",
        )
    from frostline.cli.hydra_messages import translated  # imports much that only errors need

    return translated(error, command)


def _not_read(error: YAMLError | UnicodeDecodeError) -> ConfigError:
    """Report a file of options that is no YAML, or not in UTF-8."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    name = getattr(mark or error, "name", None) or _file_of(error) or SOME_FILE
    problem = getattr(error, "problem", None)
    encoding = isinstance(error, UnicodeDecodeError) or (isinstance(error, ReaderError) and error.encoding != "unicode")
    return ConfigError(
        "this file is not in UTF-8" if encoding else f"this file is not valid YAML: {problem or first_line(error)}",
        where=f"{name}, line {mark.line + 1}" if mark is not None else name,
        next_step="save it as UTF-8" if encoding else "correct it",
    )


def _file_of(error: Exception) -> str | None:
    """The file that Hydra was reading: its errors do not name it."""
    places = [frame.f_locals.get("full_path") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((str(place) for place in places if place is not None), None)


def refused(error: OSError) -> RunError:
    """Report an error of the operating system: no permission, no space, a name that is too long."""
    gone = error.errno == errno.ENOENT
    step = "it was removed in the meantime: run the command again" if gone else "correct the path or its permissions"
    step += ", or make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    what = f"the operating system reports an error: {error.strerror or error}"
    where = error.filename2 or error.filename  # of a renamed draft, the file that it replaces
    return _caused_by(error, what, where, f"{step}; HYDRA_FULL_ERROR=1 shows the traceback")


def too_large(error: Exception) -> RunError:
    step = "a smaller data.image_size or model; HYDRA_FULL_ERROR=1 shows the traceback"
    return _caused_by(error, f"memory ran out: {first_line(error)}", "model, data", step)


def _caused_by(error: Exception, what: str, where: object, next_step: str) -> RunError:
    failure = RunError(what, where=where, next_step=next_step)
    failure.__cause__ = error  # what HYDRA_FULL_ERROR=1 shows
    return failure
