"""Trains every plan of conf/schedule, a few steps a phase, and saves weights and scores. Started by test_ranks.py, by
itself for one process, through torchrun for several: python ranks_worker.py <folder> <world size> <plan>...
"""

import sys
import tempfile
import warnings
from pathlib import Path

import lightning as L
import torch
from hydra import compose, initialize_config_dir

from frostline.build import build
from frostline.checks import plan_of
from frostline.fitting import fit
from frostline.paths import conf_dir
from frostline.record import Record, Stopwatch
from frostline.run import NOT_HERE, quiet

# SGD, no augmentation, norm layers without batch statistics: what ranks compute is then what one process computes.
SAME = ["data.train_limit=63", "data.batch_size=21", "data.image_size=8", "data.augment=none", "optimizer=sgd"]
SAME += ["optimizer.lr=0.05", "schedule.every_phase.norm=frozen", "schedule.every_phase.warmup_epochs=0"]
SAME += ["trainer.precision=32-true", "logger=none", "callbacks.best=null", "callbacks.last=null"]
SAME += ["callbacks.learning_rates=null", "callbacks.safety=null", "callbacks.progress=null", "run_dir=none"]


def trained(plan: str, world_size: int) -> dict[str, object]:
    where = ["trainer=ddp", "trainer.accelerator=cpu"] if world_size > 1 else ["trainer=cpu"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        phases = plan_of(compose("train", overrides=[f"schedule={plan}"])).phases
        short = [f"schedule.phases.{phase.name}.epochs=1" for phase in phases]
        cfg = compose("train", overrides=[*SAME, *where, f"trainer.devices={world_size}", f"schedule={plan}", *short])
    L.seed_everything(0, verbose=False)
    built = build(cfg)
    record = Record(command="", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        fit(built, record, Path(folder), None, Stopwatch({}))
    (scores,) = built.trainer.test(built.model, datamodule=built.data, verbose=False)
    parts = {"backbone": built.model.backbone, "head": built.model.head}
    weights = {f"{part}.{name}": v for part, module in parts.items() for name, v in module.state_dict().items()}
    return {"weights": weights, "scores": dict(scores), "val": [row["val"] for row in record.phases]}


def main(folder: Path, world_size: int, plans: list[str]) -> None:
    quiet()
    warnings.simplefilter("error")
    for text in NOT_HERE:
        warnings.filterwarnings("ignore", f".*{text}.*")
    torch.set_num_threads(1)
    for plan in plans:
        result = trained(plan, world_size)
        if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
            torch.save(result, folder / f"{plan}-{world_size}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
