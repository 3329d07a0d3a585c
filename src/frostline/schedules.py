"""A schedule as somebody wrote it, made whole: in a YAML of one's own it may say no more than its phases."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

from frostline.paths import conf_dir


def whole_schedule(cfg: DictConfig, typed: Sequence[str]) -> list[str]:
    """Add what holds for each phase, where the schedule does not say it; leave out what a recipe says of phases that
    are not in the schedule chosen in place of the recipe's. typed: settings of the command line, which are never left
    out. Gives a sentence on each phase that was left out.
    """
    shared = OmegaConf.load(conf_dir() / "schedule" / "_every_phase.yaml")
    with open_dict(cfg):
        cfg.schedule = OmegaConf.merge(shared, cfg.schedule)
    phases = cfg.schedule.get("phases")
    if not isinstance(phases, DictConfig):
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
    return any(override.lstrip("+").startswith(f"schedule.phases.{name}.") for override in typed)
