"""Everything a user can get wrong at the door: the message, the exit code, and that nothing is left behind."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from torchvision import models

from conftest import ASIDE, ROOT, Answer
from frostline.storage.store import Store

# What is typed after `frostline train`, and what must be in the answer: what happened, and the next step.
BAD_TRAINING = {
    "unknown option": ("model=resnet5", ["no model 'resnet5'", "resnet50, resnet34, resnet18", "model=<one of"]),
    "unknown option of another group": ("data=cifar", ["no data 'cifar'", "cifar10"]),
    "unknown group": ("modle=resnet50", ["no setting 'modle'", "did you mean model?"]),
    "key of another place": ("lr=0.5", ["no setting 'lr'", "did you mean optimizer.lr?"]),
    "key of several places": ("epochs=9", ["did you mean schedule.phases.head.epochs, schedule.phases.all.epochs?"]),
    "key of another place, added": ("+lr=0.5", ["lr: there is no such setting; did you mean optimizer.lr?"]),
    "key added to the plan": ("+schedule.epochs=1", ["schedule.epochs: there is no such setting", "all.epochs?"]),
    "key added to nothing": ("+foo=1", ["foo: there is no such setting; available: adapter, cache"]),
    "key of another command": ("+top_k=3", ["top_k: there is no such setting"]),
    "key that its class takes": ("optimizer.foreach=false", ["+optimizer.foreach=<value>  # adds it"]),
    "key added to a class": ("+optimizer.foo=1", ["optimizer.foo: torch.optim.adamw.AdamW has no such setting"]),
    "unknown key": ("data.batchsize=8", ["no setting 'data.batchsize'", "did you mean batch_size?"]),
    "wrong type": ("data.batch_size=many", ["data.batch_size: 'many' is not a whole number"]),
    "two wrong values, told together": (
        "data.batch_size=0 data.val_fraction=2",
        ["2 wrong values", "data.batch_size: 0 is not", "data.val_fraction: 2 is not a number x with 0 < x < 1"],
    ),
    "one wrong value, told once": ("optimizer.lr=fast", ["a wrong value:\n  optimizer.lr: 'fast' is not a number"]),
    "wrong choice": ("data.augment=strnog", ["'strnog' is not one of none, standard, strong"]),
    "wrong type for torch": ("optimizer.momentum=fast optimizer=sgd", ["optimizer.momentum: 'fast' is not a number"]),
    "wrong type for Lightning": ("trainer.num_nodes=two", ["trainer.num_nodes: 'two' is not a whole number"]),
    "rate below zero": ("optimizer.lr=-1", ["optimizer.lr: -1 is not a number x with 0 < x <= 1000"]),
    "optimizer refuses": ("optimizer.betas=[0.9,1.7]", ["optimizer rejects its settings", "1.7"]),
    "rate without end": ("optimizer.lr=inf", ["optimizer.lr: inf is not a number x with 0 < x <= 1000"]),
    "decay without end": ("optimizer.weight_decay=inf", ["optimizer.weight_decay: inf is not a number"]),
    "no number at all": ("schedule.phases.all.lr_scale=nan", ["all.lr_scale: nan is not a number"]),
    "group taken away": ("~optimizer", ["optimizer is missing; add optimizer=<option>"]),
    "setting taken away": ("~data.batch_size", ["data.batch_size is missing"]),
    "Trainer's setting taken away": ("~trainer.precision", ["trainer.precision is missing"]),
    "folder is null": ("run_dir=null", ["run_dir: None is not text"]),
    "folder is a list": ("run_dir=[a]", ["run_dir: ['a'] is not text"]),
    "no such class": ("model._target_=foo.Bar", ["locating target 'foo.Bar'\n  where: model._target_\n"]),
    "a function": ("model._target_=os.getcwd", ["model cannot be made"]),
    "a callback that freezes": (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.BackboneFinetuning}",
        ["BackboneFinetuning freezes and thaws blocks", "schedule=two_stage"],
    ),
    "a callback that waits for nothing": (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/acuracy,mode:max}",
        ["no score 'val/acuracy'", "val/accuracy"],
    ),
    "a callback that waits for no score": (
        "+callbacks.x={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:loss}",
        ["EarlyStopping monitors 'loss', but there is no such score", "train/loss_epoch"],
    ),
    "several checkpoints of one name": (
        "+callbacks.best.save_top_k=3",
        ["saves several checkpoints (save_top_k=3), but gives all of them one name, 'best'", "leave save_top_k out"],
    ),
    "a callback that is none": ("+callbacks.x=1", ["callbacks.x is 1, not settings"]),
    "precision that is not kept": ("trainer.precision=64-true", ["'64-true' is not one of auto, 32-true, bf16-mixed"]),
    "no such strategy": ("trainer.strategy=ddp_spawn", ["'ddp_spawn' is not one of auto, ddp"]),
    "sharded in half precision": ("trainer=fsdp trainer.precision=16-mixed", ["no loss scaling", "bf16-mixed or 32-"]),
    "compiled somehow": ("trainer.compile=fast", ["trainer.compile: 'fast' is not true or false or one of auto"]),
    "no batch to score": ("trainer.limit_test_batches=0.0001", ["is less than one batch", "limit_test_batches=1"]),
    "never a step": ("trainer.accumulate_grad_batches=0", ["accumulate_grad_batches: 0 is not a whole number"]),
    "betas are two": ("optimizer.betas=[0.9]", ["optimizer rejects its settings"]),
    "pictures too large": ("data.image_size=100000", ["do not fit into memory", "data.image_size=4096"]),
    "name too long": ("data=image_folder data.dir={long}", ["File name too long"]),
    "the wrong end of a score": ("task.monitor=val/loss", ["the best val/loss is the smallest", "task.mode=min"]),
    "two judges": (
        "callbacks.best.monitor=val/loss callbacks.best.mode=min",
        ["chosen by val/loss (min), but the task uses val/accuracy (max)", "task.monitor=val/loss task.mode=min"],
    ),
    "best of what is not kept": ("schedule=lp_ft callbacks.best=null", ["all.start_from needs the best checkpoint"]),
    "best of some epochs": (
        "+callbacks.best.every_n_epochs=2 schedule.average.ema_decay=0.9",
        ["schedule.average needs the best checkpoint", "keep callbacks.best as it is"],
    ),
    "best under another name": ("schedule=lp_ft callbacks.best.filename=x", ["all.start_from needs the best"]),
    "one rate for all": (
        "+schedule.phases.all.optimizer={_target_:torch.optim.LBFGS,_partial_:true}",
        ["optimizer rejects its settings: LBFGS", "all.optimizer"],
    ),
    "clipped and fused": (
        "+optimizer.fused=true trainer.precision=16-mixed trainer.gradient_clip_val=1",
        ["optimizer.fused: it allows gradient clipping only in 32-true"],
    ),
    "average of what is not kept": ("schedule.average.ema_decay=0.9 callbacks.best=null", ["schedule.average needs"]),
    "average of what is never thawed": ("schedule=head_only schedule.average.wise_ft=[0.5]", ["no phase thaws"]),
    "share beyond the whole": ("schedule.average.wise_ft=[1.5]", ["wise_ft", "1.5"]),
    "single value taken away": ("~dry_run", ["dry_run is missing"]),
    "saved all the time": ("callbacks.safety.every_minutes=-1", ["every_minutes: -1 is not a number x with x > 0"]),
    "what only a GPU can": ("+optimizer.capturable=true trainer=cpu", ["optimizer rejects its settings", "capturable"]),
    "what the plan sets": ("+trainer.val_check_interval=0", ["val_check_interval: set by Frostline; remove it"]),
    "nothing to show": ("--cfg jbo", ["'jbo' cannot be shown", "did you mean job?"]),
    "settings of several runs": ("-m seed=0,1 --cfg job", ["--cfg prints the settings of one", "leave -m out"]),
    "Hydra's settings before a run": ("--cfg all --resolve", ["values only within a run", "--cfg job --resolve"]),
    "what the program sets": ("+trainer.max_epochs=3", ["trainer.max_epochs: set by Frostline; remove it"]),
    "labels that are no numbers": ("data=cifar10 data.dir={tmp}/float_labels", ["labels must be whole numbers"]),
    "one class in parquet": ("data=cifar10 data.dir={tmp}/one_label", ["1 classes"]),
    "seed is not a number": ("seed=lucky", ["seed: 'lucky' is not a whole number"]),
    "folder needed": ("data=image_folder", ["a value is needed: data.dir", "data.dir=<folder>"]),
    "file needed": ("data=audio_csv", ["data.file=<file> data.target_columns=[<column>]"]),
    "value needed": ("model=torchvision", ["a value is needed: model.name", "model.name=<value>"]),
    "reference to nowhere": ("data.seed=${nowhere}", ["cannot be resolved", "nowhere"]),
    "added twice": ("+seed=1", ["'seed' exists already", "seed=<value>, without the +"]),
    "question added twice": ("+model=resnet18", ["'model' exists already", "without the +"]),
    "setting of one phase": (
        "schedule.phases.all.views=3",
        ["this phase takes 'views' from schedule.every_phase", "next:  +schedule.phases.all.views=3"],
    ),
    "setting of one phase that needs quotes": (
        "schedule.phases.all.only=[norms,biases]",
        ["this phase takes 'only' from schedule.every_phase", "next:  +schedule.phases.all.only=<value>"],
    ),
    "nested setting of one phase": (
        "schedule.phases.all.until.patience=5",
        ["takes 'until.patience' from", "next:  +schedule.phases.all.until.patience=5", "every_phase.until.patience=5"],
    ),
    "no nested setting of a phase": (
        "schedule.phases.all.until.patienc=5",
        ["no setting 'schedule.phases.all.until.patienc'", "did you mean until.patience", "<one of until.monitor"],
    ),
    "settings of one phase, not a value": (
        "schedule.phases.all.until=5",
        ["schedule.phases.all.until is a mapping of settings", "+schedule.phases.all.<one of until.monitor"],
    ),
    "setting of no such phase": ("schedule.phases.body.views=3", ["there is no setting 'schedule.phases.body'"]),
    "optimizer of one phase": (
        "schedule.phases.all.optimizer=sgd",
        ["is an option of the question optimizer", "next:  +optimizer@schedule.phases.all.optimizer=sgd"],
    ),
    "rate of the optimizer of one phase": (
        "schedule.phases.all.optimizer.lr=3",
        ["+optimizer@schedule.phases.all.optimizer=sgd schedule.phases.all.optimizer.lr=3"],
    ),
    "no setting of a phase": ("schedule.phases.all.view=3", ["there is no setting 'schedule.phases.all.view'"]),
    "checkpoints elsewhere": ("callbacks.best.dirpath=x", ["callbacks.best.dirpath: resume and evaluate look in"]),
    "checkpoints nowhere": ("callbacks.last.dirpath=null", ["callbacks.last.dirpath: resume and evaluate look in"]),
    "place added twice": ("+callbacks.best.dirpath=x", ["'callbacks.best.dirpath' exists already"]),
    "flag without its value": ("--config-dir", ["'--config-dir' needs a value", "--config-dir <a folder"]),
    "flag before a flag": ("-p --cfg job", ["'-p' needs a value"]),
    "not the grammar": ("head.hidden=[", ["quote what holds spaces or brackets"]),
    "setting of another option": (
        "head.hidden=[64]", ["no setting 'head.hidden'", "it belongs to head=fusion, head=mlp: add that too"]
    ),
    "dashes": ("--lr 3", ["no option '--lr'", "key=value, without dashes"]),
    "no such run to start from": ("init_from={tmp}/none", ["no such run or file", "init_from="]),
    "no run to start from": ("init_from={tmp}", ["this folder is not a run: it has no run.json"]),
    "no run in the home folder": ("resume=~/nowhere", ["there is no such folder", f"where: {Path.home()}/nowhere"]),
    "weights of another network to start from": ("init_from={tmp}/resnet18.pth", ["do not belong to Bundled"]),
    "early end of no score": ("schedule.every_phase.until.monitor=val/los", ["no score 'val/los'", "val/loss?"]),
    "more warm-up than epochs": ("schedule.every_phase.warmup_epochs=9", ["warms up for 9 of its 3 epochs"]),
    "best of nothing": ("+schedule.phases.head.start_from=best", ["it is the first"]),
    "no epochs": ("schedule.phases.head.epochs=0", ["phase 'head' has 0 epochs", "schedule.phases.head=null"]),
    "phase trains nothing": ("schedule.phases.all.lr_scale=0", ["phase 'all' trains nothing"]),
    "no such block": ("schedule.phases.all.thaw=stage9", ["no such block", "stage1, stage2, stage3"]),
    "more blocks than there are": ("schedule.phases.all.thaw=7", ["thaws 7 blocks, but the backbone has 4"]),
    "no phases": ("schedule.phases.head=null schedule.phases.all=null", ["the plan has no phases"]),
    "setting of no phase": ("+schedule.phases.all.momentum=1", ["all.momentum: frostline.plan.phase.Phase has no"]),
    "too many devices": ("trainer=cpu trainer.devices=4096", ["4096 devices were requested", "trainer.devices=1"]),
    "no GPU": ("trainer=gpu", ["a GPU was requested", "trainer=cpu"]),
    "no such accelerator": ("trainer.accelerator=abacus", ["'abacus' is not one of auto, cpu, gpu"]),
    "folder not writable": ("logs_dir=/proc/frostline", ["cannot write to the folder", "logs_dir="]),
    "folder is a file": ("run_dir={tmp}/file.txt", ["cannot write to the folder"]),
    "resume of no run": ("resume={tmp}", ["not a run", "run.json"]),
    "resume with a rank": ("resume={tmp} adapter.rank=4", ["no other settings: adapter.rank=4"]),
    "an empty folder's name": ("data=image_folder data.dir=", ["data.dir is empty; is a shell variable unset?"]),
    "an empty run": ("resume=", ["resume is empty"]),
    "resume with more": ("resume={tmp} seed=3", ["no other settings: seed=3"]),
    "no weights, no network": ("model=resnet18", ["cannot be downloaded", "model.weights=<file>", "weights=null"]),
    "no such weights": ("model=resnet18 model.weights=IMAGENET1K_V9", ["no weights 'IMAGENET1K_V9'", "IMAGENET1K_V1"]),
    "no such weights file": ("model.weights={tmp}/none.pth", ["no such weights file"]),
    "truncated weights": ("model=resnet18 model.weights={tmp}/truncated.pth", ["cannot be read", "truncated"]),
    "weights of another network": (
        "model=resnet34 model.weights={tmp}/resnet18.pth",
        ["do not belong to ResNet", "missing (layer1.2.bn1.bias", "choose the model"],
    ),
    "no such model": ("model=torchvision model.name=resnet55", ["no classification model 'resnet55'", "resnet50"]),
    "size that the network cannot take": (
        "model=vit_b_16 model.weights=null data.image_size=64",
        ["224 pixels only", "data.image_size=224"],
    ),
    "no such data folder": ("data=image_folder data.dir={tmp}/none", ["no such data folder"]),
    "empty data folder": ("data=image_folder data.dir={tmp}/empty", ["here is none"]),
    "one class": ("data=image_folder data.dir={tmp}/one_class", ["there is only one: 'cat'"]),
    "class too small to split": (
        "data=image_folder data.dir={tmp}/small_class",
        ["'dog' has 2", "one each for training, validation, test", "needs 3"],
    ),
    "picture that does not decode": ("data=image_folder data.dir={tmp}/broken", ["does not decode", "cat/3.png"]),
    "test split empty": ("data=image_folder data.dir={tmp}/no_test", ["there are no pictures", "/test"]),
    "training split smaller than the classes": ("data.train_limit=5", ["too few samples of a class", "train_limit"]),
    "text with a picture backbone": ("data=image_folder data.dir={tmp}/text", ["there is text: train.csv"]),
    "one parquet of two": ("data=cifar10 data.dir={tmp}/one_parquet", ["test.parquet is missing", "one_parquet"]),
    "CIFAR-100 as CIFAR-10": ("data=cifar10 data.dir={tmp}/many_classes", ["have 11 classes", "data=cifar100"]),
    "group without an option": ("data=null", ["not null", "data=digits"]),
    "no such score": ("task.monitor=val/acuracy", ["no score 'val/acuracy'", "did you mean val/accuracy"]),
    "erase without augmentation": ("data.augment=none data.erase=0.5", ["data.erase=0.5 does nothing", "data.erase=0"]),
    "no CIFAR, no network": ("data=cifar10 data.dir={tmp}/empty", ["cannot be downloaded", "parquet", "data=digits"]),
}  # fmt: skip

BAD_OTHERS = {
    "no command": (["trian"], ["no command 'trian'", "did you mean train"]),
    "evaluate without a run": (["evaluate"], ["a value is needed: run"]),
    "evaluate no run": (["evaluate", "run={tmp}"], ["not a run"]),
    "predict no run": (["predict", "run={tmp}", "input={tmp}", "output={tmp}/out.csv"], ["not a run"]),
    "evaluate many": (["evaluate", "-m", "run={tmp}"], ["evaluate takes one run"]),
    "evaluate null": (["evaluate", "run=null"], ["run: None is not text"]),
    "evaluate other pictures": (
        ["evaluate", "run={tmp}", "data.augment=none"],
        ["no setting 'data.augment'", "data.batch_size=, data.classes=, data.dir=, data.file="],
    ),
    "evaluate data by its name in training": (
        ["evaluate", "run={tmp}", "data.test_file=a.csv"],
        ["no setting 'data.test_file'", "data.file="],
    ),
    "evaluate data of another kind": (
        ["evaluate", "run={tmp}", "data=text_csv"],
        ["does not accept data=", "leave data= out", "data.file="],
    ),
    "rates of no width": (["lr_find", "lr_find.lowest=1", "lr_find.highest=1"], ["is not below the highest", "1e-6"]),
    "rates upside down": (["lr_find", "lr_find.lowest=20"], ["20, is not below the highest, 10", "lr_find.highest"]),
    "rates from nothing": (["lr_find", "lr_find.lowest=0"], ["lr_find.lowest: 0 is not a number x with 0 < x"]),
    "too few steps": (["lr_find", "lr_find.steps=5"], ["5 steps are too few", "lr_find.steps=100  # at least 10"]),
    "no steps": (["lr_find", "lr_find.steps=many"], ["lr_find.steps: 'many' is not a whole number"]),
    "no setting of the finder": (["lr_find", "lr_find.step=5"], ["no setting 'lr_find.step'", "steps"]),
    "setting of the finder taken away": (["lr_find", "~lr_find.steps"], ["lr_find.steps is missing"]),
    "finder's settings taken away": (["lr_find", "~lr_find"], ["lr_find is missing"]),
    "rates for many": (["lr_find", "-m", "optimizer=adamw,sgd"], ["lr_find takes one run", "lr_find --help"]),
    "rates of a run": (["lr_find", "resume={tmp}"], ["takes neither resume=", "init_from="]),
    "dry rates": (["lr_find", "dry_run=true"], ["lr_find takes neither resume= nor dry_run="]),
    "rates to nowhere": (
        ["lr_find", "lr_find.output=/proc/rates"],
        ["cannot write to", "lr_find.output=<a writable folder"],
    ),
    "rates over a file": (["lr_find", "lr_find.output={tmp}/file.txt"], ["cannot write to", "lr_find.output="]),
    "rates of no model": (["lr_find", "model=resnet5"], ["no model 'resnet5'"]),
    "a ranking of nothing": (["rank"], ["a value is needed: models", "models=<value>"]),
    "a ranking of none": (["rank", "models=[]"], ["no models are given", "models=[resnet18,resnet50]"]),
    "a ranking of one word": (["rank", "models=bundled"], ["models: 'bundled' is not a list", "[bundled]"]),
    "a ranking of a misspelt model": (
        ["rank", "models=[resnet5]"],
        ["no model 'resnet5': did you mean", "of your own"],
    ),
    "a ranking of an open model": (["rank", "models=[torchvision]"], ["needs values for: model.name", "mine.yaml"]),
    "a ranking by model": (["rank", "models=[bundled]", "model=resnet18"], ["does not accept model=", "models=[...]"]),
    "a ranking by task": (
        ["rank", "models=[bundled]", "task=regression"],
        ["rank compares models by classes", "task= out"],
    ),
    "a ranking without brackets": (["rank", "models=bundled,resnet18"], ["in brackets: models=[bundled,resnet18]\n"]),
    "two models without -m": (["train", "model=bundled,resnet18"], ["frostline train -m model=bundled,resnet18"]),
    "what Frostline sets": (
        ["train", "trainer.check_val_every_n_epoch=2"],
        ["trainer.check_val_every_n_epoch is set by Frostline", "leave it out"],
    ),
    "a ranking by weights": (["rank", "models=[bundled]", "model.weights=null"], ["there is no setting 'model'"]),
    "a ranking by plan": (["rank", "models=[bundled]", "schedule=full"], ["schedule"]),
    "a ranking of no data": (["rank", "models=[bundled]", "~data"], ["data is missing"]),
    "a ranking of bad data": (["rank", "models=[bundled]", "data.batch_size=0"], ["data.batch_size: 0 is not"]),
    "a ranking in nothing": (["rank", "models=[bundled]", "trainer.precision=null"], ["trainer.precision: None"]),
    "a ranking for many": (["rank", "-m", "models=[bundled]"], ["rank takes one run"]),
    "a ranking to nowhere": (["rank", "models=[bundled]", "output=/proc/rank"], ["cannot write to", "output=<a"]),
    "a ranking to null": (["rank", "models=[bundled]", "output=null"], ["output: rank needs a folder"]),
    "a ranking of pictures that are nowhere": (
        ["rank", "models=[bundled]", "data=image_folder", "data.dir={tmp}/none"],
        ["data.dir=<folder>"],
    ),
    "rates of no weights": (["lr_find", "model.weights={tmp}/none.pth"], ["no such weights file"]),
    "predict wrong number": (
        ["predict", "run={tmp}", "input={tmp}", "output={tmp}/out.csv", "top_k=0"],
        ["top_k: 0 is not a whole number x with x > 0"],
    ),
}


@pytest.fixture(scope="module")
def messes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each thing that is wrong."""
    folder = tmp_path_factory.mktemp("messes")
    (folder / "file.txt").write_text("in the way")
    (folder / "empty").mkdir()
    _pictures(folder / "one_class" / "cat", 5)
    for name, count in (("cat", 5), ("dog", 2)):
        _pictures(folder / "small_class" / name, count)
    for name in ("cat", "dog"):
        _pictures(folder / "broken" / name, 5)
        _pictures(folder / "no_test" / "train" / name, 5)
    (folder / "broken" / "cat" / "3.png").write_bytes((folder / "broken" / "cat" / "3.png").read_bytes()[:40])
    (folder / "no_test" / "test").mkdir()
    (folder / "text").mkdir()
    (folder / "text" / "train.csv").write_text("text,label\nfine,1\n")
    _parquet(folder / "one_parquet" / "train.parquet", classes=2)
    for split in ("train", "test"):
        _parquet(folder / "many_classes" / f"{split}.parquet", classes=11)
        _parquet(folder / "one_label" / f"{split}.parquet", classes=1)
        _parquet(folder / "float_labels" / f"{split}.parquet", classes=2, kind=float)
    torch.save(models.resnet18().state_dict(), folder / "resnet18.pth")
    whole = (folder / "resnet18.pth").read_bytes()
    (folder / "truncated.pth").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, whatever the machine has; nothing cached from before."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / ".torch"))


