"""run.json: the whole record of a run in one file. Schema 1."""

import json
import math
import platform
import re
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from frostline.errors import RunError
from frostline.paths import write_atomically
from frostline.runs.record_forms import require_forms
from frostline.runs.schema import known_fields, read_schema, require_types

SCHEMA = 1
FILE = "run.json"
TYPES = {
    **dict.fromkeys(
        (
            *("data", "model", "baselines", "metrics", "intervals", "slices", "calibration", "seconds"),
            *("versions", "checkpoints", "predictions"),
        ),
        "dict",
    ),
    **dict.fromkeys(("phases", "averages", "per_class"), "list"),
    **dict.fromkeys(("error", "best"), "dict | None"),
    **dict.fromkeys(("command", "monitor"), "str"),
    **dict.fromkeys(("foreign", "notes"), "list[str]"),
    "seed": "int",
    "status": "Literal['running', 'finished', 'failed', 'interrupted', 'pruned']",
    "mode": "Literal['max', 'min']",
    "peak_memory_bytes": "int",
    "test_uses": "int | None",
    "planned_seconds": "float | None",
}
# Lines of `Record.foreign` on what only a training uses, see `folder.opened`; links lead out of it for every command.
OF_TRAINING = re.compile(r"((callbacks|logger)(\.[^:/]*)?|cache\.dir): (?!leads to )")
VERSIONED = ("frostline", "torch", "torchvision", "timm", "lightning", "hydra-core", "torchmetrics", "numpy")


def installed_versions() -> dict[str, str]:
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """As of the first look: an installation that changes meanwhile does not change what is imported."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass
class Record:
    """The content of run.json. `seconds` are wall time; `peak_memory_bytes` is the peak resident memory of the process,
    or on CUDA the peak allocated memory of the device."""

    command: str
    seed: int
    status: Literal["running", "finished", "failed", "interrupted", "pruned"] = "running"  # pruned: by a sweep
    error: dict[str, str] | None = None
    versions: dict[str, str] = field(default_factory=installed_versions)
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # on the data, as they were printed
    model: dict[str, Any] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)  # code and output folders for which opening it needs trust=true
    phases: list[dict[str, Any]] = field(default_factory=list)
    monitor: str = ""  # the score by which the best epoch was chosen
    mode: Literal["max", "min"] = "max"  # whether a higher or a lower score is better
    # Scores for comparison: of always predicting the most frequent class (`majority`), and by probe those of the
    # features of the backbone before it was trained; or `why_not`. For tables: see training/table_baselines.py.
    baselines: dict[str, Any] = field(default_factory=dict)
    averages: list[dict[str, Any]] = field(default_factory=list)  # scores of the weight averages after the last phase
    best: dict[str, Any] | None = None  # the tested weights: their phase and epoch (from 1), or their average
    metrics: dict[str, float] = field(default_factory=dict)
    # By test score: its 95 % interval over samples, `low` and `high`, `by` which method, from how many `units` of which
    # kind (`unit`), and a `caution` if these are too few.
    intervals: dict[str, dict[str, Any]] = field(default_factory=dict)
    test_uses: int | None = None  # runs on this machine that were scored on this test split, this one among them
    # By column of `data.group_columns`: test scores of its values, the worst one, and gaps (report/slices.py).
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)
    # For one class a sample: the `temperature`, fitted on `samples` (their number) of validation; NLL, Brier score and
    # ECE of the test split without it (`raw`) and with it (`calibrated`); its error rate by coverage (`selective`).
    calibration: dict[str, Any] = field(default_factory=dict)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"setup": 0.0, "fit": 0.0, "test": 0.0, "total": 0.0})
    planned_seconds: float | None = None  # of all phases, as estimated before the first one; None if it was not
    peak_memory_bytes: int = 0
    checkpoints: dict[str, str | None] = field(default_factory=lambda: {"best": None, "last": None})
    predictions: dict[str, str] = field(default_factory=dict)  # by split, the file in the run folder

    @property
    def rank(self) -> float:
        """Sort key by the monitored score: lower is better; inf if the run did not finish or has no finite one."""
        score = self.metrics.get(self.monitor, math.nan) if self.status == "finished" else math.nan
        if not math.isfinite(score):
            return math.inf
        return score if self.mode == "min" else -score

    @property
    def tested_weights(self) -> str:
        """`epoch 3 of phase head`, or the name of an average; "" if no weights were tested."""
        if self.best is None:
            return ""
        return self.best.get("average") or f"epoch {self.best.get('epoch')} of phase {self.best.get('phase')}"

    @property
    def weights_settings(self) -> list[str] | None:
        """The settings that a command beside `run=` needs to open the weights; None if the run saved none."""
        names = [name for name in ("best", "last") if self.checkpoints.get(name) is not None]
        if not names:
            return None
        return ["checkpoint=last"] * (names[0] != "best") + self.trusting(trains=False)

    def trusting(self, *, trains: bool) -> list[str]:
        """The setting of a command that opens this run: `trust=true` if it needs that. trains: whether its training
        continues, which alone uses its callbacks, its loggers and the folder of its cache."""
        return ["trust=true"] if any(trains or not OF_TRAINING.match(line) for line in self.foreign) else []

    @property
    def temperature(self) -> float | None:
        """By which logits are divided for calibrated probabilities; None if it was not fitted, or is no such number."""
        found: Any = self.calibration.get("temperature")
        return float(found) if type(found) in (int, float) and 0 < found < 1e6 else None

    @property
    def temperature_harms(self) -> bool:
        """Whether the test split has a higher negative log-likelihood with the temperature than without."""
        found = [self.calibration.get(name) for name in ("raw", "calibrated")]
        raw, calibrated = (scores.get("nll") if isinstance(scores, dict) else None for scores in found)
        return type(raw) is float and type(calibrated) is float and calibrated > raw

    def write(self, folder: Path) -> None:
        self.seconds["total"] = sum(value for key, value in self.seconds.items() if key != "total")
        text = json.dumps(plain({"schema": SCHEMA, **asdict(self)}), indent=2, allow_nan=False)
        write_atomically(folder / FILE, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Read run.json, and ignore keys that a newer version added. Raises RunError if it is missing, unreadable or of
        another schema."""
        path = folder / FILE
        if not path.is_file():
            raise RunError(
                "this folder is not a run: it has no run.json" if folder.is_dir() else "there is no such folder",
                where=folder,
                next_step="name the folder that a training printed, such as logs/runs/<date>/<time>-<model>-<data>",
            )
        return read_schema(path, SCHEMA, cls._made, kind="run", writer="versions.frostline")

    @classmethod
    def _made(cls, content: dict[str, Any]) -> "Record":
        record = cls(**known_fields(cls, content))
        record._require_types()
        record.metrics = _numbers(record.metrics)
        for row in (*record.phases, *record.averages):
            row["val"] = _numbers(row["val"])
        ends = ("low", "high")
        record.intervals = {
            name: own for name, own in record.intervals.items() if all(own.get(end) is not None for end in ends)
        }
        return record

    def _require_types(self) -> None:
        """Raise TypeError or KeyError if the file was edited into another form."""
        require_types(self, TYPES)
        if self.data and not isinstance(self.data["classes"], list):
            raise TypeError("'data' has no classes")
        require_forms(self)


class Stopwatch:
    """Adds the seconds since its creation, or since the last `add_to`, to a name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._since = time.perf_counter()

    def add_to(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now


def _numbers(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores with NaN in place of None, which `plain` wrote."""
    return {name: math.nan if score is None else score for name, score in scores.items()}


def plain(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None, and tuples by lists."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
