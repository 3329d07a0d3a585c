"""Run a command with its composed config."""

from omegaconf import DictConfig

from frostline.cli.failures import refused, too_large, with_maker
from frostline.distributed.launcher import follows
from frostline.distributed.relaunch import launched_anew
from frostline.errors import FrostlineError, Pruned, memory_is_short


def run_command(command: str, cfg: DictConfig) -> list[FrostlineError]:
    """Returns the command's error in a list, empty if it succeeds."""
    from frostline.cli.dispatch import TASKS  # not needed to compose a config or to refuse one

    try:
        with launched_anew():
            TASKS[command](cfg)
    except FrostlineError as error:
        return [with_maker(error)]
    except Pruned as pruned:
        if not follows():
            print(f"pruned: {pruned}", flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        return [refused(error)]
    except (RuntimeError, MemoryError) as error:
        if not memory_is_short(error):
            raise
        return [too_large(error)]
    return []
