"""A column of a table is an input, a target, or divides the samples: never two of them."""

from collections.abc import Sequence

from frostline.errors import ConfigError
from frostline.quoting import list_of

TARGETS, SLICES = "data.target_columns", "data.group_columns"
LISTS = (TARGETS, SLICES, "data.text_columns")  # settings that name several columns
UNDONE = {SLICES: f"{SLICES}=null", "data.time_column": "data.split_by=random data.time_column=null"}


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
                next_step=_mended(name, setting, [own for own, its in uses if its == setting], first[name]),
            )
        first[name] = setting


def _mended(name: str, setting: str, named: Sequence[str], other: str) -> str:
    """The setting without the column. named: its columns. other: the setting that names the column too."""
    if setting not in LISTS:
        return UNDONE.get(setting, f"{setting}=null")
    rest = [*dict.fromkeys(own for own in named if own != name or other == setting)]
    return list_of(setting, rest) if rest else UNDONE.get(setting, f"{setting}=[<another column>]")
