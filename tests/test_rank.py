"""`frostline rank` on the digits: what it tells, what it leaves, and that a training finds what it kept."""

import csv
import json
import math
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import DEVICE, Answer, short_form
from frostline.commands.rank.table import Ranked, as_csv, ordered
from frostline.training import baselines
from tiny_text import make_tokenizer

Program = Callable[..., Answer]

ON = ["data.train_limit=200", "data.image_size=8", *DEVICE, "trainer.precision=32-true"]
SHORT = [
    "schedule=head_only",
    "schedule.phases.head.epochs=2",
    "schedule.every_phase.solve=false",
    "logger=none",
    "callbacks.progress=null",
]
OWN = {  # options of model= in a folder of the user's own
    "random": "_target_: frostline.backbones.bundled.BundledBackbone\nweights: null\n",
    "tiny": "_target_: tiny.Tiny\nweights: null\n",
    "vit": "_target_: frostline.backbones.torchvision.TorchvisionBackbone\nname: vit_b_16\nweights: null\n",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    folder = tmp_path / "conf" / "model"
    folder.mkdir(parents=True)
    for name, text in OWN.items():
        (folder / f"{name}.yaml").write_text(text)
    return ["--config-dir", str(folder.parent)]


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)


def ranked(program: Program, *arguments: str, output: str = "out") -> tuple[Answer, list[dict[str, Any]]]:
    answer = program("rank", *arguments, f"output={output}")
    assert answer.code == 0, answer.out + answer.err
    return answer, json.loads((Path(output) / "rank.json").read_text())["models"]


def test_models_are_ranked_and_one_without_weights_does_not_stop_the_others(program: Program, own: list[str]) -> None:
    answer, models = ranked(program, *own, "models=[resnet18,tiny,bundled]", *ON, "data.image_size=16")
    assert [row["model"] for row in models] == ["bundled", "tiny", "resnet18"]
    bundled, tiny, missing = models
    assert bundled["linear_probe"] > 0.9 > tiny["linear_probe"] > 0.1
    assert bundled["evidence"] > tiny["evidence"]
    assert (bundled["features"], tiny["features"]) == (208, 6)
    assert tiny["parameters"] == 6 * 27 + 6 + 12
    assert tiny["gflop"] == pytest.approx(2 * 27 * 6 * 16 * 16 / 1e9), "at the size that was asked for"
    assert (bundled["found"], bundled["made"]) == (0, 343)
    assert "bundled.safetensors" in bundled["weights"]
    assert "cannot be downloaded" in missing["problem"]
    assert missing["linear_probe"] is None
    rows = [line.split() for line in answer.out.splitlines()]
    places = [next(n for n, row in enumerate(rows) if row[:1] == [name]) for name in ("bundled", "tiny")]
    assert places[0] < places[1]
    assert {f"{bundled[key]:.4f}" for key in ("evidence", "knn", "linear_probe")} <= set(rows[places[0]])
    assert "not ranked  resnet18: the weights" in answer.out
    assert "n = 143, standard error" in answer.out


def test_backbones_for_texts_are_ranked_and_a_training_finds_what_was_kept(
    program: Program, own: list[str], tmp_path: Path
) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    for name, target in (("words", "tiny_text.TinyText"), ("picture", "tiny.Tiny")):
        (tmp_path / "conf" / "model" / f"{name}.yaml").write_text(f"_target_: {target}\nweights: {tokenizer}\n")
    rows = "".join(f"{'aa ab ' * (1 + n % 5)},yes\n{'kl la ' * (1 + n % 4)},no\n" for n in range(30))
    (tmp_path / "mine.csv").write_text(f"text,label\n{rows}")
    on = ["data=text_csv", f"data.train_file={tmp_path / 'mine.csv'}", *DEVICE, "trainer.precision=32-true"]
    _, (words, picture) = ranked(program, *own, "models=[words,picture]", *on)
    assert words["linear_probe"] == 1.0
    assert words["features"] == 16
    assert "this backbone takes pictures" in picture["problem"]
    assert program("train", *own, "model=words", *on, *SHORT, "run_dir=run").code == 0
    (phase,) = json.loads(Path("run/run.json").read_text())["phases"]
    assert phase["cache"]["made"] == 0 < phase["cache"]["found"]


