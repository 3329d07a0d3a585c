"""Embed the samples of an input with a trained run. Shapes: N samples, D numbers of an embedding."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from frostline.commands.checks import check
from frostline.commands.trained import Network, read_weights
from frostline.data.predicting import Asked, Columns, Predicted, Predicting
from frostline.data.tables.formats import SUFFIXES
from frostline.errors import ConfigError, RunError
from frostline.quoting import begun_anew
from frostline.runs.folder import amended
from frostline.runs.record import Record
from frostline.training.finetuner import CHECKPOINT_KEY

FILE = "file"  # the column that Frostline adds for samples in files


class Embedder(NamedTuple):
    """A run that embeds. settings: of its data. key: digest of its weights. threshold: the similarity from which on two
    samples pass for one identity, chosen on validation; None if the run has none."""

    predicting: Predicting
    settings: Mapping[str, Any]
    model: str
    key: str
    threshold: float | None


def opened_to_embed(cfg: DictConfig, record: Record, settings: DictConfig) -> Embedder:
    """cfg: of the command. settings: of the run, `opened`. Raises RunError if its outputs are no embeddings."""
    settings = amended(settings, trainer=cfg.trainer, model=cfg.model)
    check(settings, command=None)
    folder = Path(cfg.run)
    network = Network(settings, folder, cfg.checkpoint)
    if network.task.unit != "embedding":
        raise RunError(
            "this run predicts, but gives no embeddings to compare samples by",
            where=folder,
            next_step=begun_anew(record.command, None, ["task=retrieval"]),
        )
    content, _ = read_weights(folder, cfg.checkpoint)
    threshold = content[CHECKPOINT_KEY]["val"].get("val/threshold")
    usable = isinstance(threshold, float) and math.isfinite(threshold)
    predicting = network.predicting()
    own = {str(name): value for name, value in settings.data.items()}
    return Embedder(predicting, own, network.model.backbone.name, _key(network.model), threshold if usable else None)


def _key(model: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Samples(NamedTuple):
    """vectors: (N, D) float32 of length 1. names: of each sample, its file or text. identities: of each, "" if it is
    not known. found: the input, with the samples that cannot be read."""

    vectors: Tensor
    names: list[str]
    identities: list[str]
    found: Predicted


def embedded(run: Embedder, cfg: DictConfig, *, text: str | None = None) -> Samples:
    """Embed `cfg.input`, or a text. Raises ConfigError for a setting of tables that does not apply, DataError if no
    sample can be read."""
    data = {str(name): value for name, value in cfg.data.items()}
    _require_used(data, run.predicting, cfg.input)
    found = run.predicting.of_input(Asked(cfg.input, text, cfg.batch_size, 0, data))
    vectors = torch.stack([*found.values]).float()
    names = found.given.get(_named_by(found.given, run.settings, data), [])
    source = None if cfg.input is None else Path(cfg.input)
    return Samples(vectors, names or [str(text)] * len(vectors), _identities(found.given, run, data, source), found)


def _named_by(given: Columns, settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The column that names a sample: of files or texts, else the first."""
    usual = [FILE, data["path_column"], settings.get("path_column"), *(settings.get("text_columns") or [])]
    return next((name for name in usual if name in given), next(iter(given), ""))


def _identities(given: Columns, run: Embedder, data: Mapping[str, Any], source: Path | None) -> list[str]:
    """From a table: its column of identities, if it has one. From a folder: the names of the folders in it, of the
    samples at or below each."""
    asked = data.get("identity_column")
    own = [asked] if asked is not None else run.settings.get("target_columns") or []
    if asked is not None and asked not in given:
        raise ConfigError(
            f"this input has no column '{asked}'",
            where="data.identity_column",
            next_step=f"one of {', '.join(given)}; or leave data.identity_column= out",
        )
    for name in own:
        if name in given:
            return [cell.strip() for cell in given[name]]
    number = len(next(iter(given.values()), []))
    if source is None or not source.is_dir():
        return [""] * max(number, 1)
    parts = [Path(file).relative_to(source).parts for file in given[FILE]]
    return [inside[0] if len(inside) > 1 else "" for inside in parts]


def _require_used(data: Mapping[str, Any], predicting: Predicting, source: str | None) -> None:
    is_table = source is not None and Path(source).suffix.lower() in SUFFIXES and Path(source).is_file()
    used = predicting.file_settings | (predicting.table_settings | {"identity_column"} if is_table else set())
    typed = [name for name, value in data.items() if name not in used and value not in (None, False)]
    if typed:
        what = f"a table of {predicting.samples}" if is_table else predicting.samples
        raise ConfigError(
            f"data.{typed[0]} does not apply to {what}",
            where="command line",
            next_step=f"leave data.{typed[0]}= out",
        )
