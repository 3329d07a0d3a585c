"""A table of small pictures, texts, numbers, categories and ids whose price is known, and a fusion of two small towers.

A price is 10 + 2 · age + 3 for a pug - 2 for a cat + half of the user + the brightness of the picture, 0 to 6, + the
number of words `aa`, + noise of deviation 0.1. Of each column but the target a tenth of the cells is empty.
"""

import csv
import random
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import DEVICE
from tiny_text import make_tokenizer

ROWS, PICTURES, USERS = 90, 7, 6
BREEDS = {"pug": 3.0, "lab": 0.0, "cat": -2.0}
COLUMNS = ["data.image_columns=[photo]", "data.text_columns=[about]", "data.number_columns=[age]"]
COLUMNS += ["data.category_columns=[breed]", "data.id_columns=[user]"]
PRICE = ["data=table", "data.target_columns=[price]", "task=regression"]
SHORT = [
    *PRICE,
    "data.batch_size=16",
    "data.image_size=8",
    *DEVICE,
    "trainer.precision=32-true",
    "logger=none",
    "report=false",
]
SHORT += ["callbacks.progress=null", "optimizer.lr=0.01"]
HEAD = ["schedule=head_only", "schedule.phases.head.epochs=2"]
TWO_STAGE = ["schedule=two_stage", "schedule.phases.head.epochs=2", "schedule.phases.all.epochs=2"]


def put_pets(folder: Path, rows: int = ROWS, seed: int = 0) -> Path:
    """Write the pictures and `pets.csv`; return its path."""
    draw = random.Random(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for place in range(PICTURES):
        pixels = generator.integers(0, 20, (8 + place % 3, 9, 3)) + 38 * place
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "pictures" / f"{place}.png")
    with (folder / "pets.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["photo", "about", "age", "breed", "user", "price"])
        for _ in range(rows):
            table.writerow(_pet(draw))
    return folder / "pets.csv"


def _pet(draw: random.Random) -> list[str]:
    picture, age, breed = draw.randrange(PICTURES), draw.gauss(5, 2), draw.choice(list(BREEDS))
    user, words = draw.randrange(USERS), [draw.choice(["aa", "bc", "de", "fg"]) for _ in range(draw.randint(3, 9))]
    price = 10 + 2 * age + BREEDS[breed] + user / 2 + picture + words.count("aa") + draw.gauss(0, 0.1)
    cells = [f"pictures/{picture}.png", " ".join(words), f"{age:.4f}", breed, f"u{user}"]
    return [*("" if draw.random() < 0.1 else cell for cell in cells), f"{price:.4f}"]


def towers(tokenizer: Path) -> list[str]:
    """Settings of two towers of three blocks each."""
    return [
        "model=fusion",
        "model.image=bundled",
        "model.image._target_=tiny.Chain",
        "model.text=bundled",
        "model.text._target_=tiny_text.TinyText",
        f"model.text.weights={tokenizer if tokenizer.exists() else make_tokenizer(tokenizer)}",
    ]
