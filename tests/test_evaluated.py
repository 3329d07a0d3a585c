"""Predictions of other samples: which have one name, when they are out of date, and what is proposed without them."""

import math
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from conftest import Answer, pasted
from frostline.commands.evaluate import _tell_too_large
from frostline.commands.evaluated import asked, content_of, is_stored, name_of, read_evaluation, same_samples, store
from frostline.contracts.specs import ImageSpec, TextSpec
from frostline.data.module import Data
from frostline.data.part import Part
from frostline.data.pictures.sources import ArrayPictures, FilePictures
from frostline.data.rows.columns import Columns, Kinds
from frostline.data.rows.sources import RowSource
from frostline.data.sample_cache import NOWHERE
from frostline.data.source import Source
from frostline.data.split import Split
from frostline.data.target_types.find import target_type
from frostline.data.texts.strings import Places, Texts
from frostline.data.texts.tokenized import Tokenizer
from frostline.errors import ConfigError, RunError
from frostline.runs.predictions import Predictions, evaluations, write_evaluation
from frostline.runs.record import Record
from frostline.runs.seen import numbers_seen, write_seen
from tiny_text import make_tokenizer

LONG = "aa " * 200  # more than 500 characters
TEXTS = [("aa ab", "ac"), (LONG + "ba",)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def made(source: Source, name: str = "my/texts") -> Any:
    split = Split(source, torch.arange(len(source.labels)), scored=True)
    data: Any = SimpleNamespace(test_split=split, target=target_type("class"), names=["a", "b"], name=name)
    data.test_digest = lambda: Data.test_digest(data)
    return data


def tokens(folder: Path, texts: Sequence[tuple[str, ...]], length: int = 64, label: int = 0) -> Source:
    found = Texts([*texts], torch.full((len(texts),), label), Places("it.csv", [*range(len(texts))], "line"))
    return Tokenizer(TextSpec(str(folder), length), words=False).source(found, "mine", NOWHERE)


# --- names ---


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ([(LONG + "ba",)], [(LONG + "bb",)]),
        ([("aa ab", "ac")], [("aa", "ab ac")]),
        ([("aa",), ("ab",)], [("ab",), ("aa",)]),
    ],
    ids=["after 500 characters", "pairs", "order"],
)
def test_other_texts_have_another_name(folder: Path, first: Any, other: Any) -> None:
    names = [name_of(made(tokens(folder, texts)), "best") for texts in (first, first, other)]
    assert names[0] == names[1] != names[2]
    assert re.fullmatch("my-texts-[0-9a-f]{8}", names[0])
    assert name_of(made(tokens(folder, first, label=1)), "best") != names[0]


def test_texts_have_one_name_whatever_the_network_sees_of_them(folder: Path) -> None:
    sources = [tokens(folder, TEXTS[1:], length) for length in (8, 64)]
    assert len({source.content for source in sources}) == 2
    assert len({name_of(made(source), "best") for source in sources}) == 1


def test_rows_have_one_name_whatever_the_tokenizer(folder: Path) -> None:
    def named(text: str, length: int) -> str:
        part = Part("text", TextSpec(str(folder), length), tokens(folder, [(text,)], length))
        columns = Columns({}, {"said": [text]}, {}, {}, Places("it.csv", [2], "line"))
        places = {"text/said": torch.tensor([0])}
        kinds = Kinds((), ("said",), (), (), ())
        absent = {"text/said": torch.tensor([False])}
        source = RowSource(columns, torch.tensor([0]), kinds, {"text": part}, places, absent)
        return name_of(made(source), "best")

    assert named(LONG, 8) == named(LONG, 64) != named(LONG + "ab", 64)


def test_pictures_have_one_name_whatever_the_range_of_grey_values(tmp_path: Path) -> None:
    Image.new("I;16", (8, 8), 500).save(tmp_path / "a.png")
    settings: Any = {"root": tmp_path, "spec": ImageSpec(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))}
    sources = [FilePictures([tmp_path / "a.png"], torch.tensor([0]), grey=it, **settings) for it in (None, (0, 1000))]
    assert len({source.content for source in sources}) == 2
    assert len({name_of(made(source), "best") for source in sources}) == 1


# --- samples that the run has seen ---


def digests(source: Source) -> list[bytes]:
    return source.digests(torch.arange(len(source.labels)))