@pytest.mark.parametrize("case", BAD_TRAINING)
def test_bad_input_of_a_training_is_answered(
    case: str, messes: Path, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    typed, expected = BAD_TRAINING[case]
    if case == "no GPU" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    answer = program("train", *typed.replace("{tmp}", str(messes)).replace("{long}", "x" * 300).split())
    _is_a_clear_error(answer, expected)
    left = {path.name for path in tmp_path.rglob("*")} - {".torch", "hub", "checkpoints"}
    assert left == set(), "something was written"


@pytest.mark.parametrize("case", BAD_OTHERS)
def test_bad_input_of_other_commands_is_answered(
    case: str, messes: Path, tmp_path: Path, program: Callable[..., Answer]
) -> None:
    typed, expected = BAD_OTHERS[case]
    _is_a_clear_error(program(*(split.replace("{tmp}", str(messes)) for split in typed)), expected)
    assert list(tmp_path.iterdir()) == []
    assert not (messes / "out.csv").exists()


def test_a_sweep_goes_on_after_a_bad_job_and_ends_with_its_error(
    program: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = program("train", "-m", "model.weights=none.pth,null", "trainer=debug", "schedule=head_only",
                     "schedule.phases.head.epochs=1", "callbacks.progress=null", "data.image_size=8")  # fmt: skip
    _is_a_clear_error(answer, ["no such weights file"])
    (sweep,) = tmp_path.glob("logs/sweeps/*/*")
    assert [path.name for path in sweep.glob("[!.]*") if path.is_dir()] == ["1"], (
        "no folder for a run that did not begin"
    )
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]][:4] == ["run", "status", "model.weights", "val/accuracy"]
    assert [(row["run"], row["status"], row["model.weights"]) for row in rows] == [
        ("1", "finished", "null"),
        ("0", "failed", "none.pth"),
    ]
    assert "no such weights file" in rows[1]["error"]
    assert "failed       0: there is no such weights file" in answer.out
    assert f"evaluate run={(sweep / '1').relative_to(tmp_path)}" in answer.out


