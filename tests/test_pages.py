"""report.html: what it says, that names cannot break out of it, that it needs nothing from elsewhere; switches."""

import json
import re
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from conftest import Answer
from faked import phase_row
from frostline.commands.page import page_of_training
from frostline.contracts.worst import Worst
from frostline.pages.drawing import Scale, curves, number, numbered
from frostline.pages.events import curves as read_curves
from frostline.pages.page import rendered, write_page
from frostline.pages.plan import plan
from frostline.pages.samples import EACH, Galleries, galleries
from frostline.pages.sections import MOST_CONFUSED, charts, confusion
from frostline.report.calibration import confidence_of
from frostline.report.selective import RATES, threshold_of
from frostline.runs.predictions import Predictions, read, write
from frostline.runs.record import Record
from frostline.saliency.look import Look, Word

Program = Callable[..., Answer]
VOID = {"meta", "link", "img", "input", "br", "wbr", "line", "rect", "circle", "polyline"}
NASTY = "<script>alert('x')</script>&\"'\x1b[31m"


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles. Raises if tags do not close in turn."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(small_run: Path) -> Page:
    return Page(small_run / "report.html")


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path / "run"


def changed(run: Path, **values: Any) -> Record:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | values))
    return Record.read(run)


def test_a_training_ends_with_its_page(page: Page, small_run: Path) -> None:
    record = Record.read(small_run)
    interval = record.intervals["test/accuracy"]
    said = [f"{record.metrics['test/accuracy']:.4f}", f"{interval['low']:.4f}", f"{interval['high']:.4f}", "Wilson"]
    said += ["What fine-tuning added", "Confusion matrix", "Surest mistakes", "Most uncertain", "A random few"]
    said += ["expected calibration error", "frost line", "frostline evaluate", "frostline predict", "frostline export"]
    said += [record.data["fingerprint"], record.versions["torch"], record.command, "training samples"]
    assert [text for text in said if text not in page.text] == []


def test_the_page_says_what_the_data_is_like(page: Page, small_run: Path) -> None:
    data = Record.read(small_run).data
    facts = ["inputs8 × 8 pixels", *(f"sizes: {name}8 × 8 pixels" for name in ("smallest", "median", "largest"))]
    assert [fact for fact in facts if fact not in page.text] == []
    assert data["sizes"] == dict.fromkeys(["smallest", "median", "largest"], "8 × 8 pixels")


def test_the_proposed_error_rate_is_one_that_validation_can_promise(run: Path) -> None:
    found, record = read(run, "val"), Record.read(run)

    def proposed(keep: int) -> str:
        few = {
            name: [*values[:keep]] if values.dtype == object else values[:keep]
            for name, values in found.columns.items()
        }
        write(run, "val", few, found.about)
        return " ".join(
            re.findall(r"predict (abstain=[\d.]+)", Page(write_page(run, record, None, "", private=False)).source)
        )

    for keep in (6, 30, 143):
        target, logits = (found.columns[name][:keep] for name in ("target", "logits"))
        sure = confidence_of(target, logits, record.temperature or 1.0)
        rates = [rate for rate in RATES if rate >= 0.05 and threshold_of(*sure, rate) is not None]
        assert proposed(keep) == (f"abstain={rates[0]:g}" if rates else "")
        page = Page(run / "report.html").text
        assert ("promises its error rate for samples like those of validation" in page) == bool(rates)
    proposed(6)
    assert "6 validation samples with" in Page(run / "report.html").text
    (run / "predictions" / "val.parquet").write_bytes(b"PAR1")
    assert "promise no error rate" not in Page(write_page(run, record, None, "", private=False)).text


def test_a_page_tells_of_damaged_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "test.parquet").write_bytes(b"PAR1")
    record = Record(command="", seed=0, data={"name": "digits"}, model={"name": "bundled"})
    made = write_page(tmp_path, record, None, "", private=False)
    assert "diagrams are left out: the predictions cannot be read" in made.read_text()
    assert "the page lacks samples and diagrams: the predictions cannot be read" in capsys.readouterr().err


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    assert len(page.source.encode()) < 3_000_000
    places = [it.get(name) for _, it in page.tags for name in ("src", "href", "action", "data", "xlink:href")]
    assert [place for place in places if place and not place.startswith(("#", "data:"))] == []
    assert not re.search(r"url\(|@import|https?://", page.source)
    (policy,) = [it["content"] for it in page.all("meta") if it.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy)


