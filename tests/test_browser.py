"""Pages in a real browser: sections, pictures, sorting, contrast, room on wide and narrow windows, light and dark.

Skipped where there is no Chromium. The pages hold the longest and most alike names that runs have.
"""

import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from browser import Tab, browser, needs_browser
from frostline.pages.explained import explained_page
from frostline.pages.page import write_page
from frostline.pages.sweep import write_sweep_page
from frostline.report.leaderboard import write_leaderboard
from frostline.runs.predictions import read, write
from frostline.runs.record import Record
from frostline.saliency.look import Look, Word

pytestmark = needs_browser

LOOKS = (Path(__file__).parent / "looks.js").read_text(encoding="utf-8")
LONG = "a class with a name of many words, number "
WORDS = "Kept, and at first glance, this dull film surprises its viewers again and again."
MODELS = ("efficientnet_lite0", "efficientnet_lite1", "dir/of/a/local_network_v2", "dir/of/a/local_network_v3")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, a sweep, an explained text."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "explained.html").write_text(_explained(), encoding="utf-8")
    shutil.copytree(small_run, folder / "run")
    return {"run": _run(folder / "run"), "sweep": _sweep(small_run, folder / "sweep"),
            "explained": folder / "explained.html"}  # fmt: skip


def _run(folder: Path) -> Path:
    """Ten classes with long names, three phases with curves, samples with maps."""
    names = [f"{LONG}{at}" for at in range(10)]
    found = read(folder, "test")
    texts = {name: found.columns[name].tolist() for name in ("sample", "phase")}
    write(folder, "test", found.columns | texts, found.about | {"names": names})
    record = json.loads((folder / "run.json").read_text())
    blocks = ["head", "encoder.layer.11", "encoder.layer.10", "embeddings"]
    record["phases"] = [
        record["phases"][0] | {"name": name, "learns": blocks[:learns], "epochs": 3, "seconds": 4.0 * learns,
        "learning_rates": {block: 1e-3 * 0.3**at for at, block in enumerate(blocks[:learns])}, "solved": None,
        "thaw": "all" if learns == 4 else "none"}
        for name, learns in (("head", 1), ("a phase with a long name", 3), ("all", 4))
    ]  # fmt: skip
    for row, name in zip(record["per_class"], names, strict=True):
        row["class"] = name
    record |= {"notes": [f"{name} is in two splits" for name in names], "command": f"train {' '.join(names)}"}
    record["data"] |= {"name": "_".join(names), "targets": record["data"]["targets"] | {"names": names}}
    (folder / "run.json").write_text(json.dumps(record))
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for epoch in range(9):
            values = {"val/accuracy": epoch / 10, "val/loss": 0.8 - epoch / 40, "train/loss_epoch": 0.9 - epoch / 30}
            for tag, value in (values | {f"lr/{block}": 3e-4 / (epoch + 1) for block in blocks}).items():
                writer.add_scalar(tag, value, 10 * epoch + 9)
    heat = Image.new("RGBA", (8, 8), (250, 230, 0, 120))
    looked = {at: Look(Image.new("RGB", (96, 64), (90, 60, 120)), heat, "the middle") for at in range(10_000)}
    pixels = torch.zeros(3, 20, 30, dtype=torch.uint8)
    return write_page(folder, Record.read(folder), lambda at: pixels, "", private=False, look=lambda _: (looked, ""))


def _sweep(run: Path, folder: Path) -> Path:
    (folder / ".jobs").mkdir(parents=True)
    said = {"schema": 1, "arguments": [f"model={','.join(MODELS)}"], "cwd": "/", "jobs": [], "search": {}}
    (folder / "sweep.json").write_text(json.dumps(said))
    record = json.loads((run / "run.json").read_text())
    for number, (model, rate) in enumerate(product(MODELS, ("", "optimizer.lr=3e-3", "optimizer.lr=1e-4"))):
        copy = folder / str(number)
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
        record["command"] = f"frostline train model={model} schedule.phases.head.epochs={number % 4} {rate}"
        record["metrics"]["val/accuracy"] = 0.3 + number / 20
        (copy / "run.json").write_text(json.dumps(record))
    record |= {"status": "failed", "error": {"type": "RunError", "message": f"the loss is nan {LONG * 3}"}}
    (copy / "run.json").write_text(json.dumps(record))
    write_leaderboard(folder)
    return write_sweep_page(folder)


def _explained() -> str:
    ends = [at for at, letter in enumerate(WORDS) if letter == " "]
    words = [
        Word(0, start and start + 1, end, (-1) ** at * at / 9)
        for at, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]
    return explained_page({"text": WORDS * 3, "review": ""}, words, f"{LONG}1", "integrated gradients, within 2 %")


# --- how they look ---