def test_a_picture_is_recognised_wherever_it_lies(tmp_path: Path) -> None:
    for name, grey in {"a": 50, "b": 50, "c": 60}.items():
        Image.new("L", (8, 8), grey).save(tmp_path / f"{name}.png")
    spec = ImageSpec(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    files = [tmp_path / f"{name}.png" for name in "abc"]
    first, copy, other = digests(FilePictures(files, torch.tensor([0, 1, 0]), root=tmp_path, spec=spec))
    assert first == copy != other
    arrays = ArrayPictures(torch.tensor([5, 5, 6]).byte().view(3, 1, 1, 1).expand(-1, 3, 4, 4), torch.tensor([0, 1, 0]))
    first, copy, other = digests(arrays)
    assert first == copy != other


def test_a_text_is_recognised_whatever_its_target_and_its_line(folder: Path) -> None:
    texts = [("aa ab ac",), ("aa ba",)]
    first, second = digests(tokens(folder, texts))
    assert digests(tokens(folder, texts[::-1], label=1)) == [second, first]
    assert first != second


def test_a_row_is_recognised_by_all_its_cells(folder: Path) -> None:
    def row(*cells: tuple[str, float, str]) -> list[bytes]:
        table: list[list[Any]] = [list(column) for column in zip(*cells, strict=True)]
        texts, numbers, names = table
        known = [text for text in dict.fromkeys(texts) if text]
        part = Part("text", TextSpec(str(folder), 64), tokens(folder, [(text,) for text in known]))
        columns = Columns({}, {"said": texts}, {"age": torch.tensor(numbers)}, {"kind": names}, Places("", [], "line"))
        places = {"text/said": torch.tensor([known.index(text) if text else 0 for text in texts])}
        absent = {"text/said": torch.tensor([not text for text in texts])}
        kinds = Kinds((), ("said",), ("age",), ("kind",), ())
        return digests(RowSource(columns, torch.zeros(len(texts)), kinds, {"text": part}, places, absent))

    own, empty = ("aa", 1.0, "pug"), ("", math.nan, "pug")
    first, second = row(own, empty)
    assert row(("ba", 1.0, "pug"), empty, own)[1:] == [second, first]
    others = row(("ba", 1.0, "pug"), ("aa", 2.0, "pug"), ("aa", 1.0, "cat"), ("", 1.0, "pug"))
    assert len({first, second, *others}) == 6


def test_samples_of_a_run_are_counted_by_split(tmp_path: Path) -> None:
    one, two, three = (bytes([number] * 16) for number in (1, 2, 3))
    sizes = {"train": 3, "val": 1}
    assert numbers_seen(tmp_path, [one], sizes) is None
    write_seen(tmp_path, {"train": [two, one, one], "val": [one]})
    assert numbers_seen(tmp_path, [one, one, two, three], sizes) == {"train": 3, "val": 2}
    assert numbers_seen(tmp_path, [three], sizes) == {"train": 0, "val": 0}
    for damaged in (b"half", b"", bytes(16)):
        (tmp_path / "samples" / "val.digests").write_bytes(damaged)
        assert numbers_seen(tmp_path, [one], sizes) is None


def test_a_copy_under_another_name_is_the_same_samples() -> None:
    known = ["first-0123abcd", "first-0123abcd-last", "89ab89ab"]
    assert same_samples(known, "second-0123abcd") == "first-0123abcd"
    assert same_samples(known, "0123abcd") == "first-0123abcd"
    assert same_samples(known, "second-0123abcd-last") == "first-0123abcd-last"
    assert same_samples(known, "it-89ab89ab") == "89ab89ab"
    assert [same_samples(known, name) for name in ("first", "first-0123abce", "d-89ab89ab-last")] == [None] * 3


@pytest.mark.parametrize(
    ("typed", "of_run", "again", "stores"),
    [
        (None, True, False, True),
        (None, True, True, False),
        (None, False, False, False),
        (False, True, False, False),
        (True, False, True, True),
    ],
)
def test_evaluate_stores_what_the_run_lacks_unless_it_is_told(
    typed: bool | None, of_run: bool, again: bool, stores: bool
) -> None:
    cfg, settings = OmegaConf.create({"store": typed}), OmegaConf.create({"predictions": of_run})
    assert is_stored(cfg, settings, again=again) is stores


# --- what is stored of a run ---

Program = Callable[..., Answer]
Evaluated = Callable[..., Path]
COLUMNS = {"sample": ["a"], "index": np.array([0]), "target": np.array([0]), "phase": ["head"]}
WEIGHTS = {"phase": "head", "epoch": 2, "average": None}


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    """Make a run, which was scored on samples called `name`, if it is given."""

    def make(run: str, name: str = "", checkpoint: str = "best", **settings: Any) -> Path:
        folder = tmp_path / run
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / f"{checkpoint}.ckpt").write_bytes(b"weights")
        stored = {"test": "predictions/test.parquet"} if settings.pop("predictions", True) else {}
        Record("", 0, foreign=settings.pop("foreign", []), predictions=stored, best=WEIGHTS).write(folder)
        cfg = OmegaConf.create({"data": settings, "checkpoint": checkpoint})
        source: Any = SimpleNamespace(names=["a"], test_split=[0], test_digest=lambda: "0")
        about = asked(cfg, source, content_of(folder, checkpoint)) | {"weights": WEIGHTS}
        if name:
            write_evaluation(folder, name, COLUMNS, about)
        return folder

    return make


def test_outputs_of_earlier_weights_are_refused(evaluated: Evaluated) -> None:
    run, other = evaluated("run", "new-0123abcd", dir="/data"), evaluated("other")
    assert read_evaluation(run, "copy-0123abcd", other).about["weights"] == WEIGHTS
    checkpoint = run / "checkpoints" / "best.ckpt"
    checkpoint.write_bytes(b"other weights")
    with pytest.raises(RunError, match="other weights now than when it was scored on 'new-0123abcd'") as raised:
        read_evaluation(run, "new-0123abcd", other)
    assert raised.value.next_step == f"frostline evaluate run={run} data.dir=/data"
    checkpoint.unlink()
    read_evaluation(run, "new-0123abcd", other)
    record = Record.read(run)
    record.best = WEIGHTS | {"epoch": 3}
    record.write(run)
    with pytest.raises(RunError, match="other weights now"):
        read_evaluation(run, "new-0123abcd", other)


