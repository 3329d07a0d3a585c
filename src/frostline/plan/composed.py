"""The plan that a composed configuration describes."""

from frostline.config.plain import Config, resolved
from frostline.errors import ConfigError
from frostline.plan.phases import NO_AVERAGE, Plan
from frostline.plan.with_adapters import NONE, with_adapter

NOTHING = "none"  # in place of phases: the pretrained network is scored as it is


def plan_of(cfg: Config) -> Plan:
    schedule = resolved(cfg.schedule)
    if schedule.get("phases") == NOTHING:
        return with_adapter(Plan((), NO_AVERAGE), adapter=cfg.adapter._target_ != NONE)
    phases, every_phase, average = (schedule.get(key) or {} for key in ("phases", "every_phase", "average"))
    if not all(isinstance(node, dict) for node in (phases, every_phase, average)):
        raise ConfigError(
            "the plan is not a mapping of phases",
            where="schedule",
            next_step="'schedule.phases={head: {thaw: none, epochs: 3}}'",
        )
    return with_adapter(Plan.from_config(phases, every_phase, average), adapter=cfg.adapter._target_ != NONE)
