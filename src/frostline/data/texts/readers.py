"""Readers of texts: your own tables and CoNLL files, and data sets that Hugging Face's `datasets` loads."""

from functools import partial
from pathlib import Path
from typing import Any

from frostline.contracts.targets import Targets
from frostline.data.reader import Found, Reader, name_of
from frostline.data.split_columns import SplitBy, SplitColumns
from frostline.data.target_types.base import TargetType
from frostline.data.texts.conll import read_conll
from frostline.data.texts.hub import read_hub_tags, read_hub_texts
from frostline.data.texts.modality import TextModality
from frostline.data.texts.tables import read_text_tables
from frostline.errors import ConfigError


class TextCsv(Reader):
    """Reads a table per split, see conf/data/text_csv.yaml. Raises DataError that names the line of a table."""

    modality = TextModality
    kinds = ()
    reads_columns = True
    named_by = "data.file"
    divides = "data.val_file, data.test_file"

    def __init__(
        self,
        *,
        dir: str | None,
        train_file: str,
        val_file: str | None,
        test_file: str | None,
        text_columns: list[str],
        target_columns: list[str],
        separator: str | None,
        class_names: list[str] | None,
        quotes: bool | None,
        split_by: SplitBy,
        time_column: str | None,
        user_column: str | None,
        relevant: float | str | None,
        group_column: str | None,
        group_columns: list[str] | None,
        source: str | None,
    ) -> None:
        self.name, self.where = _named(dir, train_file), Path(dir or ".") / train_file
        divided = SplitColumns(
            split_by=split_by,
            time_column=time_column,
            user_column=user_column,
            relevant=relevant,
            group_column=group_column,
            group_columns=group_columns,
        )
        self.ungroups = divided.ungroups
        self._read = partial(
            read_text_tables,
            divided=divided,
            dir=dir,
            train_file=train_file,
            val_file=val_file,
            test_file=test_file,
            text_columns=text_columns,
            target_columns=target_columns,
            separator=separator,
            class_names=class_names,
            quotes=quotes,
            source=source,
        )

    def read(self, target: TargetType, known: Targets | None) -> Found:
        return self._read(target, known=None if known is None else known.names)


class Conll(Reader):
    """Reads a file of tagged words per split, see conf/data/conll.yaml. Raises DataError that names the line."""

    modality = TextModality
    kinds = ("tags",)
    named_by = "data.file"
    divides = "data.val_file, data.test_file"

    def __init__(
        self,
        *,
        dir: str | None,
        train_file: str,
        val_file: str | None,
        test_file: str | None,
        source: str | None,
    ) -> None:
        self.name, self.where = _named(dir, train_file), Path(dir or ".") / train_file
        self._read = partial(
            read_conll, dir=dir, train_file=train_file, val_file=val_file, test_file=test_file, source=source
        )

    def read(self, target: TargetType, known: Targets | None) -> Found:
        return self._read(known=None if known is None else known.names)


class HfDataset(Reader):
    """Reads a data set of `datasets`, see conf/data/hf_dataset.yaml. Raises DataError that names the split and the row,
    ConfigError for columns from which tags cannot be read."""

    modality = TextModality
    kinds = ("tags",)
    reads_columns = True
    named_by = "data.path"
    divides = "data.val_split, data.test_split"

    def __init__(
        self,
        *,
        path: str,
        config: str | None,
        train_split: str,
        val_split: str | None,
        test_split: str | None,
        text_columns: list[str],
        target_columns: list[str],
        separator: str | None,
    ) -> None:
        self.name, self.where = Path(path).name, path
        self._splits: dict[str, Any] = {"path": path, "config": config, "train_split": train_split}
        self._splits |= {"val_split": val_split, "test_split": test_split}
        self._columns = text_columns, target_columns
        self._separator = separator

    def read(self, target: TargetType, known: Targets | None) -> Found:
        texts, targets = self._columns
        splits = self._splits | {"known": None if known is None else known.names}
        if not target.per_word:
            return read_hub_texts(
                target, text_columns=texts, target_columns=targets, separator=self._separator, **splits
            )
        if len(texts) != 1 or len(targets) != 1 or self._separator is not None:
            raise ConfigError(
                "tags need one column of lists of words, and one of lists of tags",
                where="data",
                next_step="data.text_columns=[tokens] data.target_columns=[ner_tags] data.separator=null",
            )
        return read_hub_tags(word_column=texts[0], tag_column=targets[0], **splits)


def _named(dir: str | None, file: str) -> str:
    """Name of the data: their folder if `dir` is set, else that of the file."""
    return Path(dir).absolute().name if dir is not None else name_of(Path(file))
