"""Read tagged words from files in the format of CoNLL's shared tasks: one word per line, the word first and its tag
last, columns separated by tabs or blanks, an empty line after each sentence.

Sources: E. Tjong Kim Sang and F. De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003;
universaldependencies.org/format.html (CoNLL-U).
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from frostline.data.reader import Found
from frostline.data.tables.text_files import lines_of, read_utf8, split_files
from frostline.data.texts.bio_tags import Sentence, Tagged, tagged_set
from frostline.errors import DataError, shortened
from frostline.faults import of_each

BLANKS = re.compile(" +")  # not `\s`: a word may hold a no-break space
DOCUMENT = "-DOCSTART-"  # line before each document in CoNLL-2003
COMMENT = "#"  # starts comments in CoNLL-U; in other formats it can be a word
TAG = re.compile("O|[BIESUL]-.+")
NO_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U's numbers of multiword tokens (1-2) and empty nodes (1.1)
FAULTY = "lines of the file are faulty"


def read_conll(
    *,
    dir: str | None,
    train_file: str,
    val_file: str | None,
    test_file: str | None,
    source: str | None,
    known: list[str] | None = None,
) -> Found:
    """Read the file of each split. Raises DataError that names the line."""
    files = split_files(dir, source, train=train_file, val=val_file, test=test_file)
    return tagged_set({split: Tagged(file, read_sentences(file), "line") for split, file in files.items()}, known)


def read_sentences(file: Path) -> list[Sentence]:
    """Read sentences, at least one, of at least one word each. Raises DataError that names the faulty lines."""
    found = sentence_lines(file, tagged=True)
    first = first_line(found)

    def require(line: Line) -> None:
        if len(line.columns) < 2 or not line.columns[0].strip() or not line.columns[-1]:
            raise DataError(
                f"this line does not hold a word and a tag: '{shortened(line.text)}'",
                where=f"{file}, line {line.number}",
                next_step="write the word, a tab or a blank, then its tag; an empty line after each sentence",
            )
        require_as_many(line, first, file)

    of_each(require, (line for lines in found for line in lines), FAULTY)
    sentences = [
        Sentence([it.columns[0] for it in lines], [it.columns[-1] for it in lines], [it.number for it in lines])
        for lines in found
    ]
    if not sentences:
        raise DataError(
            "there are no sentences in the file",
            where=file,
            next_step="write one word per line, like: London B-location; an empty line after each sentence",
        )
    return sentences


class Line(NamedTuple):
    """number: from 1. columns: at least one; the first and the last may be empty."""

    number: int
    text: str
    columns: list[str]


def sentence_lines(file: Path, *, tagged: bool) -> list[list[Line]]:
    """Split a file into lines per sentence; empty lines and DOCUMENT end a sentence. tagged: whether tags are needed,
    for the next step. Raises DataError, also for CoNLL-U."""
    sentences: list[list[Line]] = [[]]
    for number, text in enumerate(lines_of(read_utf8(file)), 1):
        if text.strip(" \t") and not text.startswith(DOCUMENT):
            sentences[-1].append(Line(number, text, _columns(text)))
        else:
            sentences.append([])
    found = [lines for lines in sentences if lines]
    if _is_numbered(found):
        raise DataError(
            "each line begins with the number of its word, as in CoNLL-U; the word is in the second column",
            where=file,
            next_step=_without_numbers(file, found, tagged=tagged),
        )
    return found


def first_line(sentences: Sequence[Sequence[Line]]) -> Line | None:
    """The first line that is not a comment; other lines need as many columns."""
    lines = [line for lines in sentences[:2] for line in lines]
    return next((line for line in lines if not line.text.startswith(COMMENT)), lines[0] if lines else None)


def require_as_many(line: Line, first: Line | None, file: Path) -> None:
    """Raises DataError unless the line has as many columns as `first`: a part of a word may have become a column."""
    if first is None or len(line.columns) == len(first.columns):
        return
    number = len(line.columns)
    raise DataError(
        f"this line has {number} column{'s' * (number > 1)}, but line {first.number} has {len(first.columns)}: "
        f"'{shortened(line.text)}'",
        where=f"{file}, line {line.number}",
        next_step="write as many columns in each line, separated by tabs if a word contains a blank",
    )


def _is_numbered(sentences: Sequence[Sequence[Line]]) -> bool:
    """Whether each line begins with the number of its word, as in CoNLL-U and GermEval 2014. If tags follow the
    numbers, the numbers are the words."""
    longest = 0
    tags = True
    for lines in sentences:
        words = [it.columns for it in lines if not (it.text.startswith(COMMENT) or NO_WORD.fullmatch(it.columns[0]))]
        if any(len(columns) < 2 or columns[0] != str(number) for number, columns in enumerate(words, 1)):
            return False
        tags = tags and all(TAG.fullmatch(columns[1]) for columns in words)
        longest = max(longest, len(words))
    return longest > 1 and not tags


def _without_numbers(file: Path, sentences: Sequence[Sequence[Line]], *, tagged: bool) -> str:
    """A shell command that keeps the words, which may contain blanks, and the next column."""
    tabs = "-F'\\t' " if any("\t" in line.text for line in sentences[0]) else ""
    command = rf"""awk {tabs}'$1 !~ /[-.#]/ {{print $2 "\t" $3}}' {shlex.quote(str(file))} > words.conll"""
    return f"{command}  # $3: the column of the tags" if tagged else command


def _columns(text: str) -> list[str]:
    """Split at tabs if there are any, else at blanks."""
    return [column.strip(" ") for column in text.split("\t")] if "\t" in text else BLANKS.split(text.strip(" "))
