"""Recommendation on ratings whose truth is known: what a fusion of text, ids and numbers finds of it.

    python benchmarks/recommendation_worth.py <ag_news> [--seeds 0,1,2] [--rows 4000] [--epochs 20] [--ways full,likes]
        [--more]

Each of 20 users rates items, which are texts of AG News with one of four topics. By a seed,

    stars = 3 + user (0.4) + item (0.3) + the user's taste for the topic (0.7) + 0.3 · price + noise (0.5)

with normal parts of these deviations. The table has user, item, the text `about` and the price, but no topic; and three
columns that say nothing: `note`, another text, a colour and a weight. The last fifth of the rows is the test split, the
fifth of the rest before it validation (data.split_by=time). `likes` learns whether stars are above 3.

floor        the truth itself: nothing predicts the noise
known form   ridge regression on user, item, price, and one column for each user and topic: the topics are given to it
mean ... trees, of run.json, on validation, by which their strengths are chosen, too: in their favour
full         model=fusion model.text=minilm, frozen: about, price, user, item
no_text, no_ids   the same without that
useless      full, with the three columns that say nothing
"""

import argparse
import csv
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frostline.tasks.ranking import Worth, by_user
from frostline.training.column_probes import Block, Linear
from jobs import timed_train
from machine import RESULTS, TRAINER, write_result

USERS, ITEMS, NOTES, NOISE = 20, 1_000, 100, 0.5
DECAY = 3.0  # the head of 3,000 rows and 384 features learns texts by heart at the default of 0.01
COLOURS = ("red", "green", "blue")
FOLLOWING = 0.2  # share of the rows that is test, and of the rest that is validation
LIST = {"text": ["about"], "number": ["price"], "category": [], "id": ["user", "item"]}
WAYS: dict[str, dict[str, list[str]]] = {
    "full": {},
    "no_text": {"text": []},
    "no_ids": {"id": []},
    "useless": {"text": ["about", "note"], "number": ["price", "weight"], "category": ["colour"]},
    "likes": {},
}
BASELINES = ("majority", "mean", "bias", "ridge", "logistic", "pairs", "trees")


class Made(NamedTuple):
    """Rows in the order of their time. truth: stars without noise."""

    table: list[dict[str, Any]]
    truth: Tensor
    stars: Tensor
    user: Tensor
    item: Tensor
    topic: Tensor
    price: Tensor

    @property
    def test(self) -> slice:
        return slice(len(self.stars) - round(FOLLOWING * len(self.stars)), None)


def made(texts: Sequence[dict[str, str]], rows: int, seed: int) -> Made:
    draw = np.random.default_rng(seed)
    topics = sorted({text["label"] for text in texts})
    topic_of = np.array([topics.index(text["label"]) for text in texts[:ITEMS]])
    user, item, note = (draw.integers(number, size=rows) for number in (USERS, ITEMS, NOTES))
    price, weight = draw.normal(size=rows).round(3), draw.normal(size=rows).round(3)
    taste = draw.normal(0, 0.7, (USERS, len(topics)))
    truth = 3 + draw.normal(0, 0.4, USERS)[user] + draw.normal(0, 0.3, ITEMS)[item]
    truth = truth + taste[user, topic_of[item]] + 0.3 * price
    stars = (truth + draw.normal(0, NOISE, rows)).round(3)
    table = [
        {
            "user": f"u{user[row]}", "item": f"i{item[row]}", "about": texts[item[row]]["text"], "price": price[row],
            "note": texts[ITEMS + note[row]]["text"], "weight": weight[row], "colour": COLOURS[row % 3],
            "at": row, "stars": stars[row], "like": "yes" if stars[row] > 3 else "no",
        }
        for row in range(rows)
    ]  # fmt: skip
    whole = (torch.from_numpy(it) for it in (truth, stars, user, item, topic_of[item], price))
    return Made(table, *whole)


def scores_of(it: Made, predicted: Tensor) -> dict[str, float]:
    """Score predicted stars of the test rows, as Frostline does."""
    stars, train = it.stars[it.test], it.stars[: it.test.start]
    worth = Worth((stars - train.min()).clamp(min=0), stars >= train.mean())
    ranked = by_user(predicted, worth, it.user[it.test])
    rmse = float((predicted - stars).square().mean().sqrt())
    return {"rmse": rmse, "ndcg_10": float(ranked.ndcg.mean()), "recall_10": float(ranked.recall.mean())}


