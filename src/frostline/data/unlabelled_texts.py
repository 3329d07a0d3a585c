"""Texts without targets, for predictions. Shapes: see `TokenSource`."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from frostline.batch import Batch
from frostline.data.conll import Line, sentence_lines
from frostline.data.loader import EpochBatches
from frostline.data.module import Transfers
from frostline.data.parts import Part, loader
from frostline.data.source import every
from frostline.data.table_formats import read_table
from frostline.data.text_files import lines_of
from frostline.data.tokenised import TokenSource
from frostline.errors import DataError

BLANKS = re.compile("[ \t]")  # as of training: a word may hold a no-break space
LINES = ".txt"
TABLES = (".csv", ".jsonl", ".parquet")  # a .tsv may well hold a word and its tag in each line


class TextFile(Transfers):
    """In batches of about one length; `order` says which they are. batch_tokens: of a batch, as in training."""

    def __init__(self, source: TokenSource, *, batch_size: int, batch_tokens: int | None) -> None:
        super().__init__()
        self.part = Part(source, every(source))
        self.batches = EpochBatches(
            len(self.part), batch_size, shuffle=False, seed=0, lengths=source.lengths, max_tokens=batch_tokens
        )

    @property
    def order(self) -> list[int]:
        """The texts, as predictions of them come."""
        return [place for batch in self.batches for place in batch]

    def predict_dataloader(self) -> DataLoader[Batch | DataError]:
        return loader(self.part, self.batches, 0)


def read_lines(file: Path) -> list[str]:
    """A text a line. Raises DataError where a line is blank, unless no text follows, or there is none."""
    lines = lines_of(file)
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError("this line is blank", where=f"{file}, line {number}", next_step="a text in each line")
    if not lines:
        raise DataError("the file is empty", where=file, next_step="a text in each line")
    return lines


def read_texts(file: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """A text a line of a .txt, or `columns` of a table: two are pairs. Raises DataError."""
    if _is_lines(file) and len(columns) > 1:
        raise DataError(
            f"this run tells two texts apart, {' and '.join(columns)}, and a line holds one",
            where=file,
            next_step=f"a table (.csv, .tsv, .jsonl, .parquet) with the columns {', '.join(columns)}",
        )
    if _is_lines(file):
        return [(line,) for line in read_lines(file)]
    rows = read_table(file, columns, verbatim=columns).rows
    for row in rows:
        for column in columns:
            if not row.cells[column].strip():
                raise DataError(f"there is no text in '{column}'", where=row.where, next_step="write one, or drop it")
    return [tuple(row.cells[column] for column in columns) for row in rows]


def read_sentences(file: Path) -> list[list[str]]:
    """Of words: a sentence a line of a .txt, with blanks between its words; else a word a line, whatever follows it,
    and an empty line after each sentence. Raises DataError, also for a table whose cells would be taken for words."""
    if file.suffix.lower() in TABLES:
        raise DataError(
            "words are read from lines, and this is a table",
            where=file,
            next_step="a .txt, a sentence a line with blanks between its words; or a .conll, a word a line and an "
            "empty line after each sentence",
        )
    if _is_lines(file):
        return [[word for word in BLANKS.split(line) if word.strip()] for line in read_lines(file)]
    found = [[_word(line, file) for line in lines] for lines in sentence_lines(file)]
    if not found:
        raise DataError(
            "there are no words in the file", where=file, next_step="a word a line, or a sentence in a .txt"
        )
    return found


def _is_lines(file: Path) -> bool:
    return file.suffix.lower() == LINES


def _word(line: Line, file: Path) -> str:
    word = line.columns[0]
    if not word.strip():
        raise DataError(
            f"this line does not begin with a word: '{line.text}'",
            where=f"{file}, line {line.number}",
            next_step="a word first in each line, and an empty line after each sentence",
        )
    return word


def no_targets(texts: Sequence[object]) -> Tensor:
    return torch.zeros(len(texts), dtype=torch.int64)
