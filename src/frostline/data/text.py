"""Kinds of text data: your own files, and what Hugging Face's `datasets` loads."""

from pathlib import Path
from typing import Any

from frostline.data.conll import read_conll
from frostline.data.hub import read_hub_tags, read_hub_texts
from frostline.data.text_data import TextData
from frostline.data.text_tables import read_text_tables
from frostline.data.texts import TaggedSet, TextSet


class TextCsv(TextData):
    """Raises DataError that names the line of a table."""

    kinds = ("class", "labels", "numbers")

    def __init__(
        self,
        spec: Any,
        *,
        dir: str | None,
        train_file: str,
        val_file: str | None,
        test_file: str | None,
        text_columns: list[str],
        target_columns: list[str],
        separator: str | None,
        class_names: list[str] | None,
        source: str | None,
        **common: Any,
    ) -> None:
        self.name = _named(dir, train_file)
        self.where = Path(dir or ".") / train_file
        self.files: dict[str, Any] = {"train_file": train_file, "val_file": val_file, "test_file": test_file}
        self.columns: dict[str, Any] = {"text_columns": text_columns, "target_columns": target_columns}
        self.columns |= {"separator": separator, "class_names": class_names}
        self.place: dict[str, Any] = {"dir": dir, "source": source}
        super().__init__(spec, **common)

    def read_texts(self) -> TextSet:
        return read_text_tables(self.target_kind, **self.place, **self.files, **self.columns)


class Conll(TextData):
    """Raises DataError that names the line of a file."""

    kinds = ("tags",)

    def __init__(
        self,
        spec: Any,
        *,
        dir: str | None,
        train_file: str,
        val_file: str | None,
        test_file: str | None,
        source: str | None,
        **common: Any,
    ) -> None:
        self.name = _named(dir, train_file)
        self.where = Path(dir or ".") / train_file
        self.files: dict[str, Any] = {"train_file": train_file, "val_file": val_file, "test_file": test_file}
        self.place: dict[str, Any] = {"dir": dir, "source": source}
        super().__init__(spec, **common)

    def read_texts(self) -> TaggedSet:
        return read_conll(**self.place, **self.files)


class HfDataset(TextData):
    """Raises DataError that names the split and the row."""

    kinds = ("class", "labels", "numbers", "tags")

    def __init__(
        self,
        spec: Any,
        *,
        path: str,
        config: str | None,
        train_split: str,
        val_split: str | None,
        test_split: str | None,
        text_columns: list[str],
        target_columns: list[str],
        separator: str | None,
        **common: Any,
    ) -> None:
        self.name = Path(path).name
        self.where = path
        self.splits: dict[str, Any] = {"path": path, "config": config}
        self.splits |= {"train_split": train_split, "val_split": val_split, "test_split": test_split}
        self.columns: dict[str, Any] = {"text_columns": text_columns, "target_columns": target_columns}
        self.columns |= {"separator": separator}
        super().__init__(spec, **common)

    def read_texts(self) -> TextSet | TaggedSet:
        if self.target_kind != "tags":
            return read_hub_texts(self.target_kind, **self.splits, **self.columns)
        return read_hub_tags(
            **self.splits, word_column=self.columns["text_columns"][0], tag_column=self.columns["target_columns"][0]
        )


def _named(dir: str | None, file: str) -> str:
    """The folder of the files, where they have one of their own; else the file without its end."""
    return Path(dir).absolute().name if dir is not None else Path(file).stem
