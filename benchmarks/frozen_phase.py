"""Time epochs of a linear probe: Frostline next to plain PyTorch loops, fastai and Lightning's BackboneFinetuning.

python benchmarks/frozen_phase.py 300 --data <folder of CIFAR-10> [--model resnet50] [--epochs 10] [--rounds 3]

All ways share pictures, weights, batch size, rate and epochs, without augmentation. peers.py describes each way and
what its seconds include. fastai is a peer, not a dependency (pip install fastai); if it cannot be imported, its row is
left out.

Medians of alternating rounds. Aim: 50 times as fast as the plain loop on a CPU with AMX, with an accuracy within 0.2
points of the loop's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from jobs import arguments, job_of
from machine import write_result
from peers import (
    Trained,
    backbone_finetuning,
    compared,
    data_of,
    fastai_frozen,
    frostline_phase,
    missing_fastai,
    plain_loop,
)

TIMES, POINTS = 50, 0.2  # the aim


def main() -> None:
    wanted = arguments(__doc__ or "", pictures=300, epochs=10)
    with job_of(wanted) as job:
        data = data_of(job)
        ways: dict[str, Callable[[], Trained]] = {
            "plain loop": partial(plain_loop, job, data),
            "plain loop, bf16, channels last": partial(plain_loop, job, data, low=True),
            "fastai, frozen part": partial(fastai_frozen, job, data),
            "Lightning's BackboneFinetuning": partial(backbone_finetuning, job, data),
        }
        left_out: list[dict[str, Any]] = []
        if why_not := missing_fastai():
            left_out = [{"way": "fastai, frozen part", "left_out": why_not}]
            del ways["fastai, frozen part"]
            print(f"fastai's row is left out: {why_not}")
        head = ["schedule=head_only", "schedule.every_phase.solve=false", f"schedule.phases.head.epochs={job.epochs}"]
        rows = compared({**ways, "Frostline": partial(frostline_phase, job, data, *head)}, wanted.rounds)
    plain, ours = rows[0], rows[-1]
    points = 100 * abs(ours["accuracy"] - plain["accuracy"])
    print(f"Frostline {ours['times']:.1f} × (aim {TIMES}), accuracy {points:.2f} points off (aim {POINTS})")
    print(write_result("frozen_phase", [{"job": wanted.said}, *rows, *left_out]))


if __name__ == "__main__":
    main()