def test_a_screen_reader_finds_its_way(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert all(picture.get("alt") or picture.get("class") == "heat" for picture in page.all("img"))
    assert all(drawing.get("aria-label") for drawing in page.all("svg"))
    assert all("scope" in head for head in page.all("th"))
    ids = [it["id"] for _, it in page.tags if "id" in it]
    assert len(ids) == len({*ids})
    assert {str(it["href"])[1:] for it in page.all("a")} <= {*ids}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_of_texts_have_contrast(page: Page, scheme: int) -> None:
    """At least 4.5 against both backgrounds (WCAG 2.2, AA); colours of curves at least 3."""
    block = re.findall(r":root \{([^}]*--paper[^}]*--c5[^}]*)\}", page.source)[scheme]
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", block))
    for ground in ("paper", "raised"):
        for name in ("ink", "soft", "link", "good", "bad", "caution", *(f"c{at}" for at in range(6))):
            light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            least = 3 if re.fullmatch(r"c\d", name) else 4.5
            assert (light + 0.05) / (dark + 0.05) >= least, (name, ground)
        for name in ("learns", "frost"):  # behind words that speak for an answer or against it
            (share,) = re.findall(rf"--{name}\) calc\(var\(--s\) \* (\d+)%\)", page.source)
            mixed = mix(colours[name], colours[ground], int(share) / 100)
            light, dark = sorted((luminance(colours["ink"]), luminance(mixed)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def mix(one: str, other: str, share: float) -> str:
    pairs = [(int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def test_names_and_texts_cannot_break_out(run: Path) -> None:
    names = [NASTY, *"123456789"]
    found = read(run, "test")
    texts = {"sample": [NASTY] * len(found.columns["index"]), "phase": found.columns["phase"].tolist()}
    write(run, "test", found.columns | texts, found.about | {"names": names})
    own = json.loads((run / "run.json").read_text())
    record = changed(
        run,
        command=f"frostline train {NASTY}",
        data=own["data"] | {"name": NASTY, "targets": own["data"]["targets"] | {"names": names}},
        phases=[phase | {"name": NASTY, "learns": [NASTY, "head"]} for phase in own["phases"]],
        per_class=[row | {"class": name} for row, name in zip(own["per_class"], names, strict=True)],
        versions=own["versions"] | {NASTY: NASTY},
        notes=[NASTY],
        model=own["model"] | {"name": NASTY, "weights": NASTY},
    )
    words = [Word(0, 0, 9, 0.5), Word(0, 9, 12, -0.25)]
    looks = lambda index: ({place: Look(words=words) for place in index[1:]}, NASTY)  # noqa: E731
    page = Page(write_page(run, record, lambda index: NASTY, NASTY, private=False, look=looks))
    assert len(page.all("script")) == 1
    shares = [mark.get("title") for mark in page.all("mark") if "title" in mark]
    assert shares.count("+0.5000") == shares.count("-0.2500") > EACH, "of each text but one"
    assert "Some samples lack what speaks for their answers: <script>" in page.text
    assert not re.search(r"<script>alert|\x1b", page.source)
    assert page.text.count("<script>alert('x')</script>&\"'") > 20
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_is_built_anew_also_of_a_moved_run(program: Program, run: Path) -> None:
    (run / "report.html").unlink()
    answer = program("report", str(run))
    assert answer.code == 0, answer.err
    page = Page(run / "report.html")
    assert len(page.all("img")) > 2 * EACH
    assert str(run) in page.text


def test_a_training_may_have_no_page_or_none_with_samples(
    program: Program, composed: Callable[..., Any], run: Path
) -> None:
    record, built = Record.read(run), SimpleNamespace(data=SimpleNamespace(test_split=None))
    settings = {said: composed(said, "run_dir=it") for said in ("report=false", "report.pictures=false")}
    (run / "report.html").unlink()
    assert page_of_training(settings["report=false"], built, record, run) is None  # type: ignore[arg-type]
    assert not (run / "report.html").exists()
    assert page_of_training(settings["report.pictures=false"], built, record, run)  # type: ignore[arg-type]
    assert Page(run / "report.html").all("img") == []
    assert "report.picture: there is no such setting" in program("train", "+report.picture=true").err


def test_samples_can_be_left_out(program: Program, run: Path) -> None:
    changed(run, notes=["picture 1 is twice in the data"])
    assert program("report", f"run={run}", "pictures=false").code == 0
    page = Page(run / "report.html")
    assert page.all("img") == []
    assert "picture 1" not in page.text
    assert "built without samples" in page.text


def test_what_a_run_lacks_is_left_out(program: Program, run: Path) -> None:
    """An older run, or one with predictions=false and logger=none."""
    shutil.rmtree(run / "predictions")
    shutil.rmtree(run / "tensorboard")
    changed(run, intervals={}, calibration={}, baselines={}, per_class=[], predictions={})
    assert program("report", f"run={run}").code == 0
    page = Page(run / "report.html")
    assert "its scores have no intervals" in page.text
    assert "the run has one epoch" in page.text
    assert "Confusion" not in page.text


def test_samples_of_other_data_are_not_shown(program: Program, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    changed(run, data=record["data"] | {"fingerprint": "0"})
    assert program("report", f"run={run}").code == 0
    page = Page(run / "report.html")
    assert page.all("img") == []
    assert "the data has changed" in page.text


def test_a_folder_that_is_no_run_is_refused(program: Program, tmp_path: Path) -> None:
    answer = program("report", str(tmp_path))
    assert answer.code == 1
    assert "this folder is not a run" in answer.err


# --- its parts ---


def test_samples_are_chosen_by_confidence() -> None:
    logits = np.array([[5.0, 0.0], [3.0, 0.0], [0.1, 0.0], [0.0, 4.0]])
    columns = {"index": np.arange(4), "sample": np.array([*"abcd"]), "target": np.array([1, 1, 0, 1]), "logits": logits}
    found = galleries(Predictions({"names": ["no", "yes"]}, columns), lambda index: f"text {index}")
    wrong, uncertain, few = found.shown
    assert [(it.name, it.target, it.answer, it.text) for it in wrong.samples] == [
        ("a", "yes", "no (99%)", "text 0"),
        ("b", "yes", "no (95%)", "text 1"),
    ]
    assert uncertain.samples[0].name == "c"
    assert len(few.samples) == 4
    calibrated = galleries(Predictions({"names": ["no", "yes"]}, columns), lambda index: "", temperature=2.0).shown[0]
    assert [it.answer for it in calibrated.samples] == ["no (92%)", "no (82%)"]


def test_many_classes_need_little_memory() -> None:
    """Less than all logits in float64; 20,000 classes have 400 million pairs."""
    random = np.random.default_rng(0)
    for rows, classes in ((2_000, 1_000), (40, 20_000)):
        target = random.integers(0, classes, rows)
        logits = random.normal(size=(rows, classes)).astype(np.float32)
        columns = {"index": np.arange(rows), "sample": np.arange(rows).astype(str), "target": target}
        found = Predictions({"names": [f"{at}" for at in range(classes)]}, columns | {"logits": logits})
        tracemalloc.start()
        matrix, own = confusion(found), galleries(found, lambda index: "a text")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * rows * classes
        assert matrix is not None
        assert matrix.counts is None
        assert len(matrix.confused) == MOST_CONFUSED
        shares = np.sort(torch.from_numpy(logits).double().softmax(1).numpy(), axis=1)
        closest = np.argsort(shares[:, -1] - shares[:, -2], kind="stable")[:EACH]
        assert [it.name for it in own.shown[1].samples] == [f"{at}" for at in closest]


def test_the_most_frequent_confusions_come_first() -> None:
    classes = 30
    target, given = np.array([1, 1, 1, 2, 2, 5, 9]), np.array([0, 0, 3, 1, 1, 5, 8])
    columns = {"target": target, "logits": np.eye(classes)[given]}
    matrix = confusion(Predictions({"names": [f"{at}" for at in range(classes)]}, columns))
    assert matrix is not None
    assert matrix.confused == [("1", "0", 2), ("2", "1", 2), ("1", "3", 1), ("9", "8", 1)]


def test_numbers_show_the_largest_errors() -> None:
    columns = {"index": np.arange(3), "sample": np.array([*"abc"]), "target": np.array([[1.0], [2.0], [3.0]])}
    columns["predicted"] = np.array([[1.0], [5.0], [2.5]])
    pixels = torch.zeros(3, 20, 200, dtype=torch.uint8)
    largest, _ = galleries(Predictions({"names": ["age"]}, columns), lambda index: pixels).shown
    assert largest.samples[0][:1] + largest.samples[0][4:6] == ("b", "2", "5")
    assert largest.samples[0].picture.startswith("data:image/jpeg;base64,")


def test_pictures_have_what_speaks_for_their_answers(page: Page) -> None:
    """In words for those who do not see it; a switch hides it."""
    pictures = page.all("img")
    heats = [picture for picture in pictures if picture.get("class") == "heat"]
    assert 0 < len(heats) == len(pictures) / 2
    assert all("most that speaks for it: " in str(it["alt"]) for it in pictures if it.get("class") != "heat")
    assert [it["id"] for it in page.all("input")] == ["heat"]


def test_maps_can_be_left_out_and_those_that_cannot_be_had_are_told(program: Program, run: Path) -> None:
    assert program("report", f"run={run}", "saliency=false").code == 0
    page = Page(run / "report.html")
    assert len(page.all("img")) > 2 * EACH
    assert "heat" not in {it.get("class") for it in page.all("img")}
    assert page.all("input") == []
    (run / "checkpoints" / "best.ckpt").unlink()
    assert program("report", f"run={run}").code == 0
    page = Page(run / "report.html")
    assert "No explanations of the answers: " in page.text
    assert len(page.all("img")) > 2 * EACH


def test_masks_of_the_lowest_overlap_come_first_with_both_masks() -> None:
    """A picture without a class on either side has no overlap."""
    columns = {"index": np.arange(3), "sample": np.array([*"abc"]), "target": np.array([[8, 2], [5, 5], [0, 0]])}
    columns |= {"predicted": np.array([[8, 2], [9, 1], [0, 0]]), "right": np.array([[8, 2], [5, 1], [0, 0]])}
    drawn = Image.new("RGB", (300, 200))
    found = galleries(
        Predictions({"names": ["no", "yes"]}, columns),
        lambda index: None,
        lambda index: ({place: Look(drawn, truth=drawn) for place in index if place}, "a reason"),
    )
    worst, few = found.shown
    assert [(it.name, it.answer) for it in worst.samples] == [("b", "overlap 0.38"), ("a", "overlap 1.00")]
    assert [bool(it.truth) for it in worst.samples] == [True, False]
    assert len(few.samples) == 3
    assert found.why_no_looks == "a reason"
    assert not found.have_heat


def test_a_task_of_ones_own_chooses_samples_by_a_score_that_it_stores() -> None:
    """Without words of its own, the logits would be shown as those of classes."""
    columns = {"index": np.arange(4), "sample": np.array([*"abcd"]), "target": np.array([2, 0, 1, 1])}
    columns |= {
        "predicted": np.array([0, 0, 2, 1]),
        "steps": np.array([2.0, 0.0, 1.0, 0.0]),
        "logits": np.eye(3)[[0, 0, 2, 1]],
    }
    names, own = ["low", "middle", "high"], Worst("steps", "min", "Furthest off", "In steps between grades.", "off by")

    def titles(worst: Any) -> list[str]:
        return [it.title for it in galleries(Predictions({"names": names, "worst": worst}, columns), str).shown]

    worst, few = galleries(Predictions({"names": names, "worst": own._asdict()}, columns), str).shown
    assert (worst.title, worst.what, len(few.samples)) == ("Furthest off", "In steps between grades.", 4)
    found = [(it.name, it.target, it.answer, it.right) for it in worst.samples]
    assert found[:2] == [("a", "high", "low, off by 2.00", None), ("c", "middle", "high, off by 1.00", None)]
    assert [it.name for it in worst.samples] == [*"acbd"]
    for other in (None, {"score": 1}, "steps", own._replace(score="none")._asdict()):
        assert titles(other)[0] == "Surest mistakes"


def test_pictures_with_boxes_are_shown_once() -> None:
    columns = {"index": np.array([4, 4, 7]), "sample": np.array([*"aab"]), "is_target": np.array([True, False, True])}
    (few,) = galleries(Predictions({}, columns), lambda index: f"{index}").shown
    assert [it.text for it in few.samples] == ["4", "7"]


def test_curves_are_those_of_tensorboard(small_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    truth = EventAccumulator(str(small_run / "tensorboard"))
    truth.Reload()
    found = read_curves(small_run / "tensorboard")
    assert {*found} == {*truth.Tags()["scalars"]} > {"val/accuracy"}
    for tag in found:
        last = {event.step: event.value for event in truth.Scalars(tag)}
        assert dict(zip(*found[tag], strict=True)) == last


def test_a_file_of_curves_that_is_cut_off_is_read_so_far(run: Path) -> None:
    whole = read_curves(run / "tensorboard")
    for file in (run / "tensorboard").glob("events*"):
        file.write_bytes(file.read_bytes()[:-7])
    cut = read_curves(run / "tensorboard")
    assert {*cut} <= {*whole}


@pytest.mark.parametrize(("low", "high", "log"), [(0, 1, False), (0.2, 0.21, False), (1e-5, 3e-1, True), (2, 3, True)])
def test_ticks_lie_within_the_axis(low: float, high: float, log: bool) -> None:
    ticks = Scale(low, high, 0, 100, log).ticks()
    assert 2 <= len(ticks) <= 12
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)


@pytest.mark.parametrize(
    "scale", [Scale(0.98765, 0.98769, 0, 100), Scale(100_000, 100_009, 0, 1), Scale(-1e-9, 1e-9, 0, 1)]
)
def test_ticks_have_labels_of_their_own(scale: Scale) -> None:
    labels = [label for _, label in numbered(scale.ticks())]
    assert len(labels) == len({*labels}) >= 2
    assert numbered([0.1 * at for at in range(4)]) == [(0.1 * at, f"{at / 10:g}") for at in range(4)]


def test_a_constant_curve_is_drawn() -> None:
    for log in (False, True):
        assert "<polyline" in curves({"it": [(1.0, 0.5), (2.0, 0.5)]}, [(1.0, "head")], 2, 1.0, log=log, label="it")
    assert curves({"it": [(1.0, float("nan"))]}, [], 1, None, log=False, label="it") == ""
    assert [number(it) for it in (0, 0.0006, 1e-5, 12.3456, 2_000_000)] == ["0", "0.0006", "1e-05", "12.35", "2e+06"]


def test_curves_run_through_all_phases(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "tensorboard") as writer:
        for epoch, step in enumerate([9, 19, 29]):
            writer.add_scalar("lr/head", 0.01 / (epoch + 1), step - 5)
            writer.add_scalar("val/accuracy", 0.5 + epoch / 10, step)
            writer.add_scalar("val/loss", 1 - epoch / 10, step)
            writer.add_scalar("train/loss_epoch", 1 - epoch / 5, step)
    phases: list[dict[str, Any]] = [{"name": "first<", "epochs": 1}, {"name": "rest", "epochs": 2}]
    record = Record(command="", seed=0, phases=phases, monitor="val/accuracy", best={"phase": "rest", "epoch": 2})
    found = charts(record, tmp_path)
    assert [chart.title for chart in found] == ["Validation: accuracy", "Loss", "Learning rate"]
    assert found[1].names == ["training", "validation"]
    for chart in found:
        assert "first&lt;" in chart.svg
        assert 'class="best"' in chart.svg
        assert chart.svg.count('class="boundary"') == 1
        assert chart.svg.count("<circle") == 3 * len(chart.names)


@pytest.mark.parametrize(("groups", "shown", "cut"), [(6, 6, ""), (9, 6, "6 of 9 shown")])
def test_curves_that_a_chart_leaves_out_are_counted(groups: int, shown: int, cut: str, tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "tensorboard") as writer:
        for step in (9, 19):
            writer.add_scalar("val/accuracy", 0.5, step)
            for group in range(groups):
                writer.add_scalar(f"lr/block{group}", 0.01, step - 5)
    record = Record(command="", seed=0, phases=[phase_row(epochs=2)], monitor="val/accuracy")
    found = charts(record, tmp_path)[-1]
    assert (found.title, len(found.names), found.cut) == ("Learning rate", shown, cut)
    page = rendered(tmp_path, record, None, Galleries([]), "", [])
    assert page.count("shown; <code>tensorboard") == (groups > shown)
    assert cut in page


def test_a_plan_is_drawn_with_its_frost_line() -> None:
    common = {"solved": None, "seconds": 10.0}
    phases: list[dict[str, Any]] = [
        {"name": "head", "thaw": "none", "learns": ["head"], "learning_rates": {"head": 0.1}, **common},
        {"name": "all", "thaw": "all", "learns": ["head", "top", "stem"], "learning_rates": {"head": 0.1}, **common},
    ]
    drawn = plan(phases)
    assert drawn.count('class="frozen"') == 2
    assert drawn.count('class="learns"') == 4
    assert drawn.count('class="frost"') == 3  # two levels, and the step between them
    assert "head: head learn, 10.0 s" in drawn
    assert "other blocks" not in drawn
    assert "other blocks" in plan(phases[:1])


@pytest.mark.long
@pytest.mark.parametrize("clicks", [1, 2])
def test_a_browser_sorts_tables_without_an_error(small_run: Path, tmp_path: Path, clicks: int) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    click = 'document.querySelector("#classes table.sortable thead th:last-child button").click();'
    page = (small_run / "report.html").read_text(encoding="utf-8")
    (tmp_path / "it.html").write_text(page.replace("</body>", f"<script>{click * clicks}</script></body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    command = [browser, *flags, f"--user-data-dir={tmp_path / 'own'}", f"file://{tmp_path / 'it.html'}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in ran.stderr
    table = ran.stdout.partition('id="classes"')[2].partition("click on a column")[2].partition("</table>")[0]
    scores = [float(row) for row in re.findall(r"<td class=\"n\">([\d.]+)</td></tr>", table)]
    assert len(scores) == 10
    assert scores == sorted(scores, reverse=clicks == 2)
