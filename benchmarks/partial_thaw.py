"""Time epochs in which the last block learns with the head: Frostline next to plain PyTorch loops.

python benchmarks/partial_thaw.py 300 --data <folder of CIFAR-10> [--model resnet50] [--epochs 7] [--rounds 3]

The phase `last` of schedule=last_block. The plan's head phase is left out, so that the timed phase fills the cache, and
lr_scale is 1: a new head at the rate of the peers. The plain loops freeze everything below the last block (no
gradients, eval mode) and run the whole network in each step. In all ways the last block's norm layers learn scales and
shifts and keep their statistics. peers.py describes the ways.

Medians of alternating rounds. Aim: 6 times as fast as the plain loop in float32.
"""

from functools import partial

from jobs import arguments, job_of
from machine import write_result
from peers import compared, data_of, frostline_phase, plain_loop

TIMES = 6  # the aim
PLAN = ["schedule=last_block", "schedule.phases.head=null", "schedule.phases.last.lr_scale=1"]


def main() -> None:
    wanted = arguments(__doc__ or "", pictures=300, epochs=7)
    with job_of(wanted) as job:
        data = data_of(job)
        ways = {
            "plain loop": partial(plain_loop, job, data, thaw_last=True),
            "plain loop, bf16, channels last": partial(plain_loop, job, data, low=True, thaw_last=True),
            "Frostline": partial(frostline_phase, job, data, *PLAN, f"schedule.phases.last.epochs={job.epochs}"),
        }
        rows = compared(ways, wanted.rounds)
    print(f"Frostline {rows[-1]['times']:.2f} × (aim {TIMES})")
    print(write_result("partial_thaw", [{"job": wanted.said}, *rows]))


if __name__ == "__main__":
    main()
