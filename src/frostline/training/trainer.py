"""The Trainer, on the devices and in the precision that there are."""

import os
import sys
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from omegaconf import DictConfig, OmegaConf
from torch import nn

from frostline.config.instantiate import maker_of
from frostline.config.plain import resolved, without_ours
from frostline.data.module import Data
from frostline.distributed.fsdp_strategy import Sharded
from frostline.distributed.launcher import launched
from frostline.errors import ConfigError
from frostline.frozen.compile import frozen_pays
from frostline.training.allocator import keep_freed_memory
from frostline.training.callbacks.checkpoints import LateFiles
from frostline.training.compiling import compiler_problem, training_pays

# Lightning has torch look for NVML's library whenever it asks for GPUs, and Adam asks for them in each step.
LOOKS_FOR_NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
NOTHING = nullcontext()


class Unwatched(PassThroughProfiler):
    """As Lightning's default, measures nothing; that one makes a context of its own for it, 120 times a step."""

    def profile(self, action_name: str) -> Any:
        return NOTHING


def make_trainer(
    node: DictConfig, callbacks: list[L.Callback], logger: Logger | bool, num_batches: int | None = None
) -> L.Trainer:
    settings = resolved(node)
    launch = launched()
    # SLURM's own way to go on knows nothing of phases.
    slurm = [SLURMEnvironment(auto_requeue=False)] if launch is not None and launch.by == "SLURM" else []
    own: dict[str, Any] = {"strategy": Sharded()} if settings["strategy"] == "fsdp" else {}
    own |= {} if "profiler" in settings else {"profiler": Unwatched()}
    _spare_steps()
    if _on_cpu(settings["accelerator"]):
        keep_freed_memory()
    make = maker_of(OmegaConf.create(without_ours({"trainer": settings})["trainer"]), "trainer")
    try:
        trainer: L.Trainer = make(
            **own,
            precision=_precision(settings["precision"], settings["accelerator"]),
            enable_progress_bar=shows_progress(settings["enable_progress_bar"]) and bool(callbacks),
            callbacks=callbacks,
            logger=logger,
            log_every_n_steps=min(settings["log_every_n_steps"], num_batches or 1),  # once an epoch at the least
            enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in callbacks),
            plugins=[LateFiles(), *slurm],
            **processes(node),
            enable_model_summary=False,
            num_sanity_val_steps=0,  # the first validation comes soon enough, and this one would log
            use_distributed_sampler=False,  # the loaders share out each batch themselves, every sample once
            max_epochs=0,  # each phase raises it
        )
        return trainer
    except (MisconfigurationException, ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(
            f"the Trainer rejects its settings: {error}",
            where="trainer",
            next_step="correct that setting, or use trainer=cpu",
        ) from error


def _spare_steps() -> None:
    """Where there is no GPU, the runtime's own answer takes 1 µs, and a step of AdamW 0.03 ms in place of 0.14 (AMD
    EPYC, torch 2.14). Where there is one, that answer would keep processes from being forked."""
    if not torch.cuda.is_available():
        os.environ[LOOKS_FOR_NVML] = "0"


def processes(node: DictConfig) -> dict[str, Any]:
    """How many there are on how many hosts: who started them says it, else the configuration."""
    launch, devices = launched(), resolved(node)["devices"]
    if launch is None:
        return {"devices": devices, "num_nodes": node.num_nodes}
    return {"devices": devices if isinstance(devices, list) else launch.devices, "num_nodes": launch.num_nodes}


class Compiled(NamedTuple):
    """Whether what trains is, and whether frozen blocks are where they compute in low precision."""

    training: bool
    frozen: bool


def compiled(wanted: bool | Literal["auto"], trainer: L.Trainer, *, training: float, frozen: float) -> Compiled:
    """training, frozen: floating-point operations that a run needs. A run without a compiler is slower and no other."""
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


def require_batches(node: DictConfig, data: Data) -> None:
    """Limits of less than one batch leave nothing to train or to score."""
    for name, part in (("train", data.train_part), ("val", data.val_part), ("test", data.test_part)):
        limit = node[f"limit_{name}_batches"]
        batches = data.batches_of(part)
        if isinstance(limit, float) and int(limit * batches) == 0:
            raise ConfigError(
                f"{limit} of {batches} batches are none",
                where=f"trainer.limit_{name}_batches",
                next_step=f"trainer.limit_{name}_batches=1, or a larger share",
            )


def require_devices(accelerator: str, devices: Any) -> None:
    """On CPUs a device is a process, and those that are started already may be more than there are cores; on GPUs
    Lightning counts for itself, but only when the Trainer is made."""
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


def _precision(precision: str, accelerator: str) -> str:
    if precision != "auto":
        return precision
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return "bf16-mixed" if native else "32-true"


def with_precision(cfg: DictConfig, network: nn.Module) -> DictConfig:
    """With `trainer.precision=auto` replaced where the network matters: on CPUs depthwise convolutions train in
    float32, as oneDNN's weight gradients of them in bf16 took up to 100 times their forward pass (EfficientNet-Lite0,
    a rough measurement of November 2026 on a processor with bf16; not repeated since)."""
    if cfg.trainer.precision != "auto" or not _on_cpu(cfg.trainer.accelerator) or not _is_depthwise(network):
        return cfg
    precise = cfg.copy()
    precise.trainer.precision = "32-true"
    return precise


def _is_depthwise(network: nn.Module) -> bool:
    return any(isinstance(it, nn.Conv2d) and it.groups == it.in_channels > 1 for it in network.modules())


def shows_progress(wanted: bool | None) -> bool:
    """`trainer.enable_progress_bar`; null where a person is looking."""
    return os.isatty(2) if wanted is None else wanted
