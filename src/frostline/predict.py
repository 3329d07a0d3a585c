"""What a trained run says of each picture, text or word, as a table."""

import csv
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from errno import EEXIST, EISDIR
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, ListConfig

from frostline.build import predictor
from frostline.checkpoint import load_state, read_checkpoint, require_finite_weights
from frostline.checks import check
from frostline.data.grey import Range, chosen_range, deep_of, grey_notes
from frostline.data.picture_files import passed_note, picture_files
from frostline.data.pictures import problem_of, unreadable
from frostline.data.unlabelled import PictureFiles, Readable
from frostline.errors import DataError, shown
from frostline.finetuner import CHECKPOINT_KEY, FineTuner
from frostline.paths import write_atomically
from frostline.run import quiet
from frostline.runs import amended, require_checkpoint
from frostline.specs import ImageSpec, TextSpec
from frostline.targets import Targets
from frostline.text_predictions import STANDARD_INPUT, Columns, text_columns, unreadable_texts

PICTURES = "a picture, or a folder with pictures at or below it"
NO_PICTURES = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
FORMULA = ("=", "@", "+cmd", "-cmd")  # OWASP, "CSV Injection"; a + or - begins a number as well
MOST_HEADER = 1_000_000  # characters of the first line of a table


def predict(cfg: DictConfig, settings: DictConfig) -> Path | None:
    """Writes a CSV, or prints it where no file is named: file, text or word, then the columns of the run's task. A
    single answer is printed in any case. settings: of the run, opened. Raises DataError, RunError."""
    quiet()
    settings = amended(settings, trainer=cfg.trainer)
    check(settings, command=None)
    output = Path(cfg.output).absolute() if cfg.output is not None else None
    if output is not None:
        _require_writable(output, Path(cfg.input or STANDARD_INPUT))
    checkpoint = require_checkpoint(Path(cfg.run), cfg.checkpoint)
    content = read_checkpoint(checkpoint)
    require_finite_weights(content, checkpoint)
    model, trainer = predictor(settings, Targets(**content[CHECKPOINT_KEY]["identity"]["targets"]))
    load_state(model, content["state_dict"], checkpoint)
    of_texts = isinstance(model.backbone.spec, TextSpec)
    given, told, problems = (text_columns if of_texts else _of_pictures)(cfg, settings, model, trainer)
    columns = _beside(given, told)
    _tell_formulas(columns)
    _write(columns, output, cfg.output)
    if problems:
        others = f"; the other {len(next(iter(columns.values()))):,} have predictions"
        raise (unreadable_texts if of_texts else unreadable)(problems, others)
    return output


def _write(columns: Columns, output: Path | None, said: str | None) -> None:
    """output: None prints them. said: as the user names it."""
    if output is None:
        table = _table(columns)
        print(shown(table) if sys.stdout.isatty() else table, end="", flush=True)
        return
    write_atomically(output, _table(columns))
    number = len(next(iter(columns.values())))
    print(f"{number} prediction{'s' * (number > 1)} in {said}")
    if number == 1:
        width = max(map(len, columns))
        print(shown("".join(f"  {name:{width}}   {value}\n" for name, (value,) in columns.items())), end="")


def _of_pictures(
    cfg: DictConfig, settings: DictConfig, model: FineTuner, trainer: L.Trainer
) -> tuple[Columns, Columns, list[DataError]]:
    """Of the pictures that can be read: which they are, and what is told of them; and why the others cannot."""
    if cfg.text is not None or cfg.input == STANDARD_INPUT:
        raise DataError("this run takes pictures, and no text", where="text, input", next_step=f"input=<{PICTURES}>")
    source, spec = Path(cfg.input), model.backbone.spec
    assert isinstance(spec, ImageSpec)
    files = _files(source)
    spec = spec.at(settings.data.image_size)
    grey = _grey(files, settings.data.get("grey_range"))
    pictures = Readable(files, torch.zeros(len(files), dtype=torch.long), root=source, spec=spec, grey=grey)
    data = PictureFiles(pictures, batch_size=cfg.batch_size)
    batches: Any = trainer.predict(model, datamodule=data)
    read = [file for file, whole in zip(files, data.whole, strict=True) if whole]
    broken = [file for file, whole in zip(files, data.whole, strict=True) if not whole]
    problems = [problem_of(file, spec) or _changed(file) for file in broken]
    if not read:
        raise unreadable(problems)
    rows = torch.cat(batches)[torch.tensor(data.whole)]
    return {"file": [str(file) for file in read]}, model.task.columns(rows, cfg.top_k), problems