@pytest.mark.parametrize("name", ["run", "sweep", "explained"])
def test_a_page_looks_well(tab: Tab, pages: dict[str, Path], name: str) -> None:
    """Nothing too wide, cut, covered or faint; headings in order; pictures loaded; from the file alone."""
    address = pages[name].as_uri()
    tab.open(address)
    for width, scheme in product((1280, 420), ("light", "dark")):
        tab.look(width, scheme)
        wrong = {kind: said for kind, said in tab.run(LOOKS).items() if said}
        assert wrong == {}, (width, scheme)
    assert {it for it in tab.requests if not it.startswith("data:")} == {address}
    assert tab.errors == []


MOVED = """Array.from(document.querySelectorAll("main *, header *"))
    .filter((it) => ["auto", "scroll"].includes(getComputedStyle(it).overflowX) && it.scrollWidth > it.clientWidth)"""


def test_the_keyboard_reaches_what_is_wide(tab: Tab, pages: dict[str, Path]) -> None:
    moved = {}
    for name, width in product(("run", "sweep"), (1280, 420)):
        tab.open(pages[name].as_uri())
        tab.look(width)
        tab.until(f"innerWidth === {width} && {MOVED}.every((it) => it.tabIndex === 0)")
        moved[name, width] = tab.run(f"{MOVED}.length")
    assert moved["run", 420] > moved["run", 1280]


def test_a_page_follows_the_scheme(tab: Tab, pages: dict[str, Path]) -> None:
    for path in pages.values():
        tab.open(path.as_uri())
        grounds = []
        for scheme in ("light", "dark"):
            tab.look(scheme=scheme)
            grounds.append(tab.run("getComputedStyle(document.body).backgroundColor"))
        assert grounds == ["rgb(255, 255, 255)", "rgb(16, 22, 29)"]


def test_a_page_prints_on_white_paper(tab: Tab, pages: dict[str, Path]) -> None:
    """Also from a dark screen."""
    for path in pages.values():
        tab.open(path.as_uri())
        tab.look(700, "dark", media="print")
        assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.run(LOOKS)["faint"] == []
        assert (
            tab.run("document.querySelectorAll('nav, .copy, .skip').values().some((it) => it.checkVisibility())")
            is False
        )


def test_pages_have_their_sections(tab: Tab, pages: dict[str, Path]) -> None:
    titles = "Array.from(document.querySelectorAll('h2'), (it) => it.checkVisibility() && it.textContent)"
    tab.open(pages["run"].as_uri())
    assert tab.run(titles) == ["Scores", "Plan", "Curves", "Classes", "Samples of the test split", "Calibration",
                               "Data", "Environment", "Next"]  # fmt: skip
    assert tab.run("document.querySelectorAll('#curves svg').length") == 3
    tab.open(pages["sweep"].as_uri())
    assert tab.run(titles) == ["Leaderboard", "Settings", "Data", "Runs that did not finish", "Next"]
    assert tab.run("document.querySelectorAll('#ranking-1 svg').length") == 5


def test_the_map_of_a_picture_can_be_hidden(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["run"].as_uri())
    shown = "getComputedStyle(document.querySelector('.mapped img.heat')).display"
    assert tab.run(shown) == "block"
    tab.click("document.getElementById('heat')")
    assert tab.run(shown) == "none"


# --- what they do ---

HEADS = "document.querySelector('#leaderboard table').tHead.rows[0].cells"


def column(tab: Tab, at: int) -> list[str]:
    script = f"Array.from(document.querySelectorAll('#leaderboard tbody tr'), (row) => row.cells[{at}].textContent)"
    return list(tab.run(script))


def sorted_by(tab: Tab, at: int) -> Any:
    return tab.run(f"{HEADS}[{at}].getAttribute('aria-sort')")


def test_a_click_sorts_a_table(tab: Tab, pages: dict[str, Path]) -> None:
    """Numbers by their value, runs without a value first, names by letters; the other way at the second click."""
    tab.open(pages["sweep"].as_uri())
    tab.look(1280)
    names = tab.run(f"Array.from({HEADS}, (it) => it.textContent)")
    for name, order in (("val/accuracy", float), ("optimizer.lr", lambda it: float(it or "-inf")), ("model", str)):
        at = names.index(name)
        for way in ("ascending", "descending"):
            tab.click(f"{HEADS}[{at}].querySelector('button')")
            assert sorted_by(tab, at) == way
            found = [order(it) for it in column(tab, at)]  # type: ignore[operator]
            assert found == sorted(found, reverse=way == "descending")  # type: ignore[type-var]
            assert len({*found}) > 2


def test_the_keyboard_reaches_and_sorts_a_table(tab: Tab, pages: dict[str, Path]) -> None:
    tab.open(pages["sweep"].as_uri())
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.press("Enter")
    tab.until("location.hash === '#main'")
    for _ in range(3):
        tab.press("Tab")
    focused = "document.activeElement.closest('th') && document.activeElement.closest('th').cellIndex"
    at = tab.run(focused)
    assert at is not None
    assert tab.run("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    for key, way in (("Enter", "ascending"), (" ", "descending")):
        tab.press(key)
        assert sorted_by(tab, at) == way
