"""A new run from the weights of an old one."""

from pathlib import Path

from torch import Tensor

from frostline.backbones.weights import load_weights, read_weights
from frostline.errors import RunError
from frostline.finetuner import FineTuner
from frostline.record import Record
from frostline.runs import require_checkpoint


def init_from(model: FineTuner, source: Path, classes: list[str]) -> str:
    """source: a run folder, whose best weights are taken, or a checkpoint file. The head comes along where it tells the
    same classes apart. Gives a sentence on what was done. Raises RunError, WeightsError.
    """
    path, known = source, None
    if source.is_dir():
        path = require_checkpoint(source, "best")
        known = Record.read(source).data["classes"]
    elif not source.is_file():
        raise RunError("there is no such run or file", where=source, next_step="init_from=<run folder or checkpoint>")
    state = read_weights(path)
    backbone, head = _part(state, "backbone."), _part(state, "head.")
    said = load_weights(model.backbone, backbone or state, (), source=path)
    if known not in (None, classes):
        return f"{said}; the head is new: the run told other classes apart"
    shapes = {name: value.shape for name, value in model.head.state_dict().items()}
    if {name: value.shape for name, value in head.items()} != shapes:
        return f"{said}; the head is new: the file has none of its shape"
    load_weights(model.head, head, (), source=path)
    return f"{said}; the head, too"


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