def _grey(files: Sequence[Path], setting: Any) -> Range | None:
    """setting: the run's own range, in which these pictures are scaled; each by its own where the run had none: a
    prediction does not depend on the pictures beside it."""
    deep = deep_of(files)
    grey = chosen_range(list(setting) if isinstance(setting, ListConfig) else "each", deep)
    for line in grey_notes(deep, grey):
        print(f"frostline: {line}", file=sys.stderr)
    return grey


def _changed(file: Path) -> DataError:
    what = "it could not be read during the prediction, and decodes now"
    return DataError(what, where=file, next_step="predict it again")


def _tell_formulas(columns: Columns) -> None:
    """Say that spreadsheets would run a cell: a class may be called so by whoever made the run, a text by anybody."""
    number = sum(cell.startswith(FORMULA) for cells in columns.values() for cell in cells)
    if number:
        print(f"frostline: {number:,} cells begin as formulas of spreadsheets do: import them as text", file=sys.stderr)


def _beside(given: Columns, told: Columns) -> Columns:
    """A column of the input under the name of one that is told gets another, so that both are there."""
    named: Columns = {}
    for name, cells in given.items():
        own = name
        while own in told or own in named:
            own += " (input)"
        named[own] = cells
    return named | told


def _files(source: Path) -> list[Path]:
    if source.suffix.lower() in NO_PICTURES and source.is_file():
        raise DataError(
            "this run takes pictures, and this is text or a table", where=source, next_step=f"input=<{PICTURES}>"
        )
    files, passed = ([source], Counter[str]()) if source.is_file() else picture_files(source)
    for line in passed_note(passed):
        print(f"frostline: {line}", file=sys.stderr)
    if not files:
        raise DataError("there is no picture", where=source, next_step=f"input=<{PICTURES}>")
    return files


def _require_writable(output: Path, source: Path) -> None:
    """Raises DataError, also where it is part of the input by any name, or any file but a table of predictions."""
    try:
        if output.is_symlink() or (output.exists() and not output.is_file()):
            raise OSError(EISDIR, "it is a folder, a link or a device")
        place = output.resolve()
        if output.exists() and (place == source.resolve() or place in _inside(source)):
            raise OSError(EEXIST, "it is part of the input")
        if output.exists() and not _is_predictions(output):
            raise OSError(EEXIST, "it is no table of predictions, and is not overwritten")
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise DataError(
            f"the predictions cannot be written there: {error.strerror}",
            where=output,
            next_step="output=<a new file>.csv in a folder of yours",
        ) from error


def _is_predictions(file: Path) -> bool:
    """Whether an earlier prediction wrote it, by its header. One of numbers alone looks like any other table."""
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        try:
            header = next(csv.reader([lines.readline(MOST_HEADER)]), [])
        except csv.Error:
            return False
    answers = {"label", "labels", "tag"} & set(header)
    return bool(answers) and any(name.startswith("probability") for name in header)


def _inside(source: Path) -> list[Path]:
    return [file.resolve() for file in picture_files(source).files] if source.is_dir() else []


class _Lines(list[str]):
    def write(self, line: str) -> None:
        self.append(line)


def _table(columns: Columns) -> str:
    lines = _Lines()
    writer = csv.writer(lines)  # with an end of \n, Python before 3.13 does not quote a cell that holds \r
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return "".join(f"{line.removesuffix(writer.dialect.lineterminator)}\n" for line in lines)
