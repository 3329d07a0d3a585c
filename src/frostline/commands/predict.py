"""Predict each picture, text or word with a trained run, and write a table."""

import csv
import sys
import tempfile
from errno import EEXIST, EISDIR
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from frostline.commands.calibrated import calibrated
from frostline.commands.checks import check
from frostline.commands.confidence import Confidence, confidence, is_by_time
from frostline.commands.predicted import folder_of, require_free, write_files
from frostline.commands.train import quiet
from frostline.commands.trained import Network
from frostline.data.predicting import STANDARD_INPUT, Asked, Columns, Predicting
from frostline.data.tables.formats import SUFFIXES
from frostline.errors import ConfigError, DataError, shown
from frostline.paths import write_atomically
from frostline.runs.folder import amended
from frostline.runs.record import Record
from frostline.tasks.base import Task

FORMULA = ("=", "@", "+cmd", "-cmd")  # OWASP, "CSV Injection"; + and - alone also begin numbers
CUT_OFF = "; it was fitted on texts that were cut off, not on means of windows"
MOST_HEADER = 1_000_000  # characters of the first line of a table


def predict(cfg: DictConfig, record: Record, settings: DictConfig) -> Path | None:
    """Write a CSV, or print it if `output` is null: the columns of the input, then those of the run's task. A single
    prediction is always printed. record, settings: of the run, `opened`. Raises ConfigError, DataError, RunError; for
    samples that cannot be read, only after the predictions of the others are written."""
    quiet()
    settings = amended(settings, trainer=cfg.trainer, model=cfg.model)
    check(settings, command=None)
    output = Path(cfg.output).absolute() if cfg.output is not None else None
    network = Network(settings, Path(cfg.run), cfg.checkpoint)
    predicting = network.predicting()
    if output is not None:
        require_writable(output, Path(cfg.input or STANDARD_INPUT), predicting)
    require_used(cfg, predicting)
    _require_drawn(cfg, network.task)
    if cfg.threshold is not None:
        _set_threshold(network.task, cfg.threshold)
    if output is not None and network.task.gives_files:
        require_free(output)
    sure = _confidence(cfg, record, network.task, by_time=is_by_time(settings))
    data = {str(name): value for name, value in cfg.data.items()}
    found = predicting.of_input(Asked(cfg.input, cfg.text, cfg.batch_size, cfg.top_k, data, cfg.pictures))
    beside = write_files(found, output)
    predicted = sure.columns(found.predicted, found.values)
    for note in sure.outcome(found.values):
        print(f"frostline: {note}", file=sys.stderr)
    columns = _beside(found.given, beside | predicted)
    tell_formulas(columns)
    write_table(columns, output, cfg.output)
    if found.problems:
        number = len(next(iter(columns.values())))
        others = f"; the other {number:,} have predictions" if number > 1 else "; the other one has a prediction"
        raise predicting.unreadable(found.problems, others)
    return output


def _confidence(cfg: DictConfig, record: Record, task: Task, *, by_time: bool = False) -> Confidence:
    """Calibrate the task, and print what its probabilities, answers and sets go by. by_time: see `confidence`. Raises
    ConfigError, RunError."""
    if cfg.data.get("windows") and (cfg.abstain is not None or cfg.conformal is not None):
        raise ConfigError(
            "abstain and conformal go by validation texts that were cut off, not read in windows",
            where="data.windows",
            next_step="leave data.windows=true out, or abstain= and conformal=",
        )
    probabilities = calibrated(record, cfg.checkpoint, task, cfg.calibration)
    promised = {"abstain": cfg.abstain, "conformal": cfg.conformal}
    found = confidence(Path(cfg.run), record, task, cfg.checkpoint, **promised, by_time=by_time)
    windows = bool(cfg.data.get("windows")) and probabilities.temperature is not None
    for note in [f"{probabilities.note}{CUT_OFF if windows else ''}", *found.notes]:
        if note:
            print(f"frostline: {note}", file=sys.stderr)
    return found


def require_used(cfg: DictConfig, predicting: Predicting) -> None:
    """Raise ConfigError for a `data` setting that does not apply to this input."""
    is_table = cfg.input is not None and Path(cfg.input).suffix.lower() in SUFFIXES and Path(cfg.input).is_file()
    used = predicting.file_settings | (predicting.table_settings if is_table else set())
    unset = {"windows": False}
    typed = [name for name, value in cfg.data.items() if name not in used and value is not unset.get(str(name))]
    if typed:
        what = predicting.samples
        raise ConfigError(
            f"data.{typed[0]} does not apply to {f'a table of {what}' if is_table else what}",
            where="command line",
            next_step=f"leave data.{typed[0]}= out",
        )


