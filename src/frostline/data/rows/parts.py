"""The distinct pictures and texts of rows as parts: decoded, tokenized and cached once, whatever the number of rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from frostline.contracts.specs import PartsSpec, TextSpec
from frostline.data.modality import Given
from frostline.data.part import Part
from frostline.data.pictures.modality import PictureModality
from frostline.data.pictures.samples import FileSamples
from frostline.data.pictures.sources import keep_or_hold
from frostline.data.pictures.to_predict import Readable, Shown
from frostline.data.rows.sources import IMAGE, TEXT, Distinct, RowSamples, RowSource, absent_in, inputs_of
from frostline.data.sample_cache import SampleCache
from frostline.data.texts.strings import Places, Texts
from frostline.data.texts.tokenized import Tokenizer
from frostline.storage.store import Store


class Parts:
    """found: by name. sources: one for each of the given samples, None for None. prepare: converts the files of
    pictures to predict; a picture that cannot be read then becomes a black one with the label BROKEN, instead of an
    error."""

    def __init__(
        self,
        spec: PartsSpec,
        pictures: PictureModality | None,
        given: Given,
        *,
        prepare: Callable[[list[Path]], Shown] | None = None,
    ) -> None:
        self.spec = spec
        self.pictures = pictures
        self.given = given
        self.prepare = prepare
        self.found: dict[str, Part] = {}
        self._distinct: dict[str, Distinct] = {}
        own = [samples for samples in given.samples if samples is not None]
        for part in (IMAGE, TEXT):
            cells = [column for samples in own for column in _cells(samples, part)]
            distinct = Distinct(cells)
            if distinct.values:
                self._distinct[part] = distinct
                self.found[part] = self._images(distinct.values, own) if part == IMAGE else self._texts(distinct, own)
        made: dict[int, RowSource] = {id(samples): self._source(samples) for samples in own}
        train, val, test = (None if samples is None else made[id(samples)] for samples in given.samples)
        assert train is not None
        self.sources = train, val, test

    def _source(self, samples: RowSamples) -> RowSource:
        places, absent = {}, {}
        for name, (part, column) in inputs_of(samples.kinds).items():
            cells = (samples.columns.images if part == IMAGE else samples.columns.texts)[column]
            absent[name] = absent_in(cells)
            if part in self._distinct:
                places[name] = self._distinct[part].places(cells)
        return RowSource(samples.columns, samples.labels, samples.kinds, self.found, places, absent)

    def _images(self, files: list[Path], own: Sequence[RowSamples]) -> Part:
        assert self.pictures is not None
        if self.prepare is not None:
            shown = self.prepare(files)
            readable = Readable(shown.pictures, root=own[0].root, spec=self.pictures.spec, grey=shown.grey)
            keep_or_hold([readable], self.given.cache, self.given.name)
            return Part(IMAGE, self.spec.parts[IMAGE], readable)
        found = FileSamples(files, torch.zeros(len(files), dtype=torch.int64), own[0].root)
        self.pictures.read(self.given._replace(samples=(found, None, None), notes=()))
        return Part(IMAGE, self.spec.parts[IMAGE], self.pictures.sources[0])

    def _texts(self, distinct: Distinct, own: Sequence[RowSamples]) -> Part:
        spec, texts = self.spec.parts[TEXT], distinct.values
        assert isinstance(spec, TextSpec)
        rows = {
            cell: (samples.columns.places, row)
            for samples in reversed(own)
            for cell, row in _first_rows(samples).items()
        }
        source, unit = rows[texts[0]][0].source, rows[texts[0]][0].unit
        places = Places(source, [rows[text][0].numbers[rows[text][1]] for text in texts], unit)
        labels = torch.zeros(len(texts), dtype=torch.int64)
        found = Texts([(text,) for text in texts], labels, places)
        made = Tokenizer(spec, words=False).source(found, self.given.name, _for_tokens(self.given.cache))
        return Part(TEXT, spec, made)


def _cells(samples: RowSamples, part: str) -> list[Any]:
    return [*(samples.columns.images if part == IMAGE else samples.columns.texts).values()]


def _first_rows(samples: RowSamples) -> dict[str, int]:
    found: dict[str, int] = {}
    for cells in samples.columns.texts.values():
        for row, cell in enumerate(cells):
            found.setdefault(cell, row)
    return found


def _for_tokens(cache: SampleCache) -> SampleCache:
    """The same cache for tokens, which are another kind of entries."""
    store = None if cache.store is None else Store(cache.store.root, cache.store.max_bytes, "tokens")
    return SampleCache(store, samples="texts", shows=cache.shows, leads=cache.leads)
