"""A schedule as somebody wrote it, made whole: in a YAML of one's own it may say no more than its phases."""

import re
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

from frostline.paths import conf_dir


def whole_schedule(cfg: DictConfig, typed: Sequence[str], *, of_recipe: bool) -> list[str]:
    """Add what holds for each phase, where the schedule does not say it; leave out what a recipe says of phases that
    are not in the schedule chosen in place of the recipe's. typed: settings of the command line, which are never left
    out. of_recipe: whether a recipe was chosen. Gives a sentence on each phase that was left out.
    """
    if not isinstance(cfg.get("schedule"), DictConfig):
        return []  # the checks say what is missing
    shared = OmegaConf.load(conf_dir() / "schedule" / "_every_phase.yaml")
    with open_dict(cfg):
        cfg.schedule = OmegaConf.merge(shared, cfg.schedule)
    phases = cfg.schedule.get("phases")
    if not isinstance(phases, DictConfig) or not of_recipe:
        return []
    notes = []
    for name in list(phases):
        node = phases.get(name)
        if not isinstance(node, DictConfig) or "thaw" in node or _is_typed(str(name), typed):
            continue
        if any(isinstance(other, DictConfig) and "thaw" in other for other in phases.values()):
            with open_dict(phases):
                del phases[name]
            said = ", ".join(str(key) for key in node)
            notes.append(
                f"the recipe's settings of phase '{name}' ({said}) are left out: this schedule has no such phase"
            )
    return notes


def _is_typed(name: str, typed: Sequence[str]) -> bool:
    return any(re.match(rf"[+]*schedule\.phases\.{re.escape(name)}[.=]", override) for override in typed)
