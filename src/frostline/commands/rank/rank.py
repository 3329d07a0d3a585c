"""Rank backbones on the user's data: compute each one's features, and score probes on them."""

import json
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig

from frostline.commands.rank.table import Ranked, as_csv, ordered, print_problems, print_ranking
from frostline.commands.train import quiet
from frostline.data.target_types.find import OTHER_KIND, target_type, target_types
from frostline.errors import ConfigError, RunError, WeightsError, memory_is_short
from frostline.paths import RANKING, write_atomically
from frostline.plan.freezing import count
from frostline.runs.record import installed_versions
from frostline.training.baselines import scores_of
from frostline.training.build import features_alone
from frostline.training.rows import labelled

SCHEMA = 1


def rank(settings: Mapping[str, DictConfig], folder: Path, *, typed: Sequence[str], command: str) -> list[Ranked]:
    """Rank the models, one at a time, and write a CSV and a JSON to `folder`.

    settings: the composed config per model name. typed: the overrides of this `command`, repeated in the next one.
    Raises RunError if no model could be ranked, and any error of data and trainer, which all models share.
    """
    quiet()
    rows: list[Ranked] = []
    data: dict[str, Any] = {}
    refusals: dict[str, ConfigError | WeightsError] = {}
    for name, cfg in settings.items():
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        try:
            row, described = _ranked(name, cfg)
        except (ConfigError, WeightsError) as error:
            refusals[name] = error
            row, described = Ranked(name, error.what), {}
        data = data or described
        rows.append(row)
    if len(refusals) == len(settings) and len({str(error) for error in refusals.values()}) == 1:
        raise _of_rank(next(iter(refusals.values())), typed)  # all fail alike, so data or trainer is at fault
    rows = ordered(rows)
    if rows[0].problem:
        print_problems(rows, {name: error.next_step for name, error in refusals.items()})
        raise RunError(
            "none of the models could be ranked", where="models", next_step="see the reason for each model above"
        )
    folder.mkdir(parents=True, exist_ok=True)
    content = {"schema": SCHEMA, "command": command, "seed": cfg.seed, "versions": installed_versions(), "data": data}
    models = [{key: _plain(value) for key, value in asdict(row).items()} for row in rows]
    table, numbers = folder / "rank.csv", folder / RANKING
    write_atomically(table, as_csv(rows))
    write_atomically(numbers, json.dumps(content | {"models": models}, indent=2, allow_nan=False) + "\n")
    rest = [word for word in typed if not word.startswith(("models=", "output="))]
    target = target_type(data["targets"]["kind"])
    task = [f"task={target.task}"] if target.rows_are else []
    print_ranking(rows, target.rows_are, [table, numbers], [*rest, *task, f"model={rows[0].model}"])
    return rows


def _of_rank(error: ConfigError | WeightsError, typed: Sequence[str]) -> ConfigError | WeightsError:
    """The error with a next step for this command, which takes no task. typed: its overrides."""
    if error.where != OTHER_KIND:
        return error
    there = error.what.rpartition("this data has ")[2]
    task = error.next_step.partition(";")[0].partition(" or ")[0]
    models = next(word for word in typed if word.startswith("models=")).removeprefix("models=").strip("[]")
    rest = [word for word in typed if not word.startswith(("models=", "output="))]
    able = [*dict.fromkeys(it.described_as for it in target_types().values() if it.rows_from)]
    return ConfigError(
        f"rank compares models by {', '.join(able[:-1])} or {able[-1]}, but this data has {there}",
        where="data",
        next_step="data=image_folder, or other data with classes; or "
        + shlex.join(["frostline", "train", "-m", f"model={models}", task, "schedule=head_only", *rest]),
    )


def _ranked(name: str, cfg: DictConfig) -> tuple[Ranked, dict[str, Any]]:
    """Rank one model; also return the description of the data. Raises ConfigError, WeightsError."""
    try:
        frozen = features_alone(cfg)
        begun = time.perf_counter()
        train, val = labelled(frozen)
        seconds = time.perf_counter() - begun
        scores = scores_of(frozen.data, train, val, ["knn", "linear_probe", "logme"])
    except RuntimeError as error:
        if not memory_is_short(error):
            raise
        return Ranked(name, "the device has too little memory for it"), {}
    if "why_not" in scores:
        return Ranked(name, scores["why_not"]), {}
    probe = scores["linear_probe"]
    row = Ranked(
        model=name,
        weights=frozen.backbone.loaded,
        parameters=count(frozen.backbone.parameters()),
        features=frozen.backbone.features.width,
        gflop=frozen.outputs[-1].flops / 1e9,
        evidence=scores["logme"]["evidence"],
        knn=scores["knn"]["val/accuracy"],
        linear_probe=probe["val/accuracy"],
        seconds_pass=round(seconds, 3),
        seconds_probes=round(sum(score["seconds"] for score in scores.values()), 3),
        found=int(frozen.counts["found"]),
        made=int(frozen.counts["made"]),
        num_train=len(train.labels),
        num_val=len(val.labels),
        num_found=train.found + val.found,
        standard_error=probe.get("standard_error", _standard_error(probe["val/accuracy"], len(val.labels))),
        majority=float(val.labels.bincount().max()) / len(val.labels),
    )
    return row, frozen.data.describe()


def _standard_error(share: float, number: int) -> float:
    return math.sqrt(share * (1 - share) / number)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
