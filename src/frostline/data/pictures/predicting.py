"""Predict pictures: one file, all files at or below a folder, those that a table lists, or samples in memory."""

import os
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.grey import Range, chosen_range, deep_of, grey_notes
from frostline.data.pictures.paths import PicturePaths
from frostline.data.pictures.reading import named, read_picture, resized, upright_size, upright_size_of
from frostline.data.pictures.tiles import Tile, joined, tiles_of
from frostline.data.pictures.to_predict import PictureFiles, Readable, Unlabelled, files_in_table, files_of
from frostline.data.predicting import STANDARD_INPUT, Asked, Opened, Predicted, Predicting, Prediction, cells
from frostline.data.tables.formats import SUFFIXES
from frostline.errors import ConfigError, DataError
from frostline.faults import together
from frostline.paths import at_home

PICTURES = f"a picture, a folder with pictures at or below it, or a table ({', '.join(SUFFIXES)}) of their paths"
LINES = ".txt"


class PicturePredicting(Predicting):
    """spec: of the network's input. grey_range: of the run, None if it has none. tile: height and width in pixels of
    the tiles into which larger pictures are cut; None cuts none."""

    samples = "pictures"
    table_settings = frozenset({"path_column", "dir", "suffix", "quotes"})

    def __init__(
        self, run: Opened, spec: ImageSpec, *, grey_range: Range | None, tile: Sequence[int] | None = None
    ) -> None:
        self.run = run
        self.spec = spec
        self.grey_range = grey_range
        self.tile = tile

    def of_input(self, asked: Asked) -> Predicted:
        if asked.text is not None or asked.input in (None, STANDARD_INPUT):
            raise DataError("this run takes pictures, not text", where="text, input", next_step=f"input=<{PICTURES}>")
        source = Path(str(asked.input))
        found = _read(source, asked.data, self.run.settings)
        grey = _grey(found.files, self.grey_range)
        rows, problems = self._values(found.files, root=source, grey=grey, batch_size=asked.batch_size)
        found = found.without(problems, self.spec)
        if not found.files:
            raise self.unreadable(found.problems)
        task, predictions = self.run.task, [*rows.values()]
        files = [task.files(row) for row in predictions]
        return Predicted(found.given, task.columns(predictions, asked.top_k), found.problems, files)

    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        pictures = [as_picture(sample, f"sample {start + place}") for place, sample in enumerate(samples)]
        rows, broken = self._values(pictures, root=Path(), grey=self.grey_range, batch_size=batch_size, num_workers=0)
        for place in sorted(broken):
            raise self._problem(pictures[place], f"sample {start + place}")
        return [Prediction(cells(self.run.task.columns([row], top_k)), row) for row in rows.values()]

    def unreadable(self, errors: Sequence[DataError], besides: str = "") -> DataError:
        return together(errors, "pictures cannot be read", None, besides)

    def _values(
        self,
        pictures: Sequence[Path | Image.Image],
        *,
        root: Path,
        grey: Range | None,
        batch_size: int,
        num_workers: int | None = None,
    ) -> tuple[dict[int, Tensor], set[int]]:
        """Return predictions by the index of the picture, in ascending order, and the indices of unreadable pictures.
        num_workers: decoding processes; None for one per core; 0 decodes all pictures first, in threads."""
        tiles = None if self.tile is None else [_tiles(picture, self.tile) for picture in pictures]
        owners = [place for place in range(len(pictures)) for _ in (tiles[place] if tiles else [None])]
        source = Readable(
            [pictures[place] for place in owners],
            root=root,
            spec=self.spec,
            grey=grey,
            tiles=[tile for some in tiles for tile in some] if tiles else None,
        )
        if num_workers == 0:
            source.hold()
        data = PictureFiles(source, batch_size=batch_size, num_workers=num_workers)
        each = [*self.run.predictions(data)]
        broken = {owner for owner, whole in zip(owners, data.whole, strict=True) if not whole}
        whole = [owner for owner in dict.fromkeys(owners) if owner not in broken]
        return {owner: _of_file(owner, owners, each, tiles) for owner in whole}, broken

    def _problem(self, picture: Path | Image.Image, where: str) -> DataError:
        """Read the picture again and return the error, with a next step for Python."""
        step = "repair it, or leave it out"
        try:
            if isinstance(picture, Path):
                read_picture(picture, self.spec)
            else:
                with named(where):
                    resized(picture, self.spec)
        except DataError as error:
            said = f"{picture} ({where})" if isinstance(picture, Path) else where
            return DataError(error.what, where=said, next_step=step)
        return DataError("it could not be read, but decodes now", where=where, next_step="predict it again")