def test_a_dry_sweep_leaves_nothing(program: Callable[..., Answer], tmp_path: Path) -> None:
    answer = program("train", "-m", "seed=0,1", "trainer=debug", "dry_run=true", "data.image_size=16")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_dry_sweep_of_workers_is_refused(program: Callable[..., Answer], tmp_path: Path) -> None:
    answer = program("train", "-m", "dry_run=true", "seed=0,1", "trainer=debug", "launcher=local")
    _is_a_clear_error(answer, ["workers write to log files, and a dry run prints plans"])
    assert list(tmp_path.rglob("*")) == []


def test_a_sweep_that_cannot_begin_leaves_nothing(program: Callable[..., Answer], tmp_path: Path) -> None:
    _is_a_clear_error(program("train", "-m", "model=resnet18,resnet5"), ["no model 'resnet5'"])
    assert list(tmp_path.rglob("*")) == []


def test_a_sweep_over_models_ranks_them_by_the_score_that_was_asked_for(
    program: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = program("train", "-m", "model=bundled,mobilenet_v3_small", "model.weights=null", "data.image_size=32",
                     "trainer=debug", "schedule=head_only", "schedule.phases.head.epochs=1",
                     "task.monitor=val/loss", "task.mode=min", "logger=none", *ASIDE)  # fmt: skip
    assert answer.code == 0, answer.err
    (sweep,) = tmp_path.glob("logs/sweeps/*/*")
    with (sweep / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["val/loss"]) for row in rows]
    assert losses == sorted(losses)
    assert f"leaderboard  {(sweep / 'leaderboard.csv').relative_to(tmp_path)}" in answer.out
    assert f"{losses[0]:.4f}" in answer.out
    assert {record["model"]["name"] for record in map(_record, sweep.glob("*/run.json"))} == {
        "bundled",
        "mobilenet_v3_small",
    }
    for number in (0, 1):
        record = _record(sweep / str(number) / "run.json")
        assert record["metrics"]["val/loss"] == record["phases"][0]["val"]["val/loss"]


