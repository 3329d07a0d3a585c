"""Your own tagged words by files as CoNLL's shared tasks have them: a line for each word, the word first and its tag
last, columns separated by tabs or blanks, an empty line after each sentence.

Source: E. Tjong Kim Sang and F. De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003.
"""

import re
from pathlib import Path
from typing import NamedTuple

from frostline.data.tags import Sentence, Tagged, tagged_set
from frostline.data.text_files import lines_of, part_files, read_utf8
from frostline.data.texts import TaggedSet
from frostline.errors import DataError

BLANKS = re.compile(" +")  # not `\s`: a word may hold a no-break space
DOCUMENT = "-DOCSTART-"  # CoNLL-2003's line before each document


def read_conll(
    *,
    dir: str | None,
    train_file: str,
    val_file: str | None,
    test_file: str | None,
    source: str | None,
    known: list[str] | None = None,
) -> TaggedSet:
    """Raises DataError that names the line."""
    files = part_files(dir, source, train=train_file, val=val_file, test=test_file)
    return tagged_set({part: Tagged(file, read_sentences(file), "line") for part, file in files.items()}, known)


def read_sentences(file: Path) -> list[Sentence]:
    """At least one, of one word at least. Raises DataError."""
    sentences = []
    for lines in sentence_lines(file):
        for line in lines:
            if len(line.columns) < 2 or not line.columns[0].strip() or not line.columns[-1]:
                raise DataError(
                    f"this line does not hold a word and a tag: '{line.text}'",
                    where=f"{file}, line {line.number}",
                    next_step="the word, a tab or a blank, then its tag; an empty line after each sentence",
                )
        words, tags = [line.columns[0] for line in lines], [line.columns[-1] for line in lines]
        sentences.append(Sentence(words, tags, [line.number for line in lines]))
    if not sentences:
        raise DataError(
            "there are no sentences in the file",
            where=file,
            next_step="a line for each word, say: London B-location; an empty line after each sentence",
        )
    return sentences


class Line(NamedTuple):
    """number: from 1. columns: one at least, the first and the last may be empty."""

    number: int
    text: str
    columns: list[str]


def sentence_lines(file: Path) -> list[list[Line]]:
    """Those of each sentence, with or without tags. A document's mark ends a sentence, too. Raises DataError."""
    sentences: list[list[Line]] = [[]]
    for number, text in enumerate(lines_of(read_utf8(file)), 1):
        if text.strip(" \t") and not text.startswith(DOCUMENT):
            sentences[-1].append(Line(number, text, _columns(text)))
        else:
            sentences.append([])
    return [lines for lines in sentences if lines]


def _columns(text: str) -> list[str]:
    """Where there are tabs, they alone separate."""
    return [column.strip(" ") for column in text.split("\t")] if "\t" in text else BLANKS.split(text.strip(" "))
