"""Every shipped recipe runs from its first line to its last, on a few pictures or texts and with two batches of each
split."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conftest import ROOT, Answer, short_form
from frostline.paths import conf_dir
from frostline.plan.composed import plan_of
from tiny_boxes import put_coco
from tiny_sounds import put
from tiny_text import make_tokenizer

RECIPES = sorted(path.stem for path in (conf_dir() / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in CIFAR's layout: ten classes of four."""
    folder = tmp_path_factory.mktemp("cifar10")
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        rows = []
        for number in range(40):
            encoded = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(encoded, "PNG")
            rows.append({"img": {"bytes": encoded.getvalue(), "path": None}, "label": number % 10})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 texts and 20 sentences with tags, under the names of all text sets' splits; a tokenizer."""
    folder = tmp_path_factory.mktemp("texts")
    rows = "".join(f"aa ab,{number % 2}\n" for number in range(40))
    for split in ("train", "dev", "test"):
        (folder / f"{split}.csv").write_text(f"text,label\n{rows}")
        (folder / f"{split}.conll").write_text("aa\tB-x\nbb\tI-x\nkl\tO\n\n" * 20)
    make_tokenizer(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, a folder for each of two classes of 20."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for number in range(40):
        file = folder / f"class_{number % 2}" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return folder


@pytest.mark.parametrize(
    "recipe", short_form(RECIPES, "quickstart", "lite0_blood_cells", "lite0_bccd_boxes", "minilm_wnut17")
)
def test_a_recipe_runs(
    recipe: str,
    cifar: Path,
    texts: Path,
    pictures: Path,
    tmp_path: Path,
    program: Callable[..., Answer],
    composed: Callable[..., Any],
) -> None:
    cfg = composed(f"experiment={recipe}", "run_dir=logs/it")
    phases, reader = [phase.name for phase in plan_of(cfg).phases], cfg.data._target_.rpartition(".")[2]
    overrides = [f"schedule.phases.{name}.epochs=1" for name in phases] + ["schedule.every_phase.warmup_epochs=0"]
    if reader in ("TextCsv", "Conll"):
        overrides += [f"data.dir={texts}", f"model.weights={texts / 'tokenizer'}", "model=bundled"]
        overrides += ["model._target_=tiny_text.TinyText"]
    elif reader == "BoxedPictures":
        folder = put_coco(tmp_path / "boxes", {"train": 9, "val": 3, "test": 3})
        overrides += [f"data.dir={folder}", "data.image_size=32", "head.channels=32", "head.hidden=32"]
    elif reader == "AudioCsv":
        folder = put(tmp_path / "sounds")
        places = [
            ("test" if number % 3 == 0 else "train", file) for number, file in enumerate(sorted(folder.rglob("*.wav")))
        ]
        rows = "".join(f"{file.relative_to(folder)},{file.parent.name},{part}\n" for part, file in places)
        (folder / "table.csv").write_text(f"file_name,label,split\n{rows}")
        overrides += [f"data.file={folder / 'table.csv'}", "data.image_size=32"]
    elif reader == "ImageFolder":
        overrides += [f"data.dir={pictures}", "data.image_size=32"]
    elif reader == "Cifar":
        overrides += [f"data.dir={cifar}", "model.weights=null", "data.image_size=32"]
    answer = program("train", f"experiment={recipe}", "trainer=debug", "data.batch_size=8", "logger=none",
                     f"run_dir={tmp_path / 'run'}", *overrides)  # fmt: skip
    assert answer.code == 0, answer.err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert [row["name"] for row in record["phases"]] == phases


@pytest.mark.parametrize("recipe", ["lite0_blood_cells", "lite0_spoken_digits"])
def test_a_recipe_whose_data_are_missing_names_the_command_that_creates_them(
    recipe: str, program: Callable[..., Answer]
) -> None:
    command = f"python {ROOT}/benchmarks/picture_sets.py <data folder> sets"
    answer = program("train", f"experiment={recipe}", "model.weights=null")
    assert answer.code == 1
    assert f"  next:  {command}\n    or:  " in answer.err
    setting = "data.dir" if recipe == "lite0_blood_cells" else "data.file"
    other = program("train", f"experiment={recipe}", "model.weights=null", f"{setting}=another")
    assert "where: another" in other.err
    assert command not in other.err