def known_form(it: Made) -> Tensor:
    codes = {"user": it.user, "item": it.item, "taste": it.user * 4 + it.topic}
    test, start = it.test, it.test.start
    blocks = [Block(name, own[:start], own[test]) for name, own in codes.items()]
    blocks.append(Block("price", it.price[:start, None], it.price[test, None]))
    return Linear(blocks).ridge(it.stars[:start, None], it.stars[test, None])[:, 0]


def trained(way: str, table: Path, scratch: Path, seed: int, epochs: int) -> dict[str, Any]:
    columns = LIST | WAYS[way]
    likes = way == "likes"
    settings = [
        "data=table", f"data.file={table}", "data.image_columns=[]", "data.user_column=user", TRAINER,
        *(f"data.{kind}_columns=[{','.join(own)}]" for kind, own in columns.items()),
        "model=fusion", *(["model.text=minilm", "data.max_length=48"] if columns["text"] else []),
        f"task={'classification' if likes else 'regression'}", f"data.target_columns=[{'like' if likes else 'stars'}]",
        "data.split_by=time", "data.time_column=at", f"data.val_fraction={FOLLOWING}",
        f"data.test_fraction={FOLLOWING}", "schedule=head_only", f"optimizer.weight_decay={DECAY}",
        f"schedule.phases.head.epochs={epochs}",
        f"seed={seed}", "logger=none", "callbacks.progress=null",
    ]  # fmt: skip
    folder = scratch / f"{way}-{seed}"
    seconds = timed_train(scratch, *settings, f"run_dir={folder}")
    record = json.loads((folder / "run.json").read_text())
    baselines = {name: record["baselines"][name] for name in BASELINES if name in record["baselines"]}
    return {
        "metrics": record["metrics"], "baselines": baselines, "adds": record["baselines"]["adds"],
        "seconds": round(seconds, 1), "fit": round(record["seconds"]["fit"], 1),
    }  # fmt: skip


def printed(rows: list[dict[str, Any]]) -> None:
    """Means over the seeds."""

    def mean(own: list[dict[str, Any]], *names: str) -> str:
        found = []
        for name in names:
            values = [row[name] for row in own if name in row]
            found.append(f"   {name} {statistics.mean(values):.3f}" if values else "")
        return "".join(found)

    for name in ("floor", "known_form"):
        print(
            f"{name:12}" + mean([row[name] for row in rows if name in row], "rmse", "ndcg_10", "recall_10", "accuracy")
        )
    for way in dict.fromkeys(row["way"] for row in rows if "way" in row):
        own = [row for row in rows if row.get("way") == way]
        for name in own[0]["baselines"]:
            print(
                f"  {name:10}"
                + mean([row["baselines"][name] for row in own], "val/rmse", "val/accuracy", "val/ndcg_10")
            )
        scores = [row["metrics"] for row in own]
        said = [f"{kind}/{name}" for kind in ("val", "test") for name in ("rmse", "accuracy", "ndcg_10", "recall_10")]
        print(f"{way:12}" + mean(scores, *said) + mean(own, "seconds"))
        nothing = {name: sum(not row["adds"][name]["shows"] for row in own) for name in own[0]["adds"]}
        print(f"{'':12}   adds nothing, of {len(own)} seeds: {nothing}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--more", action="store_true", help="keep the runs of the result file")
    asked = parser.parse_args()
    with (asked.folder / "train.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))[: ITEMS + NOTES]
    kept = RESULTS / "recommendation_worth.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text())["rows"]["runs"] if asked.more else []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in map(int, asked.seeds.split(",")):
            it = made(texts, asked.rows, seed)
            table = Path(scratch) / f"stars-{seed}.csv"
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(it.table[0]))
                writer.writeheader()
                writer.writerows(it.table)
            liked = float(((it.truth > 3) == (it.stars > 3))[it.test].double().mean())
            floor = scores_of(it, it.truth[it.test]) | {"accuracy": liked}
            rows.append({"seed": seed, "floor": floor, "known_form": scores_of(it, known_form(it))})
            for way in asked.ways.split(","):
                rows.append({"seed": seed, "way": way, **trained(way, table, Path(scratch), seed, asked.epochs)})
                write_result("recommendation_worth", {"rows": asked.rows, "epochs": asked.epochs, "runs": rows})
                print(way, seed, rows[-1]["metrics"], flush=True)
    printed(rows)


if __name__ == "__main__":
    main()
