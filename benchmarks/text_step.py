"""Measure tokens/s of full fine-tuning and of the frozen pass: Frostline, transformers' Trainer and a plain loop.

python benchmarks/text_step.py <folder of trec6> <folder of all-MiniLM-L6-v2> [rounds] [steps]

All ways share weights, questions, texts per batch (32), bfloat16 and AdamW; padding does not count as tokens. Each
round is `steps` steps in each way, in sequence; the first WARM steps of each, and the first round, are left out.
Medians. `longest` is Trainer's own collator, which pads each batch to its longest text; `maximum` is
`padding="max_length"` at 128 tokens, as in many tutorials. The frozen pass is the one that fills Frostline's cache; its
peer is transformers' model in float32, on batches of 32 padded to their longest, without gradients.

Aims: at least 1.5 times Trainer with its collator, 2.5 times the maximum, and 4 times the plain frozen pass.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: weights and tokenizer lie in the folder

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging

from drawn import Phase, end_step, seconds_per_step
from frostline.commands.train import quiet
from frostline.data.target_types.find import target_type
from frostline.data.texts.tables import read_text_tables
from frostline.paths import conf_dir
from machine import DEVICE, TRAINER, done, write_result

SIZE, WARM, MAXIMUM, RATE = 32, 5, 128, 2e-5
AIMS = {"Trainer, longest": 1.5, "Trainer, maximum": 2.5, "plain frozen pass": 4.0}
Encoded = list[dict[str, Any]]
Way = Callable[[], float]


def main(trec6: Path, weights: Path, rounds: int, steps: int) -> None:
    quiet()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    read = read_text_tables(target_type("class"), dir=str(trec6), train_file="train.csv", val_file=None,
                            test_file="test.csv", text_columns=["text"], target_columns=["label"], separator=None,
                            class_names=None, quotes=None, source=None)  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(weights)
    ids = tokenizer([text for (text,) in read.train.strings])["input_ids"]
    samples = [{"input_ids": row, "labels": int(label)} for row, label in zip(ids, read.train.labels, strict=True)]
    with tempfile.TemporaryDirectory() as scratch:
        phase = Phase(configured(Path(scratch), trec6, weights, rounds, steps), WARM)
        samples = [samples[place] for place in phase.built.data.train_split.index.tolist()]  # the same for all ways
        per_text = sum(len(sample["input_ids"]) for sample in samples) / len(samples)
        ways: dict[str, Way] = {
            "Trainer, longest": trainer(weights, samples, len(read.names), steps, DataCollatorWithPadding(tokenizer)),
            "Trainer, maximum": trainer(weights, samples, len(read.names), steps,
                                        DataCollatorWithPadding(tokenizer, "max_length", MAXIMUM)),
            "Frostline": phase.epoch,
        }  # fmt: skip
        rows = [told("full fine-tuning", measured(ways, rounds), SIZE * per_text, "Frostline")]
        passes: dict[str, Way] = {"plain frozen pass": lambda: plain_pass(weights, samples, tokenizer),
                                  "Frostline": lambda: our_pass(phase, SIZE * steps)}  # fmt: skip
        rows.append(told("frozen pass", measured(passes, rounds), SIZE * steps * per_text, "Frostline"))
    print(write_result("text_step", rows))


def configured(scratch: Path, trec6: Path, weights: Path, rounds: int, steps: int) -> Any:
    """Compose a training with `steps` steps of SIZE texts per epoch, as in the other ways."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=[
            "model=minilm", f"model.weights={weights}", "data=trec6", f"data.dir={trec6}", f"data.batch_size={SIZE}",
            f"data.train_limit={SIZE * steps}", "schedule=full", f"schedule.phases.all.epochs={rounds + 1}",
            f"optimizer.lr={RATE}", TRAINER, "trainer.precision=bf16-mixed", "callbacks.progress=null",
            "schedule.every_phase.min_steps=0", "trainer.limit_val_batches=0", f"logs_dir={scratch}",
            f"run_dir={scratch / 'run'}",
            f"cache.dir={scratch / 'cache'}",
        ])  # fmt: skip


def trainer(weights: Path, samples: Encoded, classes: int, steps: int, collator: Any) -> Way:
    """transformers.Trainer, which here creates loaders, optimizer and rate curve anew for each epoch."""

    class Ends(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            end_step(ends, WARM, steps)

    ends: list[float] = []
    model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=classes)
    settings = TrainingArguments(
        tempfile.mkdtemp(prefix="trainer-"), bf16=True, use_cpu=DEVICE.type == "cpu", per_device_train_batch_size=SIZE,
        max_steps=steps, learning_rate=RATE, report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip

    def epoch() -> float:
        ends.clear()
        Trainer(model, settings, data_collator=collator, train_dataset=samples, callbacks=[Ends()]).train()
        return seconds_per_step(ends, WARM)

    return epoch


@torch.no_grad()
def plain_pass(weights: Path, samples: Encoded, tokenizer: Any) -> float:
    model = AutoModelForSequenceClassification.from_pretrained(weights).base_model.eval().to(DEVICE)
    collator: Any = DataCollatorWithPadding(tokenizer)  # returns a BatchEncoding, declared as dict
    begun = done()
    for at in range(0, len(samples), SIZE):
        batch = collator(samples[at : at + SIZE]).to(DEVICE)
        hidden: Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        hidden.mean(1)
    return done() - begun


def our_pass(phase: Phase, number: int) -> float:
    """The pass that fills the cache, without writing to disk."""
    frozen, data = phase.built.frozen, phase.built.data
    assert len(data.train_split) == number
    phase.built.model.to(DEVICE).eval()
    begun = done()
    frozen.features(data.train_split)
    return done() - begun


def measured(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            seconds[name].append(way())
    return seconds


def told(job: str, seconds: dict[str, list[float]], tokens: float, ours: str) -> dict[str, Any]:
    """Print and return the rates of a job. tokens: number of tokens in the timed seconds."""
    rates = {name: tokens / statistics.median(values[1:]) for name, values in seconds.items()}
    print(job)
    for name, rate in rates.items():
        ratio = f"   Frostline {rates[ours] / rate:.2f} × it, aim {AIMS[name]} ×" if name in AIMS else ""
        print(f"  {name:20} {rate:9,.0f} tokens/s{ratio}", flush=True)
    return {"job": job, "seconds": seconds, "tokens_per_second": rates}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *(int(said) for said in sys.argv[3:] or ("3", "40")))
