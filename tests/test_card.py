"""README.md of a run: a model card that the hub reads, whose names cannot break out, and whose edits stay."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from conftest import Answer
from frostline.pages.card import CARD, code, plain, write_card
from frostline.pages.page import write_page
from frostline.runs.record import Record
from test_pages import NASTY

Program = Callable[..., Answer]


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def test_the_hub_reads_the_card(small_run: Path) -> None:
    record = Record.read(small_run)
    card = ModelCard.load(small_run / CARD)
    found = card.data.to_dict()
    assert found["library_name"] == "frostline"
    assert found["pipeline_tag"] == "image-classification"
    assert found["tags"] == ["frostline", "bundled"]
    assert "license" not in found
    assert "base_model" not in found
    results = {it.metric_name: it for it in card.data.eval_results}
    assert {*results} == {name for name in record.metrics if name.startswith("test/")} - {"test/n", "test/loss"}
    accuracy = results["test/accuracy"]
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", record.metrics["test/accuracy"])
    assert (accuracy.dataset_name, accuracy.dataset_split) == ("digits", "test")
    interval = record.intervals["test/accuracy"]
    assert f"{interval['low']:.4f} to {interval['high']:.4f}" in card.text
    assert "frostline train data.train_limit=40" in card.text
    assert f"run_dir={small_run.name}\n" in card.text  # without the folders of this machine
    assert str(small_run) not in card.text
    assert len(card.text) < 4000


def test_names_cannot_break_out(run: Path) -> None:
    record = Record.read(run)
    nasty = NASTY + "\n---\n# [x](javascript:x) | `a`"
    record.command = f"frostline train\n```\n{nasty}"
    record.data |= {"name": nasty, "classes": [nasty, "b"], "hub_name": "cats/dogs"}
    record.model |= {"name": nasty, "weights": nasty, "hub_name": nasty}
    record.notes = [nasty]
    record.phases = [phase | {"name": nasty} for phase in record.phases]
    (run / CARD).unlink()
    assert write_card(run, record, private=False) == run / CARD
    card = ModelCard.load(run / CARD)
    assert card.data.to_dict()["datasets"] == ["cats/dogs"]
    assert "base_model" not in card.data.to_dict()
    text = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", card.text, flags=re.DOTALL | re.MULTILINE)  # without code
    assert "<script>" not in text
    assert "\x1b" not in card.content
    assert "[x](" not in text
    assert sum(line.startswith("# ") for line in text.splitlines()) == 1


def test_an_edited_card_stays(program: Program, run: Path) -> None:
    record = Record.read(run)
    record.metrics["test/accuracy"] = 0.125
    assert write_card(run, record, private=True) == run / CARD
    assert "0.1250" in (run / CARD).read_text()
    (run / CARD).write_text((run / CARD).read_text().replace("# license: ", "license: mit # "))
    assert write_card(run, record, private=True) is None
    answer = program("report", str(run), "pictures=false")
    assert answer.code == 0, answer.err
    assert f"card  {run / CARD} was edited, and stays as it is" in answer.out
    assert ModelCard.load(run / CARD).data.license == "mit"


def test_notes_on_the_data_are_private(run: Path) -> None:
    record = Record.read(run)
    record.notes = ["picture of Mrs Miller is twice in the data"]
    write_card(run, record, private=True)
    assert "Miller" not in (run / CARD).read_text()
    write_card(run, record, private=False)
    assert "Miller" in (run / CARD).read_text()


@pytest.mark.parametrize("values", [{}, {"metrics": {}, "phases": [], "intervals": {}, "calibration": {}}])
def test_what_a_run_lacks_is_left_out(run: Path, values: dict[str, Any]) -> None:
    content = json.loads((run / "run.json").read_text()) | values
    content["model"] = {"name": "it"}
    (run / "run.json").write_text(json.dumps(content))
    write_card(run, Record.read(run), private=False)
    card = ModelCard.load(run / CARD)
    assert "pipeline_tag" not in card.data.to_dict()
    assert ("of the calibrated probabilities" in card.text) == (values == {})
    assert ("## Scores" in card.text) == (values == {})


def test_names_beyond_the_first_plane_stay(run: Path) -> None:
    record = Record.read(run)
    record.model["name"] = "🥶 frost \u2028"
    write_card(run, record, private=True)
    content = yaml.safe_load((run / CARD).read_text(encoding="utf-8").split("---\n")[1])
    assert content["tags"][1].encode() == "🥶 frost \u2028".encode()


@pytest.mark.parametrize("value", [math.nan, None])
def test_scores_that_are_not_finite_have_no_value(run: Path, value: float | None) -> None:
    """As at the end of a training, and as run.json has them."""
    record = Record.read(run)
    record.metrics |= {"test/accuracy": math.nan, "val/accuracy": math.nan}
    if value is None:
        record.write(run)
        record = Record.read(run)
    write_card(run, record, private=True)
    card = ModelCard.load(run / CARD)
    assert "test/accuracy" not in {it.metric_name for it in card.data.eval_results}
    assert "NaN" not in card.content
    assert re.search(r"test/accuracy \| – \|", card.text)
    page = write_page(run, record, None, "", private=True).read_text(encoding="utf-8")
    assert re.search(r"test/accuracy</dt><dd>–", page)
    assert "nan" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.DOTALL).lower()


def test_the_card_proposes_what_works_and_names_no_folder(run: Path) -> None:
    record = Record.read(run)
    record.foreign = ["mine.Network"]
    record.command = ""
    write_card(run, record, private=True)
    card = (run / CARD).read_text()
    assert "run = frostline.open('.', trust=True)" in card
    assert "frostline predict trust=true run=. input=new_samples" in card
    assert str(run) not in card
    record.checkpoints = {"best": None, "last": "checkpoints/last.ckpt"}
    write_card(run, record, private=True)
    assert "frostline.open('.', checkpoint='last', trust=True)" in (run / CARD).read_text()
    record.checkpoints = {"best": None, "last": None}
    write_card(run, record, private=True)
    assert "## Use" not in (run / CARD).read_text()


def test_fences_are_longer_than_those_inside() -> None:
    assert code("a ```` b")[0] == "`````"
    assert plain("a_b|<i>\nc") == r"a\_b\|&lt;i&gt;\\nc"
