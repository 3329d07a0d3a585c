"""Keeping the outputs of frozen blocks changes no bit of a result."""

import errno
import gc
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import compared
from compared import cached_phases, kept_and_never, record_of, require_equal
from conftest import ASIDE, DEVICE, Answer, short_form
from frostline.paths import conf_dir
from frostline.plan.composed import plan_of
from tiny import CHAIN, FEW, MORE, TRAIN, VAL

Program = Callable[..., Answer]

# Float32, dropout in the head. The bundled network, and the smaller one where any network shows the same.
PLAIN = [*DEVICE, "trainer.precision=32-true", "logger=none", "head=mlp", "head.hidden=[16]", "optimizer.lr=0.01"]
PLAIN += ["callbacks.progress=null", *ASIDE]
SHORT = [*PLAIN, *CHAIN]
TWICE = ["schedule=head_only", "schedule.phases.head.epochs=2", "schedule.every_phase.solve=false"]
UNTRAINED = "none.yaml"
PLANS = sorted(file.stem for file in (conf_dir() / "schedule").glob("[!_]*.yaml") if file.name != UNTRAINED)
VIEWS = "schedule.every_phase.views"
HEAVIER = ["resnet18", "efficientnet_b0", "convnext_tiny", "densenet121"]
MODELS = [pytest.param(name, marks=pytest.mark.long) for name in ("mobilenet_v3_small", *HEAVIER)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "frozen"


def trained(program: Program, folder: Path, *overrides: str, code: int = 0) -> dict[str, Any]:
    return compared.trained(program, folder, *SHORT, *overrides, code=code)


def two_epochs_each(plan: str, composed: Callable[..., Any]) -> list[str]:
    phases = plan_of(composed(f"schedule={plan}")).phases
    return [f"schedule={plan}", *(f"schedule.phases.{phase.name}.epochs=2" for phase in phases if phase.thaw != "each")]


def freezes(plan: str, composed: Callable[..., Any]) -> bool:
    return any(phase.thaw != "all" for phase in plan_of(composed(f"schedule={plan}")).phases)


@pytest.mark.long
@pytest.mark.parametrize("plan", short_form(PLANS, "last_block"))
def test_every_plan_ends_in_the_same_bits(
    plan: str, program: Program, composed: Callable[..., Any], tmp_path: Path
) -> None:
    if not freezes(plan, composed):
        pytest.skip("this plan freezes nothing")
    data = [*MORE, "schedule.phases.all.epochs=1"] if plan == "two_stage" else FEW
    kept_and_never(program, tmp_path, *PLAIN, *two_epochs_each(plan, composed), *data, "data.augment=none")


@pytest.mark.parametrize("model", MODELS)
def test_every_model_ends_in_the_same_bits(model: str, program: Program, tmp_path: Path) -> None:
    """From a line in the middle, then from the one at the top, whose outputs are made of the lower one's."""
    middle = "+schedule.phases.middle={thaw: 3, epochs: 2}"
    own = [
        *PLAIN,
        *FEW,
        f"model={model}",
        "model.weights=null",
        "data.image_size=32",
        "data.augment=none",
        "schedule=head_only",
    ]
    own += ["schedule.phases.head.epochs=2", "schedule.every_phase.solve=false", middle]
    compared.trained(program, tmp_path / "never", *own, "cache=never")
    first = compared.trained(program, tmp_path / "first", *own, "cache=always")
    require_equal(tmp_path / "first", tmp_path / "never")
    assert [row["cache"]["made"] for row in first["phases"]] == [2 * (TRAIN + VAL), 0]


@pytest.mark.parametrize("adapter", short_form(["lora", "dora", "ia3"]))
def test_adapters_end_in_the_same_bits_before_they_learn_and_when_they_rest_again(
    adapter: str, program: Program, tmp_path: Path
) -> None:
    own = [
        f"adapter={adapter}",
        "schedule=head_only",
        "schedule.phases.head.epochs=2",
        "schedule.every_phase.solve=false",
        "data.augment=none",
    ]
    own += ["+schedule.phases.all={thaw: all, epochs: 1}", "+schedule.phases.top={thaw: 1, epochs: 2}"]
    first, _ = kept_and_never(program, tmp_path, *PLAIN, *FEW, *own)
    assert cached_phases(first) == ["head", "top"]
    assert [row["learns"][1:] for row in first["phases"]] == [[], ["stage3", "stage2", "stage1", "stem"], ["stage3"]]
    states = {row["name"]: row["trainable_parameters"] for row in first["phases"]}
    assert 0 < states["top"] - states["head"] < states["all"] - states["head"]


@pytest.mark.parametrize("views", short_form([2, 3]))
def test_views_for_every_epoch_end_in_the_bits_of_fresh_ones(
    views: int, program: Program, composed: Callable[..., Any], tmp_path: Path
) -> None:
    own = [*two_epochs_each("last_block", composed), "data.augment=standard", "data.erase=0.2"]
    first, _ = kept_and_never(program, tmp_path, *SHORT, *own, f"schedule.every_phase.views={views}")
    assert [row["cache"]["made"] for row in first["phases"]] == [TRAIN * min(views, 2) + VAL] * 2
    fresh = trained(program, tmp_path / "fresh", *own, "schedule.every_phase.views=fresh", "cache=always")
    require_equal(tmp_path / "fresh", tmp_path / "never")
    assert cached_phases(fresh) == []


def test_views_in_turn_are_the_same_kept_or_not_and_start_over_in_each_phase(program: Program, tmp_path: Path) -> None:
    own = ["schedule=last_block", "schedule.phases.head.epochs=1", "schedule.phases.last.epochs=3"]
    own += ["schedule.every_phase.views=2", "data.augment=standard"]
    first, _ = kept_and_never(program, tmp_path, *SHORT, *own)
    assert [row["cache"]["made"] for row in first["phases"]] == [TRAIN + VAL, 2 * TRAIN + VAL]
    fresh = trained(program, tmp_path / "fresh", *own, "schedule.every_phase.views=fresh")
    assert fresh["metrics"] != first["metrics"]


@pytest.mark.long
def test_views_of_pictures_of_many_sizes_are_the_same_kept_or_not(program: Program, tmp_path: Path) -> None:
    """A batch pads them to one size, and the batches that are kept are others than those of training."""
    generator = np.random.default_rng(0)
    for number in range(48):
        folder = tmp_path / "pictures" / ("even" if number % 2 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (16 + number % 5, 16 + number % 7, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    own = ["data=image_folder", f"data.dir={tmp_path / 'pictures'}", "data.image_size=16", f"{VIEWS}=2"]
    own += ["schedule=head_only", "schedule.phases.head.epochs=3", "data.batch_size=7"]
    kept_and_never(program, tmp_path, *PLAIN, CHAIN[0], *own)


@pytest.mark.parametrize("plan", short_form(PLANS, "two_stage"))
def test_the_cache_is_about_speed_alone(
    plan: str, program: Program, composed: Callable[..., Any], tmp_path: Path
) -> None:
    """Pictures are augmented where the plan says so, whatever the cache does."""
    own = [*two_epochs_each(plan, composed), "data.augment=standard"]
    runs = {
        name: trained(program, tmp_path / name.replace(" ", "_"), *own, *name.split())
        for name in ("cache=never", "cache=auto", "cache=always", "cache=auto cache.max_gigabytes=1e-6")
    }
    for name in runs:
        require_equal(tmp_path / name.replace(" ", "_"), tmp_path / "cache=never")
    cached = {name: cached_phases(record) for name, record in runs.items()}
    assert (cached["cache=auto"] == []) == (not freezes(plan, composed))
    assert cached["cache=never"] == cached["cache=auto cache.max_gigabytes=1e-6"] == []
    assert set(cached["cache=auto"]) <= set(cached["cache=always"])


@pytest.mark.long
def test_phases_augment_as_the_plan_says(program: Program, tmp_path: Path) -> None:
    own = ["schedule=head_only", "schedule.phases.head.epochs=2", "schedule.every_phase.solve=false"]
    plain = trained(program, tmp_path / "plain", *own, "data.augment=none")
    for cache in ("never", "auto"):
        run = {
            views: trained(program, tmp_path / f"{views}-{cache}", *own, f"cache={cache}", f"{VIEWS}={views}")
            for views in ("auto", "none", "fresh")
        }
        assert run["auto"]["metrics"] == run["none"]["metrics"] == plain["metrics"] != run["fresh"]["metrics"]


@pytest.mark.long
def test_mixed_pictures_are_not_kept_and_train_with_views_in_turn(program: Program, tmp_path: Path) -> None:
    own = ["schedule=head_only", "schedule.phases.head.epochs=2", "data.augment=strong", f"{VIEWS}=1"]
    answer = program("train", *SHORT, *own, "cache=always", f"run_dir={tmp_path / 'always'}")
    assert answer.code == 0, answer.err
    assert "samples are mixed with others of their batch (data.augment=strong)" in " ".join(answer.out.split())
    trained(program, tmp_path / "never", *own, "cache=never")
    require_equal(tmp_path / "always", tmp_path / "never")
    fresh = trained(program, tmp_path / "fresh", *own, f"{VIEWS}=fresh")
    assert fresh["metrics"] != record_of(tmp_path / "always")["metrics"]


@pytest.mark.parametrize("moment", short_form(["train 2", "train 7", "train 10", "validate 2"], "train 7"))
def test_a_run_that_is_stopped_in_a_kept_phase_ends_in_the_same_bits(
    moment: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [
        "schedule=last_block",
        "schedule.phases.head.epochs=2",
        "schedule.every_phase.solve=false",
        "schedule.phases.last.epochs=2",
        "data.augment=none",
    ]
    stopper = "+callbacks.stopper={_target_: test_resume.Stopper}"
    trained(program, tmp_path / "never", *own, "cache=never")
    run = tmp_path / "run"
    monkeypatch.setenv("STOP_AT", f"{moment} {int(signal.SIGTERM)}")
    trained(program, run, *own, stopper, "cache=always", code=128 + signal.SIGTERM)
    monkeypatch.delenv("STOP_AT")
    assert program("train", f"resume={run}", "trust=true").code == 0
    require_equal(run, tmp_path / "never")


@pytest.mark.long
def test_mixes_of_weights_are_scored_with_their_own_frozen_blocks(program: Program, tmp_path: Path) -> None:
    """The last phase freezes what the phase before it thawed, and a mix changes it."""
    own = ["schedule=two_stage", "schedule.phases.head.epochs=1", "schedule.phases.all.epochs=2"]
    own += ["schedule.phases.all.lr_scale=1", "+schedule.phases.top={thaw: 1, epochs: 2}", "data.augment=none"]
    first, again = kept_and_never(program, tmp_path, *SHORT, *own, "schedule.average.wise_ft=[0.0,0.3]")
    never = record_of(tmp_path / "never")
    assert first["averages"] == again["averages"] == never["averages"]
    assert len({row["val"]["val/loss"] for row in never["averages"]}) == 2


def test_a_picture_that_is_edited_in_the_middle_is_another(program: Program, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for name, grey in (("dark", 40), ("light", 200)):
        (pictures / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (300, 300), (grey, grey, 10 * number)).save(pictures / name / f"{number}.bmp")
    own = [
        "data=image_folder",
        f"data.dir={pictures}",
        "schedule=head_only",
        "schedule.phases.head.epochs=2",
        "schedule.every_phase.solve=false",
    ]
    own += [*PLAIN, CHAIN[0], "data.batch_size=10", "data.image_size=16"]
    made = []
    for run in ("first", "second", "third"):
        assert program("train", *own, f"run_dir={tmp_path / run}").code == 0
        made.append(record_of(tmp_path / run)["phases"][0]["cache"]["made"])
        if run == "second":
            for file in pictures.glob("dark/*.bmp"):
                with Image.open(file) as picture:
                    picture.paste((255, 0, 0), (100, 140, 200, 160))
                    picture.save(file)
    assert made[0] == made[2] > made[1] == 0


def test_a_sweep_over_heads_rates_and_seeds_pays_once(program: Program, tmp_path: Path) -> None:
    others = [split for split in PLAIN if not split.startswith(("head", "optimizer"))]
    own = ["schedule=head_only", "schedule.phases.head.epochs=2", "schedule.every_phase.solve=false"]
    own += [*FEW, f"logs_dir={tmp_path}"]
    for sweep in (["head=linear,mlp"], ["optimizer.lr=0.1", "seed=1,2"]):
        answer = program("train", *others, *own, "-m", "sweep.test=all", *sweep)
        assert answer.code == 0, answer.err
    files = sorted(tmp_path.glob("sweeps/*/*/*/run.json"), key=lambda file: file.stat().st_mtime)
    records = [record_of(file.parent) for file in files]
    made = [row["cache"]["made"] for record in records for row in record["phases"]]
    assert made == [TRAIN + VAL, *[0] * 3]
    assert len({record["metrics"]["test/loss"] for record in records}) == 4


def test_evaluate_gives_the_very_numbers_of_a_kept_phase(program: Program, tmp_path: Path, cache: Path) -> None:
    record = trained(program, tmp_path / "run", "schedule=last_block", "schedule.phases.last=null")
    assert record["phases"][0]["cached"]
    for _ in ("what was kept", "what is made anew"):
        answer = program("evaluate", f"run={tmp_path / 'run'}", "trust=true")
        assert answer.code == 0, answer.err
        shutil.rmtree(cache)
        assert f"test/loss {record['metrics']['test/loss']:.4f}" in answer.out


def test_what_is_kept_is_listed_and_cleared(program: Program, tmp_path: Path, cache: Path) -> None:
    assert "Nothing is cached in " in program("cache").out
    compared.trained(program, tmp_path / "run", *PLAIN, *FEW, "schedule=last_block", "schedule.phases.last.epochs=2")
    listed = program("cache").out
    rows = [line.split() for line in listed.splitlines() if line.strip().startswith("bundled")]
    splits = {(row[3], int(row[-4])) for row in rows}
    assert splits >= {(block, size) for block in ("stage2", "stage3") for size in (TRAIN, VAL)}
    assert len(list(cache.glob("*/rows.bin"))) == len(rows) == 5, "train and validation at two lines, test at one"
    gc.collect()  # what the run of this process held
    assert "5 removed" in program("cache", "clear=true").out
    assert list(cache.glob("*/rows.bin")) == []
    elsewhere = program("cache", f"dir={tmp_path}")
    assert (elsewhere.code, "Nothing is cached in " in elsewhere.out) == (0, True)


# --- where nothing can be kept ---


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of TWICE whose outputs were cached."""
    from test_run import _train

    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROSTLINE_CACHE_DIR", str(folder / "cache"))
        return _train(folder / "run", *TWICE, short=SHORT)


def test_a_cache_without_room_is_told_and_changes_nothing(
    program: Program, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path / "other"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    answer = program("train", *SHORT, *TWICE, f"run_dir={tmp_path / 'full'}")
    assert answer.code == 0
    assert answer.err.count("are not cached and are computed in each epoch: No space left") == 1
    assert "next:" in answer.err
    require_equal(tmp_path / "full", kept)
    assert cached_phases(record_of(tmp_path / "full")) == []


def test_a_cache_folder_that_is_a_file_is_told_and_changes_nothing(
    program: Program, kept: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    answer = program("train", *SHORT, *TWICE, f"run_dir={tmp_path / 'run'}", f"cache.dir={tmp_path / 'file'}")
    assert answer.code == 0
    assert "computed in each epoch: Not a directory" in answer.err
    require_equal(tmp_path / "run", kept)


def test_damage_is_told_and_changes_nothing(program: Program, tmp_path: Path, cache: Path) -> None:
    trained(program, tmp_path / "kept", *TWICE)
    for file in cache.glob("*/rows.bin"):
        content = bytearray(file.read_bytes())
        content[7] ^= 16
        file.write_bytes(bytes(content))
    with pytest.warns(UserWarning, match="damaged"):
        again = trained(program, tmp_path / "again", *TWICE)
    require_equal(tmp_path / "again", tmp_path / "kept")
    assert again["phases"][0]["cache"]["made"] > 0


def test_always_says_what_stands_in_the_way(program: Program) -> None:
    answer = program("train", *SHORT, "cache=always", "cache.max_gigabytes=1e-6")
    assert answer.code == 1
    assert "phase 'head' cannot cache the outputs of its frozen blocks: " in answer.err
    assert "more than cache.max_gigabytes=1e-06" in answer.err
    answer = program("train", *SHORT, "cache=always", f"{VIEWS}=none", "trainer.limit_train_batches=1")
    assert answer.code == 1
    assert "epochs see only some of the data" in answer.err


@pytest.mark.parametrize("views", [0, -1, "often"])
def test_what_is_no_number_of_views_is_told(views: object, program: Program) -> None:
    answer = program("train", *SHORT, f"{VIEWS}={views}")
    assert answer.code == 1
    assert "views: " in answer.err
    assert "is not one of auto, fresh, none or a whole number x with x > 0" in answer.err


def test_the_setting_that_the_cache_had_names_the_new_one(program: Program) -> None:
    answer = program("train", *SHORT, "cache.views=3")
    assert answer.code == 1
    assert "there is no setting 'cache.views': did you mean schedule.every_phase.views?" in answer.err
