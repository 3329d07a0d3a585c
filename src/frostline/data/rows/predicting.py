"""Predict rows of a table, or rows in memory: mappings from columns to cells."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.contracts.batch import Batch
from frostline.contracts.specs import PartsSpec
from frostline.contracts.targets import inputs_in
from frostline.contracts.tree import part_of
from frostline.data.files.paths import FilePaths
from frostline.data.loader import EpochBatches
from frostline.data.modality import Given
from frostline.data.part import PartedViews
from frostline.data.pictures.files import PICTURES
from frostline.data.pictures.grey import fixed_range, range_of
from frostline.data.pictures.in_memory import OwnRanges
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.predicting import APART
from frostline.data.pictures.preprocess import Preprocess
from frostline.data.pictures.reading import problem_of
from frostline.data.pictures.to_predict import BROKEN, Shown
from frostline.data.predicting import STANDARD_INPUT, Asked, Opened, Predicted, Predicting, Prediction, cells
from frostline.data.rows.columns import Columns, Kinds, columns_of
from frostline.data.rows.notes import notes_of
from frostline.data.rows.parts import Parts
from frostline.data.rows.sources import IMAGE, RowSamples, RowSource
from frostline.data.source import every
from frostline.data.split import Split, Transfers, loader
from frostline.data.tables.formats import SUFFIXES, cell_of, column_names, read_table
from frostline.data.tables.table import Row, normalised
from frostline.data.target_types.find import target_type
from frostline.data.views import Views
from frostline.errors import DataError, close_names, few
from frostline.faults import together
from frostline.paths import at_home

NEXT = "rename it, or add it; a cell that is not known may be empty"


class RowFile(Transfers):
    """Loads rows in order, in this process, which notes what cannot be read. views: how their parts are shown."""

    def __init__(self, source: RowSource, views: PartedViews, *, batch_size: int) -> None:
        super().__init__()
        self.split = Split(source, every(source))
        self.views = views
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        batches = EpochBatches(len(self.split), self.batch_size, shuffle=False, seed=0)
        return loader(self.split, batches, 0)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return self.views.plain(batch)


class _Shown(Views):
    """Pictures as an evaluation sees them."""

    def __init__(self, preprocess: Preprocess) -> None:
        self.preprocess = preprocess

    def plain(self, batch: Batch) -> Batch:
        return batch._replace(inputs=self.preprocess(batch.pictures))


class RowPredicting(Predicting):
    """spec, pictures: of the run's modality."""

    samples = "rows"
    table_settings = frozenset({"dir", "suffix", "quotes"})

    def __init__(self, run: Opened, spec: PartsSpec, pictures: PictureModality | None) -> None:
        self.run = run
        self.spec = spec
        self.pictures = pictures
        self.inputs: Mapping[str, Any] = inputs_in(run.about)
        self.kinds = Kinds.of(self.inputs["kinds"])
        self.grey_range = None if pictures is None else pictures.grey_range
        self.own_ranges = OwnRanges(self.grey_range)

    def of_input(self, asked: Asked) -> Predicted:
        if (
            asked.text is not None
            or asked.input in (None, STANDARD_INPUT)
            or Path(str(asked.input)).suffix.lower() not in SUFFIXES
        ):
            raise DataError(
                "this run takes rows of a table",
                where="text, input" if asked.text is not None else str(asked.input),
                next_step=f"input=<a table: {', '.join(SUFFIXES)}> with the columns {few([*self.kinds.settings], 20)}",
            )
        file = Path(str(asked.input))
        problems: list[DataError] = []
        table = self._table(file, asked.data, problems)
        rows, columns = columns_of(table.rows, self.kinds, self._paths(file.parent, asked.data), problems, known=True)
        if not rows:
            raise self.unreadable(problems)
        values, broken = self._values(columns, file, asked.batch_size, notes=[*table.notes])
        problems += broken.values()
        rows = [row for place, row in enumerate(rows) if place not in broken]
        if not rows:
            raise self.unreadable(problems)
        names = dict.fromkeys(name for row in rows for name in row.cells)
        given = {name: [row.cells.get(name, "") for row in rows] for name in names}
        predicted = self.run.task.columns(values, asked.top_k) if asked.top_k else {}
        return Predicted(given, predicted, problems, values=values)

    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        rows = [self._row(sample, f"sample {start + place}", start + place) for place, sample in enumerate(samples)]
        _, columns = columns_of(rows, self.kinds, self._paths(Path(), {"dir": None, "suffix": None}), known=True)
        values, broken = self._values(columns, "samples", batch_size, notes=None)
        if broken:
            raise next(iter(broken.values()))
        return [Prediction(cells(self.run.task.columns([row], top_k)), row) for row in values]

    def unreadable(self, errors: Sequence[DataError], besides: str = "") -> DataError:
        return together(errors, "rows cannot be read", None, besides)

    def _table(self, file: Path, asked: Mapping[str, Any], problems: list[DataError]) -> Any:
        quotes = self.run.settings.get("quotes") if asked["quotes"] is None else asked["quotes"]
        names = column_names(file, quotes)
        plain = [normalised(name) for name in names]
        missing = [name for name in self.kinds.settings if normalised(name) not in plain]
        if missing:
            raise DataError(
                f"the table has no column '{missing[0]}', from which the run predicts"
                f"{'' if len(missing) == 1 else f' (nor {few(missing[1:])})'}: {close_names(missing[0], names)}",
                where=file,
                next_step=NEXT,
            )
        texts = self.kinds.texts
        return read_table(file, self.kinds.settings, verbatim=texts, quotes=quotes, others=True, problems=problems)

    def _paths(self, folder: Path, asked: Mapping[str, Any]) -> FilePaths:
        own = self.run.settings.get("suffix") or "" if asked["suffix"] is None else str(asked["suffix"])
        return FilePaths(PICTURES, at_home(str(asked["dir"])) if asked["dir"] is not None else folder, own, folder)

    def _row(self, sample: Any, where: str, place: int) -> Row:
        """Convert a sample to a row. Raises DataError."""
        if not isinstance(sample, Mapping):
            raise DataError(
                f"this is not a row: a {type(sample).__name__}",
                where=where,
                next_step=f"pass a mapping with the columns {few([*self.kinds.settings], 20)}",
            )
        if missing := [name for name in self.kinds.settings if name not in sample]:
            raise DataError(
                f"there is no column '{missing[0]}': {close_names(missing[0], [str(name) for name in sample])}",
                where=where,
                next_step="add it; None if it is not known",
            )
        plain = {name: os.fspath(it) if isinstance(it, os.PathLike) else it for name, it in sample.items()}
        return Row("samples", place, {name: cell_of(plain[name], where, name) for name in self.kinds.settings}, "index")

    def _values(
        self, columns: Columns, where: object, batch_size: int, *, notes: list[str] | None
    ) -> tuple[list[Tensor], dict[int, DataError]]:
        """Return a prediction for each row whose pictures can be read, and the errors of the others, by their index.
        notes: sentences to print before those on the rows; None prints none."""
        target = target_type(self.run.task.kind)
        samples = RowSamples(columns, torch.zeros(len(columns), dtype=torch.int64), self.kinds, root=Path())
        given = Given((samples, None, None), target, "rows", where)
        shown = self._shown_alone if notes is None else lambda files: self._shown_together(files, where)
        made = Parts(self.spec, self.pictures, given, prepare=shown)
        source = made.sources[0]
        source.code(self.inputs["row"])
        if IMAGE in made.found:
            part = made.found[IMAGE]
            spec: Any = part.spec
            part.views = _Shown(Preprocess(spec, cut=True))
        if notes is not None:
            split = Split(source, every(source))
            for note in [*notes, *notes_of({"the input": split}, self.inputs["row"], self.spec)]:
                print(f"frostline: {note}", file=sys.stderr)
        each = [*self.run.predictions(RowFile(source, PartedViews(made.found), batch_size=batch_size))]
        broken = self._broken(source)
        return [value for row, value in enumerate(each) if row not in broken], broken

    def _shown_together(self, files: list[Path], where: object) -> Shown:
        """Pictures of a table have one range of grey, chosen as in training. Prints notes on it."""
        grey, notes = range_of(files, self.grey_range, where, APART)
        for note in notes:
            print(f"frostline: {note}", file=sys.stderr)
        return Shown(files, grey)

    def _shown_alone(self, files: list[Path]) -> Shown:
        return Shown([self.own_ranges.shown(file, str(file)) for file in files], fixed_range(self.grey_range))

    def _broken(self, source: RowSource) -> dict[int, DataError]:
        """The error of each row with a picture that cannot be read."""
        if IMAGE not in source.parts:
            return {}
        pictures: Any = source.parts[IMAGE].source
        found = {}
        for name, place in source.places.items():
            if part_of(name) != IMAGE:
                continue
            column = source.columns.images[name.partition("/")[2]]
            for row in (pictures.labels[place] == BROKEN).nonzero().flatten().tolist():
                file = column[row]
                if file is not None:
                    error = problem_of(file, pictures.spec)
                    what = "it could not be read during the prediction, but decodes now"
                    what, step = (what, "predict it again") if error is None else (error.what, error.next_step)
                    found[row] = DataError(what, where=f"{file} ({source.name_of(row)})", next_step=step)
        return found
