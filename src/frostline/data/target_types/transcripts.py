"""The text that is spoken in a sound. Targets: (N, W) int64 indices of characters, UNKNOWN for a character that is not
among the names, padded with NO_TAG to the W characters of the longest text.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from frostline.contracts.targets import NO_TAG, UNKNOWN, Targets
from frostline.data.tables.table import Row, Table
from frostline.data.target_types.base import TargetType
from frostline.errors import DataError, counted, few
from frostline.faults import of_each

LINES = "samples have faulty transcripts"


class Transcripts(TargetType):
    """Blanks at the ends of a text are dropped, and several blanks count as one."""

    kind = "transcripts"
    described_as = "the text that is spoken in each sound"
    plural = "characters"
    task = "transcription"
    data = "data=audio_csv"
    mixes = False
    takes_vocabulary = True
    only_of = "sounds"

    def columns_problem(self, columns: Sequence[str], separator: str | None) -> str:
        if len(columns) > 1:
            return f"a transcript needs one column of targets, but {len(columns)} are named"
        return super().columns_problem(columns, separator)

    def read(
        self,
        table: Table,
        columns: Sequence[str],
        separator: str | None,
        training: Sequence[int],
        known: list[str] | None = None,
        class_names: list[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        """class_names: the characters, if a file lists them. Raises DataError for an empty text, and for a training
        text with a character that the file lacks."""
        (column,) = columns
        texts = of_each(lambda row: _text(row, column), table.rows, LINES)
        names = known or class_names or sorted({character for place in training for character in texts[place]})
        if known is None and class_names is not None:
            _require_listed(table, [texts[place] for place in training], {*names})
        places = {name: place for place, name in enumerate(names)}
        rows = [torch.tensor([places.get(character, UNKNOWN) for character in text]) for text in texts]
        return names, pad_sequence(rows, batch_first=True, padding_value=NO_TAG)

    def reading_notes(self, table: Table, columns: Sequence[str], names: list[str]) -> list[str]:
        """Count characters that the network cannot write."""
        known, found = {*names}, Counter[str]()
        for row in table.rows:
            found.update(character for character in spaced(row.cells[columns[0]]) if character not in known)
        if not found:
            return []
        characters = few([f"'{character}' ({count:,})" for character, count in found.most_common()])
        number = counted(sum(found.values()), "character does", "characters do")
        return [f"{number} not occur in training transcripts, cannot be predicted: each is an error: {characters}"]

    def counts(self, names: list[str], targets: Tensor) -> dict[str, int]:
        return {}

    def strata(self, targets: Tensor) -> Tensor:
        return torch.zeros(len(targets), dtype=torch.int64)

    def describe(self, names: list[str], targets: Tensor) -> Targets:
        """`Targets.counts` are occurrences."""
        found = targets[targets >= 0].bincount(minlength=len(names))
        return Targets(self.kind, names, found.tolist(), {})

    def frequencies(self, targets: Targets, samples: int) -> str:
        """The percentage is of characters."""
        return super().frequencies(targets, max(sum(targets.counts), 1))

    def notes(self, targets: Targets) -> list[str]:
        never = [f"'{name}'" for name, count in zip(targets.names, targets.counts, strict=True) if not count]
        return [f"training never shows {few(never)}: nothing is learned about them"] if never else []

    def require_learnable(self, targets: Targets, samples: int, where: object) -> None:
        """Raises DataError if all training transcripts consist of one character."""
        if sum(count > 0 for count in targets.counts) < 2:
            raise DataError(
                "all training transcripts consist of one character, so that there is nothing to learn",
                where=where,
                next_step="data.target_columns=[<column of the spoken text>]",
            )

    def least_tokens(self, targets: Tensor) -> Tensor:
        """A token per character, and one more between two equal ones: CTC puts a blank there."""
        real = targets != NO_TAG
        twice = (targets[:, 1:] == targets[:, :-1]) & real[:, 1:]
        return real.sum(1) + twice.sum(1)

    def comparable(self, targets: Tensor) -> list[Hashable]:
        """Compares texts without padding, which depends on the longest sample."""
        return [row[row != NO_TAG].tobytes() for row in targets.numpy()]


def spaced(text: str) -> str:
    return " ".join(text.split())


def _text(row: Row, column: str) -> str:
    text = spaced(row.cells[column])
    if not text:
        raise DataError(
            f"the transcript in '{column}' is empty",
            where=row.where,
            next_step="write what is spoken, or drop the line",
        )
    return text


def _require_listed(table: Table, training: Sequence[str], names: set[str]) -> None:
    found = Counter(character for text in training for character in text if character not in names)
    if found:
        characters = few([f"'{character}' ({count:,})" for character, count in found.most_common()])
        raise DataError(
            f"training transcripts have characters that data.vocabulary does not list: {characters}",
            where=table.source,
            next_step="add them to that file, write the transcripts without them, or data.vocabulary=null",
        )
