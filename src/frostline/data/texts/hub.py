"""Read texts and tagged words from data sets that Hugging Face's `datasets` loads: by name, or from a local folder."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from frostline.data.reader import Found
from frostline.data.tables.formats import cell_of
from frostline.data.tables.table import Row, Table, require_columns
from frostline.data.target_types.base import TargetType
from frostline.data.texts.bio_tags import Sentence, Tagged, tagged_set
from frostline.data.texts.tables import require_text_columns, settings_of, text_set
from frostline.errors import ConfigError, DataError, close_names, few, needs
from frostline.faults import of_each
from frostline.hub import go_offline
from frostline.paths import leaves

MOST_CARD = 100_000  # characters of a README's header
HEADER = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", re.DOTALL)
BEGIN = {"val": ("val", "dev"), "test": ("test",)}  # how the usual names of these splits begin


def read_hub_texts(
    target: TargetType,
    *,
    path: str,
    config: str | None,
    train_split: str,
    val_split: str | None,
    test_split: str | None,
    text_columns: list[str],
    target_columns: list[str],
    separator: str | None,
    known: list[str] | None = None,
) -> Found:
    """Read one or two texts per sample. If the data set names its classes, their names and order are used. Raises
    DataError, ConfigError.
    """
    require_text_columns(target, text_columns, target_columns, separator, None)
    columns = settings_of(text_columns, target_columns)
    splits = _splits(path, config, columns, train=train_split, val=val_split, test=test_split)
    lists = target_columns if target.cells_hold_lists else []
    tables = {
        split: Table(source, _rows(rows, source, columns, text_columns, lists))
        for split, (source, rows) in splits.items()
    }
    train = splits["train"][1]
    names = _class_names(train.features[target_columns[0]]) if target.takes_class_names else None
    found = text_set(target, tables, text_columns, target_columns, separator, names, known)
    further = _further(train.info.splits, train=train_split, val=val_split, test=test_split)
    return found._replace(notes=[*found.notes, *further])


def read_hub_tags(
    *,
    path: str,
    config: str | None,
    train_split: str,
    val_split: str | None,
    test_split: str | None,
    word_column: str,
    tag_column: str,
    known: list[str] | None = None,
) -> Found:
    """Read lists of words and lists of tags; tags are names, or indices of names in the data set. Raises DataError,
    ConfigError."""
    columns = [word_column, tag_column]
    splits = _splits(
        path, config, settings_of([word_column], [tag_column]), train=train_split, val=val_split, test=test_split
    )
    found = tagged_set({split: _tagged(rows, source, columns) for split, (source, rows) in splits.items()}, known)
    further = _further(splits["train"][1].info.splits, train=train_split, val=val_split, test=test_split)
    return found._replace(notes=[*found.notes, *further])


def _splits(path: str, config: str | None, columns: Collection[str], **names: str | None) -> dict[str, tuple[str, Any]]:
    """Load the splits that are named. Return for each its name in messages and the split, with these columns and at
    least one row. Raises DataError, ConfigError."""
    datasets = _imported()
    known = datasets.exceptions
    _require_own_files(Path(path))
    given = [name for name in names.values() if name is not None]
    if len(set(given)) < len(given):
        raise ConfigError(
            "one split of the data set is used twice, so that two splits would share their samples",
            where="data",
            next_step=f"name a different split in each of {', '.join(f'data.{split}_split' for split in names)}; null "
            "takes that split from the training split",
        )
    loaded = {}
    for split, name in names.items():
        if name is None:
            continue
        source = f"{path} ({name})"
        try:
            rows = datasets.load_dataset(path, config, split=name)
        # OSError: the hub; ValueError: names of configurations and splits; RuntimeError: a data set that is a script;
        # IndexError: a path without a name; StopIteration: an empty file.
        except (OSError, ValueError, RuntimeError, IndexError, StopIteration, known.DatasetsError) as error:
            raise DataError(
                f"the data set cannot be loaded: {_cause(error)}",
                where=source,
                next_step="correct data.path (a name on the hub, or a folder), data.config or "
                f"data.{split}_split; without a network only data sets that were loaded before are available",
            ) from error
        require_columns(rows.column_names, columns, source)
        if not len(rows):
            raise DataError(
                "there are no rows in this split", where=source, next_step=f"data.{split}_split=<another split>"
            )
        loaded[split] = source, rows.select_columns([*columns])
    return loaded


def _require_own_files(folder: Path) -> None:
    """Raises DataError if the README of a local folder names files elsewhere, which `datasets` would fetch."""
    card = folder / "README.md"
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8", errors="replace")
    head = HEADER.match(text)
    if head is None:
        return
    try:
        plain = yaml.safe_load(head[1]) if len(head[1]) <= MOST_CARD else None
        configs = list(plain.get("configs") or []) if isinstance(plain, dict) else list(None)  # type: ignore[call-overload]
        named = [
            value
            for config in configs
            for key in ("data_files", "data_dir")
            for _, value in leaves({key: config.get(key)})
        ]
    except (yaml.YAMLError, RecursionError, TypeError, AttributeError) as error:
        raise DataError(
            "the header of the folder's README.md cannot be read, and it may name other files",
            where=card,
            next_step="repair or remove it (YAML between two lines of ---)",
        ) from error
    away = [it for it in named if isinstance(it, str) and ("://" in it or it.startswith(("/", "~")) or ".." in it)]
    if away:
        raise DataError(
            f"the folder's README.md names files that are not in it: {few(away, 3)}",
            where=card,
            next_step="remove these lines, copy the files into the folder if you trust them, or use data=text_csv",
        )


def _further(known: Mapping[str, Any] | None, **names: str | None) -> list[str]:
    """Return a sentence on splits that no setting names. known: splits of the data set, if it lists them."""
    missing = [split for split, name in names.items() if name is None]
    used = {piece.partition("[")[0].strip() for name in names.values() if name for piece in name.split("+")}
    others = [name for name in known or () if name not in used] if "all" not in used else []
    if not others:
        return []
    keys = {name: next((split for split in missing if name.startswith(BEGIN[split])), None) for name in others}
    others = [f"{name} (data.{split}_split={name})" if split else name for name, split in keys.items()]
    return [f"the data set also has: {few(others)}"]


def _cause(error: BaseException) -> str:
    """Describe the cause: the library says only "an error occurred", and nothing for an empty file or a path without a
    name."""
    if isinstance(error, StopIteration):
        return "one of its files is empty"
    if isinstance(error, IndexError):
        return "the path names no folder"
    return " ".join(str(error.__cause__ or error).split())


def _imported() -> Any:
    with needs("datasets", "which loads this data", where="data", extra="text", otherwise="data=text_csv, data=conll"):
        go_offline()
        import datasets
    return datasets


def _rows(
    rows: Any, source: str, columns: Collection[str], verbatim: Sequence[str], lists: Collection[str]
) -> list[Row]:
    """Convert the rows of a split. verbatim, lists: see `read_table`."""
    named = {name: _class_names(getattr(rows.features[name], "feature", None)) for name in lists}

    def row(numbered: tuple[int, Mapping[str, Any]]) -> Row:
        index, given = numbered
        where = f"{source}, index {index}"
        given = {**given} | {
            name: [_named(number, names, where, name) for number in given[name] or []]
            for name, names in named.items()
            if names is not None
        }
        cells = {name: cell_of(given[name], where, name, lists=name in lists) for name in columns}
        return Row(source, index, cells, "index").without_blanks(verbatim)

    return of_each(row, enumerate(rows), "rows are faulty")


def _class_names(feature: Any) -> list[str] | None:
    """Names of a ClassLabel feature; None for other features."""
    return list(feature.names) if isinstance(feature, _imported().ClassLabel) else None


# --- tags ---


def _tagged(rows: Any, source: str, columns: Sequence[str]) -> Tagged:
    word_column, tag_column = columns
    for column in columns:
        if not isinstance(rows.features[column], _imported().List):
            raise DataError(
                f"'{column}' does not hold lists, but each row needs a list of words and a list of tags",
                where=source,
                next_step="data.text_columns=[<words>] data.target_columns=[<tags>]; the columns are: "
                + ", ".join(rows.features),
            )
    names = _class_names(rows.features[tag_column].feature)
    sentences = []
    for index, given in enumerate(rows):
        where = f"{source}, index {index}"
        words = [cell_of(word, where, word_column) for word in given[word_column] or []]
        tags = [_named(tag, names, where, tag_column).strip() for tag in given[tag_column] or []]
        if len(words) != len(tags) or not words or not all(word.strip() for word in words):
            raise DataError(
                f"there are {len(words)} words and {len(tags)} tags, but each word needs a tag and must not be blank",
                where=where,
                next_step="correct or drop that row",
            )
        sentences.append(Sentence(words, tags, [index] * len(words)))
    return Tagged(source, sentences, "index")


def _named(tag: Any, names: list[str] | None, where: str, column: str) -> str:
    if names is None:
        return cell_of(tag, where, column)
    if tag not in range(len(names)):
        raise DataError(
            f"{tag} in '{column}' is not the index of one of the {len(names)} names: {close_names(str(tag), names)}",
            where=where,
            next_step="correct or drop that row; -1 marks withheld tags",
        )
    return names[tag]
