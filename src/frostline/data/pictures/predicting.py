"""Predict pictures in files or in memory."""

import io
import sys
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from torch import Tensor

from frostline.contracts.specs import ImageSpec
from frostline.data.files.predicting import FilePredicting
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.grey import Range, Setting, fixed_range, range_of
from frostline.data.pictures.in_memory import OwnRanges, as_picture
from frostline.data.pictures.preprocess import Preprocess
from frostline.data.pictures.reading import (
    named,
    problem_of,
    read_picture,
    resized,
    to_rgb,
    upright_size,
    upright_size_of,
)
from frostline.data.pictures.tiles import Tile, joined, tiles_of
from frostline.data.pictures.to_predict import PictureFiles, Readable
from frostline.data.predicting import Opened, Prediction, cells
from frostline.errors import DataError

APART = "predict those of each kind apart, or save all of them as one type"


class PicturePredicting(FilePredicting):
    """spec: of the network's input. grey_range: the run's setting; None if its training pictures have 8 bits: files
    then have one range, chosen as in training, and samples in memory one each. tile: height and width in pixels of the
    tiles into which larger pictures are cut; None cuts none."""

    kind = PICTURES
    samples = "pictures"

    def __init__(self, run: Opened, spec: ImageSpec, *, grey_range: Setting, tile: Sequence[int] | None = None) -> None:
        super().__init__(run)
        self.spec = spec
        self.grey_range = grey_range
        self.own_ranges = OwnRanges(grey_range)
        self.grey: Range | None = None  # of the files that were read last
        self.tile = tile

    def values(self, files: Sequence[Path], *, root: Path, batch_size: int) -> tuple[dict[int, Tensor], set[int]]:
        self.grey, notes = range_of(files, self.grey_range, root, APART)
        for note in notes:
            print(f"frostline: {note}", file=sys.stderr)
        return self._values(files, root=root, grey=self.grey, batch_size=batch_size)

    def problem_of(self, file: Path) -> DataError | None:
        return problem_of(file, self.spec)

    def files_of(self, file: Path, prediction: Tensor, *, drawn: bool) -> dict[str, bytes]:
        """With `drawn`, also the picture with its prediction: `.drawn.png`."""
        files = self.run.task.files(prediction)
        if drawn:
            with named(file), Image.open(file) as opened:
                picture = to_rgb(ImageOps.exif_transpose(opened), self.grey)
            with io.BytesIO() as written:
                self.run.task.drawn(picture, prediction).save(written, format="PNG")
                files = files | {".drawn.png": written.getvalue()}
        return files

    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        pictures = [as_picture(sample, f"sample {start + place}") for place, sample in enumerate(samples)]
        shown = [self.own_ranges.shown(picture, f"sample {start + place}") for place, picture in enumerate(pictures)]
        grey = fixed_range(self.grey_range)
        rows, broken = self._values(shown, root=Path(), grey=grey, batch_size=batch_size, num_workers=0)
        for place in sorted(broken):
            raise self._problem(pictures[place], f"sample {start + place}")
        return [Prediction(cells(self.run.task.columns([row], top_k)), row) for row in rows.values()]

    def preprocess(self) -> Preprocess:
        """(B, 3, H, W) uint8, of any size; larger pictures are not cut into tiles."""
        return Preprocess(self.spec, cut=False)

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
        num_workers: decoding processes; None for one per core, and for 0 if all fit into one batch; 0 decodes all
        pictures first, in threads."""
        is_sized = self.spec.stretched is not None  # predictions then have the size of their picture
        tiles = [_tiles(picture, self.tile) for picture in pictures] if is_sized else None
        owners = [place for place in range(len(pictures)) for _ in (tiles[place] if tiles else [None])]
        source = Readable(
            [pictures[place] for place in owners],
            root=root,
            spec=self.spec,
            grey=grey,
            tiles=[tile for some in tiles for tile in some] if tiles else None,
        )
        if num_workers is None and len(owners) <= batch_size:
            num_workers = 0  # starting a process takes longer, and there is no batch to load while another is predicted
        if num_workers == 0:
            source.hold()
        data = PictureFiles(
            source, Preprocess(self.spec, cut=source.cut), batch_size=batch_size, num_workers=num_workers
        )
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
            name = f"{picture} ({where})" if isinstance(picture, Path) else where
            return DataError(error.what, where=name, next_step=step)
        return DataError("it could not be read, but decodes now", where=where, next_step="predict it again")


def _tiles(picture: Path | Image.Image, tile: Sequence[int] | None) -> list[Tile]:
    """Cut a picture into tiles. Return a single one if tiles have no size, and if the picture's size cannot be read:
    decoding will report the error."""
    try:
        size = upright_size(picture) if isinstance(picture, Path) else upright_size_of(picture)
    except DataError:
        size = (1, 1)
    return tiles_of(size, size[::-1] if tile is None else tile)


def _of_file(
    owner: int, owners: Sequence[int], each: Sequence[Tensor], tiles: Sequence[Sequence[Tile]] | None
) -> Tensor:
    """Return the prediction of a whole file, joined from its tiles. owners: file index per prediction, ascending."""
    start = bisect_left(owners, owner)
    return (
        each[start]
        if tiles is None or len(tiles[owner]) == 1
        else joined(each[start : start + len(tiles[owner])], tiles[owner])
    )
