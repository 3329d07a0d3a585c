"""Settings of a sweep, config group `sweep`."""

from dataclasses import dataclass
from typing import Literal

from frostline.config.ranges import NonNegative, Positive, Seed


@dataclass(frozen=True)
class Grid:
    """Every combination of the listed values."""

    seeds: Positive[int] | None
    drop: bool
    test: Literal["best", "all", "none"]
    max_seconds: Positive[float] | None
    max_parameters: Positive[int] | None
    resume: str | None
    retry: bool
    join: str | None


@dataclass(frozen=True)
class Search(Grid):
    """Settings drawn from a space. The same seed gives the same settings, if one process draws them."""

    trials: Positive[int]
    sampler: Literal["random", "tpe"]
    pruner: Literal["none", "median", "hyperband"]
    draw: Seed
    storage: str | None


@dataclass(frozen=True)
class Plans(Grid):
    """Model, head, plan and rate, each run chosen by the scores of those before it."""

    minutes: Positive[float]
    heads: list[str]
    schedules: list[str]
    rates: list[Positive[float]]
    models: Positive[int]


@dataclass(frozen=True)
class Alone:
    """Jobs run one after the other, in the process that started the sweep."""


@dataclass(frozen=True)
class Local:
    """Jobs run in several processes of this machine."""

    workers: Positive[int] | None


@dataclass(frozen=True)
class Slurm:
    """Jobs run in jobs of a cluster."""

    workers: Positive[int]
    minutes: Positive[int]
    cpus: Positive[int]
    gpus: NonNegative[int]
    partition: str | None
    cluster: Literal["slurm", "local"]
