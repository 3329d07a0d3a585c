"""Names of settings: which a command knows, and which are close to an unknown one."""

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from frostline.errors import close_names
from frostline.paths import conf_dir, leaves

# Last parts of the keys whose value is one file or folder.
PLACES = {
    *("dir", "file", "path", "train_file", "val_file", "test_file", "weights", "save_dir", "dirpath"),
    *("run", "folder", "index", "input", "output", "run_dir", "logs_dir", "resume", "join", "init_from"),
}


FOLDERS = {"dir", "run", "folder", "index", "run_dir", "logs_dir", "resume", "join", "init_from"}


def kind_of_value(key: str) -> str:
    """What a message puts for the missing value of a setting: `<folder>`, `<file>`, `[<column>]` or `<value>`."""
    name = key.rpartition(".")[2]
    if name in PLACES:
        return "<folder>" if name in FOLDERS else "<file>"
    return "[<column>]" if name.endswith("_columns") else "<value>"


def unknown_keys(plain: dict[str, Any], command: str, own: Collection[str] = ()) -> Iterator[str]:
    """Yield a line for each unknown key at the top level, in `schedule` and in `lr_find`. `signatures` checks the keys
    of constructors. own: groups that the program has added."""
    known = {
        "": known_keys(command) | set(own),
        "schedule": _keys_of("schedule/_every_phase.yaml") | {"phases"},
        "report": {"pictures", "saliency"},
        "lr_find": _keys_of("lr_find.yaml", "lr_find"),
    }
    for group, names in known.items():
        node = plain.get(group) if group else plain
        for name in node if isinstance(node, dict) else ():
            key = f"{group}.{name}" if group else str(name)
            if name not in names:
                yield f"{key}: there is no such setting; {meant(key, plain, names)}"


@cache
def _keys_of(file: str, group: str | None = None) -> frozenset[str]:
    """Keys of a file in conf/, which does not change: a sweep checks each job."""
    node = OmegaConf.load(conf_dir() / file)
    return frozenset(map(str, node if group is None else OmegaConf.select(node, group)))


@cache
def known_keys(command: str) -> frozenset[str]:
    """Top-level keys of a command's config: those in its YAML, and its config groups."""
    node = OmegaConf.load(conf_dir() / f"{command}.yaml")
    assert isinstance(node, DictConfig)
    known = _keys_of(f"{command}.yaml") - {"defaults", "hydra"}
    defaults = node.get("defaults")
    for entry in defaults if isinstance(defaults, ListConfig) else ():
        if isinstance(entry, DictConfig):
            known |= {str(name) for name in entry if not str(name).startswith("override ")}
        elif entry != "_self_":
            known |= known_keys(str(entry))
    return known


def meant(key: str, plain: dict[str, Any], known: Collection[str]) -> str:
    """Propose keys in place of an unknown one: those with the same last part elsewhere, or else close names."""
    name = key.rpartition(".")[2]
    elsewhere = [place for place, _ in leaves(plain) if place.rpartition(".")[2] == name and place != key]
    if elsewhere:
        return f"did you mean {', '.join(elsewhere[:3])}?"
    return close_names(name, known)
