"""Trains jobs of a few steps a phase, and saves weights and scores. test_ranks.py calls it for one process, and
starts it for several: python ranks_worker.py <file of jobs>. test_mask_ranks.py has the agent of torchrun start them:
python ranks_worker.py <file of jobs> <number of processes>.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from torch import nn
from torch._dynamo.utils import counters

import hydra_cached
from frostline.commands.train import NOT_HERE, quiet, start_weights
from frostline.distributed.agreement import group_left, require_agreement, require_one_run
from frostline.distributed.sharding import local, whole
from frostline.errors import RankError
from frostline.paths import conf_dir
from frostline.runs.record import Record, Stopwatch
from frostline.training.build import build
from frostline.training.checkpoint import read_saved, stand_of
from frostline.training.fit import fit
from frostline.training.predictions import PredictionFiles
from frostline.training.scoring import score_test
from tiny import FEW_STEPS

# SGD, no augmentation, norm layers without batch statistics: what ranks compute is then what one process computes.
# Three batches an epoch, of 13 pictures: two ranks get 6 and 7 of them.
SAME = ["data._target_=tiny.FewDigits", "data.train_limit=39", "data.batch_size=13", "data.image_size=8"]
SAME += [FEW_STEPS, "data.augment=none", "optimizer=sgd"]
SAME += ["optimizer.lr=0.02", "schedule.every_phase.norm=frozen", "schedule.every_phase.warmup_epochs=0"]
SAME += ["schedule.every_phase.solve=false"]
SAME += ["trainer.precision=32-true", "logger=none", "callbacks.last=null"]
SAME += ["callbacks.learning_rates=null", "callbacks.safety=null", "callbacks.progress=null"]


class Job(NamedTuple):
    """`place`: what is saved is called so. `overrides` begin with the trainer. `resume`: a checkpoint to go on from.
    `keep`: checkpoints, after the fourth step and at the end of each phase. `stores`: whether predictions are written
    to the folder `run`."""

    place: str
    plan: str
    overrides: list[str]
    resume: str | None = None
    keep: bool = False
    stores: bool = False


class Keep(L.Callback):
    def __init__(self, place: str) -> None:
        self.place = place

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 4:
            trainer.save_checkpoint(f"{self.place}-mid.ckpt")

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        trainer.save_checkpoint(f"{self.place}-{pl_module.phase.name}.ckpt")


def trained(job: Job) -> dict[str, Any]:
    folder = Path(f"{job.place}-run")
    folder.mkdir(exist_ok=True)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*SAME, f"run_dir={folder}", *job.overrides, f"schedule={job.plan}"])
    for phase in cfg.schedule.phases.values():
        phase.epochs = 1
    counters.clear()
    L.seed_everything(0, verbose=False)
    built = build(cfg)
    start_weights(built, None, resumes=job.resume is not None)
    if job.keep:
        built.trainer.callbacks.append(Keep(job.place))  # type: ignore[attr-defined]
    record = Record(command="", seed=0)
    path = Path(job.resume) if job.resume is not None else None
    stand = stand_of(read_saved(path), path, built.model, built.plan) if path is not None else None
    fit(built, record, folder, stand, Stopwatch({}), pictures=False)
    files = PredictionFiles(built, folder, 1.0 if job.stores else None)
    score_test(built, record, files)
    files.finish(record)
    splits = {"backbone": built.model.backbone, "head": built.model.head}
    weights = {
        f"{split}.{name}": whole(v) for split, module in splits.items() for name, v in module.state_dict().items()
    }
    return {
        "weights": weights,
        "run": str(folder),
        "scores": record.metrics,
        "val": [row["val"] for row in record.phases],
        "held": {name: local(p).numel() for name, p in built.model.named_parameters()},
        "graphs": counters["stats"]["unique_graphs"],
        "given_up": [str(reason) for reason in counters["graph_break"]],
    }


def disagreements() -> list[str]:
    """What each rank reports when rank 0 differs from the others in what learns, in one bit, and in its batch."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    require_agreement({"backbone": network}, where="here")
    rank, reports = torch.distributed.get_rank(), []
    network[0].bias.requires_grad_(rank == 0)
    for _ in ("bias", "var"):
        try:
            require_agreement({"backbone": network}, where="the end of phase 'head'")
        except RankError as error:
            reports.append(str(error))
        network[0].bias.requires_grad_(False)
        network[1].running_var[2] += 1e-7 * rank
    try:
        require_one_run({"phase": "head", "epoch and batch": (3, 7 * rank), "data": "the same"}, where="here")
    except RankError as error:
        reports.append(str(error))
    return reports


def main(file: Path) -> None:
    quiet()
    warnings.simplefilter("error")
    for text in NOT_HERE:
        warnings.filterwarnings("ignore", f".*{text}.*")
    torch.set_num_threads(1)
    os.cpu_count = lambda: 8  # more ranks than cores are slow, and that is all
    with group_left():
        for job in [Job(*job) for job in json.loads(file.read_text())]:
            with hydra_cached.cached():
                result = trained(job)
            if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
                torch.save(result, f"{job.place}.pt")
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            reports = file.with_name(f"disagreements-{torch.distributed.get_rank()}.json")
            reports.write_text(json.dumps(disagreements()))


def torchrun(world_size: int, file: Path) -> None:
    """What `torchrun --standalone` does, with processes that its agent forks, so that they need not import anything."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        1,
        1,
        world_size,
        run_id="tests",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        max_restarts=0,  # as torchrun; a rank that fails would otherwise be started again, and its error lost
    )
    elastic_launch(config, main)(file)


if __name__ == "__main__":
    torchrun(int(sys.argv[2]), Path(sys.argv[1])) if sys.argv[2:] else main(Path(sys.argv[1]))
