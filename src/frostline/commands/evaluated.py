"""Predictions of a run on samples that are not its own test split: stored beside its own, for `frostline compare`."""

import hashlib
import re
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from frostline.data.module import Data
from frostline.data.texts.tokenized import TokenSource
from frostline.errors import ConfigError, RunError, close_names
from frostline.paths import at_home
from frostline.quoting import command_of, setting_of
from frostline.report.summary import program
from frostline.runs.predictions import EVALUATED, Predictions, evaluations, read, write_evaluation
from frostline.training.predictions import GIGABYTE

NOT_IN_NAMES = re.compile(r"[^\w.-]+")
TYPED = re.compile(r"data\.\w+")  # the file may be a stranger's
LONGEST = 40  # characters of the data's name


def most_bytes(settings: DictConfig) -> float:
    """Of outputs that are collected. settings: of the run."""
    return GIGABYTE * float(OmegaConf.select(settings, "predictions_max_gigabytes") or 1.0)


def is_stored(cfg: DictConfig, settings: DictConfig) -> bool:
    """cfg: of evaluate. settings: of the run."""
    return bool(OmegaConf.select(settings, "predictions")) if cfg.store is None else bool(cfg.store)


def name_of(data: Data, checkpoint: str) -> str:
    """The name of these samples with their targets, wherever they lie and however they are shown to a network."""
    split, target = data.test_split, data.target
    digest = hashlib.blake2b(repr([data.names, len(split)]).encode(), digest_size=4)
    if isinstance(split.source, TokenSource):  # its content is what one tokenizer made of the texts
        texts = [split.source.shown(index) or "" for index in split.index.tolist()]
        digest.update("\0".join(texts).encode(errors="surrogatepass") + target.digested(split.labels))
    else:
        digest.update(data.test_digest().encode())
    name = NOT_IN_NAMES.sub("-", data.name)[:LONGEST].strip("-.") or "data"
    return f"{name}-{digest.hexdigest()}" + (f"-{checkpoint}" if checkpoint != "best" else "")


def typed_data(cfg: DictConfig) -> dict[str, str]:
    """The settings that named the samples, with absolute paths."""
    typed = {f"data.{name}": value for name, value in cfg.data.items() if value is not None}
    for name in ("data.dir", "data.file", "data.path"):
        if name in typed and at_home(typed[name]).exists():
            typed[name] = str(at_home(typed[name]).absolute())
    return {name: str(value) for name, value in typed.items() if not OmegaConf.is_config(value)}


def store(folder: Path, name: str, found: Predictions) -> None:
    """Store them, and print where and how to compare them. What cannot be written is told."""
    try:
        file = write_evaluation(folder, name, found.columns, found.about)
    except OSError as error:
        print(f"frostline: the predictions are not stored: {error.strerror or error}", file=sys.stderr)
        return
    names = f"{setting_of('first', folder)} second=<another run> {setting_of('evaluated', name)}"
    print(f"predictions  {file}\nnext  {program()} compare {names}")


def read_evaluation(run: Path, name: str, other: Path) -> Predictions:
    """Raises ConfigError if neither run was scored on samples of this name, RunError if one was."""
    known = evaluations(run)
    if name in known:
        return read(run, f"{EVALUATED}/{name}")
    if name not in evaluations(other):
        both = sorted({*known, *evaluations(other)})
        said = f": {close_names(name, both)}" if both else ""
        raise ConfigError(
            f"neither run was scored on '{name}'{said}",
            where="evaluated",
            next_step=setting_of("evaluated", both[0])
            if both
            else f"{command_of('evaluate', run=run)} data.dir=<other samples>",
        )
    typed = read(other, f"{EVALUATED}/{name}").about.get("typed")
    own = {key: value for key, value in typed.items() if TYPED.fullmatch(key)} if isinstance(typed, dict) else {}
    raise RunError(f"the run was not scored on '{name}'", where=run, next_step=command_of("evaluate", run=run, **own))