def _record(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def test_the_traceback_is_shown_on_request(program: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    from frostline.errors import WeightsError

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(WeightsError, match="no such weights file"):
        program("train", "model.weights=none.pth")


HELP = [["--help"], ["--version"], ["train", "--help"], ["train", "--cfg", "job"], ["lr_find", "--help"]]
HELP += [["rank", "--help"]]


@pytest.mark.parametrize("arguments", HELP)
def test_help_answers(arguments: list[str], program: Callable[..., Answer]) -> None:
    answer = program(*arguments)
    assert answer.code == 0
    assert answer.out.strip()
    assert answer.err == ""


def test_help_of_lr_find_lists_what_train_takes_and_its_own(program: Callable[..., Answer]) -> None:
    own, shared = program("lr_find", "--help").out, program("train", "--help").out
    assert "resnet50," in own
    assert "seed: 0" in own
    assert "  lr_find:\n    steps: 100" in own
    assert "lr_find:" not in shared


def test_help_of_rank_lists_what_it_asks_and_no_more(program: Callable[..., Answer]) -> None:
    lines = program("rank", "--help").out.splitlines()
    begin, end = "questions (question=option):", "values (key=value), with their defaults:"
    groups = lines[lines.index(begin) + 1 : lines.index(end)]
    names = [line.split()[0] for line in groups if line[2:3].strip()]
    assert names == ["cache", "data", "model", "trainer"]
    assert any(line.startswith("  models: ???") for line in lines)


def test_help_lists_options_of_ones_own(program: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "mine" / "schedule").mkdir(parents=True)
    (tmp_path / "mine" / "schedule" / "three_steps.yaml").write_text("phases: {}\n")
    for typed in (["--config-dir", "mine"], ["--config-dir=mine"]):
        assert "three_steps," in program("train", *typed, "--help").out
    assert "three_steps" not in program("train", "--help").out


def test_what_is_typed_after_a_look_at_a_cache_clears_that_one(
    program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "users"))
    folders = [tmp_path / "users", tmp_path / "my cache"]
    for folder in folders:
        Store(folder, 10**6).entry("k", 3, (4,), torch.float32, {"model": "m", "blocks": ["a"], "data": "d", "rows": 3})
    shown = program("cache", f"dir={tmp_path / 'my cache'}")
    _, *command = shlex.split(shown.out.splitlines()[-1].removeprefix("next"))
    assert "1 removed" in program(*command).out
    assert [len(Store(folder, 0).entries()) for folder in folders] == [1, 0]


@pytest.mark.parametrize(
    "typed",
    [
        ["seed=7", "--config-dir", "mine=1", "~cache", "--cfg", "job"],
        ["seed=7", "--config-dir=mine=1", "--cfg", "job", "~cache"],
        ["--cfg", "job", "seed=7", "--config-dir", "mine=1", "~cache"],
    ],
)
def test_options_may_stand_between_settings(typed: list[str], program: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "mine=1" / "schedule").mkdir(parents=True)
    (tmp_path / "mine=1" / "schedule" / "short.yaml").write_text("phases: {}\n")
    answer = program("train", *typed, "schedule=short")
    assert answer.code == 0, answer.err
    shown = yaml.safe_load(answer.out)
    assert (shown["seed"], shown["schedule"], "cache" in shown) == (7, {"phases": {}}, False)


@pytest.mark.process
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} {ROOT / 'train.py'} --help | head -1"
    answer = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("frostline ")
    assert answer.stderr == ""