def _tiles(picture: Path | Image.Image, tile: Sequence[int]) -> list[Tile]:
    """Cut a picture into tiles. If its size cannot be read, return one tile; decoding will report the error."""
    try:
        size = upright_size(picture) if isinstance(picture, Path) else upright_size_of(picture)
        return tiles_of(size, tile)
    except DataError:
        return tiles_of((tile[1], tile[0]), tile)


def _of_file(
    owner: int, owners: Sequence[int], each: Sequence[Tensor], tiles: Sequence[Sequence[Tile]] | None
) -> Tensor:
    """Return the prediction of a whole file, joined from its tiles. owners: file index per prediction, ascending."""
    start = bisect_left(owners, owner)
    return each[start] if tiles is None else joined(each[start : start + len(tiles[owner])], tiles[owner])


def _read(source: Path, asked: Mapping[str, Any], settings: Mapping[str, Any]) -> Unlabelled:
    """Find the pictures to predict, at least one. Raises DataError if there is none."""
    suffix = source.suffix.lower()
    if source.is_file() and suffix == LINES:
        raise DataError("this run takes pictures, but this is text", where=source, next_step=f"input=<{PICTURES}>")
    if source.is_file() and suffix in SUFFIXES:
        folder = _said(asked, "dir")
        own = _said(asked, "suffix")
        paths = PicturePaths(
            at_home(folder) if folder is not None else source.parent,
            settings.get("suffix") or "" if own is None else own,
            source.parent,
        )
        column = _said(asked, "path_column") or settings.get("path_column")
        quotes = settings.get("quotes") if asked["quotes"] is None else asked["quotes"]
        found = files_in_table(source, column, paths, quotes)
    else:
        found = files_of(source)
    for note in found.notes:
        print(f"frostline: {note}", file=sys.stderr)
    if found.problems and not found.files:
        raise together(found.problems, "pictures cannot be read")
    if not found.files:
        raise DataError("there is no picture", where=source, next_step=f"input=<{PICTURES}>")
    return found


def _said(asked: Mapping[str, Any], key: str) -> str | None:
    """Read a text setting for a table of pictures. Raises ConfigError if it is neither text nor a number."""
    value = asked[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ConfigError(
            f"data.{key} is text, not {value}", where="command line", next_step=f"data.{key}=null uses the run's value"
        )
    return None if value is None else str(value)


def _grey(files: Sequence[Path], setting: Range | None) -> Range | None:
    """Return the run's range (`setting`); None, each picture's own, if the run has none, so that a prediction never
    depends on other pictures. Prints notes on the pictures' depth."""
    deep = deep_of(files)
    grey = chosen_range("each" if setting is None else list(setting), deep)
    for line in grey_notes(deep, grey):
        print(f"frostline: {line}", file=sys.stderr)
    return grey


def as_picture(sample: Any, where: str) -> Path | Image.Image:
    """Convert a sample to a path or a PIL image. Raises DataError at `where` if it is not a picture."""
    if isinstance(sample, str | os.PathLike):
        file = at_home(os.fspath(sample))
        if not file.is_file():
            raise DataError("there is no such picture", where=f"{file} ({where})", next_step="correct the path")
        return file
    if isinstance(sample, Image.Image):
        return sample
    if isinstance(sample, Tensor):
        if sample.dtype != torch.uint8 or sample.ndim not in (2, 3):
            raise _no_picture(f"a tensor of {sample.dtype} with the shape {tuple(sample.shape)}", where)
        sample = (sample.movedim(0, -1) if sample.ndim == 3 else sample).cpu().numpy()
    if not isinstance(sample, np.ndarray):
        raise _no_picture(f"a {type(sample).__name__}", where)
    values = sample[..., 0] if sample.ndim == 3 and sample.shape[2] == 1 else sample
    try:
        return Image.fromarray(np.ascontiguousarray(values))
    except (TypeError, ValueError) as error:
        raise _no_picture(f"an array of {sample.dtype} with the shape {sample.shape}", where) from error


def _no_picture(what: str, where: str) -> DataError:
    return DataError(
        f"this is not a picture: {what}",
        where=where,
        next_step="pass a path, a PIL image, an array (H, W) or (H, W, 3) of uint8, or a uint8 tensor (3, H, W)",
    )
