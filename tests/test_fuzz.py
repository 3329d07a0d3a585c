"""Readers of files that come from anywhere, fed with anything: they read it, or say in words why not.

A fixed number of examples in `make test`, more with `make fuzz` (FROSTLINE_FUZZ, examples of each).
"""

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from frostline.backbones.weights import packed, read_weights
from frostline.contracts.specs import ImageSpec
from frostline.data.boxes.reader import BoxedPictures
from frostline.data.pictures.reading import read_picture
from frostline.data.tables.formats import read_table
from frostline.data.target_types.find import target_type
from frostline.data.texts.conll import read_conll
from frostline.data.texts.to_predict import read_sentences, read_texts
from frostline.errors import FrostlineError
from frostline.runs.folder import read_run
from frostline.runs.opening import foreign, read_settings
from frostline.runs.record import Record
from frostline.training.checkpoint import read_checkpoint
from tiny_boxes import PUT

EXAMPLES = int(os.environ.get("FROSTLINE_FUZZ", "40"))
SPEC = ImageSpec(size=8, resize=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """The same examples every time in `make test`, others each time in `make fuzz`."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    made = settings(max_examples=EXAMPLES, suppress_health_check=quiet, database=None)(test)
    return seed(0)(made) if "FROSTLINE_FUZZ" not in os.environ else made


def reads(read: Callable[[], Any]) -> None:
    """Whether it can or not; an error without words, or without a next step, fails the test."""
    try:
        read()
    except FrostlineError as error:
        refusal = error
    else:
        return
    assert refusal.what
    assert refusal.next_step


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """With some bytes changed, a piece cut out, or another one put in."""
    places = st.integers(0, len(content))

    def changed(edits: list[tuple[int, int, bytes]]) -> bytes:
        made = content
        for start, length, piece in edits:
            made = made[:start] + piece + made[start + length :]
        return made

    return st.lists(st.tuples(places, st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4).map(changed)


def encoded(form: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((12, 9), 60).convert(mode).save(file, form)
    return file.getvalue()


PICTURES = {
    name: encoded(*made)
    for name, made in {
        "jpg": ("JPEG",),
        "png": ("PNG", "RGBA"),
        "gif": ("GIF", "P"),
        "tif": ("TIFF", "I;16"),
        "webp": ("WEBP",),
        "bmp": ("BMP",),
    }.items()
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, on what it passes over
@pytest.mark.parametrize("suffix", PICTURES)
@fuzzed
@given(data=st.data())
def test_pictures(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    file = tmp_path / f"it.{suffix}"
    file.write_bytes(data.draw(damaged(PICTURES[suffix])))
    reads(lambda: read_picture(file, SPEC))


CELL = st.text(st.sampled_from("ab1.,;\t\"'\n\r[]{}| \\\u00e4\u0301\u2028\x00\ufeff"), max_size=12)
TABLES = {
    "csv": b'path,x\na.png,"ant, bee"\nb.png,[1]\nc.png,\n',
    "tsv": b"path\tx\na.png\tant\nb.png\tbee\n",
    "jsonl": b'{"path": "a.png", "x": ["ant"]}\n{"path": "b.png", "x": null}\n',
}


@pytest.mark.parametrize("suffix", TABLES)
@fuzzed
@given(data=st.data())
def test_tables(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    file = tmp_path / f"it.{suffix}"
    lines = st.lists(st.lists(CELL, min_size=1, max_size=3).map(",".join), max_size=6).map("\n".join)
    file.write_bytes(data.draw(damaged(TABLES[suffix]) | lines.map(lambda text: ("path,x\n" + text).encode())))

    def read() -> None:
        table = read_table(file, ["path", "x"], lists=["x"], quotes=data.draw(st.sampled_from([None, True, False])))
        for kind, separator in (("class", None), ("labels", "|"), ("labels", None), ("numbers", None)):
            reads(lambda: target_type(kind).read(table, ["x"], separator, range(len(table.rows))))  # noqa: B023

    reads(read)
    reads(lambda: read_texts(file, ["x"]))


@fuzzed
@given(data=st.data())
def test_parquet(tmp_path: Path, data: st.DataObject) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "it.parquet"
    whole = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.png", "b.png"] * 9, "x": [["ant"], []] * 9}), whole)
    file.write_bytes(data.draw(damaged(whole.getvalue())))
    reads(lambda: read_table(file, ["path", "x"], lists=["x"]))


@fuzzed
@given(
    content=damaged(b"-DOCSTART- -X- O\n\nAda\tB-person\nin O\nRome\tI-place\n\n\tx\n")
    | st.text(max_size=60).map(str.encode)
)
def test_words_and_tags(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "it.conll"
    file.write_bytes(content)
    reads(lambda: read_conll(dir=None, train_file=str(file), val_file=None, test_file=None, source=None))
    reads(lambda: read_sentences(file))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def amended(content: bytes, plain: dict[str, Any], dump: Callable[[Any], str]) -> st.SearchStrategy[bytes]:
    """The file damaged, or with another value under one of its keys."""
    keys = st.sampled_from(sorted(plain))
    return damaged(content) | st.builds(lambda key, value: dump(plain | {key: value}).encode(), keys, VALUES)


@fuzzed
@given(data=st.data())
def test_records_of_runs(small_run: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = (small_run / "run.json").read_bytes()
    (tmp_path / "run.json").write_bytes(data.draw(amended(content, json.loads(content), json.dumps)))
    reads(lambda: Record.read(tmp_path))


@fuzzed
@given(data=st.data())
def test_configurations_of_runs(small_run: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = (small_run / "config.yaml").read_bytes()
    (tmp_path / "config.yaml").write_bytes(data.draw(amended(content, yaml.safe_load(content), yaml.safe_dump)))
    (tmp_path / "run.json").write_bytes((small_run / "run.json").read_bytes())
    reads(lambda: foreign(read_settings(tmp_path / "config.yaml"), tmp_path))
    reads(lambda: read_run(tmp_path))


@fuzzed
@given(data=st.data())
def test_checkpoints(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "it.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(3)}, "frostline": {"phase": "all", "epoch": 1}}, file)
    content = file.read_bytes()
    value = data.draw(VALUES)
    torch.save({"state_dict": {"a": torch.zeros(3)}, "frostline": value}, file)
    file.write_bytes(data.draw(damaged(content) | st.just(file.read_bytes())))
    reads(lambda: read_checkpoint(file))
    reads(lambda: read_weights(file))


@fuzzed
@given(content=damaged(packed({"backbone.a": torch.zeros(3)}, {"model": "it"})))
def test_safetensors(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "it.safetensors"
    file.write_bytes(content)
    reads(lambda: read_weights(file))


# --- boxes ---

WORDS = st.sampled_from(["0", "1", "-1", "1e999", "nan", "0.5", "x", "[]", "{}", "null", '"3"', "99999999999", "true"])


@fuzzed
@given(edits=st.lists(st.tuples(st.integers(0, 40), WORDS), min_size=1, max_size=4), content=damaged(b"{}"))
@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_annotations(form: str, edits: list[tuple[int, str]], content: bytes, tmp_path: Path) -> None:
    """Numbers of one file become other words, or the file is damaged."""
    folder = tmp_path / "data"
    if not folder.is_dir():
        PUT[form](folder, {"train": 3, "val": 3, "test": 3})
    name = {"coco": "annotations/instances_train.json", "voc": "Annotations/p00.xml", "yolo": "labels/train/p00.txt"}
    file = folder / name[form]
    whole = file.read_bytes()
    numbers = [*re.finditer(rb"\d[\d.]*", whole)]
    made = whole
    for place, word in edits:
        found = numbers[place % len(numbers)]
        made = made.replace(found[0], word.encode(), 1)
    for changed in (made, whole[: edits[0][0] * 7] + content + whole[edits[0][0] * 7 :]):
        file.write_bytes(changed)
        reader = BoxedPictures(dir=str(folder), format=form, classes=None, group_pattern=None)  # type: ignore[arg-type]
        reads(lambda reader=reader: reader.read(target_type("boxes"), None))  # type: ignore[misc]
    file.write_bytes(whole)
