"""Check a composed config before torch is imported, and report all errors together."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from frostline.config.keys import PLACES, kind_of_value, unknown_keys
from frostline.config.plain import resolved, without_ours
from frostline.config.signatures import problems, value_problem
from frostline.distributed.launcher import PLACED, Launch, launched
from frostline.errors import ConfigError
from frostline.paths import leaves
from frostline.plan.composed import plan_of
from frostline.runs.folders import CONFIG

# Types of single values, as their YAML comments state them.
VALUES = {
    "seed": "Seed",
    "resume": "str | None",
    "init_from": "str | None",
    "test": "bool",
    "dry_run": "bool",
    "requeue": "bool",
    "predictions": "bool",
    "report": "bool | dict",
    "report.pictures": "bool",
    "report.saliency": "bool",
    "store": "bool | None",
    "evaluated": "str | None",
    "pictures": "bool | None",
    "saliency": "bool | None",
    "predictions_max_gigabytes": "Positive[float]",
    "trust": "bool",
    "run_dir": "str",
    "logs_dir": "str",
    "schedule.minutes": "Positive[float] | None",
    "optimizer.lr": "Rate",
    "optimizer.weight_decay": "NonNegative[float]",
    "trainer.accelerator": "Literal['auto', 'cpu', 'gpu', 'cuda', 'mps']",
    "trainer.devices": "int | str | list[int]",
    "trainer.num_nodes": "Positive[int]",
    "trainer.strategy": "Literal['auto', 'ddp', 'ddp_find_unused_parameters_true', 'fsdp'] | dict",
    "trainer.precision": "Literal['auto', '32-true', 'bf16-mixed', '16-mixed']",
    "trainer.accumulate_grad_batches": "Positive[int]",
    "trainer.gradient_clip_val": "Positive[float] | None",
    "trainer.log_every_n_steps": "Positive[int]",
    "trainer.limit_train_batches": "Positive[int] | Positive[float] | None",
    "trainer.limit_val_batches": "Positive[int] | Positive[float] | None",
    "trainer.limit_test_batches": "Positive[int] | Positive[float] | None",
    "trainer.compile": "bool | Literal['auto']",
    "trainer.deterministic": "bool | Literal['warn']",
    "trainer.enable_progress_bar": "bool | None",
    "lr_find.steps": "Positive[int]",
    "lr_find.lowest": "Rate",
    "lr_find.highest": "Rate",
    "lr_find.output": "str",
    "run": "str",
    "index": "str",
    "threshold": "float | None",
    "calibration": "Literal['temperature', 'none']",
    "abstain": "Fraction | None",
    "conformal": "Fraction | None",
    "input": "str | None",
    "text": "str | None",
    "answer": "str | None",
    "output": "str | None",
    "merge": "bool",
    "checkpoint": "Literal['best', 'last']",
    "top_k": "Positive[int]",
    "batch_size": "Positive[int]",
    "dir": "str | None",
    "clear": "bool",
    "folder": "str",
    "first": "str",
    "second": "str",
    "shown": "NonNegative[int]",
    "models": "list[str]",
}

# Constructor arguments that `build.py` supplies, so that no config may set them.
SUPPLIED = {
    "model": {"load", "form"},
    "data": {"spec"},
    "head": {"features", "num_outputs"},
    "task": {"targets"},
    "optimizer": {"params"},
    "trainer": {"max_epochs", "callbacks", "logger", "plugins", "enable_checkpointing", "use_distributed_sampler",
                "num_sanity_val_steps", "enable_model_summary",
                # The plan decides how long a phase is and when it is scored.
                "min_epochs", "max_steps", "min_steps", "max_time", "val_check_interval", "check_val_every_n_epoch",
                "fast_dev_run", "overfit_batches", "reload_dataloaders_every_n_epochs", "barebones"},
}  # fmt: skip
KEEPING = ("predictions", "predictions_max_gigabytes")
GROUPS = (
    "model",
    "head",
    "adapter",
    "data",
    "task",
    "schedule",
    "optimizer",
    "cache",
    "trainer",
    "callbacks",
    "logger",
)


def check(cfg: DictConfig, *own: str, command: str | None = "train") -> None:
    """Raise ConfigError that lists every error of the config, or PlanError.

    own: groups that the command has beside those of a training, or instead of them. command: None for the config of a
    run, which another version may have written.
    """
    plain = resolved(cfg)
    missing = list(_missing(plain))
    if missing:
        raise ConfigError(
            f"{'a value is' if len(missing) == 1 else 'values are'} needed: {', '.join(missing)}",
            where="command line",
            next_step=" ".join(f"{key}={kind_of_value(key)}" for key in missing),
        )
    trains = "run_dir" in plain  # otherwise the command works on an existing run: evaluate, predict
    found = [
        *(unknown_keys(plain, command, own) if command is not None else []),
        *_absent(plain, trains, own, whole=command is not None),
        *_value_problems(plain, whole=trains or bool(own)),
        *_empty_places(plain),
        *_supplied(plain),
        *_together(plain),
        *(_elsewhere(plain) if command is not None and trains else []),
    ]
    found += problems(without_ours(plain), supplied=SUPPLIED | _phase_optimizers(plain))
    first: dict[str, str] = {}  # by setting: VALUES and the constructor's annotation may reject the same value
    for line in found:
        first.setdefault(line.partition(": ")[0], line)
    found = [*first.values()]
    if found:
        raise ConfigError(
            "\n  ".join(["the configuration has a wrong value:", *found] if len(found) == 1 else [
                f"the configuration has {len(found)} wrong values:", *found
            ]),
            where="command line, or YAML under conf/" if command is not None else Path(plain["run_dir"]) / CONFIG,
            next_step="correct it; `--cfg job` prints the whole configuration" if command is not None else
            "restore the file, or start a new run",
        )  # fmt: skip
    if "schedule" in cfg:
        plan_of(cfg)
    if (launch := launched()) is not None:
        _require_launch(launch, plain.get("trainer"))
    else:
        _require_hosts(plain.get("trainer"))


def _empty_places(plain: dict[str, Any]) -> Iterator[str]:
    """Yield paths that are empty strings, which would mean the current folder."""
    for key, value in leaves(plain):
        if value == "" and key.rpartition(".")[2] in PLACES:
            yield f"{key} is empty; is a shell variable unset?"


def _together(plain: dict[str, Any]) -> Iterator[str]:
    """Yield combinations of values that are valid only separately."""
    schedule = plain.get("schedule")
    if isinstance(schedule, dict) and schedule.get("minutes") is not None and "auto" not in _thaws(schedule):
        yield "schedule.minutes: no phase of this plan has `thaw: auto`; schedule=auto has one"
    trainer, optimizer = plain.get("trainer"), plain.get("optimizer")
    if "models" in plain and plain.get("output") is None:
        yield "output: rank needs a folder; only predict accepts null"
    if not isinstance(trainer, dict) or trainer.get("precision") == "32-true":
        return
    if trainer.get("gradient_clip_val") and isinstance(optimizer, dict) and optimizer.get("fused"):
        yield "optimizer.fused: it allows gradient clipping only in 32-true; use false, or trainer.precision=32-true"
    if trainer.get("strategy") == "fsdp" and trainer.get("precision") == "16-mixed":
        yield "trainer.precision: fsdp has no loss scaling, which 16-mixed needs; use bf16-mixed or 32-true"


def _elsewhere(plain: dict[str, Any]) -> Iterator[str]:
    """Yield checkpoints that would lie where no command looks for them."""
    callbacks = plain.get("callbacks")
    nodes, place = callbacks if isinstance(callbacks, dict) else {}, f"{plain['run_dir']}/checkpoints"
    for name in ("best", "last"):
        node = nodes.get(name)
        if isinstance(node, dict) and node.get("dirpath", place) != place:
            yield f"callbacks.{name}.dirpath: resume and evaluate look in the run folder: leave it as it is"


def _thaws(schedule: dict[str, Any]) -> list[Any]:
    phases = schedule.get("phases")
    return (
        [phase.get("thaw") for phase in phases.values() if isinstance(phase, dict)] if isinstance(phases, dict) else []
    )


def _supplied(plain: dict[str, Any]) -> Iterator[str]:
    for group, names in SUPPLIED.items():
        node = plain.get(group)
        for name in names & set(node if isinstance(node, dict) else ()):
            yield f"{group}.{name}: set by Frostline; remove it"


def _require_launch(launch: Launch, node: Any) -> None:
    """Raise ConfigError if `trainer` (node) contradicts the launcher, as the ranks would then wait forever."""
    devices, num_nodes = (node.get(name) if isinstance(node, dict) else None for name in ("devices", "num_nodes"))
    number = len(devices) if isinstance(devices, list) else devices
    evenly = {"torchrun": "the same --nproc-per-node on every host", "SLURM": "--ntasks-per-node=<number>"}
    problems = {
        f"the variables of {launch.by} do not show the same number of processes on each host": (
            not launch.even,
            evenly[launch.by],
        ),
        f"trainer.devices is {devices}, but {launch.by} started {launch.devices} processes on each host": (
            number not in (None, "auto", -1, launch.devices),
            "leave it out, or trainer.devices=auto",
        ),
        f"trainer.num_nodes is {num_nodes}, but {launch.by} started processes on {launch.num_nodes} hosts": (
            num_nodes not in (None, 1, launch.num_nodes),
            "leave it out",
        ),
        "processes that torchrun restarts may read the addresses of the previous ones (pytorch issue 135712)": (
            launch.stale,
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun ..., or no --max-restarts",
        ),
    }
    for problem, (holds, next_step) in problems.items():
        if holds:
            raise ConfigError(problem, where=launch.by, next_step=next_step)


def _require_hosts(node: Any) -> None:
    """Raise ConfigError if, by `trainer` (node), this process would wait for hosts that no launcher has started."""
    num_nodes = node.get("num_nodes") if isinstance(node, dict) else None
    if isinstance(num_nodes, int) and num_nodes > 1 and not PLACED & set(os.environ):
        raise ConfigError(
            f"trainer.num_nodes is {num_nodes}, but no launcher started this process as one of several hosts",
            where="trainer",
            next_step="trainer.num_nodes=1; or start the same command on each host by torchrun or SLURM",
        )


def _missing(plain: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in plain.items():
        if value == "???":
            yield f"{prefix}{key}"
        elif isinstance(value, dict):
            yield from _missing(value, f"{prefix}{key}.")


def _absent(plain: dict[str, Any], trains: bool, own: Collection[str], *, whole: bool) -> Iterator[str]:
    """Yield groups and keys that are missing, such as those removed with `~`. whole: whether this version composed the
    config."""
    for group in GROUPS if trains else ():
        if not isinstance(plain.get(group), dict):
            yield f"{group} is missing; add {group}=<option>"
    ours = ("seed", "resume", "init_from", "test", "dry_run", "logs_dir", "requeue", "trust", *KEEPING)
    for key in ours if trains and whole else ():
        if key not in plain:
            yield f"{key} is missing"
    for group in own:
        if not isinstance(plain.get(group), dict):
            yield f"{group} is missing; do not remove it"
    for key in VALUES:
        group, _, name = key.rpartition(".")
        kept = plain.get(group)
        if group in (("trainer", *own) if trains else own) and isinstance(kept, dict) and name not in kept:
            yield f"{key} is missing"


def _phase_optimizers(plain: dict[str, Any]) -> dict[str, set[str]]:
    """SUPPLIED for the optimizers of phases."""
    schedule = plain.get("schedule")
    phases = schedule.get("phases") if isinstance(schedule, dict) else None
    names = ["every_phase", *(f"phases.{name}" for name in phases)] if isinstance(phases, dict) else []
    return {f"schedule.{name}.optimizer": {"params"} for name in names}


def _value_problems(plain: dict[str, Any], *, whole: bool) -> list[str]:
    found = []
    for key, annotation in VALUES.items():
        parent, _, name = key.rpartition(".")
        node = plain.get(parent) if parent else plain
        if not isinstance(node, dict) or name not in node:
            continue
        if node[name] is None and not whole and (parent or name in KEEPING):
            continue  # for evaluate and predict, null means the run's own value
        problem = value_problem(key, node[name], annotation)
        if problem is not None:
            found.append(f"{key}: {problem}")
    return found
