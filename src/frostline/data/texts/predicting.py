"""Predict texts and words. Shapes: R rows of tokens, each a text or a window of one; N texts; W words; C outputs."""

import sys
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from torch import Tensor

from frostline.contracts.specs import TextSpec
from frostline.data.pictures.files import suffixes
from frostline.data.predicting import STANDARD_INPUT, Asked, Columns, Opened, Predicted, Predicting, Prediction, cells
from frostline.data.tables.text_files import lines_of, text_of
from frostline.data.texts.to_predict import (
    BLANKS,
    TextFile,
    Unlabelled,
    half_characters,
    no_targets,
    of_lines,
    read_sentences,
    read_texts,
    sentences_of_lines,
)
from frostline.data.texts.tokenized import TOO_LONG, Tokenizer, TokenSource, too_long
from frostline.data.texts.windows import mean_of_windows, words_of_windows
from frostline.errors import DataError, counted
from frostline.faults import together


class TextPredicting(Predicting):
    """words: whether the run predicts each word of a text. batch_tokens: limit of a batch, as in training."""

    samples = "texts"
    table_settings = frozenset({"quotes"})
    file_settings = frozenset({"windows"})

    def __init__(self, run: Opened, spec: TextSpec, *, words: bool, batch_tokens: int | None) -> None:
        self.run = run
        self.tokenizer = Tokenizer(spec, words=words)
        self.batch_tokens = batch_tokens
        self._reported_cut = False

    def of_input(self, asked: Asked) -> Predicted:
        tokenizer, task, windows = self.tokenizer, self.run.task, asked.data["windows"]
        found = _read(asked, self.run.settings, tagged=tokenizer.words)
        found, rows, values = self._values(found, batch_size=asked.batch_size, windows=windows)
        if not windows:
            pairs = not tokenizer.words and len(found.samples[0]) > 1
            cut = _cut_notes([len(row) for row in rows], tokenizer.spec.max_length, pairs=pairs)
            found = found._replace(notes=[*found.notes, *cut])
        told: Columns = {}
        if tokenizer.words:
            told = task.word_columns(found.samples, values, asked.top_k)
            found = found._replace(notes=[*found.notes, *_word_notes(values)])
        elif asked.top_k:
            told = task.columns(values, asked.top_k)
        for note in found.notes:
            print(f"frostline: {note}", file=sys.stderr)
        return Predicted(found.given, told, found.problems, values=values)

    def of_samples(self, samples: Sequence[Any], start: int, batch_size: int, top_k: int) -> list[Prediction]:
        where = [f"sample {start + place}" for place in range(len(samples))]
        if self.tokenizer.words:
            texts: list[Any] = [_words_of(*it) for it in zip(samples, where, strict=True)]
        else:
            columns = _text_columns(self.run.settings)
            texts = [_texts_of(sample, place, columns) for sample, place in zip(samples, where, strict=True)]
        found, rows, values = self._values(Unlabelled(texts, where, {}, []), batch_size=batch_size, windows=False)
        for problem in found.problems:
            raise problem
        self._tell_of_cut(rows, where)
        task = self.run.task
        if not self.tokenizer.words:
            return [Prediction(cells(task.columns([row], top_k)), row) for row in values]
        return [
            Prediction({"word": words, **task.columns([*row], top_k)}, row)
            for words, row in zip(texts, values, strict=True)
        ]

    def _tell_of_cut(self, rows: Sequence[Tensor], where: Sequence[str]) -> None:
        """Print a note at the first sample that is cut off; samples come one batch at a time, and are never counted."""
        longest = self.tokenizer.spec.max_length
        first = next((name for row, name in zip(rows, where, strict=True) if _is_cut(len(row), longest)), None)
        if first is not None and not self._reported_cut:
            self._reported_cut = True
            note = f"{first} has {longest} tokens or more: the rest is cut off, as in all later samples of that length"
            print(f"frostline: {note}", file=sys.stderr)

    def texts_in(self, given: Columns) -> dict[str, str]:
        """The text or pair of the first sample of an input, by its column."""
        return {name: given[name][0] for name in _text_columns(self.run.settings)}

    def unreadable(self, errors: Sequence[DataError], besides: str = "") -> DataError:
        return together(errors, "texts cannot be read", None, besides)

    def _values(
        self, found: Unlabelled, *, batch_size: int, windows: bool
    ) -> tuple[Unlabelled, list[Tensor], list[Tensor]]:
        """Return the texts that have tokens, the tokens of each row, and a prediction per text: (C,), or (W, C) for its
        words, NaN for words without a prediction. Raises DataError if no text has tokens."""
        found, rows, owners = _tokenised(found, self.tokenizer, windows=windows)
        if not rows:
            raise self.unreadable(found.problems)
        source = TokenSource.of(rows, no_targets(rows))
        data = TextFile(source, batch_size=batch_size, batch_tokens=self.batch_tokens)
        by_row = sorted(zip(data.order, self.run.predictions(data), strict=True), key=itemgetter(0))
        each = [prediction for _, prediction in by_row]
        if self.tokenizer.words:
            words = [source.words(row) for row in range(len(each))]
            return found, rows, words_of_windows(each, words, owners, found.samples)
        return found, rows, [*mean_of_windows(each, [len(row) for row in rows], owners)]


