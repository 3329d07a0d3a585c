"""A new run from the weights of an old one."""

from pathlib import Path

from torch import Tensor

from frostline.backbones.weights import StateDict, load_weights, read_weights
from frostline.checkpoint import read_checkpoint
from frostline.errors import RunError
from frostline.finetuner import CHECKPOINT_KEY, FineTuner
from frostline.runs import require_checkpoint


def init_from(model: FineTuner, source: Path, classes: list[str]) -> str:
    """source: a run folder, whose best weights are taken, or a checkpoint file. The head comes along where it tells the
    same classes apart. Gives a sentence on what was done. Raises RunError, WeightsError.
    """
    path = require_checkpoint(source, "best") if source.is_dir() else source
    if not path.is_file():
        raise RunError("there is no such run or file", where=source, next_step="init_from=<run folder or checkpoint>")
    state, known = _read(path)
    backbone, head = _part(state, "backbone."), _part(state, "head.")
    said = load_weights(model.backbone, backbone or state, (), source=path)
    if known not in (None, classes):
        return f"{said}; the head is new: the run told other classes apart"
    shapes = {name: value.shape for name, value in model.head.state_dict().items()}
    if {name: value.shape for name, value in head.items()} != shapes:
        return f"{said}; the head is new: the file has none of its shape"
    load_weights(model.head, head, (), source=path)
    return f"{said}; the head, too"


def _read(path: Path) -> tuple[StateDict, list[str] | None]:
    """Weights, and the classes that they tell apart where the file says so."""
    try:
        content = read_checkpoint(path)
    except RunError:
        return read_weights(path), None  # weights of another program, or nothing readable: it says which
    return content["state_dict"], content[CHECKPOINT_KEY]["identity"]["classes"]


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
