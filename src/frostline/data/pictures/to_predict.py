"""Pictures without labels, for predictions."""

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
from frostline.data.parts import Part, Transfers, loader
from frostline.data.pictures.files import passed_note, picture_files
from frostline.data.pictures.paths import PicturePaths
from frostline.data.pictures.preprocess import evaluation_view
from frostline.data.pictures.reading import Box, named, problem_of, resized
from frostline.data.pictures.sources import FilePictures
from frostline.data.pictures.tiles import Tile
from frostline.data.tables.formats import column_names, read_table
from frostline.data.tables.table import Row, normalised
from frostline.errors import DataError, few, shortened
from frostline.faults import of_each
from frostline.quoting import setting_of

BROKEN = -1  # in the place of a class
PATHS = ("path", "file", "filename", "image")  # usual names of a column of paths


class Readable(FilePictures):
    """Files, and pictures that are open. One that cannot be read is a black picture with BROKEN for its class: it does
    not cost the others.

    tiles: the part of its picture that each sample shows, and is predicted for; None for all of it.
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
        """And the size of each tile."""
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
    """In order; each is decoded when it is asked for. whole: of each picture that came, whether it could be read."""

    def __init__(self, pictures: Readable, *, batch_size: int, num_workers: int | None) -> None:
        super().__init__()
        self.num_workers = num_workers
        self.whole: list[bool] = []
        self.pictures = pictures
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        part = Part(self.pictures, torch.arange(len(self.pictures.files)), scored=True)
        return loader(part, EpochBatches(len(part), self.batch_size, shuffle=False, seed=0), self.num_workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        self.whole += (batch.targets != BROKEN).tolist()
        return batch._replace(inputs=evaluation_view(batch.pictures, self.pictures.spec, cut=self.pictures.cut))


class Unlabelled(NamedTuple):
    """where: each picture is named. given: columns of the input, a cell for each picture. problems: of what cannot be
    read. notes: how the rest was."""

    files: list[Path]
    where: list[str]
    given: dict[str, list[str]]
    problems: list[DataError]
    notes: list[str]

    def without(self, places: Collection[int], spec: ImageSpec) -> "Unlabelled":
        """Without these pictures, which do not decode."""
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
            what = "it could not be read during the prediction, and decodes now"
            error = DataError(what, where=self.files[place], next_step="predict it again")
        return DataError(error.what, where=self.where[place], next_step=error.next_step)


def files_of(source: Path) -> Unlabelled:
    """A picture, or those at or below a folder."""
    if source.is_file():
        files, notes = [source], []
    else:
        files, passed = picture_files(source)
        notes = passed_note(passed)
    names = [str(file) for file in files]
    return Unlabelled(files, names, {"file": names}, [], notes)


def files_in_table(file: Path, column: str | None, paths: PicturePaths, quotes: bool | None) -> Unlabelled:
    """Those that a table names, with its further columns. column: of the paths; None: one of PATHS. quotes: see
    `read_fields`. Raises DataError, except for single lines."""
    column = _path_column(column_names(file, quotes), file) if column is None else column
    problems: list[DataError] = []
    wanted = {column: "data.path_column"}
    table = read_table(file, wanted, verbatim=[column], quotes=quotes, others=True, problems=problems)

    def found(row: Row) -> tuple[Row, Path]:
        return row, paths.find(row.cells[column].strip(), row.where)

    rows = of_each(found, table.rows, problems=problems)
    names = dict.fromkeys(name for row, _ in rows for name in row.cells)  # objects of JSON may have further ones
    return Unlabelled(
        [picture for _, picture in rows],
        [f"{picture} ({row.where})" for row, picture in rows],
        {name: [row.cells.get(name, "") for row, _ in rows] for name in names},
        problems,
        [*table.notes, *paths.notes()],
    )


def _path_column(names: list[str], file: Path) -> str:
    """Raises DataError unless exactly one of the names is of PATHS, in letters of any case."""
    usual = [name for name in names if normalised(name).lower() in PATHS]
    if len(usual) == 1:
        return usual[0]
    if not names:
        raise DataError("the table is empty", where=file, next_step=f"a first line of names: {PATHS[0]}")
    said = f"{few(usual)} could each hold the paths" if usual else f"no column is named {', '.join(PATHS)}"
    raise DataError(
        f"{said}; the columns are {few([shortened(name) for name in names])}",
        where=file,
        next_step=f"{setting_of('data.path_column', next(filter(None, usual or names), PATHS[0]))}, or another of the "
        "columns",
    )
