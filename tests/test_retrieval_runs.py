"""Whole runs that embed, on a few digits: trained, kept, resumed, scored again, predicted, indexed and searched."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import frostline
from compared import cached_phases, kept_and_never, record_of, require_equal, require_intervals, trained
from conftest import DEVICE, Answer
from frostline.commands.train import NOT_HERE
from tiny import CHAIN, TEST, VAL

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]
OWN = [
    *CHAIN,
    *DEVICE,
    "task=retrieval",
    "head.dimension=8",
    "trainer.precision=32-true",
    "logger=none",
    "report=false",
]
OWN += ["callbacks.progress=null", "data.batch_size=12", "schedule.every_phase.norm=frozen"]
SHORT = ["schedule.phases.head.epochs=2", "schedule.phases.all.epochs=1"]
HEAD = ["schedule=head_only", "schedule.phases.head.epochs=2"]
# Pictures in folders, with the bundled network at 8 pixels.
FOLDER = [*DEVICE, "task=retrieval", "data=image_folder", "data.image_size=8", "data.augment=none", "logger=none"]
FOLDER += ["callbacks.progress=null", "trainer.precision=32-true"]


def put(folder: Path, names: str = "abcdef", number: int = 5, seed: int = 0) -> Path:
    """Pictures of one colour for each identity, with noise."""
    for place, name in enumerate(names):
        draw = np.random.default_rng(seed + place)
        (folder / name).mkdir(parents=True)
        colour = np.random.default_rng(ord(name)).integers(0, 256, 3)
        for picture in range(number):
            pixels = colour + draw.integers(-20, 20, (8, 8, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{picture}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("pictures") / "people")


@pytest.fixture
def untrained(pictures: Path, program: Program) -> Path:
    """A run without training, made once."""
    folder = pictures.parent / "untrained"
    if not folder.is_dir():
        trained(program, folder, *FOLDER, f"data.dir={pictures}", "schedule=none")
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


# --- training ---


def test_prototypes_train_head_and_backbone(program: Program, tmp_path: Path) -> None:
    """Losses of pairs: below."""
    record = trained(program, tmp_path / "run", *OWN, *SHORT, "task.scale=8")
    scores = {"recall_1", "recall_5", "recall_10", "map_r", "eer", "tar", "threshold", "map_r_low", "map_r_high"}
    assert {f"test/{name}" for name in scores} <= record["metrics"].keys()
    assert record["metrics"]["test/n"] == TEST
    require_intervals(record)
    assert -1 <= record["metrics"]["val/threshold"] <= 1
    assert [row["identities"] for row in record["per_class"]] == ["in training"]
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert state["head.prototypes"].shape == (10, 8)


def test_the_plan_says_how_batches_are_composed(program: Program) -> None:
    for loss, said in (("arcface", "11 a batch"), ("supcon", "2 × 4 a batch")):
        assert said in program("train", *OWN, *SHORT, f"task.loss={loss}", "data.batch_size=11", "dry_run=true").out


def test_what_is_kept_changes_no_bit(program: Program, tmp_path: Path) -> None:
    own = [*OWN, *HEAD, "task.loss=supcon", f"cache.dir={tmp_path / 'cache'}"]
    record, _ = kept_and_never(program, tmp_path, *own)
    assert [row["val"]["val/n"] for row in record["phases"]] == [VAL], "each sample once, however batches are composed"
    assert cached_phases(record) == ["head"]


def test_a_stopped_run_ends_in_the_same_bits(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frostline.training.finetuner import FineTuner

    own = [*OWN, *SHORT, "task.loss=triplet", "data.per_identity=3"]
    trained(program, tmp_path / "whole", *own)
    step, calls = FineTuner.training_step, []

    def stops(self: FineTuner, *arguments: object) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FineTuner, "training_step", stops)
    assert program("train", *own, f"run_dir={tmp_path / 'cut'}").code != 0
    monkeypatch.setattr(FineTuner, "training_step", step)
    answer = program("train", f"resume={tmp_path / 'cut'}", "trust=true")
    assert answer.code == 0, answer.err
    require_equal(tmp_path / "cut", tmp_path / "whole")


def test_a_run_without_training_scores_the_pretrained_features(
    program: Program, untrained: Path, tmp_path: Path
) -> None:
    record = record_of(untrained)
    assert record["status"] == "finished"
    assert (record["phases"], record["best"]) == ([], {"phase": "none", "epoch": 0, "average": None})
    assert record["metrics"]["test/n"] == 10
    assert len(record["data"]["targets"]["names"]) == 2
    assert [row["identities"] for row in record["per_class"]] == ["not in training"]
    assert {file.name for file in (untrained / "checkpoints").iterdir()} == {"best.ckpt"}
    answer = program("evaluate", f"run={untrained}")
    assert answer.code == 0, answer.err
    assert "all 10 agree with the stored ones" in answer.out
    assert f"test/map_r {record['metrics']['test/map_r']:.4f}" in answer.out


def test_other_samples_are_scored_by_their_own_identities(program: Program, untrained: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "others", "xyz", number=3)
    answer = program("evaluate", f"run={untrained}", f"data.dir={other}")
    assert answer.code == 0, answer.err
    assert "9 pictures" in answer.out
    assert "(n = 9)" in answer.out
    shutil.rmtree(other / "y")
    shutil.rmtree(other / "z")
    answer = program("evaluate", f"run={untrained}", f"data.dir={other}")
    assert "all samples of the test split are of one identity" in answer.err


# --- predictions, index and search ---


def test_predictions_are_embeddings_of_length_one(program: Program, untrained: Path, pictures: Path) -> None:
    answer = program("predict", f"run={untrained}", f"input={pictures / 'a'}")
    assert answer.code == 0, answer.err
    rows = rows_of(answer.out)
    assert len(rows) == 5
    vectors = np.array([[float(value) for name, value in row.items() if name != "file"] for row in rows])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    opened = frostline.open(untrained)
    (found,) = opened.predict([rows[0]["file"]])
    assert found.values.tolist() == pytest.approx(vectors[0].tolist(), abs=1e-5)
    assert found.columns["e1"] == pytest.approx(vectors[0, 0], abs=1e-6)


def test_the_nearest_pictures_of_an_index_are_found(
    program: Program, untrained: Path, pictures: Path, tmp_path: Path
) -> None:
    answer = program("index", f"run={untrained}", f"input={pictures}", "output=gallery")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("30 pictures of 6 identities in gallery\n")
    answer = program("search", f"run={untrained}", "index=gallery", f"input={pictures / 'b' / '3.png'}", "top_k=3")
    assert answer.code == 0, answer.err
    (row,) = rows_of(answer.out)
    assert (row["answer"], row["identity"], row["identity_2"], row["identity_3"]) == ("b",) * 4
    assert row["neighbour"] == str(pictures / "b" / "3.png")
    assert float(row["similarity"]) == pytest.approx(1.0, abs=1e-5)
    assert "neighbour_4" not in row
    similar = [float(row[f"similarity{end}"]) for end in ("", "_2", "_3")]
    assert similar == sorted(similar, reverse=True)
    answer = program(
        "search",
        f"run={untrained}",
        "index=gallery",
        f"input={pictures}",
        "output=found.csv",
        "threshold=1.5",
        "top_k=99",
    )
    assert answer.code == 0, answer.err
    rows = rows_of((tmp_path / "found.csv").read_text())
    assert {row["answer"] for row in rows} == {"unknown"}
    assert len(rows) == 30
    assert "neighbour_30" in rows[0]
    found = rows_of(program("search", f"run={untrained}", "index=gallery", f"input={put(tmp_path / 'new', 'xyb')}").out)
    threshold = record_of(untrained)["metrics"]["val/threshold"]
    assert len(found) == 15
    for row in found:
        assert (row["answer"] == "unknown") == (float(row["similarity"]) < threshold)


def test_a_broken_picture_is_named_and_the_others_are_indexed(
    program: Program, untrained: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copytree(pictures / "a", tmp_path / "some")
    (tmp_path / "some" / "broken.png").write_text("no picture")
    answer = program("index", f"run={untrained}", "input=some", "output=gallery")
    assert answer.code == 1
    assert "1 picture cannot be read; the other 5 are in the index" in answer.err
    assert json.loads(Path("gallery/index.json").read_text())["samples"] == 5
    answer = program("search", f"run={untrained}", "index=gallery", "input=some/0.png")
    assert "identity" not in rows_of(answer.out)[0], "the index knows none"


def test_texts_are_found(program: Program, tmp_path: Path) -> None:
    from tiny_text import make_tokenizer

    words = {"x": "aa ab ac", "y": "ba bb bc", "z": "ca cb cc", "u": "da db dc", "v": "ea eb ec", "w": "fa fb fc"}
    lines = [f"{text} {extra},{who}" for who, text in words.items() for extra in ("aa", "bb", "cc", "dd")]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    tokenizer = make_tokenizer(tmp_path / "tokenizer")
    own = ["model=bundled", "model._target_=tiny_text.TinyText", f"model.weights={tokenizer}"]
    own += ["data=text_csv", "data.train_file=texts.csv", "task=retrieval", "task.loss=supcon", *HEAD, *DEVICE]
    own += ["logger=none", "callbacks.progress=null", "trainer.precision=32-true", "data.batch_tokens=64"]
    record = trained(program, tmp_path / "run", *own)
    assert record["metrics"]["test/n"] == 8
    run = [f"run={tmp_path / 'run'}", "trust=true"]
    answer = program("index", *run, "input=texts.csv", "output=gallery")
    assert answer.out.startswith("24 texts of 6 identities"), answer.err
    answer = program("search", *run, "index=gallery", "text=ca cb cc bb", "top_k=1", "threshold=-1")
    (row,) = rows_of(answer.out)
    assert (row["neighbour"], row["answer"], row["query"]) == ("ca cb cc bb", "z", "ca cb cc bb")


# --- what is refused ---


def test_an_index_of_other_weights_is_refused(
    program: Program, untrained: Path, pictures: Path, tmp_path: Path
) -> None:
    program("index", f"run={untrained}", f"input={pictures / 'a'}", "output=gallery")
    about = json.loads((tmp_path / "gallery" / "index.json").read_text())
    (tmp_path / "gallery" / "index.json").write_text(json.dumps(about | {"weights": "others"}))
    answer = program("search", f"run={untrained}", "index=gallery", f"input={pictures / 'a'}")
    assert answer.code == 1
    assert "this index was made with other weights" in answer.err
    assert f"frostline index run={untrained}" in answer.err


REFUSED = {
    "search before index": (["search", "run={run}", "index=none", "input={data}"], "there is no such index"),
    "an empty folder": (["index", "run={run}", "input={empty}", "output=it"], "there is no picture"),
    "no input": (["search", "run={run}", "index=none"], "search needs either input= or text="),
    "a folder that exists": (["index", "run={run}", "input={data}", "output={empty}"], "this path exists"),
    "a text for pictures": (["search", "run={run}", "index={made}", "text=hello"], "this run takes pictures, not text"),
    "a column of no table": (
        ["index", "run={run}", "input={data}", "output=it", "data.identity_column=who"],
        "data.identity_column does not apply to pictures",
    ),
    "nothing named": (["index"], "values are needed: run, input, output"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_searched_is_refused(
    case: str, program: Program, untrained: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    made = pictures.parent / "made"
    if not made.is_dir():
        program("index", f"run={untrained}", f"input={pictures / 'a'}", f"output={made}")
    arguments, said = REFUSED[case]
    places = {"run": untrained, "data": pictures, "empty": tmp_path / "empty", "made": made}
    answer = program(*(argument.format(**places) for argument in arguments))
    assert answer.code == 1
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_run_that_embeds_nothing_is_refused(program: Program, small_run: Path) -> None:
    answer = program("index", f"run={small_run}", f"input={small_run.parent}", "output=it")
    assert answer.code == 1
    assert "gives no embeddings" in answer.err
    assert "frostline train" in answer.err
    assert "task=retrieval" in answer.err


TOGETHER = {
    "a head of classes": (["head=linear"], "needs them per embedding", "head=embedding"),
    "nothing trained under a head": (["schedule=none", "head=embedding"], "trains nothing", "head=identity"),
    "a head with nothing to learn": (["head=identity", *HEAD], "trains nothing: the head has no parameters", "head="),
    "prototypes without a place": (
        ["head=identity", "schedule=full", "schedule.phases.all.epochs=1"], "this head has none", "task.loss=supcon",
    ),
    "more samples than there are": (["data.per_identity=40"], "no identity has 40 training samples", "per_identity="),
    "batches without room": (["data.per_identity=4", "data.batch_size=6"], "no room for two identities", "size=8"),
    "an idle adapter": (["schedule=none", "adapter=lora"], "no phase of the plan trains", "adapter=none"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER)
def test_what_does_not_go_together_is_refused(case: str, program: Program) -> None:
    settings, said, step = TOGETHER[case]
    own = [it for it in OWN if not it.startswith("head.") or "head=linear" not in settings]
    own = [it for it in own if not it.startswith("head.") or "head=identity" not in settings]
    own = [it for it in own if not it.startswith("head.") or "schedule=none" not in settings]
    answer = program("train", *own, *settings, "run_dir=run")
    assert answer.code == 1, answer.out
    assert said in answer.err
    assert step in answer.err
    assert "Traceback" not in answer.err


def test_a_classification_cannot_go_untrained(program: Program) -> None:
    answer = program("train", *CHAIN, *DEVICE, "schedule=none", "run_dir=run")
    assert answer.code == 1
    assert "this head returns outputs per embedding" in answer.err
