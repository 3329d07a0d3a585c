"""What run.json says of calibration: the temperature if it is worth its use, and scores of the test split."""

import sys
from math import isnan
from pathlib import Path
from typing import Any

from frostline.errors import RunError, counted
from frostline.report.calibration import believed, classified, examined, not_finite
from frostline.report.resampling import Array
from frostline.report.sample_scores import classes_of
from frostline.report.selective import selective
from frostline.report.temperature import ENOUGH, at_bound, fitted, held_out
from frostline.runs.predictions import Predictions, file_of, read


def recorded_calibration(folder: Path) -> dict[str, Any]:
    """`recorded` of the run in `folder`; empty if it stored no predictions."""
    try:
        val, test = (read(folder, split) if (folder / file_of(split)).is_file() else None for split in ("val", "test"))
    except RunError as error:
        print(f"frostline: the probabilities are not examined: {error.what}", file=sys.stderr)
        return {}
    return recorded(val, test)


def _examinable(found: Predictions) -> tuple[Array, Array] | None:
    """`classified`; print why not, if logits are not finite."""
    classes = classified(found)
    missing = 0 if classes is not None or "word" in found.columns else not_finite(found)
    if missing and classes_of(found.columns) is not None:
        number = counted(missing, "sample has", "samples have")
        split = {"val": "validation", "test": "the test split"}.get(found.about.get("part", ""), "the split")
        print(
            f"frostline: the probabilities of {split} are not examined: {number} logits that are not finite",
            file=sys.stderr,
        )
    return classes


def recorded(val: Predictions | None, test: Predictions | None) -> dict[str, Any]:
    """Entry of run.json: the `temperature`, fitted on validation, or `why_not` if it is not worth its use; the number
    of `samples` of validation; the scores of the test split `raw` and `calibrated` by it; and `selective`, the error
    rate by coverage (`selective.py`). None where the predictions lack; empty if samples have no single class."""
    held, own = (None if found is None else _examinable(found) for found in (val, test))
    if held is None and own is None:
        return {}
    temperature, why_not = (None, "") if val is None or held is None else _temperature(val, *held)
    found: dict[str, Any] = {"temperature": temperature, "samples": 0 if held is None else len(held[0])}
    found |= {"why_not": why_not} if why_not else {}
    found |= {"raw": None, "calibrated": None, "selective": None}
    if own is not None:
        raw = believed(*own)
        used = raw if temperature is None else believed(*own, temperature)
        found |= {"raw": examined(raw)._asdict(), "selective": selective(used.confidence, used.right)}
        found |= {} if temperature is None else {"calibrated": examined(used)._asdict()}
    return found


def _temperature(val: Predictions, target: Array, logits: Array) -> tuple[float | None, str]:
    """The temperature, or None and why it is not used."""
    import numpy as np

    temperature, units = fitted(target, logits), val.columns.get("group", np.arange(len(target)))
    if len(np.unique(units)) < ENOUGH:
        raw, held = held_out(target, logits, units)
        if not held < raw:
            if isnan(raw):
                one = ("group", "groups") if "group" in val.columns else ("sample", "samples")
                return (
                    None,
                    f"{counted(len(np.unique(units)), *one)} of validation cannot tell whether a temperature helps",
                )
            return None, (
                f"a temperature of {temperature:.3f} does not lower the negative log-likelihood of held-out validation "
                f"samples ({raw:.4f} without it, {held:.4f} with it)"
            )
    if bound := at_bound(temperature):
        print(f"frostline: the temperature of the probabilities is {bound}", file=sys.stderr)
    return temperature, ""
