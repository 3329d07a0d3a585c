"""The modality of rows: pictures and texts for the towers of a network, numbers and names for its head."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from frostline.config.ranges import NonNegative, Positive, Probability
from frostline.contracts.specs import PartsSpec, Spec, TextSpec
from frostline.contracts.targets import inputs_in
from frostline.contracts.tokens import Tokens
from frostline.contracts.tree import Value
from frostline.data.modality import Column, Given, Modality, narrowed
from frostline.data.part import Part, PartedViews
from frostline.data.pictures.augment import Augment
from frostline.data.pictures.grey import Setting
from frostline.data.pictures.modality import PictureModality
from frostline.data.predicting import Opened, Predicting
from frostline.data.rows.columns import SETTINGS, Kinds
from frostline.data.rows.kinds import guess_note
from frostline.data.rows.notes import notes_of
from frostline.data.rows.parts import Parts
from frostline.data.rows.plain import plain_columns
from frostline.data.rows.sources import IMAGE, TEXT, RowSamples, RowSource, inputs_of
from frostline.data.rows.statistics import Normalise, statistics_of
from frostline.data.split import Split
from frostline.data.target_types.base import TargetType
from frostline.data.views import Views
from frostline.errors import ConfigError, DataError, counted, few, shortened

FIELDS = {IMAGE: "images", TEXT: "texts"}  # of Kinds
USUAL = {IMAGE: "efficientnet_lite0", TEXT: "minilm"}


class RowModality(Modality):
    """Serves what a reader of tables found (`RowSamples` per split). conf/data/table.yaml explains the settings.

    inputs: what the network knows of the columns, as `Targets.about` holds it: `kinds`, `columns` (part and name of
    each input of a tower), `row` (see `statistics_of`). Raises ConfigError for a backbone without towers.
    """

    spec: PartsSpec
    samples = "rows"
    hub_name = "tabular"
    plainly = "rows without augmentation"
    kept_as: ClassVar[Literal["decoded"]] = "decoded"
    has_columns = True

    def __init__(
        self,
        spec: Spec,
        *,
        image_size: Positive[int] | None,
        augment: Literal["none", "standard", "strong"],
        flip: bool,
        erase: Probability,
        grey_range: Setting,
        num_workers: NonNegative[int] | None,
        max_length: Positive[int] | None,
        normalise: Normalise,
    ) -> None:
        parts = narrowed(
            spec, PartsSpec, "rows of a table", "model=fusion, with model.image=... and model.text=..."
        ).parts
        self.pictures: PictureModality | None = None
        own = dict(parts)
        if IMAGE in own:
            settings: dict[str, Any] = {"augment": augment, "flip": flip, "erase": erase, "grey_range": grey_range}
            self.pictures = PictureModality(own[IMAGE], image_size=image_size, num_workers=num_workers, **settings)
            own[IMAGE] = self.pictures.spec
        if TEXT in own:
            text = own[TEXT]
            assert isinstance(text, TextSpec)
            own[TEXT] = text.at(max_length)
        self.spec = PartsSpec(own)
        self.num_workers = num_workers
        self.normalise: Normalise = normalise
        self.inputs: dict[str, Any] = {}

    def read(self, given: Given) -> None:
        samples = tuple(None if it is None else self._fitted(it) for it in given.samples)
        self.kinds: Kinds = samples[0].kinds  # type: ignore[union-attr]
        guessed = guess_note(self.kinds, given.samples[0].guessed)
        self.read_notes = [*guessed, *given.notes, *self._dropped(given.samples[0])]
        self._require_inputs(given)
        made = Parts(self.spec, self.pictures, given._replace(samples=samples))  # type: ignore[arg-type]
        self.parts: Mapping[str, Part] = made.found
        self.sources = made.sources
        if given.about:
            self._code(dict(inputs_in(given.about)))

    def _fitted(self, samples: RowSamples) -> RowSamples:
        """Leave out guessed columns for which the network has no tower. Raises ConfigError if the user named one."""
        dropped = self._without_tower(samples.kinds)
        for part, names in dropped.items():
            if named := [name for name in names if name not in samples.guessed]:
                field = FIELDS[part]
                raise ConfigError(
                    f"the column '{named[0]}' has {field}, but the model has no tower for them",
                    where=f"{SETTINGS[field]}, model.{part}",
                    next_step=f"model.{part}={USUAL[part]}; or {SETTINGS[field]}=[]",
                )
        gone = [name for names in dropped.values() for name in names]
        kept = {field: tuple(it for it in names if it not in gone) for field, names in samples.kinds._asdict().items()}
        return RowSamples(
            samples.columns.without(gone), samples.labels, Kinds(**kept), root=samples.root, guessed=samples.guessed
        )

    def _without_tower(self, kinds: Kinds) -> dict[str, tuple[str, ...]]:
        return {part: getattr(kinds, field) for part, field in FIELDS.items() if part not in self.spec.parts}

    def _dropped(self, samples: RowSamples) -> list[str]:
        return [
            f"left out: {few([shortened(name) for name in names])} (the model has no tower for {FIELDS[part]}: "
            f"model.{part}={USUAL[part]})"
            for part, names in self._without_tower(samples.kinds).items()
            if names
        ]

    def _require_inputs(self, given: Given) -> None:
        for part in self.spec.parts:
            if not getattr(self.kinds, FIELDS[part]):
                raise ConfigError(
                    f"model.{part} names a network, but no column of the table has {FIELDS[part]}",
                    where=f"model.{part}, {SETTINGS[FIELDS[part]]}",
                    next_step=f"model.{part}=null; or {SETTINGS[FIELDS[part]]}=[<column>]",
                )
        if not self.kinds.settings:
            raise DataError(
                "no column is left to learn from" + "".join(f"; {note}" for note in given.notes[:1]),
                where=given.where,
                next_step="data.number_columns=[...], data.category_columns=[...]; or a tower for pictures or texts: "
                + " ".join(f"model.{part}={usual}" for part, usual in USUAL.items()),
            )

    def learned(self, splits: Mapping[str, Split]) -> dict[str, Any]:
        train = splits["train"]
        assert isinstance(train.source, RowSource)
        inputs = {
            "kinds": {field: [*names] for field, names in self.kinds._asdict().items()},
            "columns": [[part, name] for name, (part, _) in inputs_of(self.kinds).items()],
            "row": statistics_of(train.source.columns, train.index, self.normalise),
        }
        self._code(inputs)
        return {"inputs": inputs}

    def _code(self, inputs: dict[str, Any]) -> None:
        self.inputs = inputs
        for source in self.sources:
            if isinstance(source, RowSource):
                source.code(inputs["row"])

    def prepare(self, splits: Mapping[str, Split], target: TargetType, names: Sequence[str], seed: int) -> Views:
        for name, part in self.parts.items():
            places = [
                place[split.index]
                for split in splits.values()
                if isinstance(split.source, RowSource)
                for key, place in split.source.places.items()
                if key.startswith(f"{name}/")
            ]
            part.used = torch.cat(places).unique()
        if IMAGE in self.parts:
            assert self.pictures is not None
            part = self.parts[IMAGE]
            views = self.pictures.prepare({"train": part.of(None)}, target, names, seed)
            part.views = _unmixed(views)
        return PartedViews(self.parts)

    def look(self) -> dict[str, Any]:
        text = self.spec.parts.get(TEXT)
        own = {} if not isinstance(text, TextSpec) else {"max_length": text.max_length}
        return own | (self.pictures.look() if self.pictures is not None else {})

    def example(self, train: Split, *, longest: bool = False) -> dict[str, Value]:
        assert isinstance(train.source, RowSource)
        found: dict[str, Value] = {}
        for name, (part, _) in inputs_of(self.kinds).items():
            if part == IMAGE:
                sides = self.spec.parts[part].sides  # type: ignore[attr-defined]
                found[name] = torch.zeros(1, 3, *sides).contiguous(memory_format=torch.channels_last)
            else:
                length = self._length(longest=longest)
                mask = torch.ones(1, length, dtype=torch.bool)
                found[name] = Tokens(torch.zeros(1, length, 2, dtype=torch.int64), mask)
        return found | train.source.beside(train.index[:1])

    def _length(self, *, longest: bool) -> int:
        """Tokens of a text in the mean, or of the longest."""
        lengths = self.parts[TEXT].source.lengths if TEXT in self.parts else None
        if lengths is None:
            return 2
        return int(lengths.max()) if longest else max(round(float(lengths.double().mean())), 1)

    def size_of(self, train: Split) -> str:
        counts = {
            "numbers": ("number", "numbers"),
            "categories": ("category", "categories"),
            "ids": ("id", "ids"),
            "images": ("picture", "pictures"),
            "texts": ("text", "texts"),
        }
        own = {field: len(getattr(self.kinds, field)) for field in counts}
        parts = [counted(number, *counts[field]) for field, number in own.items() if number]
        if IMAGE in self.spec.parts:
            parts.append("pictures of {} × {} pixels".format(*self.spec.parts[IMAGE].sides))  # type: ignore[attr-defined]
        if TEXT in self.parts:
            parts.append(f"texts of {self._length(longest=False)} tokens in the mean")
        return ", ".join(parts)

    def columns(self, split: Split) -> list[Column]:
        assert isinstance(split.source, RowSource)
        return plain_columns(split.source, split.index, self.inputs["row"])

    def absent(self, split: Split) -> dict[str, Tensor]:
        assert isinstance(split.source, RowSource)
        return dict(zip(split.source.places, split.source.absent[split.index].T, strict=True))

    def notes(self, splits: Mapping[str, Split]) -> list[str]:
        pictures = [] if self.pictures is None or IMAGE not in self.parts else [*self.pictures.grey_notes]
        return [*self.read_notes, *notes_of(splits, self.inputs["row"], self.spec), *pictures]

    def chosen(self) -> dict[str, Any]:
        return {} if self.pictures is None else self.pictures.chosen()

    def predicting(self, run: Opened, target: TargetType) -> Predicting:
        from frostline.data.rows.predicting import RowPredicting  # imports pyarrow, which no training needs

        return RowPredicting(run, self.spec, self.pictures)


def _unmixed(views: Augment) -> Augment:
    """Rows are never mixed: a mixed picture would belong to no row."""
    if views.strength is not None:
        views.strength = views.strength._replace(mix=0.0)
    return views
