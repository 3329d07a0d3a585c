"""Read texts from tables, one file per split: one or two texts per sample, with a class, labels or numbers."""

from collections.abc import Sequence

from frostline.data.reader import Found
from frostline.data.split_columns import SplitColumns
from frostline.data.tables.formats import read_table
from frostline.data.tables.label_lists import separator_notes
from frostline.data.tables.table import Row, Table
from frostline.data.tables.text_files import split_files
from frostline.data.target_types.base import TargetType
from frostline.data.texts.strings import Places, Texts
from frostline.errors import ConfigError, DataError
from frostline.faults import of_each
from frostline.quoting import list_of

MOST_TEXTS = 2  # per sample; tokenizers take single texts and pairs


def read_text_tables(
    target: TargetType,
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
    source: str | None,
    divided: SplitColumns | None = None,
    known: list[str] | None = None,
) -> Found:
    """Read the table of each split in any format of `read_table`. Raises DataError that names the line, ConfigError."""
    require_text_columns(target, text_columns, target_columns, separator, class_names)
    files = split_files(dir, source, train=train_file, val=val_file, test=test_file)
    further = {} if divided is None else divided.settings(scored=known is not None)
    target.require_columns(target_columns, separator, settings_of(text_columns, []), further)
    columns = settings_of(text_columns, target_columns) | further
    lists = target_columns if target.cells_hold_lists else []
    tables = {
        split: read_table(file, columns, verbatim=text_columns, lists=lists, quotes=quotes)
        for split, file in files.items()
    }
    found = text_set(target, tables, text_columns, target_columns, separator, class_names, known)
    if divided is None:
        return found
    rows = {split: table.rows for split, table in tables.items()}
    return found._replace(**divided.found(rows, scored=known is not None))


def require_text_columns(
    target: TargetType,
    text_columns: Sequence[str],
    target_columns: Sequence[str],
    separator: str | None,
    class_names: Sequence[str] | None,
) -> None:
    """Raises ConfigError if the settings of columns do not fit together or the target type."""
    if not 1 <= len(text_columns) <= MOST_TEXTS:
        raise ConfigError(
            f"a sample has one or two texts, but {len(text_columns)} text columns are named",
            where="data.text_columns",
            next_step="data.text_columns=[text], or data.text_columns=[premise,hypothesis]",
        )
    if len(set(text_columns)) < len(text_columns):
        raise ConfigError(
            f"both texts of a sample come from one column, '{text_columns[0]}'",
            where="data.text_columns",
            next_step=list_of("data.text_columns", text_columns[:1]),
        )
    target.require_columns(target_columns, separator, settings_of(text_columns, []))
    if class_names is None:
        return
    if not target.takes_class_names or len(set(class_names)) < max(len(class_names), 2):
        raise ConfigError(
            "data.class_names needs task=classification, and two or more names that all differ",
            where="data.class_names",
            next_step="data.class_names=[negative,positive] names 0 and 1; null takes the names from the column",
        )


def settings_of(text_columns: Sequence[str], target_columns: Sequence[str]) -> dict[str, str]:
    """The setting that names each column."""
    return dict.fromkeys(text_columns, "data.text_columns") | dict.fromkeys(target_columns, "data.target_columns")


def text_set(
    target: TargetType,
    tables: dict[str, Table],
    text_columns: Sequence[str],
    target_columns: Sequence[str],
    separator: str | None,
    class_names: list[str] | None,
    known: list[str] | None = None,
) -> Found:
    """Read texts and targets from tables. tables: by split, `train` first, then `val` and `test` if they exist.
    class_names: names of the numbers in the column; None: the column holds names. known: see `TargetType.read`. Raises
    DataError.
    """
    whole = Table(tables["train"].source, [row for table in tables.values() for row in table.rows])
    training = range(len(tables["train"].rows))
    names, targets = target.read(whole, target_columns, separator, training, known, class_names)
    pieces = targets.split([len(table.rows) for table in tables.values()])
    texts = of_each(lambda row: texts_in(row, text_columns), whole.rows, "samples lack a text")
    splits = {}
    for (split, table), piece in zip(tables.items(), pieces, strict=True):
        splits[split] = Texts(texts[: len(piece)], piece, _places(table))
        texts = texts[len(piece) :]
    notes = [note for table in tables.values() for note in table.notes]
    notes += separator_notes(whole, target_columns[0], separator)
    return Found(names, splits["train"], splits.get("val"), splits.get("test"), notes)


def texts_in(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    """The texts of a row. Raises DataError if one is blank."""
    for column in columns:
        if not row.cells[column].strip():
            raise DataError(
                f"there is no text in '{column}'",
                where=row.where,
                next_step="write one, or drop that sample"
                + (f"; data.text_columns=[{columns[0]}] reads one text" if len(columns) > 1 else ""),
            )
    return tuple(row.cells[column] for column in columns)


def _places(table: Table) -> Places:
    return Places(table.source, [row.place for row in table.rows], table.rows[0].unit)
