"""TensorBoard in a real browser: its tabs, and what they show of a run and of a sweep.

Skipped where there is no Chromium.
"""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import Tab, browser, needs_browser
from conftest import free_port
from frostline.training.callbacks.curves import Curves

pytestmark = [needs_browser, pytest.mark.long]

TAB_NAMES = ["TIME SERIES", "SCALARS", "IMAGES", "TEXT", "PR CURVES", "HPARAMS", "PROJECTOR"]
# Every text of a page, within its components and frames too.
EVERYTHING = """(() => {
  const found = [];
  const walk = (node) => {
    for (const it of node.childNodes) {
      if (it.nodeType === Node.TEXT_NODE && it.data.trim()) found.push(it.data.trim());
      if (it.nodeType === Node.ELEMENT_NODE && !["SCRIPT", "STYLE", "TEMPLATE"].includes(it.tagName)) {
        if (it.shadowRoot) walk(it.shadowRoot);
        if (it.contentDocument?.body) walk(it.contentDocument.body);
        walk(it);
      }
    }
  };
  walk(document.body);
  return found.join("\\n");
})()"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def board(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard that shows a run, and a sweep of two runs of which each lacks a setting."""
    folder, port = tmp_path_factory.mktemp("board"), free_port()
    shutil.copytree(small_run / "tensorboard", folder / "run")
    for name, settings in {"a": {"head": "LinearHead"}, "b": {"head": "MLP", "head.width": 64}}.items():
        logger = Curves(str(folder), name="sweep", version=name)
        logger.log_hyperparams({"data": "digits"} | settings, {"final/val/accuracy": 0.5}, 7)
        logger.finalize("success")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "localhost"]
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    address = f"http://localhost:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(f"{address}/data/runs", "run"):
            assert started.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        started.terminate()
        started.wait(20)


def _answers(address: str, said: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return said.encode() in answer.read()
    except OSError:
        return False


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("scalars", ["final/val/accuracy", "frost_line", "phase"]),
        ("images", ["test/a random few", "test/confusion", "test/most uncertain", "test/surest mistakes"]),
        ("text", ["config/text_summary", "plan/text_summary", "learning rate", "augment: standard"]),
        ("pr_curves", ["precision_recall/0", "precision_recall/9"]),
        ("hparams", ["final/val/accuracy", "head", "head.width", "optimizer.lr", "sweep/a"]),
        ("projector", ["frozen features:00000", "Points:", "143"]),
    ],
)
def test_tensorboard_fills_its_tabs(tab: Tab, board: str, name: str, shown: list[str]) -> None:
    tab.open("about:blank")
    tab.look(1400)
    tab.open(f"{board}/#{name}")
    for text in shown:
        tab.until(f"{EVERYTHING}.includes({json.dumps(text)})")
    names = [text for text in tab.run(EVERYTHING).upper().split("\n") if text in TAB_NAMES]
    assert [text for text in TAB_NAMES if text not in names] == []
    assert tab.errors == []
    assert [it for it in tab.requests if not it.startswith((board, "data:", "blob:", "about:"))] == []


def test_hparams_shows_first_what_differs(tab: Tab, board: str) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{board}/data/plugin/hparams/experiment",
            json.dumps({"experimentName": "", "hparamsLimit": 1000}).encode(),
            {"Content-Type": "application/json"},
        )
    ) as answer:
        found = json.load(answer)["hparamInfos"]
    assert [it["name"] for it in found if it.get("differs")][:1] == ["head"]
    assert {"head.width", "optimizer.lr"} <= {it["name"] for it in found}
