"""What a trained run says of each picture, as a table."""

import csv
import io
import tempfile
from errno import EEXIST, EISDIR
from pathlib import Path

import torch
from omegaconf import DictConfig

from frostline.build import predictor
from frostline.checkpoint import load_state, read_checkpoint
from frostline.checks import check
from frostline.data.image_folder import picture_files
from frostline.data.pictures import FilePictures
from frostline.data.unlabelled import PictureFiles
from frostline.errors import DataError
from frostline.finetuner import CHECKPOINT_KEY
from frostline.paths import write_atomically
from frostline.run import quiet
from frostline.runs import amended, read_run, require_checkpoint
from frostline.specs import ImageSpec
from frostline.targets import Targets


def predict(cfg: DictConfig) -> Path:
    """Writes a CSV: file, then the columns of the run's task. Raises DataError, RunError."""
    quiet()
    _, settings = read_run(Path(cfg.run))
    settings = amended(settings, trainer=cfg.trainer)
    check(settings)
    files = _files(Path(cfg.input))
    output = Path(cfg.output).absolute()
    _require_writable(output, files)
    checkpoint = require_checkpoint(Path(cfg.run), cfg.checkpoint)
    content = read_checkpoint(checkpoint)
    model, trainer = predictor(settings, Targets(**content[CHECKPOINT_KEY]["identity"]["targets"]))
    load_state(model, content, checkpoint)
    spec = model.backbone.spec
    assert isinstance(spec, ImageSpec)
    pictures = FilePictures(
        files, torch.zeros(len(files), dtype=torch.long), root=Path(cfg.input), spec=spec.at(settings.data.image_size)
    )
    batches = trainer.predict(model, datamodule=PictureFiles(pictures, batch_size=cfg.batch_size))
    assert batches is not None
    columns = model.task.columns(torch.cat(batches), cfg.top_k)  # type: ignore[arg-type]
    write_atomically(output, _table(files, columns))
    print(f"{len(files)} prediction{'s' * (len(files) > 1)} in {cfg.output}")
    return output


def _files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else picture_files(source) if source.is_dir() else []
    if not files:
        raise DataError(
            "there is no picture", where=source, next_step="input=<a picture, or a folder with pictures at or below it>"
        )
    return files


def _require_writable(output: Path, files: list[Path]) -> None:
    """Raises DataError, also where it is one of the pictures, or anything but a file."""
    try:
        if output.is_symlink() or (output.exists() and not output.is_file()):
            raise OSError(EISDIR, "it is a folder, a link or a device")
        if output in [file.absolute() for file in files]:
            raise OSError(EEXIST, "it is one of the pictures")
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise DataError(
            f"the predictions cannot be written there: {error.strerror}",
            where=output,
            next_step="output=<file>.csv in a folder of yours",
        ) from error


def _table(files: list[Path], columns: dict[str, list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *columns])
    writer.writerows(zip(files, *columns.values(), strict=True))
    return text.getvalue()
