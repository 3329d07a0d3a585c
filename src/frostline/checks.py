"""A composed config, checked before torch is imported: every error that can be known by then, told together."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frostline.errors import ConfigError
from frostline.phases import Plan
from frostline.signatures import problems, value_problem

# Single values, with what their YAML comments promise.
VALUES = {
    "seed": "Seed",
    "resume": "str | None",
    "init_from": "str | None",
    "dry_run": "bool",
    "run_dir": "str",
    "logs_dir": "str",
    "optimizer.lr": "Positive[float]",
    "optimizer.weight_decay": "NonNegative[float]",
    "trainer.devices": "int | str | list[int]",
    "trainer.limit_train_batches": "Positive[int] | Positive[float] | None",
    "trainer.limit_val_batches": "Positive[int] | Positive[float] | None",
    "trainer.limit_test_batches": "Positive[int] | Positive[float] | None",
    "run": "str",
    "input": "str",
    "output": "str",
    "checkpoint": "Literal['best', 'last']",
    "top_k": "Positive[int]",
    "batch_size": "Positive[int]",
}

# What a constructor takes that `build.py` gives it.
SUPPLIED = {
    "model": {"load"},
    "data": {"spec"},
    "head": {"in_features", "num_outputs"},
    "task": {"classes", "class_counts"},
    "optimizer": {"params"},
}


def check(cfg: DictConfig) -> None:
    """Raises ConfigError that lists everything wrong, or PlanError."""
    plain = resolved(cfg)
    missing = list(_missing(plain))
    if missing:
        raise ConfigError(
            f"{'a value is' if len(missing) == 1 else 'values are'} needed: {', '.join(missing)}",
            where="command line",
            next_step=" ".join(f"{key}=<value>" for key in missing),
        )
    found = [*_value_problems(cfg), *_supplied(plain), *problems(plain)]
    if found:
        raise ConfigError(
            "\n  ".join(["the configuration has a wrong value:", *found] if len(found) == 1 else [
                f"the configuration has {len(found)} wrong values:", *found
            ]),
            where="command line, or YAML under conf/",
            next_step="correct it; `--cfg job` prints the whole configuration",
        )  # fmt: skip
    if "schedule" in cfg:
        plan_of(cfg)


def plan_of(cfg: DictConfig) -> Plan:
    schedule = resolved(cfg.schedule)
    phases, every_phase = schedule.get("phases") or {}, schedule.get("every_phase") or {}
    if not isinstance(phases, dict) or not isinstance(every_phase, dict):
        raise ConfigError(
            "the plan is not phases by name",
            where="schedule",
            next_step="schedule.phases={head: {thaw: none, epochs: 3}}, say",
        )
    return Plan.from_config(phases, every_phase)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """As plain dicts and lists, every `${...}` replaced. Raises ConfigError where one leads nowhere."""
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"a reference in the configuration leads nowhere: {str(error).splitlines()[0]}",
            where="command line, or YAML under conf/",
            next_step="correct the `${...}`",
        ) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _supplied(plain: dict[str, Any]) -> Iterator[str]:
    for group, names in SUPPLIED.items():
        node = plain.get(group)
        for name in names & set(node if isinstance(node, dict) else ()):
            yield f"{group}.{name}: this one the program sets itself"


def _missing(plain: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in plain.items():
        if value == "???":
            yield f"{prefix}{key}"
        elif isinstance(value, dict):
            yield from _missing(value, f"{prefix}{key}.")


def _value_problems(cfg: DictConfig) -> list[str]:
    found = []
    for key, annotation in VALUES.items():
        if OmegaConf.select(cfg, key.rpartition(".")[0] or key) is None or key not in _keys(cfg, key):
            continue
        problem = value_problem(OmegaConf.select(cfg, key), annotation)
        if problem is not None:
            found.append(f"{key}: {problem}")
    return found


def _keys(cfg: DictConfig, key: str) -> set[str]:
    parent, _, _ = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return {f"{parent}.{name!s}" if parent else str(name) for name in node}
