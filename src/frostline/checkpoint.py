"""A run's checkpoints: read, put into a model, and how far the run had come."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from frostline.backbones.weights import UNREADABLE, unreadable
from frostline.errors import RunError
from frostline.finetuner import CHECKPOINT_KEY, FineTuner
from frostline.phases import BEFORE, Plan
from frostline.sharding import load_whole


class Stand(NamedTuple):
    """How far a checkpoint's run had come. number: of the phase in the plan."""

    path: Path
    number: int
    first_epoch: int
    epoch: int
    batches: int
    ended: bool
    val: dict[str, float]

    def said(self, plan: Plan) -> str:
        """Where the run goes on: `in phase all after epoch 3 of 7`."""
        phase = plan.phases[self.number]
        if self.ended:
            return f"after phase {phase.name}"
        done = self.epoch - self.first_epoch
        if self.batches:
            return f"in phase {phase.name} in epoch {done + 1} of {phase.epochs}, after {self.batches} of its batches"
        return f"in phase {phase.name} after epoch {done + 1} of {phase.epochs}"


def load_checkpoint(model: FineTuner, path: Path) -> dict[str, Any]:
    """Gives the phase and the epoch of it, from 1, that the weights are from, and the average that was made after it,
    if any. Raises RunError."""
    content = read_checkpoint(path)
    load_state(model, content, path)
    said = content[CHECKPOINT_KEY]
    return {"phase": said["phase"], "epoch": said["epoch"] - said["first_epoch"] + 1, "average": said["average"]}


def load_state(model: FineTuner, content: dict[str, Any], path: Path) -> None:
    """content: of the checkpoint `path`. Raises RunError where it is of another model."""
    try:
        load_whole(model, content["state_dict"])
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint is of another model: {' '.join(str(error).split())[:300]}",
            where=path,
            next_step="restore the file, or the run's config.yaml and run.json",
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises RunError where it is not one of ours, or damaged."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if {"state_dict", CHECKPOINT_KEY} <= content.keys():
            return content
        problem = "it is no checkpoint of a run"
    except (*UNREADABLE, AttributeError) as error:
        problem = unreadable(error)
    raise RunError(
        f"the checkpoint cannot be read: {problem}",
        where=path,
        next_step="restore the file, use the other one (checkpoint=last), or train anew",
    )


def stand_of(checkpoint: Path, model: FineTuner, plan: Plan) -> Stand:
    """Raises RunError where `checkpoint` is of another run, or damaged."""
    said: dict[str, Any] = read_checkpoint(checkpoint)[CHECKPOINT_KEY]
    _require_same(_completed(said["identity"]), model.identity, checkpoint)
    number = [phase.name for phase in plan.phases].index(said["phase"])
    return Stand(checkpoint, number, *(said[key] for key in ("first_epoch", "epoch", "batches", "ended", "val")))


def start_of(folder: Path, number: int) -> Path:
    """Where the weights with which a phase begins are kept, if they are needed again."""
    return folder / "checkpoints" / f"before_phase_{number}.ckpt"


def forget_starts(folder: Path) -> None:
    """Nothing will need them: the run has ended."""
    for path in folder.glob("checkpoints/before_phase_*.ckpt"):
        path.unlink()


def _completed(identity: dict[str, Any]) -> dict[str, Any]:
    """With the settings of phases that the version of the checkpoint did not have."""
    plan = identity.get("plan")
    if not isinstance(plan, dict) or "phases" not in plan:
        return identity
    phases = tuple(BEFORE | phase for phase in plan["phases"])
    return identity | {"plan": plan | {"phases": phases}}


def _require_same(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    """Raises RunError that names what differs."""
    other = list(_differences(before, now, ""))
    if other:
        raise RunError(
            f"the run was another one: {'; '.join(other)}",
            where=checkpoint,
            next_step="restore what differs, or start a new run from these weights: init_from=<run folder>",
        )


def _differences(before: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for key in now:
            yield from _differences(before[key], now[key], f"{where}.{key}" if where else str(key))
    elif isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(*pair, f"{where}[{number}]")
    elif before != now:
        yield f"{where} was {before!r} and is {now!r}"
