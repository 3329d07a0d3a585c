"""Predictions of a run on samples that are not its own test split: stored beside its own, for `frostline compare`."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frostline.data.module import Data
from frostline.errors import ConfigError, RunError, close_names
from frostline.paths import at_home
from frostline.quoting import command_of, hydra_quoted, list_of, program, setting_of
from frostline.runs.folder import checkpoint_of
from frostline.runs.predictions import EVALUATED, Predictions, evaluations, read, write_evaluation
from frostline.runs.record import Record

NOT_IN_NAMES = re.compile(r"[^\w.-]+")
TYPED = re.compile(r"data\.\w+")  # the file may be a stranger's
LONGEST = 40  # characters of the data's name
SHORT = 8  # hex digits of the digest that stand in a name
TAIL = re.compile(rf"(?:^|-)([0-9a-f]{{{SHORT}}}(?:-last)?)$")
WEIGHTS = ("phase", "epoch", "average")  # what says of which moment of a training weights are


def is_stored(cfg: DictConfig, settings: DictConfig, *, again: bool = False) -> bool:
    """cfg: of evaluate. settings: of the run. again: whether the run has stored predictions of these samples."""
    if cfg.store is not None:
        return bool(cfg.store)
    return not again and bool(OmegaConf.select(settings, "predictions"))


def name_of(data: Data, checkpoint: str) -> str:
    """A readable part, then a digest of these samples with their targets, and the checkpoint if it is not the best."""
    name = NOT_IN_NAMES.sub("-", data.name)[:LONGEST].strip("-.") or "data"
    return f"{name}-{samples_of(data)[:SHORT]}" + (f"-{checkpoint}" if checkpoint != "best" else "")


def samples_of(data: Data) -> str:
    """Digest of these samples with their targets, wherever they lie and however they are shown to a network."""
    digest = hashlib.blake2b(str(len(data.test_split)).encode(), digest_size=16)
    digest.update(data.test_digest().encode())
    return digest.hexdigest()


def same_samples(known: list[str], name: str) -> str | None:
    """The known name that ends in the digest and checkpoint of `name`: their readable parts may differ."""
    if name in known:
        return name
    tail = _tail(name)
    return next((own for own in known if tail and _tail(own) == tail), None)


def _tail(name: str) -> str:
    found = TAIL.search(name)
    return "" if found is None else str(found[1])


def asked(cfg: DictConfig, data: Data, content: str | None) -> dict[str, Any]:
    """What the stored file says beside what those of a training say. cfg: of evaluate. content: of the checkpoint."""
    given: Any = OmegaConf.to_container(cfg.data)
    typed: dict[str, Any] = {f"data.{name}": value for name, value in given.items() if value is not None}
    for name in ("data.dir", "data.file", "data.path"):
        if name in typed and at_home(typed[name]).exists():
            typed[name] = str(at_home(typed[name]).absolute())
    return {"typed": typed, "samples": samples_of(data), "checkpoint": cfg.checkpoint, "content": content}


def content_of(run: Path, checkpoint: str) -> str | None:
    """Digest of the file of a checkpoint; None if it is missing or cannot be read."""
    path = checkpoint_of(run, checkpoint)
    try:
        with (path or run).open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError:
        return None


def store(folder: Path, name: str, found: Predictions) -> None:
    """Store them, in place of earlier ones of these samples, and print where and how to compare them. If they cannot
    be written, print why."""
    name = same_samples(evaluations(folder), name) or name
    try:
        file = write_evaluation(folder, name, found.columns, found.about)
    except OSError as error:
        print(f"frostline: the predictions are not stored: {error.strerror or error}", file=sys.stderr)
        return
    names = f"{setting_of('first', folder)} second=<another run> {setting_of('evaluated', name)}"
    print(f"predictions  {file}\nnext  {program()} compare {names}")


def read_evaluation(run: Path, name: str, other: Path) -> Predictions:
    """Raises ConfigError if neither run was scored on samples of this name; RunError if one was, or if the run has gone
    on since."""
    known, others = evaluations(run), evaluations(other)
    if (own := same_samples(known, name)) is not None:
        found = read(run, f"{EVALUATED}/{own}")
        if has_gone_on(run, found.about):
            raise RunError(
                f"the run has other weights now than when it was scored on '{own}'",
                where=run,
                next_step=scoring_command(run, found.about),
            )
        return found
    if (there := same_samples(others, name)) is None:
        both = sorted({*known, *others})
        similar = f": {close_names(name, both)}" if both else ""
        raise ConfigError(
            f"neither run was scored on '{name}'{similar}",
            where="evaluated",
            next_step=setting_of("evaluated", both[0]) if both else _on_others(run),
        )
    about = read(other, f"{EVALUATED}/{there}").about
    same = [it for it in known if _typed(about) and _typed(read(run, f"{EVALUATED}/{it}").about) == _typed(about)]
    if same and Record.read(run).data.get("classes") != Record.read(other).data.get("classes"):
        raise RunError(
            f"the run was scored on these samples as '{same[0]}', but it learned other classes, or in another order",
            where=run,
            next_step="compare runs that learned the same classes",
        )
    if same:
        raise RunError(
            f"the samples have changed between '{name}' and '{same[0]}'",
            where=f"{other}, {run}",
            next_step=f"{scoring_command(run, about)} && {scoring_command(other, about)}  # score both again",
        )
    reaches = _typed(about) or Record.read(run).data.get("fingerprint") == Record.read(other).data.get("fingerprint")
    raise RunError(
        f"the run was not scored on '{name}'" + ("" if reaches else f", which are samples of {other}'s own data"),
        where=run,
        next_step=scoring_command(run, about) if reaches else f"score both on samples of neither: {_on_others(run)}",
    )


def has_gone_on(run: Path, about: Mapping[str, Any]) -> bool:
    """Whether the checkpoint is not the one that was scored; without its file, whether run.json names other weights."""
    content = content_of(run, _checkpoint(about))
    if content is not None and about.get("content") is not None:
        return bool(content != about["content"])
    best, scored = Record.read(run).best, about.get("weights")
    if _checkpoint(about) != "best" or best is None or not isinstance(scored, dict):
        return False
    return any(best.get(key) != scored.get(key) for key in WEIGHTS)


def scoring_command(run: Path, about: Mapping[str, Any]) -> str:
    """The command that scores a run on the samples of a stored evaluation, and stores its outputs."""
    typed, predictions = _typed(about), Record.read(run).predictions
    last = ["checkpoint=last"] if _checkpoint(about) == "last" else []
    stores = [] if predictions and (typed or last) else ["store=true"]
    return " ".join([command_of("evaluate", *_opening(run), *last, *stores), *typed])


def _typed(about: Mapping[str, Any]) -> list[str]:
    """The settings that named the samples, quoted for Hydra and for a shell."""
    typed = about.get("typed")
    own = {key: value for key, value in typed.items() if TYPED.fullmatch(key)} if isinstance(typed, dict) else {}
    return [_setting(key, value) for key, value in own.items()]


def _setting(key: str, value: object) -> str:
    if isinstance(value, list):
        return list_of(key, [*map(str, value)])
    return setting_of(key, value) if isinstance(value, str) else f"{key}={shlex.quote(json.dumps(value))}"


def _checkpoint(about: Mapping[str, Any]) -> str:
    return "last" if about.get("checkpoint") == "last" else "best"


def _opening(run: Path) -> list[str]:
    """The settings that open a run."""
    return [f"run={hydra_quoted(str(run))}", *Record.read(run).trusting(trains=False)]


def _on_others(run: Path) -> str:
    return f"{command_of('evaluate', *_opening(run))} data.dir=<other samples>"
