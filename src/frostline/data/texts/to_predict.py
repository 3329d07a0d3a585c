"""Find and load texts without targets, for prediction."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.contracts.batch import Batch
from frostline.data.loader import EpochBatches
from frostline.data.source import every
from frostline.data.split import Split, Transfers, loader
from frostline.data.tables.formats import read_table
from frostline.data.tables.text_files import lines_of, read_utf8
from frostline.data.texts.conll import Line, first_line, require_as_many, sentence_lines
from frostline.data.texts.tables import texts_in
from frostline.data.texts.tokenized import DROP, TokenSource
from frostline.errors import DataError
from frostline.faults import of_each

BLANKS = re.compile("[ \t]")  # as in training: a word may contain a no-break space
LINES = ".txt"
TABLES = (".csv", ".jsonl", ".parquet")  # without .tsv, which may hold a word and its tag in each line


class TextFile(Transfers):
    """Loads texts in batches of similar length, in `order`. batch_tokens: limit per batch, as in training."""

    def __init__(self, source: TokenSource, *, batch_size: int, batch_tokens: int | None) -> None:
        super().__init__()
        self.split = Split(source, every(source))
        self.batches = EpochBatches(
            len(self.split), batch_size, shuffle=False, seed=0, lengths=source.lengths, max_tokens=batch_tokens
        )

    @property
    def order(self) -> list[int]:
        """Indices of the texts in the order of their predictions."""
        return [place for batch in self.batches for place in batch]

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        return loader(self.split, self.batches, 0)


class Unlabelled(NamedTuple):
    """samples: the texts or the words of each. where: location of each sample, for messages. given: columns of the
    input, one cell per sample. problems: errors of samples that cannot be read. notes: sentences for the user."""

    samples: list[Any]
    where: list[str]
    given: dict[str, list[str]]
    problems: list[DataError]
    notes: Sequence[str] = ()

    def without(self, places: Collection[int], why: str) -> "Unlabelled":
        """Move these samples to `problems`, with the error `why`."""
        kept = [place for place in range(len(self.samples)) if place not in places]
        missing = [DataError(why, where=self.where[place], next_step=DROP) for place in sorted(places)]
        given = {name: [cells[place] for place in kept] for name, cells in self.given.items()}
        samples, where = [self.samples[place] for place in kept], [self.where[place] for place in kept]
        return Unlabelled(samples, where, given, [*self.problems, *missing], self.notes)


def half_characters(samples: Sequence[Sequence[str]]) -> set[int]:
    """Indices of samples with half of a surrogate pair, which no tokenizer takes: of a text in Python that was cut, or
    of bytes on the command line that are no UTF-8."""
    return {
        place
        for place, texts in enumerate(samples)
        if any(not text.isascii() and any("\ud800" <= it <= "\udfff" for it in text) for text in texts)
    }


def of_lines(lines: Sequence[str], source: object, columns: Sequence[str]) -> Unlabelled:
    """Read one text per line, as the run's only text column. Blank lines at the end are ignored. Raises DataError."""
    if len(columns) > 1:
        raise DataError(
            f"this run takes pairs of texts, {' and '.join(columns)}, but a line holds one",
            where=source,
            next_step=f"use a table (.csv, .tsv, .jsonl, .parquet) with the columns {', '.join(columns)}",
        )
    found = _lines(lines, source)
    given = {name: [text for _, text in found.made] for name in columns}
    return Unlabelled([(text,) for _, text in found.made], [where for where, _ in found.made], given, found.problems)


def sentences_of_lines(lines: Sequence[str], source: object) -> Unlabelled:
    """Read one sentence per line, with blanks between its words. Raises DataError."""
    found = _lines(lines, source)
    words = [[word for word in BLANKS.split(line) if word.strip()] for _, line in found.made]
    return Unlabelled(words, [where for where, _ in found.made], {}, found.problems)


def read_texts(file: Path, columns: Sequence[str], quotes: bool | None = None) -> Unlabelled:
    """Read one text per line of a .txt, or `columns` of a table (two for pairs) with its further columns. Raises
    DataError."""
    if _is_lines(file):
        return of_lines(lines_of(read_utf8(file)), file, columns)
    problems: list[DataError] = []
    table = read_table(file, columns, verbatim=columns, quotes=quotes, others=True, problems=problems)
    rows = of_each(lambda row: (row, texts_in(row, columns)), table.rows, problems=problems)
    names = dict.fromkeys(name for row, _ in rows for name in row.cells)  # JSON objects may differ in their names
    given = {name: [row.cells.get(name, "") for row, _ in rows] for name in names}
    return Unlabelled([texts for _, texts in rows], [row.where for row, _ in rows], given, problems, table.notes)


def read_sentences(file: Path) -> Unlabelled:
    """Read words: one sentence per line of a .txt, with blanks between its words; from other files one word per line,
    with equally many further columns, and an empty line after each sentence. Raises DataError, also for a table, whose
    cells would be read as words."""
    if file.suffix.lower() in TABLES:
        raise DataError(
            "words are read from lines of text, but this is a table",
            where=file,
            next_step="a .txt with one sentence per line and blanks between its words; or a .conll with one word per "
            "line and an empty line after each sentence",
        )
    if _is_lines(file):
        return sentences_of_lines(lines_of(read_utf8(file)), file)
    problems: list[DataError] = []
    sentences = sentence_lines(file, tagged=False)
    first = first_line(sentences)
    if first is None:
        raise DataError(
            "there are no words in the file", where=file, next_step="write one word per line, or sentences in a .txt"
        )
    found = of_each(
        lambda lines: (f"{file}, line {lines[0].number}", [_word(line, first, file) for line in lines]),
        sentences,
        problems=problems,
    )
    further = len(first.columns) - 1
    notes = [f"{file}: of {further + 1} columns the first is read as the words, the others are ignored"]
    return Unlabelled(
        [words for _, words in found], [where for where, _ in found], {}, problems, notes if further else []
    )


class _Lines(NamedTuple):
    made: list[tuple[str, str]]  # location and line
    problems: list[DataError]


def _lines(lines: Sequence[str], source: object) -> _Lines:
    def line(numbered: tuple[int, str]) -> tuple[str, str]:
        where = f"{source}, line {numbered[0]}"
        if not numbered[1].strip():
            raise DataError("this line is blank", where=where, next_step="write a text into each line")
        return where, numbered[1]

    last = max((number for number, text in enumerate(lines, 1) if text.strip()), default=0)
    if not last:
        raise DataError("there is no text", where=source, next_step="write a text into each line")
    problems: list[DataError] = []
    return _Lines(of_each(line, enumerate(lines[:last], 1), problems=problems), problems)


def _is_lines(file: Path) -> bool:
    return file.suffix.lower() == LINES


def _word(line: Line, first: Line, file: Path) -> str:
    word = line.columns[0]
    if not word.strip():
        raise DataError(
            f"this line does not begin with a word: '{line.text}'",
            where=f"{file}, line {line.number}",
            next_step="begin each line with a word, and put an empty line after each sentence",
        )
    require_as_many(line, first, file)
    return word


def no_targets(texts: Sequence[object]) -> Tensor:
    return torch.zeros(len(texts), dtype=torch.int64)
