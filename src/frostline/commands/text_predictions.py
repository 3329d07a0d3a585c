"""Predict texts and words. Shapes: R rows of tokens, each a text or a window of one; N texts; W words; C outputs."""

import sys
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from frostline.commands.predicted import STANDARD_INPUT, Predicted
from frostline.commands.trained import Network
from frostline.contracts.specs import TextSpec
from frostline.data.pictures.files import suffixes
from frostline.data.tables.text_files import lines_of, text_of
from frostline.data.texts.to_predict import (
    TextFile,
    Unlabelled,
    no_targets,
    of_lines,
    read_sentences,
    read_texts,
    sentences_of_lines,
)
from frostline.data.texts.tokenized import TOO_LONG, Tokenizer, TokenSource, too_long
from frostline.errors import DataError
from frostline.faults import together
from frostline.tasks.token_classification import TokenClassification


def text_columns(cfg: DictConfig, network: Network) -> Predicted:
    """Predict the texts of `cfg.input` or `cfg.text`. Raises DataError if none can be read."""
    tokenizer, task = tokenizer_of(network), network.task
    found = _read(cfg, network.settings, tagged=tokenizer.words)
    found, rows, values = text_values(network, tokenizer, found, batch_size=cfg.batch_size, windows=cfg.data.windows)
    if not cfg.data.windows:
        pairs = not tokenizer.words and len(found.samples[0]) > 1
        cut = _cut_notes([len(row) for row in rows], tokenizer.spec.max_length, pairs=pairs)
        found = found._replace(notes=[*found.notes, *cut])
    if isinstance(task, TokenClassification):
        told = task.word_columns(found.samples, values, cfg.top_k)
        found = found._replace(notes=[*found.notes, *_word_notes(values)])
    else:
        told = task.columns(values, cfg.top_k)
    for note in found.notes:
        print(f"frostline: {note}", file=sys.stderr)
    return Predicted(found.given, told, found.problems)


def tokenizer_of(network: Network) -> Tokenizer:
    spec = network.spec
    assert isinstance(spec, TextSpec)
    return Tokenizer(spec.at(network.settings.data.max_length), words=isinstance(network.task, TokenClassification))


def text_values(
    network: Network, tokenizer: Tokenizer, found: Unlabelled, *, batch_size: int, windows: bool
) -> tuple[Unlabelled, list[Tensor], list[Tensor]]:
    """Return the texts that have tokens, the tokens of each row, and a prediction per text: (C,), or (W, C) for its
    words, NaN for words without a prediction. Raises DataError if no text has tokens."""
    found, rows, owners = _tokenised(found, tokenizer, windows=windows)
    source = TokenSource.of(rows, no_targets(rows))
    data = TextFile(source, batch_size=batch_size, batch_tokens=network.settings.data.batch_tokens)
    by_row = sorted(zip(data.order, network.predictions(data), strict=True), key=itemgetter(0))
    each = [prediction for _, prediction in by_row]
    if tokenizer.words:
        words = [source.words(row) for row in range(len(each))]
        return found, rows, words_of_windows(each, words, owners, found.samples)
    return found, rows, [*mean_of_windows(each, [len(row) for row in rows], owners)]


def _read(cfg: DictConfig, settings: DictConfig, *, tagged: bool) -> Unlabelled:
    names = [] if tagged else list(settings.data.text_columns)
    if cfg.text is not None or cfg.input == STANDARD_INPUT:
        source = "text=" if cfg.text is not None else "standard input"
        lines = [cfg.text] if cfg.text is not None else lines_of(text_of(sys.stdin.buffer.read(), source))
        return sentences_of_lines(lines, source) if tagged else of_lines(lines, source, names)
    file = Path(cfg.input)
    _require_text(file, tagged=tagged)
    if tagged:
        return read_sentences(file)
    quotes = settings.data.get("quotes") if cfg.data.quotes is None else cfg.data.quotes
    return read_texts(file, names, quotes)


def _require_text(file: Path, *, tagged: bool) -> None:
    """Raise DataError if the file is missing, a folder or a picture."""
    if file.is_file() and file.suffix.lower() not in suffixes():
        return
    what = "a picture" if file.is_file() else "a folder" if file.is_dir() else None
    raise DataError(
        f"this run takes {'words' if tagged else 'texts'}, but this is {what}" if what else "there is no such file",
        where=file,
        next_step="input=<sentences>.txt, a sentence a line, or a .conll, a word a line"
        if tagged
        else "input=<texts>.txt, a text a line, or a table",
    )


def _tokenised(
    found: Unlabelled, tokenizer: Tokenizer, *, windows: bool
) -> tuple[Unlabelled, list[Tensor], Sequence[int]]:
    """Return the texts that have tokens, the rows of tokens, and the index of each row's text. Raises DataError if no
    text has tokens."""
    found = found.without(too_long(found.samples), TOO_LONG)

    def rows_of(samples: Sequence[Any]) -> tuple[list[Tensor], Sequence[int]]:
        return tokenizer.windows(samples) if windows else (tokenizer.rows(samples), range(len(samples)))

    rows, owners = rows_of(found.samples)
    if empty := {owner for row, owner in zip(rows, owners, strict=True) if not len(row)}:
        found = found.without(empty, "the tokenizer finds no token in it")
        rows, owners = rows_of(found.samples)
    if not rows:
        raise unreadable_texts(found.problems)
    return found, rows, owners


def mean_of_windows(rows: Sequence[Tensor], lengths: Sequence[int], owners: Sequence[int]) -> Tensor:
    """(R, C) → (N, C): the mean over a text's windows, weighted by their numbers of tokens."""
    weights = torch.tensor(lengths, dtype=torch.float32)[:, None]
    index = torch.tensor([*owners])
    sums = torch.zeros(int(index[-1]) + 1, len(rows[0])).index_add_(0, index, torch.stack(list(rows)) * weights)
    return sums / torch.zeros(len(sums), 1).index_add_(0, index, weights)


def words_of_windows(
    rows: Sequence[Tensor], words: Sequence[Tensor], owners: Sequence[int], samples: Sequence[Sequence[str]]
) -> list[Tensor]:
    """(L, C) per row → (W, C) per text. A word gets the output at its first token, from the window in which that token
    is farthest from an end. words: (L,) index of the word that begins at each token, negative if none does. Words that
    begin at no token (cut off, or without tokens) get NaN."""
    found = [rows[0].new_full((len(sample), rows[0].shape[1]), torch.nan) for sample in samples]
    margins = [torch.full((len(sample),), -1) for sample in samples]
    for row, begins, owner in zip(rows, words, owners, strict=True):
        places = (begins >= 0).nonzero().flatten()
        margin = torch.minimum(places, len(begins) - 1 - places)
        better = margin > margins[owner][begins[places]]
        chosen = begins[places[better]]
        margins[owner][chosen] = margin[better]
        found[owner][chosen] = row[places[better]]
    return found


def _cut_notes(lengths: Sequence[int], longest: int | None, *, pairs: bool) -> list[str]:
    count = sum(longest is not None and length >= longest for length in lengths)
    advice = "" if pairs else " (data.windows=true reads all of it)"
    return [f"{count:,} texts have {longest} tokens or more: what is beyond is cut off{advice}"] if count else []


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


def unreadable_texts(errors: Sequence[DataError], besides: str = "") -> DataError:
    return together(errors, "texts cannot be read", None, besides)
