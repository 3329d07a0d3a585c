"""Runs whose data lies elsewhere by now, and runs that are scored on other samples than their own."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from conftest import ASIDE, Answer
from frostline.cli.main import main
from frostline.commands.train import NOT_HERE
from frostline.runs.predictions import read
from test_text_runs import TINY
from tiny_text import make_tokenizer

pytestmark = [pytest.mark.filterwarnings(f"ignore:.*{text}") for text in NOT_HERE]
Program = Callable[..., Answer]

PICTURES = ["data=image_folder", "data.image_size=8", "schedule=head_only", "trainer.precision=32-true"]


def put(folder: Path, colours: dict[str, int], number: int = 12, offset: int = 0) -> Path:
    for name, red in colours.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(number):
            Image.new("RGB", (16, 16), (red, 0, n + offset)).save(folder / name / f"{n}.png")
    return folder


def trained(folder: Path, *typed: str) -> Path:
    """A run in `run`, of data that is named by a relative path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["frostline", "train", *typed, "run_dir=run"])
        main()
    GlobalHydra.instance().clear()
    return folder


def copied(folder: Path, to: Path) -> str:
    """The run and its data, as if it had been trained in the other folder."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    for name in ("config.yaml", "run.json"):
        file = to / "run" / name
        file.write_text(file.read_text().replace(str(folder), str(to)))
    return "run"


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moved")
    put(folder / "data", {"ant": 250, "bee": 5, "cat": 120})
    return trained(folder, *PICTURES, "data.dir=data")


@pytest.fixture
def run(run_once: Path, program: Program, tmp_path: Path) -> str:
    """A run on pictures in `data`, named by a relative path."""
    return copied(run_once, tmp_path)


def scores(answer: Answer) -> str:
    assert answer.code == 0, answer.err
    return re.findall(r"^test .*$", answer.out, re.MULTILINE)[-1]


def test_a_run_is_scored_from_any_folder(
    run: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scores(program("evaluate", f"run={run}"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert scores(program("evaluate", f"run=../{run}")) == here


def test_data_that_only_moved_is_the_own_test_part(run: str, program: Program, tmp_path: Path) -> None:
    here = scores(program("evaluate", f"run={run}"))
    shutil.move(tmp_path / "data", tmp_path / "moved")
    gone = program("evaluate", f"run={run}")
    assert gone.code == 1
    assert "data.dir=" in gone.err
    answer = program("evaluate", f"run={run}", "data.dir=moved")
    assert scores(answer) == here
    assert ": this run's own test split" in answer.out


def test_other_labelled_pictures_are_scored_and_told(run: str, program: Program, tmp_path: Path) -> None:
    put(tmp_path / "new", {"bee": 5, "cat": 120}, 5, offset=100)
    answer = program("evaluate", f"run={run}", "data.dir=new")
    assert "(n = 10)" in scores(answer)
    assert "data  10 pictures of new: not this run's own test split" in answer.out
    assert "no samples of: ant" in answer.out
    (file,) = (tmp_path / run / "predictions" / "evaluated").iterdir()
    assert f"predictions  {Path(run, 'predictions', 'evaluated', file.name)}\n" in answer.out
    assert re.search(r"^95 %  test/.* do not trust the intervals? of .*: only 10 samples", answer.out, re.M | re.S)
    name = file.stem
    assert re.fullmatch("new-[0-9a-f]{8}", name)
    found = read(tmp_path / run, f"evaluated/{name}")
    assert found.about["part"] == "test"
    assert len(found.columns["logits"]) == 10
    shutil.copytree(tmp_path / run, tmp_path / "other")
    compared = program("compare", run, "other", f"evaluated={name}")
    assert "0 of 10 answers differ" in compared.out
    (tmp_path / "other" / "predictions" / "evaluated" / file.name).unlink()
    lacks = program("compare", run, "other", f"evaluated={name}")
    assert (lacks.code, f"the run was not scored on '{name}'" in lacks.err) == (1, True)
    assert f"next:  frostline evaluate run=other data.dir={tmp_path / 'new'}" in lacks.err
    unknown = program("compare", run, "other", "evaluated=newer")
    assert f"neither run was scored on 'newer': available: {name}" in unknown.err
    assert f"next:  evaluated={name}" in unknown.err
    (tmp_path / "new").rename(tmp_path / "renamed")
    again = program("evaluate", "run=other", "data.dir=renamed")
    assert re.search(r"evaluated=renamed-[0-9a-f]{8}$", again.out, re.M)
    assert "0 of 10 answers differ" in program("compare", run, "other", f"evaluated={name}").out


def test_classes_keep_the_numbers_that_the_network_learned(run: str, program: Program, tmp_path: Path) -> None:
    """`cat` is the only folder, and the third class."""
    put(tmp_path / "new", {"cat": 120}, 5, offset=100)
    own = program("evaluate", f"run={run}")
    assert "test/accuracy 1.0000" in scores(own)
    assert "test/accuracy 1.0000" in scores(program("evaluate", f"run={run}", "data.dir=new"))


def test_a_test_folder_alone_is_scored(run: str, program: Program, tmp_path: Path) -> None:
    put(tmp_path / "new" / "test", {"ant": 250, "bee": 5}, 4, offset=100)
    put(tmp_path / "new" / "train", {"ant": 250, "bee": 5}, 9, offset=110)
    assert "(n = 8)" in scores(program("evaluate", f"run={run}", "data.dir=new"))
    shutil.rmtree(tmp_path / "new" / "train")
    assert "(n = 8)" in scores(program("evaluate", f"run={run}", "data.dir=new"))


def test_classes_that_the_run_does_not_know_are_named(run: str, program: Program, tmp_path: Path) -> None:
    put(tmp_path / "new", {"bees": 5, "cat": 120}, 5)
    answer = program("evaluate", f"run={run}", "data.dir=new")
    assert answer.code == 1
    assert "'bees' is a class of this folder, but not of the run: did you mean bee?" in answer.err


def test_data_changed_in_its_place_can_be_scored_as_other_data(run: str, program: Program, tmp_path: Path) -> None:
    put(tmp_path / "data", {"ant": 250}, 3, offset=200)
    answer = program("evaluate", f"run={run}")
    assert answer.code == 1
    (command,) = re.findall(r"or: +frostline (evaluate .*?)(?:  #.*)?$", answer.err, re.MULTILINE)
    assert "(n = 36)" in scores(program(*command.split()))


def test_a_run_goes_on_after_its_data_moved(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "data", {"ant": 250, "bee": 5})
    both = [*PICTURES, "schedule=two_stage", "schedule.every_phase.min_steps=0", "data.dir=data", "logger=none", *ASIDE]
    assert program("train", *both, "run_dir=whole").code == 0
    stopped = program("train", *both, "run_dir=run", "+callbacks.stop._target_=test_moved.StopLate")
    assert stopped.code == 128 + signal.SIGTERM, stopped.err
    shutil.move(tmp_path / "data", tmp_path / "moved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = tmp_path / "run" / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    del settings["callbacks"]["stop"]
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    gone = program("train", "resume=../run")
    assert gone.code == 1
    assert "there is no such data folder" in gone.err
    put(tmp_path / "other", {"ant": 250, "bee": 5}, offset=9)
    other = program("train", "resume=../run", "data.dir=../other")
    assert other.code == 1
    assert "fingerprint" in other.err
    moved = program("train", "resume=../run", "data.dir=../moved")
    assert moved.code == 0, moved.err
    monkeypatch.chdir(tmp_path)
    assert scores(program("evaluate", "run=run")) == scores(program("evaluate", "run=whole", "data.dir=moved"))


class StopLate:
    """Made in its place: a callback that ends the run in its last phase."""

    def __new__(cls) -> object:
        import lightning as L

        class Stop(L.Callback):
            def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
                if trainer.current_epoch == 3:
                    os.kill(os.getpid(), signal.SIGTERM)

        return Stop()


@pytest.fixture(scope="module")
def texts_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    table(folder / "mine.csv", 60)
    weights = f"model.weights={make_tokenizer(folder / 'tokenizer')}"
    return trained(folder, *TINY, "data=text_csv", weights, "data.train_file=mine.csv")


@pytest.fixture
def texts(texts_once: Path, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of texts, whose tables were named by relative paths."""
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return copied(texts_once, tmp_path)


