"""Show that a fusion finds what each kind of column says, on rows whose truth is known.

    python benchmarks/fusion_worth.py <cifar10> <ag_news> <folder of MiniLM> [--rows 2000] [--seeds 0,1,2]

A row has a picture of CIFAR-10, a text of AG News, a number, one of 5 breeds and one of 40 users. Its price is the sum
of five values and noise of deviation 0.5: one of each of the 10 classes of the picture, of the 4 topics of the text, of
the breeds and of the users, each drawn once and scaled to deviation 1 over the rows, and the number itself. Neither
classes nor topics are columns. So a perfect model has an R² of 1 - 0.25 / 5.25 = 0.952, and leaving out one kind of
column costs about 1 / 5.25 = 0.190 of it. A fifth of the rows tests, a tenth of the rest validates.

Seconds are those of training, with cached features from the second run on.
"""

import argparse
import csv
import json
import statistics
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs import timed_train
from machine import write_result

NOISE, USERS, BREEDS = 0.5, 40, 5
ROW = ["data.number_columns=[weight]", "data.category_columns=[breed]", "data.id_columns=[user]"]
IMAGE = ["model.image=efficientnet_lite0", "data.image_columns=[photo]"]
TEXT = ["model.text=minilm", "data.text_columns=[about]"]
WITHOUT = {"image": ["data.image_columns=[]"], "text": ["data.text_columns=[]"]}


def put_rows(folder: Path, cifar: Path, news: Path, rows: int) -> Path:
    draw = np.random.default_rng(0)
    pictures = pq.read_table(cifar / "train.parquet").slice(0, rows).to_pydict()
    with (news / "train.csv").open(newline="", encoding="utf-8") as file:
        texts = list(csv.DictReader(file))
    texts = [texts[place] for place in draw.permutation(len(texts))[:rows]]
    topics = sorted({text["label"] for text in texts})
    kinds = {
        "class": (np.array(pictures["label"]), 10),
        "topic": (np.array([topics.index(text["label"]) for text in texts]), len(topics)),
        "breed": (draw.integers(BREEDS, size=rows), BREEDS),
        "user": (draw.integers(USERS, size=rows), USERS),
    }
    weight = draw.normal(size=rows)
    price = weight + NOISE * draw.normal(size=rows)
    for own, number in kinds.values():
        value = draw.normal(size=number)[own]
        price += (value - value.mean()) / value.std()
    for place, picture in enumerate(pictures["image"]):
        (folder / f"{place}.png").write_bytes(picture["bytes"])
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["photo", "about", "weight", "breed", "user", "price"])
        for place, text in enumerate(texts):
            breed, user = (f"{name[0]}{kinds[name][0][place]}" for name in ("breed", "user"))
            cells = [f"{place}.png", text["text"], f"{weight[place]:.4f}", breed, user]
            table.writerow([*cells, f"{price[place]:.4f}"])
    return folder / "rows.csv"


def settings(weights: Path) -> dict[str, list[str]]:
    text = [*TEXT, f"model.text.weights={weights}"]
    return {
        "all columns": [*IMAGE, *text, *ROW],
        "without pictures": [*WITHOUT["image"], *text, *ROW],
        "without texts": [*IMAGE, *WITHOUT["text"], *ROW],
        "numbers and names alone": [*WITHOUT["image"], *WITHOUT["text"], *ROW],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cifar10", "ag_news", "minilm"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--scratch", help="folder for rows, runs and cache; by default a temporary one")
    asked = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() if asked.scratch is None else nullcontext(asked.scratch) as made:
        table = put_rows(Path(made), asked.cifar10, asked.ag_news, asked.rows)
        own = ["model=fusion", "task=regression", "data=table", f"data.file={table}", "data.target_columns=[price]"]
        own += ["data.image_size=96", "schedule=head_only", "schedule.phases.head.epochs=20", "trainer=cpu"]
        for seed in (int(text) for text in asked.seeds.split(",")):
            for name, columns in settings(asked.minilm).items():
                run = Path(made) / f"run-{seed}-{name.replace(' ', '_')}"
                timed_train(Path(made), *own, *columns, f"seed={seed}", f"run_dir={run}")
                record = json.loads((run / "run.json").read_text())
                score = {"r2": record["metrics"]["test/r2"], "mse": record["metrics"]["test/mse"]}
                score["seconds"] = sum(phase["seconds"] for phase in record["phases"])
                found.setdefault(name, []).append(score)
                print(seed, name, json.dumps(score), flush=True)
    for name, scores in found.items():
        values = [score["r2"] for score in scores]
        print(f"{name:32} R² {statistics.mean(values):.3f}, {min(values):.3f} to {max(values):.3f}")
    write_result("fusion_worth", {"rows": asked.rows, "reachable": 1 - NOISE**2 / (5 + NOISE**2), "runs": found})


if __name__ == "__main__":
    main()
