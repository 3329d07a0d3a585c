"""Score a run again, on its own test split or on other labelled samples."""

import math
from dataclasses import replace
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frostline.commands.checks import check
from frostline.commands.evaluated import asked, content_of, is_stored, name_of, store
from frostline.commands.recording import others_stopped
from frostline.commands.stored_predictions import comparison
from frostline.commands.train import quiet
from frostline.commands.trained import read_weights
from frostline.contracts.targets import Targets
from frostline.data.module import Data
from frostline.data.tables.formats import column_names
from frostline.data.tables.table import normalised
from frostline.distributed.agreement import group_left
from frostline.errors import ConfigError, DataError, RunError, close_names, few, shown
from frostline.paths import at_home
from frostline.quoting import command_of, hydra_quoted
from frostline.report.score_intervals import given_intervals, intervals_of
from frostline.report.summary import print_classes, print_scores, print_test
from frostline.runs.folder import amended
from frostline.runs.record import Record
from frostline.runs.seen import SPLITS, numbers_seen
from frostline.training.build import Built, build
from frostline.training.checkpoint import completed_targets, loaded, require_unchanged
from frostline.training.identity import is_data_of
from frostline.training.predictions import GIGABYTE, collecting, described, table_of
from frostline.training.scoring import enter_phase_of

ELSEWHERE = ("dir", "file", "path", "test_split")  # data settings that name other samples
HOW = ("quotes", "format", "classes", "separator", "split_column")  # and those that say how to read them


@group_left()
def evaluate(cfg: DictConfig, record: Record, settings: DictConfig) -> dict[str, float]:
    """Print and return the test scores. settings: of the run, `opened`. Raises RunError if the checkpoint is missing or
    the run's own data has changed, and any error of the data."""
    quiet()
    folder = Path(cfg.run)
    settings = amended(_reading(settings, cfg.data), trainer=cfg.trainer, model=cfg.model)
    check(settings, command=None)
    L.seed_everything(settings.seed, workers=True, verbose=False)
    elsewhere = any(cfg.data[name] is not None for name in ELSEWHERE)
    how = [f"data.{name}" for name in HOW if cfg.data[name] is not None]
    built, own = _built(settings, record, elsewhere=elsewhere, how=how, again=_typed(cfg))
    if not own and built.trainer.is_global_zero:
        _tell(built.data, folder, record)
    model, data, trainer = built.model, built.data, built.trainer
    compares = own and cfg.checkpoint == "best" and "test" in record.predictions
    stores = is_stored(cfg, settings, again=compares)
    checkpoint = content_of(folder, cfg.checkpoint) if stores else None  # before a training may replace the file
    content, path = read_weights(folder, cfg.checkpoint)
    require_unchanged(content, model, path, "network", "task", *(["parts"] if own else []))
    weights = loaded(model, content, path)
    enter_phase_of(built, weights)
    if trainer.is_global_zero and record.status != "finished":
        print(f"run   {folder} is not finished ({record.status}): its {cfg.checkpoint} checkpoint so far is scored")
    limit = math.inf if compares else _max_gigabytes(cfg, settings)  # a training has stored as many
    with others_stopped(trainer), collecting(trainer, limit * GIGABYTE) as collected:
        assert collected is not None
        (scores,) = trainer.test(model, datamodule=data, verbose=False)
        num_bytes, columns = collected.gathered(trainer)
    if not trainer.is_global_zero:
        return dict(scores)
    print_classes(model.per_class)
    if columns is None:
        _tell_too_large(dict(scores), num_bytes / GIGABYTE, limit)
        return dict(scores)
    found = described(built, table_of(columns, data.test_split), dict(scores), weights, record)
    if compares:
        print_test(replace(record, metrics=dict(scores)))
        print(f"predictions  {comparison(folder, 'test', found.columns)}")
    else:
        print_scores(dict(scores), intervals=given_intervals(dict(scores)) | intervals_of(found))
    if stores:
        found.about.update(asked(cfg, data, checkpoint))
        store(folder, name_of(data, cfg.checkpoint), found)
    return dict(scores)


def _max_gigabytes(cfg: DictConfig, settings: DictConfig) -> float:
    """settings: of the run; earlier versions had no such setting."""
    return float(cfg.predictions_max_gigabytes or OmegaConf.select(settings, "predictions_max_gigabytes") or 1.0)


def _tell_too_large(scores: dict[str, float], gigabytes: float, limit: float) -> None:
    print_scores(scores, intervals=given_intervals(scores))
    print(
        f"predictions  {gigabytes:.3g} GB, more than predictions_max_gigabytes={limit:g}: no intervals, and nothing is "
        f"stored; {math.ceil(10 * gigabytes) / 10:g} would be enough"
    )


