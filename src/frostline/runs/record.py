"""run.json: everything there is to know about a run, in one file. Schema 1."""

import json
import math
import platform
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from frostline.config.signatures import value_problem
from frostline.errors import RunError
from frostline.paths import write_atomically

SCHEMA = 1
FILE = "run.json"
TYPES = {
    **dict.fromkeys(
        ("data", "model", "baselines", "metrics", "seconds", "versions", "checkpoints", "predictions"), "dict"
    ),
    **dict.fromkeys(("phases", "averages", "per_class"), "list"),
    **dict.fromkeys(("error", "best"), "dict | None"),
    **dict.fromkeys(("command", "monitor"), "str"),
    "foreign": "list[str]",
    "seed": "int",
    "status": "Literal['running', 'finished', 'failed', 'interrupted']",
    "mode": "Literal['max', 'min']",
    "peak_memory_bytes": "int",
}
VERSIONED = ("frostline", "torch", "torchvision", "timm", "lightning", "hydra-core", "torchmetrics", "numpy")


def installed_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass
class Record:
    """Seconds are wall time; `peak_memory_bytes` is the process's resident peak, or the device's on CUDA."""

    command: str
    seed: int
    status: Literal["running", "finished", "failed", "interrupted"] = "running"
    error: dict[str, str] | None = None
    versions: dict[str, str] = field(default_factory=installed_versions)
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)  # what opening this run does that needs trust=true
    phases: list[dict[str, Any]] = field(default_factory=list)
    monitor: str = ""  # the score by which the best epoch was chosen
    mode: Literal["max", "min"] = "max"  # which end of it is best
    # Scores to stand by: of always the most frequent class (`majority`), and what the features of the backbone were
    # worth before it learned: by probe, its scores; or `why_not`.
    baselines: dict[str, Any] = field(default_factory=dict)
    averages: list[dict[str, Any]] = field(default_factory=list)  # of weights, after the last phase, as they scored
    best: dict[str, Any] | None = None  # the phase and its epoch, from 1, or the average, whose weights were tested
    metrics: dict[str, float] = field(default_factory=dict)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: {"setup": 0.0, "fit": 0.0, "test": 0.0, "total": 0.0})
    peak_memory_bytes: int = 0
    checkpoints: dict[str, str | None] = field(default_factory=lambda: {"best": None, "last": None})
    predictions: dict[str, str] = field(default_factory=dict)  # by part, their file in the run's folder

    def write(self, folder: Path) -> None:
        self.seconds["total"] = sum(value for key, value in self.seconds.items() if key != "total")
        text = json.dumps(plain({"schema": SCHEMA, **asdict(self)}), indent=2, allow_nan=False)
        write_atomically(folder / FILE, text + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Raises RunError where `folder` holds no readable run.json of this schema."""
        path = folder / FILE
        if not path.is_file():
            raise RunError(
                "this folder is not a run: it has no run.json" if folder.is_dir() else "there is no such folder",
                where=folder,
                next_step="name the folder that a training printed, such as logs/runs/<date>/<time>-<model>-<data>",
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            schema = content.pop("schema")
            if schema == SCHEMA:
                record = cls(**content)
                record._require_types()
                return record
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
            raise RunError(
                f"run.json cannot be read: {error}", where=path, next_step="train again, or restore the file"
            ) from error
        raise RunError(
            f"run.json has schema {schema}, but this version reads schema {SCHEMA}",
            where=path,
            next_step="use the Frostline that wrote it (versions.frostline in the file)",
        )

    def _require_types(self) -> None:
        """Raises TypeError or KeyError where another hand has been at the file."""
        for name, annotation in TYPES.items():
            problem = value_problem(name, getattr(self, name), annotation)
            if problem is not None:
                raise TypeError(f"'{name}': {problem}")
        if self.data and not isinstance(self.data["classes"], list):
            raise TypeError("'data' names no classes")
        if not all(isinstance(row, dict) and isinstance(row["name"], str) for row in self.phases):
            raise TypeError("'phases' holds something else")
        if not all(isinstance(value, int | float) for value in self.seconds.values()):
            raise TypeError("'seconds' holds something else")


class Stopwatch:
    """Adds the seconds since it was made, or last read, to a name."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._since = time.perf_counter()

    def add_to(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: both become null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