def test_the_two_files_say_the_same(program: Program, own: list[str], tmp_path: Path) -> None:
    _, models = ranked(program, *own, "models=[tiny,resnet18]", *ON)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"rank.csv", "rank.json"}
    said = json.loads((tmp_path / "out" / "rank.json").read_text())
    assert (said["schema"], said["seed"], said["data"]["num_train"]) == (1, 0, 200)
    assert said["command"].startswith("frostline rank --config-dir ")
    with (tmp_path / "out" / "rank.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in models] == rows


@pytest.mark.parametrize("precision", short_form(["32-true", "bf16-mixed"], "32-true"))
def test_a_training_that_follows_finds_all_and_has_the_same_scores(
    precision: str, program: Program, own: list[str], tmp_path: Path
) -> None:
    on = [*ON[:-1], f"trainer.precision={precision}"]
    answer, (best, _) = ranked(program, *own, "models=[bundled,tiny]", *on)
    following = next(line for line in answer.out.splitlines() if line.startswith("next")).split()[3:]
    assert following == [*own, *on, "model=bundled"]
    assert program("train", *following, *SHORT, f"run_dir={tmp_path / 'run'}").code == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (phase,) = record["phases"]
    assert (phase["cache"]["found"], phase["cache"]["made"]) == (200 + 143, 0)
    assert record["baselines"]["linear_probe"]["val/accuracy"] == best["linear_probe"]
    assert record["baselines"]["knn"]["val/accuracy"] == best["knn"]


def test_what_a_training_kept_is_found_and_what_was_found_out_is_not_found_out_again(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program("train", *ON, *SHORT).code == 0
    _, (first,) = ranked(program, "models=[bundled]", *ON)
    assert (first["found"], first["made"]) == (343, 0)
    monkeypatch.setattr(baselines, "PROBES", {})
    _, (again,) = ranked(program, "models=[bundled]", *ON, output="again")
    assert {**again, "seconds_pass": 0} == {**first, "seconds_pass": 0}


def test_a_second_ranking_lies_beside_the_first(program: Program, own: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        ranked(program, *own, "models=[tiny]", *ON)
    assert (tmp_path / "out-2" / "rank.json").is_file()


def test_nothing_is_kept_where_nothing_may_be(program: Program, own: list[str], cache: Path) -> None:
    _, never = ranked(program, *own, "models=[tiny,random]", *ON, "cache=never")
    assert not cache.exists()
    _, kept = ranked(program, *own, "models=[tiny,random]", *ON, output="kept")
    for before, after in zip(never, kept, strict=True):
        assert before["made"] == 0
        assert after["made"] == 343
        assert all(before[key] == after[key] for key in ("model", "knn", "linear_probe", "evidence"))


def test_a_model_that_cannot_take_the_pictures_is_told(program: Program, own: list[str]) -> None:
    answer, models = ranked(program, *own, "models=[vit,tiny]", *ON)
    assert [row["model"] for row in models] == ["tiny", "vit"]
    assert "not ranked  vit: this backbone takes pictures of 224 pixels only, not 8" in answer.out


def test_where_none_can_be_ranked_that_is_an_error(program: Program, tmp_path: Path) -> None:
    answer = program("rank", "models=[resnet18,resnet50]", *ON, "output=out")
    assert answer.code == 1
    assert answer.out.count("cannot be downloaded") == answer.out.count("  next:  ") == 2
    assert "LogME" not in answer.out, "a table without rows"
    assert "none of the models could be ranked" in answer.err
    assert "next:" in answer.err
    assert not (tmp_path / "out").exists()


def test_pictures_that_are_missing_are_an_error_at_once(program: Program) -> None:
    answer = program("rank", "models=[bundled,resnet18]", "data=image_folder", "data.dir=none", *DEVICE)
    assert (answer.code, answer.out) == (1, "")


# --- the order ---


def test_the_best_probe_comes_first_then_the_evidence_and_problems_come_last() -> None:
    rows = [
        Ranked("broken", problem="no weights"),
        Ranked("b", linear_probe=0.5, evidence=2.0),
        Ranked("a", linear_probe=0.5, evidence=3.0),
        Ranked("best", linear_probe=0.6, evidence=-1.0),
    ]
    assert [row.model for row in ordered(rows)] == ["best", "a", "b", "broken"]
    assert math.isnan(rows[0].knn)
    assert as_csv(rows[:1]).splitlines()[1] == "broken,no weights,,0,0,,,,,,,0,0,0,0,0,,"
