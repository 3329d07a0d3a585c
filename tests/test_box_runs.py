"""Whole runs with boxes: every way to train, what predictions are, and what is refused."""

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import frostline
from compared import require_intervals
from conftest import ASIDE, DEVICE, Answer, short_form
from frostline.commands.train import NOT_HERE
from tiny_boxes import NAMES, boxes_of, picture_of, put_coco, put_voc, put_yolo

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]

OWN = ["task=detection", "data=boxes", "data.sides=[64,64]", "data.batch_size=4", "model._target_=tiny.Levels"]
OWN += [*DEVICE, "trainer.precision=32-true", "logger=none", "callbacks.progress=null", "optimizer.lr=0.01"]
RETINA = ["head=retinanet", "head.channels=32", "head.anchor_scale=2", "head.detections=10"]
FASTER = ["head=faster_rcnn", "head.channels=16", "head.hidden=32", "head.anchor_scale=3", "head.detections=10"]
FASTER += ["head.regions=32", "head.proposals=50"]
ONE = ["schedule=head_only", "schedule.phases.head.epochs=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_coco(tmp_path_factory.mktemp("data"), {"train": 16, "val": 4, "test": 8})


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which found the rectangles."""
    from test_run import _train

    folder = tmp_path_factory.mktemp("boxes") / "run"
    chosen = [f"data.dir={data}", *FASTER, "head.anchor_scale=4", "data.flip=false", "task.threshold=0.3"]
    chosen += ["schedule=full", "schedule.phases.all.epochs=20", "data.batch_size=8"]
    return _train(folder, *chosen, short=OWN)


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def trained(program: Program, data: Path, *overrides: str) -> dict[str, Any]:
    answer = program("train", *OWN, *ASIDE, f"data.dir={data}", *overrides, "run_dir=run")
    assert answer.code == 0, answer.err
    return record_of(Path("run"))


# --- ways to train ---


WAYS = {
    "auto": [*RETINA, "schedule=auto", "schedule.phases.head.epochs=1", "schedule.phases.top.epochs=1"],
    "adapters": [*RETINA, "schedule=adapters", "adapter=lora", "schedule.phases.head.epochs=1",
                 "schedule.phases.adapters.epochs=1"],
    "averaged": [*FASTER, "schedule=two_stage", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=2",
                 "schedule.average.ema_decay=0.5", "data.augment=strong"],
    "lp_ft": [*FASTER, "schedule=lp_ft", "schedule.phases.probe.epochs=1", "schedule.phases.all.epochs=1"],
}  # fmt: skip


@pytest.mark.parametrize("way", short_form(WAYS, "averaged"))
def test_every_way_to_train_ends_with_scores(way: str, data: Path, program: Program) -> None:
    record = trained(program, data, *WAYS[way])
    assert {"test/map", "test/map_50", "test/mar_100"} <= record["metrics"].keys()
    assert record["metrics"]["test/n"] == 8
    true = [box for number in range(20, 28) for box in boxes_of(number)]
    assert {row["class"]: row["n"] for row in record["per_class"]} == {
        name: sum(NAMES[box[4]] == name for box in true) for name in NAMES
    }


def test_rectangles_are_found(run: Path) -> None:
    record = record_of(run)
    assert record["metrics"]["test/map_50"] > 0.5
    assert record["data"]["targets"]["kind"] == "boxes"
    require_intervals(record)


@pytest.mark.parametrize("put", [put_voc, put_yolo])
def test_other_formats_train_alike(put: Callable[..., Path], program: Program, tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"train": 8, "val": 4, "test": 4})
    assert trained(program, folder, *RETINA, *ONE)["metrics"]["test/n"] == 4


def test_the_rates_are_found(data: Path, program: Program) -> None:
    answer = program("lr_find", *OWN, *RETINA, f"data.dir={data}", *ONE, "lr_find.steps=10")
    assert answer.code == 0, answer.err
    assert "optimizer.lr=" in answer.out


@pytest.mark.parametrize(
    ("settings", "said", "step"),
    [
        (["data=digits", *RETINA], "this data has one class for each sample", "data=boxes"),
        (["task=classification", "head=linear"], "learns from one class for each sample", "task=detection"),
        (["head=linear"], "but this task needs them per box", "head=faster_rcnn"),
        (["task=segmentation", "head=faster_rcnn"], "returns outputs per box", "head=linear"),
        (["model=vit_b_16", "model.weights=null", *RETINA], "returns features as vector, but", "model=resnet50"),
        (["head=retinanet", "head.channels=60"], "a multiple of 8", "head.channels=64"),
        (["task.monitor=val/loss", *RETINA], "no score 'val/loss'", "val/map"),
        (["data.classes=[blue]", *RETINA], "no annotation has the class 'blue'", "data.classes=[green,red]"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    settings: list[str], said: str, step: str, data: Path, program: Program
) -> None:
    own = [it for it in OWN if not (it.startswith("model") and any(way.startswith("model=") for way in settings))]
    own = [it for it in own if "data=digits" not in settings or not it.startswith("data")]
    folder = [] if "data=digits" in settings else [f"data.dir={data}"]
    answer = program("train", *own, *folder, *settings, "run_dir=run")
    assert answer.code == 1
    assert said in answer.err
    assert step in answer.err
    assert "Traceback" not in answer.err


# --- scores and predictions ---


def test_a_run_is_scored_as_it_was_and_on_another_folder(run: Path, program: Program, tmp_path: Path) -> None:
    answer = program("evaluate", f"run={run}", "trust=true")
    assert f"test/map {record_of(run)['metrics']['test/map']:.4f}" in answer.out
    put_yolo(tmp_path / "other", {"test": 5})
    answer = program("evaluate", f"run={run}", "trust=true", f"data.dir={tmp_path / 'other'}", "data.format=yolo")
    assert answer.code == 0, answer.err
    assert "(n = 5)" in answer.out


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_page_shows_found_and_true_boxes(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert page.count('<div class="pair">') == min(12, record_of(run)["metrics"]["test/n"])


def test_predictions_have_the_scores_that_the_run_has(run: Path, data: Path, program: Program) -> None:
    """pycocotools scores the file of predictions against the annotations."""
    answer = program(
        "predict", f"run={run}", "trust=true", f"input={data / 'test'}", "output=found.csv", "pictures=true"
    )
    assert answer.code == 0, answer.err
    said = json.loads(Path("found/detections.json").read_text())
    truth = json.loads((data / "annotations" / "instances_test.json").read_text())
    ids = {Path(it["file_name"]).name: it["id"] for it in truth["images"]}
    names = {it["name"]: it["id"] for it in truth["categories"]}
    image = {it["id"]: ids[Path(it["file_name"]).name] for it in said["images"]}
    category = {it["id"]: names[it["name"]] for it in said["categories"]}
    results = [it | {"image_id": image[it["image_id"]], "category_id": category[it["category_id"]]}
               for it in said["annotations"]]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(data / "annotations" / "instances_test.json"))
        evaluated = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    metrics = record_of(run)["metrics"]
    assert evaluated.stats[:2].tolist() == pytest.approx([metrics["test/map"], metrics["test/map_50"]], abs=2e-3)
    for row in rows_of(Path("found.csv")):
        own = [it for it in said["annotations"] if image[it["image_id"]] == ids[Path(row["file"]).name]]
        assert int(row["objects"]) == sum(it["score"] >= 0.3 for it in own) == int(row["red"]) + int(row["green"])
        with Image.open(row["drawn"]) as picture, Image.open(data / "test" / Path(row["file"]).name) as plain:
            large = plain.convert("RGB").resize((512, 384))  # small pictures are enlarged
            assert picture.size == large.size
            assert (np.asarray(picture) != np.asarray(large)).any() == (int(row["objects"]) > 0)
    again = program(
        "predict", f"run={run}", "trust=true", f"input={data / 'test'}", "output=found.csv", "threshold=0.999"
    )
    assert again.code == 0, again.err  # a table of predictions is replaced
    assert {row["objects"] for row in rows_of(Path("found.csv"))} == {"0"}
    assert "boxes below threshold=0.999 alone, up to 0." in again.err


def test_drawn_pictures_need_a_table_and_something_to_draw(run: Path, data: Path, program: Program) -> None:
    answer = program("predict", f"run={run}", "trust=true", f"input={data / 'test'}", "pictures=true")
    assert (answer.code, "output=predictions.csv" in answer.err) == (1, True)
    answer = program("predict", f"run={run}", "trust=true", f"input={data / 'test'}")
    assert answer.out.splitlines()[0] == "file,objects,green,red"
    assert "also writes detections.json" in answer.err


def test_python_finds_the_same_boxes(run: Path, data: Path, program: Program) -> None:
    assert program("predict", f"run={run}", "trust=true", f"input={data / 'test'}", "output=found.csv").code == 0
    said = json.loads(Path("found/detections.json").read_text())["annotations"]
    opened = frostline.open(run, trust=True)
    (found,) = opened.predict([data / "test" / "p20.png"])
    own = [it for it in said if it["image_id"] == 1]
    assert opened.classes == ["green", "red"]
    assert found.values.shape == (len(own), 6)
    for row, one in zip(found.values.tolist(), own, strict=True):
        assert [row[0], row[1], row[2] - row[0], row[3] - row[1]] == pytest.approx(one["bbox"], abs=0.02)
        assert (row[4], row[5]) == (pytest.approx(one["score"], abs=1e-5), one["category_id"] - 1)
    assert int(found.columns["objects"]) == sum(it["score"] >= 0.3 for it in own)


@pytest.mark.long
def test_a_run_begins_with_the_weights_of_another(run: Path, data: Path, program: Program) -> None:
    settings = [*FASTER, "head.anchor_scale=4", *ONE, f"init_from={run}", "optimizer.lr=1e-9"]
    answer = program("train", *OWN, f"data.dir={data}", *settings, "run_dir=run")
    assert answer.code == 0, answer.err
    assert record_of(Path("run"))["metrics"]["test/map"] == pytest.approx(
        record_of(run)["metrics"]["test/map"], abs=0.05
    )


def test_the_run_keeps_true_and_predicted_boxes(run: Path) -> None:
    table = pq.read_table(run / "predictions" / "test.parquet").to_pydict()
    true = [box for number in range(20, 28) for box in boxes_of(number)]
    own = [place for place, is_target in enumerate(table["is_target"]) if is_target]
    assert [[round(it) for it in table["box"][place]] for place in own] == [[*box[:4]] for box in true]
    assert len({*table["sample"]}) == 8  # the picture without a box is there, too


def test_a_picture_of_another_size_has_boxes_of_its_size(run: Path, program: Program, tmp_path: Path) -> None:
    """An object at the left edge of a picture three times as wide and high is found there."""
    small = picture_of(1, boxes_of(1))
    (tmp_path / "both").mkdir()
    small.save(tmp_path / "both" / "a.png")
    small.resize((192, 144), Image.Resampling.BICUBIC).save(tmp_path / "both" / "b.png")
    assert program("predict", f"run={run}", "trust=true", f"input={tmp_path / 'both'}", "output=found.csv").code == 0
    rows = json.loads(Path("found/detections.json").read_text())["annotations"]
    first, second = ([it for it in rows if it["image_id"] == number] for number in (1, 2))
    assert first
    best = max(first, key=lambda it: it["score"])
    away = [max(abs(3 * side - other) for side, other in zip(best["bbox"], it["bbox"], strict=True)) for it in second]
    assert min(away) < 9


# --- messages ---


def test_a_setting_of_another_head_names_heads_for_boxes(data: Path, program: Program) -> None:
    answer = program("train", *OWN, f"data.dir={data}", *RETINA, "head.hidden=3")
    assert answer.code == 1
    assert "it belongs to head=faster_rcnn: add that too" in answer.err
    answer = program("train", "head.channels=3")
    assert answer.code == 1
    assert "faster_rcnn" not in answer.err


def test_boxes_cannot_be_ranked(data: Path, program: Program) -> None:
    answer = program("rank", "models=[bundled]", "data=coco", f"data.dir={data}")
    assert answer.code == 1
    assert "a class for each pixel or a tag for each word, but this data has boxes around objects" in answer.err
    assert "frostline train -m model=bundled task=detection schedule=head_only data=coco" in answer.err
    answer = program("rank", "models=[bundled,rt_detr_r18]", "data=digits")
    assert answer.code == 1
    assert "model 'rt_detr_r18' has its own head" in answer.err


def test_other_classes_of_the_own_data_are_explained(run: Path, data: Path, program: Program) -> None:
    answer = program("evaluate", f"run={run}", "trust=true", "data.classes=[red]")
    assert answer.code == 1
    assert "data.classes: for other samples, named by data.dir or data.file" in answer.err
    assert "leave data.classes out" in answer.err
    answer = program("evaluate", f"run={run}", "trust=true", f"data.dir={data}", "data.classes=[rad]")
    assert answer.code == 1
    assert "no annotation has the class 'rad': did you mean red?" in answer.err
