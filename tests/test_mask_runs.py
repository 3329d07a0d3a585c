"""Whole runs with masks: every way to train, what predictions are, and what is refused."""

import csv
import json
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import interpolate

import frostline
from conftest import ASIDE, DEVICE, Answer, short_form
from frostline.commands.train import NOT_HERE
from frostline.data.pictures.tiles import LARGER, OVERLAP, Tile, joined, tiles_of
from frostline.paths import conf_dir
from frostline.plan.composed import plan_of
from test_resume import STOPPER
from tiny_masks import PALETTE, put, rectangles, save

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]

OWN = ["task=segmentation", "data=image_masks", "data.sides=[32,32]", "data.batch_size=8"]
OWN += [*DEVICE, "trainer.precision=32-true", "logger=none", "callbacks.progress=null", "optimizer.lr=0.01"]
UNET = ["head=unet", "head.channels=[8]"]
TINY = ["model._target_=tiny.Levels"]
TINY_UNET = [*TINY, "head=unet", "head.channels=[8,8,8]"]
ONE = ["schedule=head_only", "schedule.phases.head.epochs=1"]
LARGER_SIDES = "data.sides=[64,64]"
# Value 0 does not count: classes 0, 1, 2 are values 1, 2, 3.
NAMED = ["data.ignore=[0]", "data.classes=[void,red,green,blue]"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for number, split in ((16, "train"), (4, "val"), (6, "test")):
        put(folder, number, values=(1, 2, 3, 0), split=split)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Tests that change it copy it."""
    from test_run import _train

    chosen = [f"data.dir={data}", *NAMED, *UNET, "schedule=head_only", "schedule.phases.head.epochs=12"]
    chosen += [LARGER_SIDES, "data.batch_size=2"]
    return _train(tmp_path_factory.mktemp("masks") / "run", *chosen, short=OWN)


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def trained(program: Program, data: Path, *overrides: str) -> dict[str, Any]:
    answer = program("train", *OWN, *ASIDE, f"data.dir={data}", *overrides, "run_dir=run")
    assert answer.code == 0, answer.err
    return record_of(Path("run"))


# --- ways to train ---


WAYS = {
    "auto": [*UNET, "schedule=auto", "schedule.phases.head.epochs=1", "schedule.phases.top.epochs=1"],
    "gradual": [*TINY, "head=mlp", "head.hidden=[8]", "schedule=gradual", "schedule.phases.head.epochs=1",
         "schedule.phases.all.epochs=1"],
    "adapters": [*UNET, "schedule=adapters", "adapter=lora", "schedule.phases.head.epochs=1",
         "schedule.phases.adapters.epochs=1"],
    "averaged": [*UNET, "schedule=two_stage", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=2",
         "schedule.average.ema_decay=0.5", "task.class_weights=balanced", "task.dice=0.5", "data.augment=strong"],
    "lp_ft": [*TINY, "head=linear", "schedule=lp_ft", "schedule.phases.probe.epochs=2", "schedule.phases.all.epochs=1"],
    "fpn": ["head=fpn", "head.channels=32", "head.segmentation_channels=32", "data.sides=[64,32]", *TINY, *ONE],
}  # fmt: skip


PLANS = sorted(file.stem for file in (conf_dir() / "schedule").glob("[!_]*.yaml") if file.stem != "none")


@pytest.mark.parametrize("way", short_form(WAYS, "fpn"))
def test_every_way_to_train_ends_with_scores(way: str, data: Path, program: Program) -> None:
    record = trained(program, data, *WAYS[way])
    assert {"test/loss", "test/accuracy", "test/iou"} <= record["metrics"].keys()
    assert record["metrics"]["test/n"] == 6
    assert [row["class"] for row in record["per_class"]] == ["0", "1", "2", "3"]
    assert sum(row["n"] for row in record["per_class"]) == 6 * 48 * 64
    assert bool(record["averages"]) == (way == "averaged")


@pytest.mark.parametrize("plan", short_form(PLANS, "layerwise"))
def test_every_plan_trains(plan: str, data: Path, program: Program, composed: Callable[..., Any]) -> None:
    chosen = [*TINY, "head=linear", f"schedule={plan}", *(["adapter=lora"] if plan.startswith("adapter") else [])]
    phases = [phase.name for phase in plan_of(composed(*chosen, "run_dir=logs/it")).phases]
    record = trained(program, data, *chosen, *(f"schedule.phases.{name}.epochs=1" for name in phases))
    names = [row["name"].partition("-")[0] for row in record["phases"]]  # down-stage4, ... of the phase down
    assert [*dict.fromkeys(names)] == phases
    assert record["metrics"]["test/n"] == 6


def test_each_term_of_the_loss_is_logged(data: Path, program: Program) -> None:
    own = [it for it in OWN if it != "logger=none"]
    chosen = [*TINY_UNET, *ONE, "task.dice=0.5", "trainer.log_every_n_steps=1"]
    answer = program("train", *own, *ASIDE, f"data.dir={data}", *chosen, "run_dir=run")
    assert answer.code == 0, answer.err
    events = EventAccumulator("run/tensorboard").Reload()
    terms = [[it.value for it in events.Scalars(f"train/{name}_step")] for name in ("cross_entropy", "dice", "loss")]
    assert [len(values) for values in terms] == [2, 2, 2]
    for entropy, dice, loss in zip(*terms, strict=True):
        assert min(entropy, dice) > 0
        assert loss == pytest.approx(entropy + dice)


def test_classes_are_learned_in_seconds(run: Path) -> None:
    """They differ by colour."""
    record = record_of(run)
    assert record["metrics"]["test/iou"] > 0.7
    assert [row["class"] for row in record["per_class"]] == ["red", "green", "blue"]
    assert record["data"]["targets"]["about"]["values"] == [1, 2, 3]


def test_the_rates_are_found(data: Path, program: Program) -> None:
    answer = program("lr_find", *OWN, *TINY_UNET, f"data.dir={data}", "schedule=two_stage", "lr_find.steps=10")
    assert answer.code == 0, answer.err
    head, both = json.loads(next(Path().rglob("rates.json")).read_text())["phases"]
    assert (head["learns"], both["learns"][-1]) == (["head"], "stem")
    assert min(head["losses"]) < 0.9 * head["losses"][0]
    assert f"optimizer.lr={head['suggestion']:g}" in answer.out


def test_the_page_shows_found_and_true_masks(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert page.count('<div class="pair">') == 12  # six test pictures, in two galleries
    assert page.index("Lowest overlap") < page.index("overlap 0.") < page.index("A random few")


def test_ranking_takes_no_task(data: Path, program: Program) -> None:
    answer = program("rank", "task=segmentation", "data=image_masks", f"data.dir={data}", "models=[bundled]")
    assert "rank compares models by classes" in answer.err


@pytest.mark.parametrize(
    ("settings", "said", "step"),
    [
        (["data=digits"], "this data has one class for each sample", "data=image_masks"),
        (["task=classification", "head=linear"], "learns from one class for each sample", "task=segmentation"),
        (["model=vit_b_16", "model.weights=null"], "returns features as vector, but", "model=resnet50"),
        (["head=fpn"], "this head takes 4 levels, but the backbone returns 2", "head=unet"),
        (["head.channels=[]"], "which need 1 widths, not 0", "head.channels=[256"),
        (["model=resnet18", "model.weights=null", "head=fpn", "head.segmentation_channels=40"],
         "a multiple of 32", "head.segmentation_channels=64"),
        (["data.sides=[33,32]"], "a multiple of 32", "data.sides=[32,32]"),
        (["task.monitor=val/f1"], "no score 'val/f1'", "val/iou"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    settings: list[str], said: str, step: str, data: Path, program: Program
) -> None:
    chosen = [] if any(it.startswith("head") for it in settings) and "head.channels=[]" not in settings else UNET[:1]
    folder = [] if "data=digits" in settings else [f"data.dir={data}"]
    own = [it for it in OWN if "data=digits" not in settings or not it.startswith("data")]
    answer = program("train", *own, *folder, *chosen, *settings, "run_dir=run")
    assert answer.code == 1
    assert said in answer.err
    assert step in answer.err
    assert "Traceback" not in answer.err


# --- runs that begin with others, or are scored elsewhere ---


@pytest.mark.long
def test_a_run_begins_with_the_weights_of_another(run: Path, data: Path, program: Program) -> None:
    record = trained(
        program, data, *NAMED, *UNET, *ONE, LARGER_SIDES, "data.train_limit=8", f"init_from={run}", "optimizer.lr=1e-9"
    )
    assert record["metrics"]["test/iou"] == pytest.approx(record_of(run)["metrics"]["test/iou"], abs=0.1)


@pytest.mark.long
def test_a_run_begins_with_an_exported_network(run: Path, data: Path, program: Program) -> None:
    assert program("export", f"run={run}", "output=net.safetensors").code == 0
    record = trained(
        program,
        data,
        *NAMED,
        *UNET,
        *ONE,
        LARGER_SIDES,
        "data.train_limit=8",
        "init_from=net.safetensors",
        "optimizer.lr=1e-9",
    )
    assert record["metrics"]["test/iou"] == pytest.approx(record_of(run)["metrics"]["test/iou"], abs=0.1)


def test_a_run_is_scored_as_it_was_and_on_another_folder(run: Path, program: Program, tmp_path: Path) -> None:
    answer = program("evaluate", f"run={run}")
    metrics = record_of(run)["metrics"]
    assert f"test/iou {metrics['test/iou']:.4f}   (n = 6)" in answer.out
    put(tmp_path / "other", 3, values=(1, 2))
    answer = program("evaluate", f"run={run}", f"data.dir={tmp_path / 'other'}")
    assert answer.code == 0, answer.err
    assert "(n = 3)" in answer.out
    put(tmp_path / "strange", 3, values=(1, 7))
    answer = program("evaluate", f"run={run}", f"data.dir={tmp_path / 'strange'}")
    assert (answer.code, "of the value 7, which is not a class" in answer.err) == (1, True)


# --- predictions ---


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_predicted_masks_have_the_accuracy_that_the_run_has(run: Path, data: Path, program: Program) -> None:
    """Over all pixels of the test split that count; they hold the values and colours of the masks."""
    answer = program("predict", f"run={run}", f"input={data / 'images' / 'test'}", "output=found.csv")
    assert answer.code == 0, answer.err
    right = counted = 0
    for row in rows_of(Path("found.csv")):
        with Image.open(row["prediction"]) as picture:
            assert picture.mode == "P"
            values = np.asarray(picture)
            colours = np.asarray(picture.convert("RGB"))
        assert {*np.unique(values)} <= {1, 2, 3}
        assert np.array_equal(colours, np.array(PALETTE, np.uint8).reshape(-1, 3)[values])
        with Image.open(data / "masks" / "test" / Path(row["file"]).name) as mask:
            truth = np.asarray(mask)
        right, counted = right + int((values == truth)[truth > 0].sum()), counted + int((truth > 0).sum())
        name = ["void", "red", "green", "blue"][np.bincount(values.ravel()).argmax()]
        assert row["label"] == name
        assert float(row["share"]) == pytest.approx(np.bincount(values.ravel()).max() / values.size, abs=1e-6)
    assert right / counted == pytest.approx(record_of(run)["metrics"]["test/accuracy"], abs=1e-6)


def test_predictions_without_a_file_say_how_to_get_masks(run: Path, data: Path, program: Program) -> None:
    answer = program("predict", f"run={run}", f"input={data / 'images' / 'test'}")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == "file,label,share,label_2,share_2,label_3,share_3"
    assert "output=<new file>.csv also writes a file for each prediction" in answer.err
    assert not [*Path.cwd().rglob("*.png")]


def test_masks_are_drawn_on_their_pictures(run: Path, data: Path, program: Program) -> None:
    """Each pixel has half of the picture's colour and half of the mask's."""
    answer = program("predict", f"run={run}", f"input={data / 'images' / 'test'}", "output=found.csv", "pictures=true")
    assert answer.code == 0, answer.err
    for row in rows_of(Path("found.csv")):
        name = Path(row["file"]).stem
        assert (row["prediction"], row["drawn"]) == (f"found/{name}.png", f"found/{name}.drawn.png")
        with Image.open(row["prediction"]) as mask, Image.open(data / "images" / "test" / f"{name}.png") as picture:
            half = (np.asarray(mask.convert("RGB")).astype(int) + np.asarray(picture.convert("RGB"))) / 2
        with Image.open(row["drawn"]) as drawn:
            assert np.abs(np.asarray(drawn) - half).max() <= 1


def test_one_broken_picture_costs_no_other(run: Path, data: Path, program: Program, tmp_path: Path) -> None:
    shutil.copytree(data / "images" / "test", tmp_path / "some")
    (tmp_path / "some" / "p02.png").write_bytes(b"no picture")
    answer = program("predict", f"run={run}", f"input={tmp_path / 'some'}", "output=found.csv")
    assert answer.code == 1
    assert "p02.png" in answer.err
    assert "the other 5 have predictions" in answer.err
    assert [Path(row["prediction"]).name for row in rows_of(Path("found.csv"))] == [
        f"p0{place}.png" for place in (0, 1, 3, 4, 5)
    ]
    assert sorted(file.name for file in Path("found").iterdir()) == [f"p0{place}.png" for place in (0, 1, 3, 4, 5)]


def test_a_large_picture_is_predicted_in_tiles_of_the_training_size(
    run: Path, program: Program, tmp_path: Path
) -> None:
    """Four test pictures beside each other, two above two."""
    splits = [rectangles(place, (1, 2, 3)) for place in range(4)]
    whole = np.block([[splits[0], splits[1]], [splits[2], splits[3]]])
    save(tmp_path, "large", whole)
    answer = program("predict", f"run={run}", f"input={tmp_path / 'images' / 'large.png'}", "output=found.csv")
    assert answer.code == 0, answer.err
    with Image.open("found/large.png") as picture:
        assert picture.size == (128, 96)
        found = np.asarray(picture)
    assert (found == whole).mean() > 0.85


def test_the_module_gives_the_masks_that_predict_answers(run: Path) -> None:
    opened = frostline.open(run)
    pictures = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
    found = torch.stack([it.values for it in opened.predict(pictures)])
    assert len(found.unique()) > 1
    logits = interpolate(opened.module(pictures), (64, 64), mode="bilinear")
    assert (logits.argmax(1) == found).float().mean() > 0.999
    assert opened.module(pictures[:, :, :50, :]).shape == opened.module(pictures).shape, "stretched, not cropped"


def test_pictures_of_one_name_have_files_of_their_own(run: Path, program: Program, tmp_path: Path) -> None:
    for split in ("a", "b"):
        save(tmp_path / "two", "same", rectangles(1), split=split)
    answer = program("predict", f"run={run}", f"input={tmp_path / 'two' / 'images'}", "output=found.csv")
    assert answer.code == 0, answer.err
    assert [row["prediction"] for row in rows_of(Path("found.csv"))] == ["found/same.png", "found/same-2.png"]


SIDE, TILE = st.integers(1, 200), st.integers(8, 200)


@given(width=SIDE, height=SIDE, tile=st.tuples(TILE, TILE))
def test_tiles_cover_every_pixel_once(width: int, height: int, tile: tuple[int, int]) -> None:
    tiles = tiles_of((width, height), tile)
    times = np.zeros((height, width), int)
    for (left, top, right, bottom), (begin, first, end, last) in tiles:
        times[first:last, begin:end] += 1
        assert 0 <= left <= begin < end <= right <= width
        assert 0 <= top <= first < last <= bottom <= height
        if len(tiles) > 1:
            assert (bottom - top, right - left) == (min(tile[0], height), min(tile[1], width))
    assert (times == 1).all()
    is_large = width > LARGER * tile[1] or height > LARGER * tile[0]
    assert (len(tiles) > 1) == is_large


@given(width=SIDE, height=SIDE, tile=st.tuples(TILE, TILE))
def test_joined_tiles_of_a_map_are_the_map(width: int, height: int, tile: tuple[int, int]) -> None:
    whole = torch.arange(width * height).view(height, width)
    tiles = tiles_of((width, height), tile)
    splits = [whole[top:bottom, left:right] for (left, top, right, bottom), _ in tiles]
    assert torch.equal(joined(splits, tiles), whole)


@given(side=st.integers(100, 1000), tile=st.integers(20, 60))
def test_neighbours_overlap_by_a_quarter_and_share_that_by_halves(side: int, tile: int) -> None:
    tiles: list[Tile] = tiles_of((side, tile), (tile, tile))
    for one, other in pairwise(tiles):
        shared = one.box[2] - other.box[0]
        assert shared >= int(OVERLAP * tile)
        assert abs((one.kept[2] - other.box[0]) - shared / 2) <= 1


def test_the_same_command_goes_on_with_the_sides_that_the_data_chose(
    data: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [it for it in OWN if not it.startswith("data.sides")]
    command += ["requeue=true", "data.image_size=32", f"data.dir={data}", "schedule=head_only"]
    command += ["schedule.phases.head.epochs=2"]
    monkeypatch.setenv("STOP_AT", f"train 3 {int(signal.SIGTERM)}")
    assert program("train", *command, STOPPER, "run_dir=run").code == 128 + signal.SIGTERM
    monkeypatch.delenv("STOP_AT")
    answer = program("train", *command, STOPPER, "run_dir=run")
    assert answer.code == 0, answer.err
    assert record_of(Path("run"))["status"] == "finished"
