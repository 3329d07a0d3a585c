"""`frostline rank` where a sample has several rows with one class each: cells of a picture, words of a text."""

import json
import math
import random
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import tiny
from conftest import DEVICE, Answer
from frostline.config.plain import Config
from frostline.data.split import Split
from frostline.frozen.outputs import FrozenOutputs
from frostline.heads.probes import STRENGTHS, TEMPERATURE, K, log_me
from frostline.training import rows
from frostline.training.build import features_alone
from tiny_masks import rectangles, save
from tiny_text import make_tokenizer

pytestmark = pytest.mark.usefixtures("solved_to_the_end")
Program = Callable[..., Answer]
Array = NDArray[np.float64]
Found = tuple[Array, list[int], list[int]]  # features (R, D), classes and samples of the rows

OWN = [*DEVICE, "trainer.precision=32-true"]
SIDE, CELL = 64, 4  # pixels, of a picture and of a cell of tiny.Chain's map
TAGS = ["B-x", "B-y", "O"]  # of words from a, from c and from e on
SHORT = [
    "cache=always",
    "schedule=head_only",
    "schedule.phases.head.epochs=1",
    "logger=none",
    "callbacks.progress=null",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Options of `model=`, in a folder of the user's own."""
    folder = tmp_path / "conf" / "model"
    folder.mkdir(parents=True)
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    made = {"chain": ("tiny.Chain", "null"), "levels": ("tiny.Levels", "null"), "tiny": ("tiny.Tiny", "null")}
    made |= {"words": ("tiny_text.TinyText", str(tokenizer))}
    for name, (target, weights) in made.items():
        (folder / f"{name}.yaml").write_text(f"_target_: {target}\nweights: {weights}\n")
    return ["--config-dir", str(folder.parent)]


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Masks of the values 1, 2, 3 and 0, which does not count, at the size that the networks see."""
    folder = tmp_path / "pictures"
    for number, split in ((12, "train"), (5, "val"), (3, "test")):
        for place in range(number):
            save(folder, f"p{place:02}", rectangles(place, (1, 2, 3, 0), size=(SIDE, SIDE)), split=split)
    return ["data=image_masks", f"data.dir={folder}", "data.ignore=[0]", f"data.sides=[{SIDE},{SIDE}]", *OWN]


@pytest.fixture
def sentences(tmp_path: Path) -> list[str]:
    """Words with a tag by their first letter, and some at random. The longest sentences are cut off."""
    draw, letters = random.Random(0), "abcdef"
    for split, number in (("train", 40), ("val", 15), ("test", 5)):
        lines = []
        for _ in range(number):
            words = [draw.choice(letters) + draw.choice(letters) for _ in range(draw.randint(3, 14))]
            tags = [
                draw.choice(TAGS) if draw.random() < 0.1 else TAGS[(ord(word[0]) - ord("a")) // 2] for word in words
            ]
            lines += [*(f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)), ""]
        (tmp_path / f"{split}.conll").write_text("\n".join(lines))
    files = [f"data.{split}_file={split}.conll" for split in ("train", "val", "test")]
    return ["data=conll", f"data.dir={tmp_path}", *files, "data.max_length=12", *OWN]


def ranked(program: Program, *arguments: str, output: str = "out") -> tuple[Answer, dict[str, Any]]:
    answer = program("rank", *arguments, f"output={output}")
    assert answer.code == 0, answer.out + answer.err
    return answer, json.loads((Path(output) / "rank.json").read_text())


def table_of(answer: Answer) -> list[dict[str, str]]:
    """Cells by column; columns are divided by two blanks or more."""
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in answer.out.splitlines()]
    head = next(place for place, line in enumerate(lines) if line[:1] == ["model"])
    rest = [line for line in lines[head + 2 :] if len(line) == len(lines[head])]
    return [dict(zip(lines[head], line, strict=True)) for line in rest]


def judged(train: Found, val: Found) -> dict[str, float]:
    """Scores by scikit-learn."""
    votes = KNeighborsClassifier(K, metric="cosine", weights=lambda distance: np.exp((1 - distance) / TEMPERATURE))
    scaler = StandardScaler().fit(train[0])
    probes = [LogisticRegression(C=1 / (len(train[0]) * l2), max_iter=10_000) for l2 in STRENGTHS]
    found = [
        probe.fit(scaler.transform(train[0]), train[1]).score(scaler.transform(val[0]), val[1]) for probe in probes
    ]
    return {"knn": votes.fit(*train[:2]).score(*val[:2]), "linear_probe": max(found)}


def require_scores(row: dict[str, Any], train: Found, val: Found) -> None:
    assert (row["num_train"], row["num_val"]) == (len(train[1]), len(val[1]))
    expected = judged(train, val)
    assert row["knn"] == pytest.approx(expected["knn"], abs=1.5 / len(val[1])), "one row more or less"
    assert row["linear_probe"] == pytest.approx(expected["linear_probe"], abs=1.5 / len(val[1]))
    evidence = log_me(torch.from_numpy(train[0]), torch.tensor(train[1]), 1 + max(train[1]))
    assert row["evidence"] == pytest.approx(evidence, rel=1e-3, abs=1e-3)
    assert row["majority"] == Counter(val[1]).most_common(1)[0][1] / len(val[1])
    assert row["majority"] < row["linear_probe"] < 1, "neither chance nor certainty"


def through(frozen: FrozenOutputs, split: Split, places: list[int]) -> Any:
    with torch.no_grad():
        return frozen.backbone(frozen.data.seen(split, places, None, torch.device("cpu")))


def cells_of(frozen: FrozenOutputs, split: Split, folder: Path) -> Found:
    """Rows of pictures, cell by cell from the files of the masks."""
    maps: Tensor = through(frozen, split, list(range(len(split))))
    features, classes, samples = [], [], []
    for place, index in enumerate(split.index.tolist()):
        name = Path(split.source.name_of(index)).relative_to(folder / "images")
        mask = np.asarray(Image.open(folder / "masks" / name))
        for y in range(maps.shape[2]):
            for x in range(maps.shape[3]):
                inside = mask[CELL * y : CELL * (y + 1), CELL * x : CELL * (x + 1)].flatten().tolist()
                counts = Counter(value for value in inside if value)
                if counts:
                    classes.append(max(counts, key=lambda value: (counts[value], -value)) - 1)
                    features.append(maps[place, :, y, x].double().numpy())
                    samples.append(place)
    return np.stack(features), classes, samples


def words_of(frozen: FrozenOutputs, split: Split) -> Found:
    """Rows of texts, word by word."""
    features, classes, samples = [], [], []
    for place, index in enumerate(split.index.tolist()):
        tokens: Tensor = through(frozen, split, [place])[0]
        for token, word in enumerate(split.source.words(index).tolist()):  # type: ignore[attr-defined]
            if word >= 0:
                features.append(tokens[token].double().numpy())
                classes.append(int(split.source.labels[index, word]))
                samples.append(place)
    return np.stack(features), classes, samples


def frozen_of(cfg: Config, seed: int = 0) -> FrozenOutputs:
    torch.manual_seed(seed)  # of the weights
    return features_alone(cfg)


# --- cells ---


def test_models_are_ranked_by_the_cells_of_their_maps(
    program: Program, models: list[str], pictures: list[str], composed: Callable[..., Config], tmp_path: Path
) -> None:
    answer, found = ranked(program, *models, "models=[chain]", *pictures)
    (row,) = found["models"]
    chain = ["+model=bundled", "model._target_=tiny.Chain", "model.weights=null", "models=[chain]"]
    frozen = frozen_of(composed(*chain, *pictures, config="rank"))
    assert isinstance(frozen.backbone, tiny.Chain)
    data = frozen.data
    train, val = (cells_of(frozen, split, tmp_path / "pictures") for split in (data.train_split, data.val_split))
    assert len(val[1]) < 5 * (SIDE // CELL) ** 2, "cells without a pixel that counts are left out"
    require_scores(row, train, val)
    (shown,) = table_of(answer)
    assert shown["cells"] == f"{len(val[1]):,}"
    assert shown["linear probe"] == f"{row['linear_probe']:.4f}"
    error = f"standard error of the best {row['standard_error']:.4f}"
    assert f"val/accuracy of cells, {error}, the most frequent class {row['majority']:.4f}" in answer.out
    assert row["standard_error"] > math.sqrt(row["linear_probe"] * (1 - row["linear_probe"]) / len(val[1]))
    assert "drawn" not in answer.out
    assert found["data"]["num_val"] == 5


def test_a_training_that_follows_finds_the_maps(program: Program, models: list[str], pictures: list[str]) -> None:
    answer, _ = ranked(program, *models, "models=[chain]", *pictures)
    following = shlex.split(next(line for line in answer.out.splitlines() if line.startswith("next")))[3:]
    assert following == [*models, *pictures, "task=segmentation", "model=chain"]
    assert program("train", *following, *SHORT, "schedule.every_phase.views=none", "run_dir=run").code == 0
    (phase,) = json.loads(Path("run/run.json").read_text())["phases"]
    assert (phase["cache"]["found"], phase["cache"]["made"]) == (12 + 5, 0)


def test_the_cache_changes_no_score_and_stores_them(
    program: Program, models: list[str], pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, never = ranked(program, *models, "models=[chain]", *pictures, "cache=never")
    _, first = ranked(program, *models, "models=[chain]", *pictures, output="first")
    monkeypatch.setattr("frostline.training.baselines.PROBES", {})
    _, again = ranked(program, *models, "models=[chain]", *pictures, output="again")
    scores = ("evidence", "knn", "linear_probe", "standard_error", "majority", "num_train", "num_val")
    (of_never,), (of_first,), (of_again,) = (it["models"] for it in (never, first, again))
    assert {key: of_never[key] for key in scores} == {key: of_first[key] for key in scores}
    assert {key: of_again[key] for key in scores} == {key: of_first[key] for key in scores}
    assert (of_never["made"], of_first["made"], of_again["made"], of_again["found"]) == (0, 17, 0, 17)


def test_models_with_other_cells_are_compared_with_a_caution(
    program: Program, models: list[str], pictures: list[str]
) -> None:
    answer, found = ranked(program, *models, "models=[chain,levels]", *pictures)
    numbers = {row["model"]: row["num_val"] for row in found["models"]}
    assert numbers["levels"] < numbers["chain"]
    assert "caution     not all models are scored on the same cells" in answer.out


def test_too_many_cells_are_drawn_by_the_seed_and_a_line_says_so(
    program: Program, models: list[str], pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST", (500, 200))
    answer, found = ranked(program, *models, "models=[chain]", *pictures)
    (row,) = found["models"]
    assert (row["num_train"], row["num_val"]) == (500, 200)
    assert row["num_found"] > 2000
    assert answer.out.count("drawn       at most 500 cells of train and 200 of val: chain") == 1
    _, again = ranked(program, *models, "models=[chain]", *pictures, "cache=never", output="again")
    _, other = ranked(program, *models, "models=[chain]", *pictures, "seed=1", output="other")
    assert again["models"][0]["knn"] == row["knn"]
    assert other["models"][0]["majority"] != row["majority"]


def test_a_network_without_a_map_is_not_ranked(program: Program, models: list[str], pictures: list[str]) -> None:
    answer, _ = ranked(program, *models, "models=[chain,words]", *pictures)
    assert "not ranked  words: tiny-text returns features as vector or tokens" in answer.out


# --- words ---


def test_models_are_ranked_by_words(
    program: Program, models: list[str], sentences: list[str], composed: Callable[..., Config], tmp_path: Path
) -> None:
    answer, found = ranked(program, *models, "models=[words,chain]", *sentences)
    row, picture = found["models"]
    assert picture["problem"]
    words = ["+model=bundled", "model._target_=tiny_text.TinyText", f"model.weights={tmp_path / 'tokenizer'}"]
    frozen = frozen_of(composed(*words, "models=[words]", *sentences, config="rank"))
    train, val = (words_of(frozen, split) for split in (frozen.data.train_split, frozen.data.val_split))
    assert len(val[1]) < int((frozen.data.val_split.labels >= 0).sum()), "some are cut off"
    require_scores(row, train, val)
    (shown,) = table_of(answer)
    assert shown["words"] == f"{len(val[1]):,}"
    following = shlex.split(next(line for line in answer.out.splitlines() if line.startswith("next")))[3:]
    assert program("train", *following, *SHORT, "run_dir=run").code == 0
    (phase,) = json.loads(Path("run/run.json").read_text())["phases"]
    assert (phase["cache"]["found"], phase["cache"]["made"]) == (40 + 15, 0)