@pytest.mark.parametrize(
    ("own", "of_other", "expected"),
    [
        ({"dir": "/data"}, {}, ["data.dir=/data"]),
        ({"dir": "/data"}, {"foreign": ["mine.Net"]}, ["trust=true", "data.dir=/data"]),
        ({"dir": "/data"}, {"predictions": False}, ["store=true", "data.dir=/data"]),
        ({}, {}, ["store=true"]),
        ({"checkpoint": "last"}, {}, ["checkpoint=last"]),
        (
            {"file": "it's.csv", "quotes": True, "batch_size": 4, "classes": ["a b", "1"]},
            {},
            ['data.file="it\'s.csv"', "data.quotes=true", "data.batch_size=4", "data.classes=['a b','1']"],
        ),
    ],
    ids=["other samples", "foreign", "without predictions", "own test split", "last", "typed values"],
)
def test_what_is_proposed_scores_the_run_on_the_same_samples(
    evaluated: Evaluated, own: dict[str, Any], of_other: dict[str, Any], expected: list[str]
) -> None:
    other, run = evaluated("other", "new-0123abcd", **own), evaluated("run", **of_other)
    with pytest.raises(RunError, match="was not scored on 'new-0123abcd'") as raised:
        read_evaluation(run, "new-0123abcd", other)
    words = pasted((raised.value.next_step,))
    assert words == ["frostline", "evaluate", f"run={run}", *expected]


def test_a_run_of_other_classes_is_not_to_be_scored_again_on_the_same_samples(evaluated: Evaluated) -> None:
    """Its targets have other numbers, so its evaluation has another name, and would get it again."""
    other, run = evaluated("other", "new-0123abcd", dir="/data"), evaluated("run", "new-4567abcd", dir="/data")
    with pytest.raises(RunError, match="the samples have changed between 'new-0123abcd' and 'new-4567abcd'") as raised:
        read_evaluation(run, "new-0123abcd", other)
    first, second = raised.value.next_step.partition("  #")[0].split(" && ")
    assert (f"run={run}" in first, f"run={other}" in second) == (True, True)
    record = Record.read(run)
    record.data = {"classes": ["a", "b"]}
    record.write(run)
    with pytest.raises(RunError, match="as 'new-4567abcd', but it learned other classes") as raised:
        read_evaluation(run, "new-0123abcd", other)
    assert "evaluate" not in raised.value.next_step


def test_a_run_of_other_data_cannot_be_scored_on_anothers_own(evaluated: Evaluated) -> None:
    other, run = evaluated("other", "new-0123abcd"), evaluated("run")
    record = Record.read(run)
    record.data = {"classes": [], "fingerprint": "1"}
    record.write(run)
    with pytest.raises(RunError, match=r"which are samples of .*other's own data") as raised:
        read_evaluation(run, "new-0123abcd", other)
    assert raised.value.next_step.endswith(f"frostline evaluate run={run} data.dir=<other samples>")


def test_a_name_that_neither_has_is_answered_with_one_that_is_there(evaluated: Evaluated) -> None:
    run, other = evaluated("run", foreign=["mine.Net"]), evaluated("other")
    with pytest.raises(ConfigError, match="neither run was scored on 'x'") as raised:
        read_evaluation(run, "x", other)
    assert raised.value.next_step == f"frostline evaluate run={run} trust=true data.dir=<other samples>"


def test_samples_that_are_scored_again_replace_their_earlier_outputs(
    evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = evaluated("run", "new-0123abcd")
    monkeypatch.setattr("frostline.commands.evaluated.program", lambda: "'a folder/frostline'")
    store(run, "copy-0123abcd", Predictions({}, COLUMNS))
    assert evaluations(run) == ["new-0123abcd"]
    next_step = shlex.split(capsys.readouterr().out.splitlines()[1].removesuffix("<another run>"), comments=False)
    assert next_step[:4] == ["next", "a folder/frostline", "compare", f"first={run}"]


def test_a_limit_of_outputs_is_told_and_can_be_typed(capsys: pytest.CaptureFixture[str], program: Program) -> None:
    _tell_too_large({"test/accuracy": 0.5, "test/n": 10.0}, 2.34, 1.0)
    assert "2.34 GB, more than predictions_max_gigabytes=1: " in (out := capsys.readouterr().out)
    assert out.rstrip().endswith("2.4 would be enough")
    refused = program("evaluate", "run=none", "predictions_max_gigabytes=-1")
    assert (refused.code, "predictions_max_gigabytes: " in refused.err) == (1, True)
    for typed in ("2.4", "null"):
        assert "there is no such folder" in program("evaluate", "run=none", f"predictions_max_gigabytes={typed}").err
