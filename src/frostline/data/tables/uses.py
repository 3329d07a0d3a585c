"""A column of a table is an input, a target, or divides the samples: never two of them."""

from collections.abc import Collection, Sequence

from frostline.errors import ConfigError
from frostline.quoting import list_of

TARGETS, SLICES = "data.target_columns", "data.group_columns"
TIME, USER = "data.time_column", "data.user_column"
LISTS = (TARGETS, SLICES, "data.text_columns")  # settings that name several columns
NEEDED_BY = {TIME: (), USER: ("data.relevant",)}  # settings of columns that `data.split_by` may need: what needs them


def require_one_use(uses: Sequence[tuple[str, str]]) -> None:
    """uses: columns, each with the setting that names it; of two settings, the later one is to be mended. Raises
    ConfigError that names both."""
    first: dict[str, str] = {}
    for name, setting in uses:
        if name in first:
            both = f"in {first[name]} and in {setting}" if setting != first[name] else f"named twice in {setting}"
            raise ConfigError(
                f"the column '{name}' is {both}",
                where=setting,
                next_step=_mended(name, setting, uses, first[name]),
            )
        first[name] = setting


def _mended(name: str, setting: str, uses: Sequence[tuple[str, str]], other: str) -> str:
    """The setting without the column. other: the setting that names the column too."""
    if setting not in LISTS:
        return _undone(setting, {its for _, its in uses})
    named = [own for own, its in uses if its == setting]
    rest = [*dict.fromkeys(own for own in named if own != name or other == setting)]
    if rest:
        return list_of(setting, rest)
    return f"{setting}=[<another column>]" if setting != SLICES else _undone(setting, ())


def _undone(setting: str, typed: Collection[str]) -> str:
    """Null for a setting and for those that need it. typed: settings of all columns; with TIME, samples are split by
    time."""
    split = ["data.split_by=random"] if setting in NEEDED_BY and (setting == TIME or TIME not in typed) else []
    return " ".join([*split, *(f"{one}=null" for one in (setting, *NEEDED_BY.get(setting, ())))])
