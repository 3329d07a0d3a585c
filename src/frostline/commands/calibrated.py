"""Calibrate the probabilities of a run by the temperature that was fitted on validation."""

from typing import NamedTuple

from frostline.errors import counted, shown
from frostline.runs.record import Record
from frostline.tasks.base import Task

SAME_DATA = "which also chose the epoch"


class Calibrated(NamedTuple):
    """temperature: by which the logits are divided; None for probabilities as trained. note: a sentence for the user;
    "" for tasks without such probabilities."""

    temperature: float | None
    note: str


def calibrated(record: Record, checkpoint: str, task: Task, calibration: str) -> Calibrated:
    """Set the temperature of the task. calibration: temperature or none, as typed."""
    if not task.calibrates:
        return Calibrated(None, "")
    if calibration == "none":
        return Calibrated(None, "probabilities are as trained (calibration=none)")
    temperature = record.temperature
    if temperature is None:
        why = shown(str(record.calibration.get("why_not") or "the run has no temperature fitted on validation"))
        return Calibrated(None, f"probabilities are as trained: {why}")
    if not is_tested(record, checkpoint):
        return Calibrated(None, f"probabilities are as trained: the temperature is not that of checkpoint={checkpoint}")
    task.calibrate(temperature)
    number = record.calibration.get("samples")
    source = counted(number, "validation sample", "validation samples") if isinstance(number, int) else "validation"
    return Calibrated(
        temperature,
        f"probabilities are calibrated: temperature {temperature:.3f}, fitted on {source}, {SAME_DATA}; "
        "it assumes samples like those of validation"
        + ("; on the test split those as trained were better: calibration=none" if record.temperature_harms else ""),
    )


def is_tested(record: Record, checkpoint: str) -> bool:
    """Whether a checkpoint has the weights by which validation and test were scored."""
    return checkpoint == "best" or record.checkpoints.get("best") is None
