"""What a run is, in plain values: its checkpoints carry it, and a resume compares it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from frostline.backbones.base import Backbone
from frostline.config.plain import Config, resolved
from frostline.data.module import Data
from frostline.plan.phases import Plan

NAMES = (
    "_target_",
    "_recursive_",
    "name",
    "weights",
    "remote_code",
)  # keys that only name or locate a backbone or head
OF_DATA = ("fingerprint", "named_targets")  # entries of `Data.describe`: digests of samples and targets
OF_STEPS = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches")


def identity_of(cfg: Config, backbone: Backbone, data: Data, head: nn.Module, plan: Plan) -> dict[str, Any]:
    """Plain values that must be the same when a run resumes from a checkpoint."""
    description = data.describe()
    return {
        "model": backbone.name,
        "data": {key: description[key] for key in ("num_train", "num_val", *OF_DATA) if key in description},
        "parts": data.splits_digest(),
        "targets": asdict(data.targets),
        **data.look(),
        "head": {name: list(value.shape) for name, value in head.state_dict().items()},
        "network": network_of(cfg),
        "steps": {key: value for key, value in resolved(cfg.trainer).items() if key in OF_STEPS},
        "adapter": resolved(cfg.adapter),
        "optimizer": resolved(cfg.optimizer),
        "task": resolved(cfg.task),
        "batch_size": data.batch_size,
        "plan": plan.describe(),
        "seed": cfg.seed,
    }


def is_data_of(data: Data, described: Mapping[str, Any]) -> bool:
    """Whether the samples and targets are those of a run. described: the entry `data` of its run.json; earlier versions
    did not digest named targets."""
    now = data.describe()
    return all(now.get(key) == described.get(key) for key in OF_DATA if key in described or key == "fingerprint")


def network_of(cfg: Config) -> dict[str, Any]:
    """Settings that change the outputs of the same weights. Names and paths are left out."""
    return {
        "model": _unnamed(resolved(cfg.model)),
        "head": _unnamed(resolved(cfg.head)),
        "inputs": {key: cfg.data[key] for key in ("image_size", "max_length") if key in cfg.data},
    }


def _unnamed(node: Any) -> Any:
    """A node, and those in it, without NAMES."""
    if not isinstance(node, dict):
        return node
    return {key: _unnamed(value) for key, value in node.items() if key not in NAMES}