def table(file: Path, number: int) -> None:
    rows = [["aa ab " * (1 + n % 7), "yes"] if n % 2 else ["kl la " * (1 + n % 5), "no"] for n in range(number)]
    with file.open("w") as opened:
        csv.writer(opened).writerows([["text", "label"], *rows])


def test_relative_tables_of_texts_are_found_from_any_folder(
    texts: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scores(program("evaluate", f"run={texts}", "trust=true"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert scores(program("evaluate", f"run=../{texts}", "trust=true")) == here
    shutil.move(tmp_path / "mine.csv", tmp_path / "elsewhere" / "mine.csv")
    moved = program("evaluate", f"run=../{texts}", "trust=true", "data.file=mine.csv")
    assert scores(moved) == here
    table(tmp_path / "new.csv", 9)
    new = program("evaluate", f"run=../{texts}", "trust=true", "data.file=../new.csv")
    assert "(n = 9)" in scores(new)
    assert "data  9 texts of ../new.csv: not this run's own test split" in new.out


def test_pictures_that_are_not_square_are_cut_as_the_runs_own(program: Program, tmp_path: Path) -> None:
    """A split that is scored alone is shown as a test split, not as one of training."""
    from datasets_made import data as data_of
    from frostline.contracts.specs import ImageSpec
    from frostline.contracts.targets import Targets
    from frostline.data.pictures.image_folder import ImageFolder
    from frostline.data.pictures.preprocess import evaluation_view

    for name, sides in (("ant", (40, 60)), ("bee", (80, 40))):
        (tmp_path / "new" / name).mkdir(parents=True)
        Image.new("RGB", sides).save(tmp_path / "new" / name / "0.png")
    spec = ImageSpec(32, 32, (0, 0, 0), (1, 1, 1))
    common = {"image_size": None, "augment": "standard", "flip": True, "erase": 0.0, "num_workers": 0, "batch_size": 4}
    common |= {"train_limit": None, "val_fraction": 0.1, "test_fraction": 0.2, "split_seed": 0, "seed": 0}
    known = Targets("class", ["ant", "bee"], [5, 5], {})
    data = data_of(ImageFolder, spec, dir=str(tmp_path / "new"), classes=None, known=known, **common)  # type: ignore[arg-type]
    batch = data.test_split.__getitems__([0, 1])
    assert not isinstance(batch, Exception)
    assert batch.sizes is None
    assert evaluation_view(batch.pictures, spec, cut=True).shape == (2, 3, 32, 32)
    assert data.num_batches == 1


def test_other_text_in_another_folder_is_scored_by_its_name(texts: str, program: Program, tmp_path: Path) -> None:
    """config.yaml has the whole path of the run's own table, which is still there."""
    (tmp_path / "other").mkdir()
    table(tmp_path / "other" / "mine.csv", 14)
    answer = program("evaluate", f"run={texts}", "trust=true", "data.dir=other")
    assert "(n = 14)" in scores(answer)
    assert "not this run's own test split" in answer.out


def test_a_run_of_chosen_classes_is_scored_where_there_are_others(program: Program, tmp_path: Path) -> None:
    put(tmp_path / "data", {"ant": 250, "bee": 5, "cat": 120})
    assert program("train", *PICTURES, "data.dir=data", "data.classes=[ant,bee]", "run_dir=run").code == 0
    put(tmp_path / "new", {"bee": 5, "cat": 120}, 6, offset=100)
    assert "(n = 6)" in scores(program("evaluate", "run=run", "data.dir=new"))


def test_data_with_parts_of_its_own_that_moved_is_the_own_test_part(program: Program, tmp_path: Path) -> None:
    for split, offset in (("train", 0), ("test", 50)):
        put(tmp_path / "data" / split, {"ant": 250, "bee": 5}, offset=offset)
    assert program("train", *PICTURES, "data.dir=data", "run_dir=run").code == 0
    shutil.move(tmp_path / "data", tmp_path / "moved")
    answer = program("evaluate", "run=run", "data.dir=moved")
    assert "(n = 24)" in scores(answer)
    assert ": this run's own test split" in answer.out


def test_the_command_that_a_run_records_means_the_same_from_any_folder(run: str, tmp_path: Path) -> None:
    command = json.loads((tmp_path / run / "run.json").read_text())["command"]
    assert f"data.dir={tmp_path / 'data'}" in shlex.split(command)


def test_a_setting_that_the_runs_data_has_not_is_refused_by_name(run: str, program: Program) -> None:
    answer = program("evaluate", f"run={run}", "data.file=other.csv")
    assert answer.code == 1
    assert "data.file: the data of this run has no such setting" in answer.err
    assert "data.dir=" in answer.err
