"""Find and load pictures without labels, for prediction."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.contracts.batch import Batch
from frostline.contracts.specs import ImageSpec
from frostline.data.loader import EpochBatches
from frostline.data.pictures.files import passed_note, picture_files
from frostline.data.pictures.paths import PicturePaths
from frostline.data.pictures.preprocess import Preprocess
from frostline.data.pictures.reading import Box, named, problem_of, resized
from frostline.data.pictures.sources import FilePictures
from frostline.data.pictures.tiles import Tile
from frostline.data.split import Split, Transfers, loader
from frostline.data.tables.formats import column_names, read_table
from frostline.data.tables.table import Row, normalised
from frostline.errors import DataError, few, shortened
from frostline.faults import of_each
from frostline.quoting import setting_of

BROKEN = -1  # label of a picture that cannot be read
PATHS = ("path", "file", "filename", "image")  # usual names of the column of paths


class Readable(FilePictures):
    """Pictures in files or open ones. An unreadable one becomes a black picture with the label BROKEN, so that the
    others are still predicted.

    tiles: the tile of its picture that each sample shows; None if samples are whole pictures.
    """

    def __init__(
        self, pictures: Sequence[Path | Image.Image], *, tiles: Sequence[Tile] | None = None, **common: Any
    ) -> None:
        files = [it if isinstance(it, Path) else Path() for it in pictures]
        super().__init__(files, torch.zeros(len(files), dtype=torch.long), **common)
        self.pictures = pictures
        self.tiles = tiles

    def box_of(self, place: int) -> Box | None:
        return None if self.tiles is None else self.tiles[place].box

    def scored_targets(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Labels, and the size of each tile (B, 2)."""
        if self.tiles is None:
            return self.targets(index), None
        boxes = torch.tensor([self.tiles[place].box for place in index.tolist()])
        return self.targets(index), boxes[:, [3, 2]] - boxes[:, [1, 0]]

    def _read(self, place: int) -> Tensor:
        picture = self.pictures[place]
        try:
            if isinstance(picture, Path):
                return super()._read(place)
            with named(f"picture {place + 1}"):
                return resized(picture, self.spec, self.grey, self.box_of(place))
        except DataError:
            self.labels[place] = BROKEN
            sides = self.spec.stretched or (self.spec.resize, self.spec.resize)
            return torch.zeros(3, *sides, dtype=torch.uint8)


class PictureFiles(Transfers):
    """Loads pictures in order, and decodes them on access. whole: whether each loaded picture could be read."""

    def __init__(self, pictures: Readable, *, batch_size: int, num_workers: int | None) -> None:
        super().__init__()
        self.num_workers = num_workers
        self.whole: list[bool] = []
        self.pictures = pictures
        self.batch_size = batch_size
        self.preprocess = Preprocess(pictures.spec, cut=pictures.cut)

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        split = Split(self.pictures, torch.arange(len(self.pictures.files)), scored=True)
        return loader(split, EpochBatches(len(split), self.batch_size, shuffle=False, seed=0), self.num_workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        self.whole += (batch.targets != BROKEN).tolist()
        return batch._replace(inputs=self.preprocess(batch.pictures))


class Unlabelled(NamedTuple):
    """where: location of each picture, for messages. given: columns of the input, one cell per picture. problems:
    errors of samples that cannot be read. notes: sentences for the user."""

    files: list[Path]
    where: list[str]
    given: dict[str, list[str]]
    problems: list[DataError]
    notes: list[str]

    def without(self, places: Collection[int], spec: ImageSpec) -> "Unlabelled":
        """Remove pictures that do not decode, and add their errors to `problems`."""
        kept = [place for place in range(len(self.files)) if place not in places]
        return Unlabelled(
            [self.files[place] for place in kept],
            [self.where[place] for place in kept],
            {name: [cells[place] for place in kept] for name, cells in self.given.items()},
            [*self.problems, *(self._problem(place, spec) for place in sorted(places))],
            self.notes,
        )

    def _problem(self, place: int, spec: ImageSpec) -> DataError:
        error = problem_of(self.files[place], spec)
        if error is None:
            what = "it could not be read during the prediction, but decodes now"
            error = DataError(what, where=self.files[place], next_step="predict it again")
        return DataError(error.what, where=self.where[place], next_step=error.next_step)


def files_of(source: Path) -> Unlabelled:
    """Find a single picture, or all at or below a folder."""
    if source.is_file():
        files, notes = [source], []
    else:
        files, passed = picture_files(source)
        notes = passed_note(passed)
    names = [str(file) for file in files]
    return Unlabelled(files, names, {"file": names}, [], notes)


def files_in_table(file: Path, column: str | None, paths: PicturePaths, quotes: bool | None) -> Unlabelled:
    """Find the pictures that a table lists, with its further columns. column: of paths; None for the one named in
    PATHS. quotes: see `read_fields`. Raises DataError; errors of single lines become `problems`."""
    column = _path_column(column_names(file, quotes), file) if column is None else column
    problems: list[DataError] = []
    wanted = {column: "data.path_column"}
    table = read_table(file, wanted, verbatim=[column], quotes=quotes, others=True, problems=problems)

    def found(row: Row) -> tuple[Row, Path]:
        return row, paths.find(row.cells[column].strip(), row.where)

    rows = of_each(found, table.rows, problems=problems)
    names = dict.fromkeys(name for row, _ in rows for name in row.cells)  # JSON objects may differ in their names
    return Unlabelled(
        [picture for _, picture in rows],
        [f"{picture} ({row.where})" for row, picture in rows],
        {name: [row.cells.get(name, "") for row, _ in rows] for name in names},
        problems,
        [*table.notes, *paths.notes()],
    )


def _path_column(names: list[str], file: Path) -> str:
    """Return the only name in PATHS, ignoring case. Raises DataError unless there is exactly one."""
    usual = [name for name in names if normalised(name).lower() in PATHS]
    if len(usual) == 1:
        return usual[0]
    if not names:
        raise DataError(
            "the table is empty", where=file, next_step=f"write column names into the first line: {PATHS[0]}"
        )
    said = f"{few(usual)} could each hold the paths" if usual else f"no column is named {', '.join(PATHS)}"
    raise DataError(
        f"{said}; the columns are {few([shortened(name) for name in names])}",
        where=file,
        next_step=f"{setting_of('data.path_column', next(filter(None, usual or names), PATHS[0]))}, or another column",
    )
