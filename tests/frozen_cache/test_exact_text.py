"""Keeping the outputs of frozen blocks changes no bit of a result, of texts of several lengths either."""

import csv
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import compared
from compared import cached_phases, kept_and_never, require_equal
from conftest import DEVICE, Answer
from tiny_text import make_tokenizer

Program = Callable[..., Answer]

SHORT = [
    "model=bundled",
    "model._target_=tiny_text.TinyText",
    "data.batch_size=16",
    *DEVICE,
    "logger=none",
    "report=false",
]
SHORT += ["trainer.precision=32-true", "optimizer.lr=0.01", "callbacks.progress=null", "head=mlp", "head.hidden=[16]"]
LETTERS = "abcdefghijkl"


def words(number: int, draw: random.Random) -> list[str]:
    return [draw.choice(LETTERS) + draw.choice(LETTERS) for _ in range(number)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    """Texts of 1 to 60 words; the class is whether most are among `aa` to `ff`."""
    draw = random.Random(0)
    with (tmp_path / "mine.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for _ in range(80):
            own = words(draw.randint(1, 60), draw)
            table.writerow([" ".join(own), "low" if sum(word < "g" for word in own) * 2 >= len(own) else "high"])
    return [f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}", "data=text_csv", "data.train_file=mine.csv"]


@pytest.fixture
def tagged(tmp_path: Path) -> list[str]:
    """`aa` to `ff` begin an entity, and the word after one is inside of it."""
    draw = random.Random(0)
    with (tmp_path / "mine.conll").open("w") as file:
        for _ in range(80):
            before = False
            for word in words(draw.randint(1, 40), draw):
                begins = word < "c"
                file.write(f"{word}\t{'B-thing' if begins else 'I-thing' if before else 'O'}\n")
                before = begins
            file.write("\n")
    own = [f"model.weights={make_tokenizer(tmp_path / 'tokenizer')}", "data=conll", "data.train_file=mine.conll"]
    return [*own, "task=token_classification"]


def trained(program: Program, folder: Path, *overrides: str, code: int = 0) -> dict[str, Any]:
    return compared.trained(program, folder, *SHORT, *overrides, code=code)


PLANS = {
    "head": ["schedule=head_only", "schedule.phases.head.epochs=2", "schedule.every_phase.solve=false"],
    "two_stage": [
        "schedule=two_stage",
        "schedule.phases.head.epochs=2",
        "schedule.every_phase.solve=false",
        "schedule.phases.all.epochs=2",
    ],
    "line_in_the_middle": [
        "schedule=last_block",
        "schedule.phases.head.epochs=2",
        "schedule.every_phase.solve=false",
        "schedule.phases.last.epochs=2",
    ],
}

KEPT = {"head": ["head"], "two_stage": ["head"], "line_in_the_middle": ["head", "last"]}
LONG = partial(pytest.param, marks=pytest.mark.long)


@pytest.mark.parametrize("plan", [LONG("head"), LONG("two_stage"), "line_in_the_middle"])
def test_every_plan_ends_in_the_same_bits(plan: str, program: Program, tmp_path: Path, texts: list[str]) -> None:
    first, _ = kept_and_never(program, tmp_path, *SHORT, *texts, *PLANS[plan])
    assert cached_phases(first) == KEPT[plan]


@pytest.mark.long
@pytest.mark.parametrize("plan", ["two_stage", LONG("line_in_the_middle")])
def test_so_it_is_with_tags(plan: str, program: Program, tmp_path: Path, tagged: list[str]) -> None:
    first, _ = kept_and_never(program, tmp_path, *SHORT, *tagged, *PLANS[plan])
    assert cached_phases(first) == KEPT[plan]


@pytest.mark.long
def test_small_batches_of_long_texts_too(program: Program, tmp_path: Path, texts: list[str]) -> None:
    own = [*texts, *PLANS["line_in_the_middle"], "data.batch_tokens=300"]
    first, _ = kept_and_never(program, tmp_path, *SHORT, *own)
    assert cached_phases(first) == KEPT["line_in_the_middle"]


@pytest.mark.parametrize("moment", [LONG("train 3"), "train 9", LONG("train 20"), LONG("validate 2")])
def test_a_run_that_is_stopped_ends_in_the_same_bits(
    moment: str, program: Program, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [*texts, *PLANS["two_stage"], "data.batch_tokens=300"]
    trained(program, tmp_path / "never", *own, "cache=never")
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGTERM)}")
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    trained(program, run, *own, stopper, "cache=always", code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    assert program("train", f"resume={run}", "trust=true").code == 0
    require_equal(run, tmp_path / "never")


def test_run_json_says_what_texts_there_were(program: Program, tmp_path: Path, texts: list[str]) -> None:
    with (tmp_path / "mine.csv").open("a") as file:
        file.write("aa bb,low\naa bb,low\n" + " ".join(["cc"] * 90) + ",high\n")
    answer = program("train", *SHORT, *texts, "data.max_length=40", "dry_run=true")
    assert answer.code == 0, answer.err
    assert "texts have 40 tokens or more" in answer.out
    told = trained(program, tmp_path / "run", *texts, *PLANS["head"], "data.max_length=40")
    assert sum(told["data"]["repeats"].values()) == 1
    assert told["data"]["cut_off"] > 10
    assert set(told["data"]["tokens"]) == {"train", "val", "test"}
    scored = program("evaluate", f"run={tmp_path / 'run'}", "trust=true")
    assert scored.code == 0, scored.err


@pytest.mark.long
def test_other_lengths_of_chunks_are_other_outputs(
    program: Program, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On which bits may depend: nothing that was kept with the former ones is found again."""
    own = [*texts, "schedule=head_only", "schedule.phases.head.epochs=1", "cache=always"]
    made = [sum(row["cache"]["made"] for row in trained(program, tmp_path / "first", *own)["phases"])]
    monkeypatch.setattr("frostline.frozen.blocks.WIDTHS", ((1 << 30, 64),))
    made += [sum(row["cache"]["made"] for row in trained(program, tmp_path / name, *own)["phases"]) for name in "ab"]
    assert made[0] == made[1] > made[2] == 0
