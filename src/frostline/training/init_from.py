"""Start a new run from the weights of an old one."""

from pathlib import Path

from torch import Tensor

from frostline.adapters.layers import adapter_names, holds_adapters, renew_magnitudes, with_adapters_of
from frostline.backbones.base import Backbone
from frostline.backbones.weights import ABOUT, StateDict, load_weights, read_exported, record_of
from frostline.contracts.targets import Targets
from frostline.errors import RunError, WeightsError
from frostline.quoting import begun_anew
from frostline.runs.folder import require_checkpoint
from frostline.runs.record import Record
from frostline.training.checkpoint import (
    completed_targets,
    is_checkpoint,
    read_checkpoint,
    record_problem,
    targets_problem,
)
from frostline.training.finetuner import CHECKPOINT_KEY, FineTuner


def init_from(model: FineTuner, source: Path, targets: Targets) -> str:
    """Load weights. Return a sentence on what was loaded. source: a run folder, for its best weights, a checkpoint, or
    a file of `frostline export`. The head is loaded, too, if its shape and the kind and names of the targets (if the
    file has them) are the same; mean and deviation of numbers may differ. Raises RunError, WeightsError.
    """
    path = require_checkpoint(source, "best", starts=True) if source.is_dir() else source
    if not path.is_file():
        raise RunError("there is no such run or file", where=source, next_step="init_from=<run folder or checkpoint>")
    state, known = _read(path)
    backbone, head = _part(state, "backbone."), _part(state, "head.")
    try:
        message = _load_backbone(model.backbone, backbone or state, path)
    except WeightsError as error:
        if not source.is_dir():
            raise
        command = begun_anew(Record.read(source).command, source)  # with the run's own model
        raise WeightsError(error.what, where=error.where, next_step=command) from error
    if known not in (None, (targets.kind, targets.names)):
        return f"{message}; the head is new: the run had other classes"
    shapes = {name: value.shape for name, value in model.head.state_dict().items()}
    if {name: value.shape for name, value in head.items()} != shapes:
        return f"{message}; the head is new: the file has no head of its shape"
    load_weights(model.head, head, (), source=path)
    return f"{message}; the head is loaded too"


def _load_backbone(backbone: Backbone, state: StateDict, path: Path) -> str:
    """Load the weights. Adapters of the backbone start anew if the file has none."""
    adapted, theirs = bool(adapter_names(backbone)), holds_adapters(state)
    if theirs and not adapted:
        raise RunError(
            "the weights contain an adapter, but this run has none",
            where=path,
            next_step="use the adapter and the schedule of that run: adapter=..., schedule=...; or "
            "frostline export run=<that run> output=<file>.safetensors  # merges the adapter, for init_from=",
        )
    if theirs or not adapted:
        return load_weights(backbone, state, (), source=path)
    message = load_weights(backbone, with_adapters_of(backbone, state), (), source=path)
    renew_magnitudes(backbone)
    return f"{message}; the adapter is new"


def _read(path: Path) -> tuple[StateDict, tuple[str, list[str]] | None]:
    """Weights, and kind and names of the targets that they were trained on, if the file has them."""
    try:
        content = read_checkpoint(path)
    except RunError:
        if is_checkpoint(path):
            raise
        state = read_exported(path)  # of `frostline export` or another program; raises if unreadable
        return state, _known(path)
    targets = content[CHECKPOINT_KEY]["identity"]["targets"]
    return content["state_dict"], (targets["kind"], targets["names"])


def _known(path: Path) -> tuple[str, list[str]] | None:
    """Kind and names of the targets in a weights file, if it has them. Raises WeightsError if they are malformed."""
    about = record_of(path)
    if about is None:
        return None
    targets = completed_targets(about.get("targets"))
    problem = record_problem(about, {"targets": lambda _, place: targets_problem(targets, place)}, ABOUT)
    if problem is not None:
        raise WeightsError(f"the weights file cannot be read: {problem}", where=path, next_step="export it again")
    return targets["kind"], targets["names"]


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
