"""Check the settings of a command line that resumes a run."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from frostline.errors import ConfigError, RunError
from frostline.paths import conf_dir, leaves
from frostline.quoting import begun_anew, command_of, key_of


def resumed(arguments: Sequence[str]) -> Path | None:
    """The folder of the run that the command line resumes, or None."""
    named = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+").startswith("resume=")]
    return Path(named[-1].strip("'\"")) if named and named[-1] != "null" else None


def require_resumable(folder: Path, typed: Sequence[str]) -> None:
    """Raises ConfigError if a resume does not take a typed setting, and proposes a new run with these settings."""
    node = OmegaConf.load(conf_dir() / "resume.yaml")
    taken = {key for key, _ in leaves(OmegaConf.to_container(node))} | {"resume", "trust"}
    settings = [argument for argument in typed if not argument.startswith("-")]
    others = [setting for setting in settings if key_of(setting) not in taken]
    if others:
        from frostline.runs.record import Record  # takes longer to import than what every command needs

        settings = [argument.lstrip("+") if "=" in argument else argument for argument in others]
        try:
            command = Record.read(folder).command
        except RunError:
            command = ""
        raise ConfigError(
            f"a resume uses the run's own configuration and accepts no other settings: {' '.join(others)}",
            where="command line",
            next_step=f"{command_of('train', resume=folder)}; or {begun_anew(command, folder, settings)}"
            "  # starts a new run from its weights",
        )
