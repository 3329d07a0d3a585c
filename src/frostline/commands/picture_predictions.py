"""Predict pictures: one file, all at or below a folder, or those that a table names."""

import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from PIL import Image
from torch import Tensor

from frostline.commands.predicted import STANDARD_INPUT, Predicted
from frostline.commands.trained import Network
from frostline.contracts.specs import ImageSpec
from frostline.data.pictures.grey import Range, chosen_range, deep_of, grey_notes
from frostline.data.pictures.paths import PicturePaths
from frostline.data.pictures.reading import upright_size, upright_size_of
from frostline.data.pictures.tiles import Tile, joined, tiles_of
from frostline.data.pictures.to_predict import PictureFiles, Readable, Unlabelled, files_in_table, files_of
from frostline.data.tables.formats import SUFFIXES
from frostline.errors import ConfigError, DataError
from frostline.faults import together
from frostline.paths import at_home

PICTURES = f"a picture, a folder with pictures at or below it, or a table ({', '.join(SUFFIXES)}) of their paths"
LINES = ".txt"


def picture_columns(cfg: DictConfig, network: Network) -> Predicted:
    """Predict the pictures of `cfg.input`. Raises DataError if none can be read."""
    if cfg.text is not None or cfg.input == STANDARD_INPUT:
        raise DataError("this run takes pictures, not text", where="text, input", next_step=f"input=<{PICTURES}>")
    found = _read(Path(cfg.input), cfg, network.settings)
    grey = _grey(found.files, network.settings.data.get("grey_range"))
    rows, problems = picture_values(network, found.files, root=Path(cfg.input), grey=grey, batch_size=cfg.batch_size)
    found = found.without(problems, picture_spec(network))
    if not found.files:
        raise unreadable_pictures(found.problems)
    task, predictions = network.task, [*rows.values()]
    return Predicted(
        found.given, task.columns(predictions, cfg.top_k), found.problems, [task.files(row) for row in predictions]
    )


def picture_spec(network: Network) -> ImageSpec:
    spec, data = network.spec, network.settings.data
    assert isinstance(spec, ImageSpec)
    spec, sides = spec.at(data.image_size), data.get("sides")
    return spec if sides is None else replace(spec, stretched=(sides[0], sides[1]))


def picture_values(
    network: Network,
    pictures: Sequence[Path | Image.Image],
    *,
    root: Path,
    grey: Range | None,
    batch_size: int,
    num_workers: int | None = None,
) -> tuple[dict[int, Tensor], set[int]]:
    """Return predictions by the index of the picture, in ascending order, and the indices of unreadable pictures.
    num_workers: decoding processes; None for one per core; 0 decodes all pictures first, in threads."""
    spec, tiles = picture_spec(network), None
    if spec.stretched is not None:
        tiles = [_tiles(picture, network.settings.data.tile) for picture in pictures]
    owners = [place for place in range(len(pictures)) for _ in (tiles[place] if tiles else [None])]
    source = Readable(
        [pictures[place] for place in owners],
        root=root,
        spec=spec,
        grey=grey,
        tiles=[tile for some in tiles for tile in some] if tiles else None,
    )
    if num_workers == 0:
        source.hold()
    data = PictureFiles(source, batch_size=batch_size, num_workers=num_workers)
    each = [*network.predictions(data)]
    broken = {owner for owner, whole in zip(owners, data.whole, strict=True) if not whole}
    whole = [owner for owner in dict.fromkeys(owners) if owner not in broken]
    return {owner: _of_file(owner, owners, each, tiles) for owner in whole}, broken


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


def _read(source: Path, cfg: DictConfig, settings: DictConfig) -> Unlabelled:
    """Find the pictures to predict, at least one. Raises DataError if there is none."""
    suffix = source.suffix.lower()
    if source.is_file() and suffix == LINES:
        raise DataError("this run takes pictures, but this is text", where=source, next_step=f"input=<{PICTURES}>")
    if source.is_file() and suffix in SUFFIXES:
        folder = _said(cfg, "dir")
        own = _said(cfg, "suffix")
        paths = PicturePaths(
            at_home(folder) if folder is not None else source.parent,
            settings.data.get("suffix") or "" if own is None else own,
            source.parent,
        )
        column = _said(cfg, "path_column") or settings.data.get("path_column")
        quotes = settings.data.get("quotes") if cfg.data.quotes is None else cfg.data.quotes
        found = files_in_table(source, column, paths, quotes)
    else:
        found = files_of(source)
    for note in found.notes:
        print(f"frostline: {note}", file=sys.stderr)
    if found.problems and not found.files:
        raise unreadable_pictures(found.problems)
    if not found.files:
        raise DataError("there is no picture", where=source, next_step=f"input=<{PICTURES}>")
    return found


def _said(cfg: DictConfig, key: str) -> str | None:
    """Read a text setting for a table of pictures. Raises ConfigError if it is no text or number."""
    value = cfg.data[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ConfigError(
            f"data.{key} is text, not {value}", where="command line", next_step=f"data.{key}=null is as in the run"
        )
    return None if value is None else str(value)


def _grey(files: Sequence[Path], setting: Any) -> Range | None:
    """Scale pictures by `setting`, the run's range, or without one each by its own, so that a prediction never depends
    on the other pictures."""
    deep = deep_of(files)
    grey = chosen_range(list(setting) if isinstance(setting, ListConfig) else "each", deep)
    for line in grey_notes(deep, grey):
        print(f"frostline: {line}", file=sys.stderr)
    return grey


def unreadable_pictures(errors: Sequence[DataError], besides: str = "") -> DataError:
    return together(errors, "pictures cannot be read", None, besides)