def _reading(settings: DictConfig, given: DictConfig) -> DictConfig:
    """Replace the run's samples by those that the user names; a named file or split replaces all splits of the run.
    Raises ConfigError if this data has no such setting, DataError if the file or folder does not exist."""
    known = {"file" if name == "train_file" else name for name in settings.data} & set(ELSEWHERE)
    for name in ELSEWHERE:
        if given[name] is not None and name not in known:
            raise ConfigError(
                f"data.{name}: the data of this run has no such setting",
                where="command line",
                next_step=f"name other samples: {' or '.join(f'data.{one}=' for one in sorted(known)) or 'nothing'}",
            )
    for name in ("file", "dir"):
        if given[name] is not None and not at_home(given[name]).exists():
            raise DataError(
                f"there is no such {'file' if name == 'file' else 'folder'}",
                where=given[name],
                next_step=f"data.{name}=<path of other labelled samples>",
            )
    column = (given.split_column or settings.data.split_column) if "split_column" in settings.data else None
    if given.file is not None and column is not None:
        quotes = settings.data.get("quotes") if given.quotes is None else given.quotes
        _require_split(at_home(given.file), column, quotes)
    alone: dict[str, str | None] = {}
    if given.file is not None and "train_file" in settings.data:
        alone = {"dir": None, "train_file": given.file, "val_file": None, "test_file": None}
        given = OmegaConf.create({**given, "file": None})
    elif given.file is not None:
        alone = {key: None for key in ("val_file", "test_file") if key in settings.data}
    elif given.test_split is not None:
        alone = {"train_split": given.test_split, "val_split": None, "test_split": None}
        given = OmegaConf.create({**given, "test_split": None})
    settings = settings.copy()
    OmegaConf.update(settings, "data", alone, merge=True)
    return amended(settings, data=given)


def _require_split(file: Path, column: str, quotes: bool | None) -> None:
    """Raises DataError if the table lacks the column that names the split of each row."""
    names = column_names(file, quotes)
    if normalised(column) not in map(normalised, names):
        raise DataError(
            f"there is no column '{column}', which names the split of each row: {close_names(column, names)}",
            where=file,
            next_step=f"to score all rows, add a column '{column}' with test in each of them; or "
            "data.split_column=<the column of the splits>",
        )


def _typed(cfg: DictConfig) -> list[str]:
    """The settings of this command that select the run and its checkpoint."""
    named = [f"run={hydra_quoted(str(cfg.run))}", *(["trust=true"] if cfg.trust else [])]
    return named + ([f"checkpoint={cfg.checkpoint}"] if cfg.checkpoint != "best" else [])


def _built(
    settings: DictConfig, record: Record, *, elsewhere: bool, how: list[str], again: list[str]
) -> tuple[Built, bool]:
    """Build the objects; also return whether the samples are the run's own, by fingerprint. elsewhere: whether the user
    named samples, which may be the run's own in a new place. how: settings that say how to read them. again: the other
    settings of this command."""
    if elsewhere:
        built = build(
            settings, load_weights=False, logs=False, known=Targets.of(completed_targets(record.data["targets"]))
        )
        if not is_data_of(built.data, record.data):
            return built, False
    built = build(settings, load_weights=False, logs=False)
    if not is_data_of(built.data, record.data):
        if how:
            raise RunError(
                f"{', '.join(how)}: for other samples, named by data.{' or data.'.join(ELSEWHERE[:2])}; the run's own "
                "test split is read as in training",
                where=built.data.where,
                next_step=f"leave {', '.join(how)} out",
            )
        raise RunError(
            "this is not the data that the run was trained and tested on",
            where=built.data.where,
            next_step=f"restore it{_or_score_it(built.data, again)}",
        )
    if elsewhere and built.trainer.is_global_zero:  # such as data.dir= for a table whose paths are absolute
        print(f"data  {_samples_of(built.data)}: this run's own test split")
    return built, True


def _samples_of(data: Data) -> str:
    return shown(f"{len(data.test_split):,} {data.modality.samples} of {data.where}")


def _tell(data: Data, folder: Path, record: Record) -> None:
    """folder: of the run."""
    print(f"data  {_samples_of(data)}: not this run's own test split")
    counts = data.target.counts(data.names, data.test_split.labels)
    missing = [name for name, count in counts.items() if not count]
    absent = [f"no samples of: {few(missing, 10)}"] if missing else []
    for note in [*_seen(data, folder, record), *absent, *data.notes()]:
        print(f"  {shown(note)}")


def _seen(data: Data, folder: Path, record: Record) -> list[str]:
    """A sentence if the run learned from some of these samples, or chose its epoch by them."""
    split, samples = data.test_split, data.modality.samples
    sizes = {name: record.data[f"num_{name}"] for name in SPLITS}
    found = numbers_seen(folder, split.digests(), sizes)
    if found is None:
        return [f"whether training {samples} of this run are among them is not known: the run stored no sample digests"]
    kinds = {"train": "training", "val": "validation"}
    same = [
        f"{number:,} of {len(split):,} are the same as {kinds[name]} {samples}"
        for name, number in found.items()
        if number
    ]
    return [f"{', '.join(same)} of this run: scores on them say little about other {samples}"] if same else []


def _or_score_it(data: Data, again: list[str]) -> str:
    if not data.reader.named_by:
        return ""
    command = command_of("evaluate", *again, **{data.reader.named_by: data.where})
    return f"; or {command}  # scores all samples, including training samples"