def _read(asked: Asked, settings: Mapping[str, Any], *, tagged: bool) -> Unlabelled:
    names = [] if tagged else _text_columns(settings)
    if asked.text is not None or asked.input == STANDARD_INPUT:
        source = "text=" if asked.text is not None else "standard input"
        lines = [asked.text] if asked.text is not None else lines_of(text_of(sys.stdin.buffer.read(), source))
        return sentences_of_lines(lines, source) if tagged else of_lines(lines, source, names)
    file = Path(str(asked.input))
    _require_text(file, tagged=tagged)
    if tagged:
        return read_sentences(file)
    quotes = settings.get("quotes") if asked.data["quotes"] is None else asked.data["quotes"]
    return read_texts(file, names, quotes)


def _text_columns(settings: Mapping[str, Any]) -> list[str]:
    """Those of the run's data; a reader without such a setting reads one text per sample."""
    return list(settings.get("text_columns", ["text"]))


def _require_text(file: Path, *, tagged: bool) -> None:
    """Raise DataError if the file is missing, a folder or a picture."""
    if file.is_file() and file.suffix.lower() not in suffixes():
        return
    what = "a picture" if file.is_file() else "a folder" if file.is_dir() else None
    raise DataError(
        f"this run takes {'words' if tagged else 'texts'}, but this is {what}" if what else "there is no such file",
        where=file,
        next_step="input=<sentences>.txt, one sentence per line, or a .conll, one word per line"
        if tagged
        else "input=<texts>.txt, one text per line, or a table",
    )


def _tokenised(
    found: Unlabelled, tokenizer: Tokenizer, *, windows: bool
) -> tuple[Unlabelled, list[Tensor], Sequence[int]]:
    """Return the texts that have tokens, the rows of tokens, and the index of each row's text."""
    found = found.without(too_long(found.samples), TOO_LONG)
    found = found.without(half_characters(found.samples), "it holds half of a surrogate pair, which is no character")

    def rows_of(samples: Sequence[Any]) -> tuple[list[Tensor], Sequence[int]]:
        return tokenizer.windows(samples) if windows else (tokenizer.rows(samples), range(len(samples)))

    rows, owners = rows_of(found.samples)
    if empty := {owner for row, owner in zip(rows, owners, strict=True) if not len(row)}:
        found = found.without(empty, "the tokenizer finds no token in it")
        rows, owners = rows_of(found.samples)
    return found, rows, owners


def _is_cut(length: int, longest: int | None) -> bool:
    return longest is not None and length >= longest


def _cut_notes(lengths: Sequence[int], longest: int | None, *, pairs: bool) -> list[str]:
    count = sum(_is_cut(length, longest) for length in lengths)
    advice = "" if pairs else " (data.windows=true reads all of it)"
    have = counted(count, "text has", "texts have")
    return [f"{have} {longest} tokens or more: the rest is cut off{advice}"] if count else []


def _word_notes(of_each: Sequence[Tensor]) -> list[str]:
    """Count the words without a prediction; those at the end of a text were cut off."""
    cut, tokenless = 0, 0
    for predictions in of_each:
        seen = ~predictions.isnan().any(1)
        end = int(seen.nonzero().max()) + 1 if seen.any() else 0
        cut += len(seen) - end
        tokenless += int((~seen[:end]).sum())
    notes = [f"{cut:,} words were cut off, and have no prediction"] if cut else []
    return notes + ([f"{tokenless:,} words have no token, and no prediction"] if tokenless else [])


def _words_of(sample: Any, where: str) -> list[str]:
    words = [it for it in BLANKS.split(sample) if it.strip()] if isinstance(sample, str) else sample
    if isinstance(words, Sequence) and words and all(isinstance(it, str) and it.strip() for it in words):
        return list(words)
    raise DataError(
        "this is not a sentence", where=where, next_step="pass a list of words, or a string with blanks between them"
    )


def _texts_of(sample: Any, where: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Convert a sample to its texts. columns: the run's names for them. Raises DataError."""
    texts = (sample,) if isinstance(sample, str) else sample
    right = isinstance(texts, Sequence) and len(texts) == len(columns)
    if right and all(isinstance(it, str) and it.strip() for it in texts):
        return tuple(texts)
    wanted = "a string" if len(columns) == 1 else f"a tuple of {len(columns)} strings: ({', '.join(columns)})"
    raise DataError(
        "this sample is blank, or not in the run's form", where=where, next_step=f"pass {wanted}, with some text"
    )
