"""Make the Trainer for the devices and the precision that the machine has."""

import os
import sys
from contextlib import nullcontext
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities import registry
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from torch import nn

from frostline.config.instantiate import maker_of
from frostline.config.plain import Config, Settings, resolved, without_ours
from frostline.data.module import Data
from frostline.distributed.fsdp_strategy import Sharded
from frostline.distributed.launcher import launched
from frostline.errors import ConfigError
from frostline.frozen.compile import frozen_pays
from frostline.training.allocator import keep_freed_memory
from frostline.training.callbacks.checkpoint_files import LateFiles
from frostline.training.compiling import compiler_problem, training_pays
from frostline.training.depthwise import has_depthwise

# Lightning sets this variable: torch then loads NVML whenever it looks for GPUs, as Adam does in each step.
LOOKS_FOR_NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
NOTHING = nullcontext()


class Unwatched(PassThroughProfiler):
    """Measures nothing, as Lightning's default, which makes a new context for that 120 times a step."""

    def profile(self, action_name: str) -> Any:
        return NOTHING


def make_trainer(
    node: Config, callbacks: list[L.Callback], logger: Logger | bool, num_batches: int | None = None
) -> L.Trainer:
    settings = resolved(node)
    launch = launched()
    # Lightning's requeue on SLURM does not know phases.
    slurm = [SLURMEnvironment(auto_requeue=False)] if launch is not None and launch.by == "SLURM" else []
    own: dict[str, Any] = {"strategy": Sharded()} if settings["strategy"] == "fsdp" else {}
    own |= {} if "profiler" in settings else {"profiler": Unwatched()}
    _spare_steps()
    registry.entry_points = _entry_points  # type: ignore[assignment]
    if _on_cpu(settings["accelerator"]):
        keep_freed_memory()
    make = maker_of(without_ours({"trainer": settings})["trainer"], "trainer")
    try:
        trainer: L.Trainer = make(
            **own,
            precision=_precision(settings["precision"], settings["accelerator"]),
            enable_progress_bar=shows_progress(settings["enable_progress_bar"]) and bool(callbacks),
            callbacks=callbacks,
            logger=logger,
            log_every_n_steps=min(settings["log_every_n_steps"], num_batches or 1),  # at least once per epoch
            enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in callbacks),
            plugins=[LateFiles(), *slurm],
            **processes(node),
            enable_model_summary=False,
            num_sanity_val_steps=0,  # the first validation comes soon enough, and a sanity check would log
            use_distributed_sampler=False,  # EpochBatches splits each batch over the ranks, every sample once
            max_epochs=0,  # each phase raises it
        )
        return trainer
    except (MisconfigurationException, ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"the Trainer rejects its settings: {error}",
            where="trainer",
            next_step="correct that setting, or use trainer=cpu",
        ) from error


@cache
def _entry_points(group: str) -> Any:
    """Lightning searches all installed packages for plugins with each Trainer: 13 ms for 150 packages (AMD EPYC)."""
    return entry_points(group=group)


def _spare_steps() -> None:
    """Without a GPU, make torch ask the CUDA runtime instead of NVML: this takes 1 µs, and a step of AdamW 0.03 ms
    instead of 0.14 (AMD EPYC, torch 2.14). With a GPU, asking it would prevent processes from being forked."""
    if not torch.cuda.is_available():
        os.environ[LOOKS_FOR_NVML] = "0"


def processes(node: Config) -> dict[str, Any]:
    """Numbers of devices and hosts: from the launcher that started the processes, else from the configuration."""
    launch, devices = launched(), resolved(node)["devices"]
    if launch is None:
        return {"devices": devices, "num_nodes": node.num_nodes}
    return {"devices": devices if isinstance(devices, list) else launch.devices, "num_nodes": launch.num_nodes}


class Compiled(NamedTuple):
    """Whether the layers that train are compiled, and whether frozen blocks are, in low precision."""

    training: bool
    frozen: bool


def compiled(wanted: bool | Literal["auto"], trainer: L.Trainer, *, training: float, frozen: float) -> Compiled:
    """Decide what to compile. training, frozen: floating-point operations of a run. Without a compiler the run is
    slower, but otherwise the same."""
    device = trainer.strategy.root_device
    if wanted == "auto":
        choice = Compiled(training_pays(training, device), frozen_pays(frozen, device))
    else:
        choice = Compiled(wanted, wanted)
    choice = choice._replace(frozen=choice.frozen and trainer.precision == "bf16-mixed")
    problem = compiler_problem(device) if any(choice) else None
    if problem is not None:
        if trainer.is_global_zero:
            print(f"frostline: trainer.compile is ignored: torch cannot compile here: {problem}", file=sys.stderr)
        return Compiled(training=False, frozen=False)
    return choice


def require_batches(node: Config, data: Data) -> None:
    """Raises ConfigError if a limit leaves less than one batch."""
    for name, split in (("train", data.train_split), ("val", data.val_split), ("test", data.test_split)):
        limit = node[f"limit_{name}_batches"]
        batches = data.batches_of(split)
        if isinstance(limit, float) and int(limit * batches) == 0:
            raise ConfigError(
                f"{limit} of {batches} batches is less than one batch",
                where=f"trainer.limit_{name}_batches",
                next_step=f"trainer.limit_{name}_batches=1, or a larger share",
            )


def require_devices(accelerator: str, devices: Any) -> None:
    """Raises ConfigError if there are fewer devices than requested. On CPUs a device is a process, and a launcher may
    start more than there are cores. On GPUs Lightning checks, too, but only when the Trainer is made."""
    cores = os.cpu_count() or 1
    on_cpu = _on_cpu(accelerator)
    if on_cpu and launched() is None and isinstance(devices, int) and not 1 <= devices <= cores:
        raise ConfigError(
            f"{devices} devices were requested, but this machine has {cores} CPU cores",
            where="trainer.devices",
            next_step=f"trainer.devices=1, or up to {cores}",
        )
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(
            "a GPU was requested, but torch finds none",
            where="trainer.accelerator",
            next_step="trainer=cpu, or install a driver (nvidia-smi shows whether there is one)",
        )
    if not on_cpu and isinstance(devices, int) and torch.cuda.is_available() and devices > torch.cuda.device_count():
        raise ConfigError(
            f"{devices} devices were requested, but there are {torch.cuda.device_count()} GPUs",
            where="trainer.devices",
            next_step=f"trainer.devices={torch.cuda.device_count()} or fewer",
        )


def _on_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())


CHOSEN = ("bf16-mixed", "32-true")  # by trainer.precision=auto


def _precision(precision: str, accelerator: str) -> str:
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return "bf16-mixed" if native else "32-true"


def with_precision(cfg: Config, network: nn.Module) -> Settings:
    """Replace `trainer.precision=auto` by float32 for depthwise convolutions on CPUs without AMX (depthwise.py)."""
    cfg = Settings.of(cfg)
    on_cpu = cfg.trainer.precision == "auto" and _on_cpu(cfg.trainer.accelerator)
    if not on_cpu or torch.cpu.get_capabilities().get("amx_bf16") or not has_depthwise(network):
        return cfg
    return Settings(cfg, trainer=Settings(cfg.trainer, precision="32-true"))


def shows_progress(wanted: bool | None) -> bool:
    """`trainer.enable_progress_bar`; null: only if stderr is a terminal."""
    return os.isatty(2) if wanted is None else wanted