def test_help_on_a_full_disk_is_an_error_in_one_sentence() -> None:
    command = f"{sys.executable} {ROOT / 'train.py'} --help >/dev/full"
    answer = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("frostline: this cannot be printed: No space left on device\n")
    assert "Traceback" not in answer.stderr


DOOR = {
    "--help": 0, "--cfg job": 0, "model=resnet5": 1, "data.batchsize=1": 1, "data.batch_size=x": 1,
    "schedule.phases.all.epochs=0": 1,
}  # fmt: skip
# One interpreter answers them all, one after another: what any of them imports stays in the list.
ANSWER_ALL = """
import runpy, sys
from hydra.core.global_hydra import GlobalHydra
program, *lines = sys.argv[1:]
for typed in lines:
    sys.argv = [program, *typed.split()]
    try:
        runpy.run_path(program, run_name="__main__")
        code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    GlobalHydra.instance().clear()
    print(f"exit code of {typed}: {code}", flush=True)
"""


@pytest.mark.process
def test_the_door_answers_without_torch(tmp_path: Path) -> None:
    """-X importtime lists every module that was imported."""
    command = [sys.executable, "-X", "importtime", "-c", ANSWER_ALL, str(ROOT / "train.py"), *DOOR]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    assert [line for line in answer.stdout.splitlines() if line.startswith("exit code of ")] == [
        f"exit code of {typed}: {code}" for typed, code in DOOR.items()
    ]
    imported = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if "import time:" in line}
    assert "hydra" in imported
    assert imported.isdisjoint({"torch", "lightning", "torchvision", "numpy", "rich", "PIL"})
    assert list(tmp_path.iterdir()) == []


def _is_a_clear_error(answer: Answer, expected: list[str]) -> None:
    assert answer.code == 1, answer.out + answer.err
    assert answer.err.startswith("frostline: "), answer.err
    assert "\n  next:  " in answer.err
    assert "Traceback" not in answer.out + answer.err
    for split in expected:
        assert split in answer.err


def _parquet(file: Path, *, classes: int, kind: type = int) -> None:
    file.parent.mkdir(exist_ok=True)
    encoded = io.BytesIO()
    Image.new("RGB", (32, 32)).save(encoded, "PNG")
    rows = [{"bytes": encoded.getvalue(), "path": None}] * (4 * classes)
    pq.write_table(pa.table({"image": rows, "label": [kind(row % classes) for row in range(4 * classes)]}), file)


def _pictures(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (40, 40), (number * 20, 0, 90)).save(folder / f"{number}.png")