def _require_drawn(cfg: DictConfig, task: Task) -> None:
    """Raise ConfigError if `pictures=true` cannot be done."""
    if cfg.pictures and not task.draws:
        raise ConfigError(
            "this run predicts nothing that can be drawn on pictures, as boxes and classes of pixels can",
            where="pictures",
            next_step="leave pictures=true out",
        )
    if cfg.pictures and cfg.output is None:
        raise ConfigError(
            "the drawn pictures need a folder beside a table", where="pictures", next_step="output=predictions.csv"
        )


def _set_threshold(task: Task, threshold: Any) -> None:
    """Raise ConfigError if the task has none, or for a number that is none."""
    if not hasattr(task, "threshold"):
        raise ConfigError("this run's task has no threshold", where="threshold", next_step="leave threshold= out")
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold < 1:
        raise ConfigError(
            f"a threshold is a number from 0 to below 1, not {threshold}", where="threshold", next_step="threshold=0.5"
        )
    setattr(task, "threshold", float(threshold))  # noqa: B010  # no attribute of every task


def write_table(columns: Columns, output: Path | None, typed: str | None) -> None:
    """Write or (output=None) print the table. typed: the output as the user typed it."""
    if output is None:
        table = _table(columns)
        print(shown(table) if sys.stdout.isatty() else table, end="", flush=True)
        return
    write_atomically(output, _table(columns))
    number = len(next(iter(columns.values())))
    print(f"{number} prediction{'s' * (number > 1)} in {typed}")
    if number == 1:
        width = max(map(len, columns))
        print(shown("".join(f"  {name:{width}}   {value}\n" for name, (value,) in columns.items())), end="")


def tell_formulas(columns: Columns) -> None:
    """Warn of cells that spreadsheets execute: class names come from the maker of the run, texts from anybody."""
    number = sum(cell.startswith(FORMULA) for cells in columns.values() for cell in cells)
    if number:
        print(f"frostline: {number:,} cells begin like spreadsheet formulas: import them as text", file=sys.stderr)


def _beside(given: Columns, predicted: Columns) -> Columns:
    """Merge the columns, and rename an input column that has the name of a predicted one, so that both are written."""
    named: Columns = {}
    for name, cells in given.items():
        own = name
        while own in predicted or own in named:
            own += " (input)"
        named[own] = cells
    return named | predicted


def require_writable(output: Path, source: Path, predicting: Predicting) -> None:
    """Raise DataError if the output cannot be written, is part of the input under any name, or is an existing file
    other than a table of predictions."""
    try:
        if output.is_symlink() or (output.exists() and not output.is_file()):
            raise OSError(EISDIR, "it is a folder, a link or a device")
        place = output.resolve()
        if output.exists() and (place == source.resolve() or place in _inside(source, predicting)):
            raise OSError(EEXIST, "it is part of the input")
        if output.exists() and not _is_predictions(output):
            raise OSError(EEXIST, "it is not a table of predictions, so it is not overwritten")
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise DataError(
            f"the predictions cannot be written there: {error.strerror}",
            where=output,
            next_step="output=<a new file>.csv in a writable folder",
        ) from error


def _is_predictions(file: Path) -> bool:
    """Whether, by its header, an earlier prediction wrote the file. False for regression, whose header can be any."""
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        try:
            header = next(csv.reader([lines.readline(MOST_HEADER)]), [])
        except csv.Error:
            return False
    if "objects" in header:
        return folder_of(file).is_dir()  # a user's own table has no such folder beside it
    answers = {"label", "labels", "tag", "answer"} & set(header)
    return bool(answers) and any(name.startswith(("probability", "share", "similarity")) for name in header)


def _inside(source: Path, predicting: Predicting) -> list[Path]:
    return [file.resolve() for file in predicting.files_in(source)] if source.is_dir() else []


class _Lines(list[str]):
    def write(self, line: str) -> None:
        self.append(line)


def _table(columns: Columns) -> str:
    lines = _Lines()
    writer = csv.writer(lines)  # with lineterminator="\n", Python before 3.13 leaves cells that hold \r unquoted
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return "".join(f"{line.removesuffix(writer.dialect.lineterminator)}\n" for line in lines)
