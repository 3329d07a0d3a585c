"""Your own tagged words by files as CoNLL's shared tasks have them: a line for each word, the word first and its tag
last, columns separated by tabs or blanks, an empty line after each sentence.

Source: E. Tjong Kim Sang and F. De Meulder, "Introduction to the CoNLL-2003 Shared Task", 2003.
"""

import io
import re
from pathlib import Path

from frostline.data.tags import Sentence, Tagged, tagged_set
from frostline.data.text_files import part_files, read_utf8
from frostline.data.texts import TaggedSet
from frostline.errors import DataError

BLANKS = re.compile(" +")  # not `\s`: a word may hold a no-break space
DOCUMENT = "-DOCSTART-"  # CoNLL-2003's line before each document


def read_conll(
    *, dir: str | None, train_file: str, val_file: str | None, test_file: str | None, source: str | None
) -> TaggedSet:
    """Raises DataError that names the line."""
    files = part_files(dir, source, train=train_file, val=val_file, test=test_file)
    return tagged_set({part: Tagged(file, read_sentences(file), "line") for part, file in files.items()})


def read_sentences(file: Path) -> list[Sentence]:
    """At least one, of one word at least. Raises DataError."""
    sentences = []
    open_one = Sentence([], [], [])
    for number, line in enumerate(io.StringIO(read_utf8(file), newline=None), 1):
        if not line.strip(" \t\n"):
            sentences.append(open_one)
            open_one = Sentence([], [], [])
            continue
        if line.startswith(DOCUMENT):
            continue
        word, tag = _columns(line.rstrip("\n"), f"{file}, line {number}")
        open_one.words.append(word)
        open_one.tags.append(tag)
        open_one.places.append(number)
    found = [sentence for sentence in [*sentences, open_one] if sentence.words]
    if not found:
        raise DataError(
            "there are no sentences in the file",
            where=file,
            next_step="a line for each word, say: London B-location; an empty line after each sentence",
        )
    return found


def _columns(line: str, where: str) -> tuple[str, str]:
    """Word and tag. Where there are tabs, they alone separate. Raises DataError."""
    columns = [column.strip(" ") for column in line.split("\t")] if "\t" in line else BLANKS.split(line.strip(" "))
    if len(columns) < 2 or not columns[0].strip() or not columns[-1]:
        raise DataError(
            f"this line does not hold a word and a tag: '{line}'",
            where=where,
            next_step="the word, a tab or a blank, then its tag; an empty line after each sentence",
        )
    return columns[0], columns[-1]
