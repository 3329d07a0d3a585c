"""Time a sweep of 20 heads (rates × dropout × seeds) on one frozen backbone, next to one of its trials.

python benchmarks/head_sweep.py 300 --data <folder of CIFAR-10> [--model resnet50] [--epochs 10] [--rounds 3]

Both run as whole `frostline train` processes with an empty cache, in alternation. A warm trial is any after the first;
its seconds are those in run.json, and `between` is the time per trial that the sweep spends outside of them: composing
the config, cleaning up, writing the leaderboard.

Medians of rounds. Aim: the sweep takes at most 1.5 times as long as the trial.
"""

import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jobs import alternating, arguments, frostline_run, job_of, timed_train
from machine import write_result

MOST = 1.5  # the aim
SWEPT = {
    "optimizer.lr": ["1e-3", "3e-4", "3e-3", "1e-4", "1e-2"],
    "head.dropout": ["0.2", "0.5"],
    "seed": ["1", "2"],
}


class Measured(NamedTuple):
    """seconds: of the process. trials: run.json's seconds per trial, in order."""

    seconds: float
    trials: list[dict[str, float]]


def main() -> None:
    wanted = arguments(__doc__ or "", pictures=300, epochs=10)
    with job_of(wanted) as job:
        plan = [*job.overrides, "schedule=head_only", f"schedule.phases.head.epochs={job.epochs}", "head=mlp"]
        fixed = [override for override in plan if override.partition("=")[0] not in SWEPT]
        found = alternating({"trial": partial(one, fixed), "sweep": partial(all_of, fixed)}, wanted.rounds)
    row = summary(found)
    print(f"one trial {row['trial']:.2f} s   {row['trials']} trials {row['sweep']:.2f} s   "
          f"{row['ratio']:.2f} × (aim: at most {MOST})")  # fmt: skip
    print(f"a warm trial {sum(row['warm'].values()):.2f} s:   "
          + "   ".join(f"{name} {seconds:.2f} s" for name, seconds in row["warm"].items()))  # fmt: skip
    print(write_result("head_sweep", [{"job": wanted.said}, row]))


def one(fixed: list[str]) -> Measured:
    with frostline_run(*fixed, *(f"{key}={values[0]}" for key, values in SWEPT.items())) as run:
        return Measured(run.seconds, [run.record["seconds"]])


def all_of(fixed: list[str]) -> Measured:
    with tempfile.TemporaryDirectory() as scratch:
        swept = [f"{key}={','.join(values)}" for key, values in SWEPT.items()]
        seconds = timed_train(Path(scratch), "-m", *fixed, *swept, f"logs_dir={scratch}/logs")
        files = sorted(Path(scratch).glob("logs/sweeps/*/*/*/run.json"), key=lambda file: int(file.parent.name))
        return Measured(seconds, [json.loads(file.read_text())["seconds"] for file in files])


def summary(found: dict[str, list[Measured]]) -> dict[str, Any]:
    trial, sweep = (statistics.median(one.seconds for one in found[name]) for name in ("trial", "sweep"))
    warm = [seconds for sweep in found["sweep"] for seconds in sweep.trials[1:]]
    parts = {name: statistics.median(seconds[name] for seconds in warm) for name in ("setup", "fit", "test")}
    # The sweep, too, pays once for what a single trial spends outside of its record: mainly imports.
    outside = trial - statistics.median(one.trials[0]["total"] for one in found["trial"])
    inside = statistics.median(sum(seconds["total"] for seconds in one.trials) for one in found["sweep"])
    number = len(found["sweep"][0].trials)
    parts["between"] = (sweep - inside - outside) / (number - 1)
    return {"trial": trial, "sweep": sweep, "ratio": sweep / trial, "trials": number, "warm": parts, "rounds": found}


if __name__ == "__main__":
    main()
