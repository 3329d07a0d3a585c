"""Shared by all tests: where data lies, composed configs, the program in this process."""

import gc
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import settings
from omegaconf import DictConfig

import forked
import hydra_cached
from frostline.cli.typed import quoted_settings
from frostline.commands.checks import check
from frostline.paths import conf_dir
from frostline.plan.phase import Phase, Until

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("FROSTLINE_TEST_DATA", ROOT.parent / "shared" / "data"))

COMMANDS = ("train", "lr_find", "rank", "evaluate", "predict", "explain", "export", "index", "search", "leaderboard",
            "cache", "compare", "report")  # fmt: skip

# The trainer of whole runs, with reproducible bits: on the CPU, or on a GPU in `make test-gpu`.
DEVICE = {"cpu": ["trainer=cpu"], "gpu": ["trainer=gpu", "trainer.deterministic=true"]}[
    os.environ.get("FROSTLINE_TEST_DEVICE", "cpu")
]

# Picture models that need no further setting.
PICTURE_MODELS = [
    file.stem
    for file in (conf_dir() / "model").glob("*.yaml")
    if not file.stem.startswith("_") and not re.search("[?]{3}|[Ff]usion|transformer", file.read_text(encoding="utf-8"))
]


def pytest_configure(config: pytest.Config) -> None:
    short = config.getoption("markexpr") == "not long"  # `make test-all` draws as many examples as hypothesis does
    settings.register_profile("untimed", deadline=None, max_examples=30 if short else 100)
    settings.load_profile("untimed")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # else it starts processes that each import torch
    gc.disable()  # until imports_frozen: collections take a tenth of all imports
    forked.prepare()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # as in an active environment
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    forked.leave()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes come first: they take longest, and last they would keep one worker of two waiting."""
    slow = {item.path for item in items if item.get_closest_marker("process") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets; its tests are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data sets are not at {SHARED} (FROSTLINE_TEST_DATA names another folder)")
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither write to nor read from the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path_factory.mktemp("kept")))
        yield


@cache
def _composed(config: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(config, overrides=list(overrides))


@pytest.fixture(autouse=True, scope="session")
def merged_once() -> Iterator[None]:
    """Hydra reads and merges the files of conf/ for each command line. Cache that here; real processes still do it."""
    with hydra_cached.cached():
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_awaited() -> Iterator[None]:
    """Read versions of packages once, and skip fsync: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "version", cache(importlib.metadata.version))
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def measured_on_few() -> Iterator[None]:
    """Measure the costs of a network on 4 samples, as of large pictures: on 32 it takes as long as many a run here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frostline.training.costs.MOST_SAMPLES", 4)
        yield


@pytest.fixture(autouse=True, scope="session")
def solved_in_few_steps() -> Iterator[int]:
    """Stop solving a head after a few steps: to its end it takes a fourth of a small run. Returns the whole number."""
    from frostline.heads import probes

    whole = probes.ITERATIONS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "ITERATIONS", 8)
        yield whole


@pytest.fixture(scope="module")
def solved_to_the_end(solved_in_few_steps: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Solve heads as users, and other processes, do. Scores of probes are cached: these tests have a cache of their
    own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FROSTLINE_CACHE_DIR", str(tmp_path_factory.mktemp("solved")))
        patch.setattr("frostline.heads.probes.ITERATIONS", solved_in_few_steps)
        yield


@pytest.fixture(autouse=True, scope="session")
def imports_frozen() -> None:
    """Exclude the half a million objects of torch's modules from garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)  # a run makes many objects: 285 tests take 76 instead of 84 s (AMD EPYC)
    gc.enable()


@pytest.fixture
def composed() -> Iterator[Callable[..., DictConfig]]:
    """`composed("model=resnet18", ...)`: the configuration of `frostline train` with these overrides."""

    def make(*overrides: str, config: str = "train") -> DictConfig:
        return _composed(config, overrides).copy()

    yield make
    GlobalHydra.instance().clear()


def make_phase(name: str = "it", **settings: Any) -> Phase:
    """A phase of three epochs in which all blocks learn at the whole rate; `settings` replaces its keys."""
    until = {"monitor": "val/loss", "mode": "min", "patience": None, "min_delta": 0.0} | settings.pop("until", {})
    return Phase(**{"name": name, "thaw": "all", "epochs": 3, **EVERY_PHASE, "until": Until(**until), **settings})


EVERY_PHASE: dict[str, Any] = {
    "only": None, "lr_scale": 1.0, "layer_decay": 1.0, "warmup_epochs": 0.0, "curve": "cosine", "weight_decay": None,
    "optimizer": None, "norm": "adapt", "l2_sp": 0.0, "start_from": "last", "solve": False, "min_steps": 0,
    "views": "fresh",
    "until": {"monitor": "val/loss", "mode": "min", "patience": None, "min_delta": 0.0},
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def short_form(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of a test: `make test` runs those that are `kept`, `make test-all` every one of the cases."""
    chosen = [*cases]
    assert all(case in chosen for case in kept)
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if case in kept else pytest.mark.long)
        for case in chosen
    ]


# For runs whose page and predictions no test reads.
ASIDE = ["report=false", "predictions=false"]

SMALL = [
    "data.train_limit=40",
    "data.image_size=8",
    "trainer.precision=32-true",
    "schedule.every_phase.min_steps=0",
    *DEVICE,
]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a head alone (SMALL). Tests that change it copy it."""
    from frostline.cli.main import main

    folder = tmp_path_factory.mktemp("small") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["frostline", "train", *SMALL, "schedule=head_only", f"run_dir={folder}"])
        main()
    GlobalHydra.instance().clear()
    return folder


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of sweeps in this process train nothing: see faked.py."""
    import faked

    for name, module in faked.STAND_INS.items():
        monkeypatch.setitem(sys.modules, name, module)


SETTING = re.compile(r"[+~]{0,2}[a-z_]\w*([.@][\w.]+)*=")
PLACEHOLDER = re.compile("<|>|[.][.][.]|…")
SHELL_WORD = re.compile(r"""(?:[^\s'"\\]|'[^']*'|"(?:\\.|[^"\\])*"|\\.)+""")


def require_pasteable(err: str) -> None:
    """Paste what the `next:` line of every error proposes into a shell: Hydra parses the settings that arrive; whole
    commands compose and pass the checks of the configuration. Placeholders such as <folder> are left to the user."""
    for line in re.findall(r"^ +(?:next|or): +(.*)$", err, re.MULTILINE):
        typed = [word.rstrip(",;)") for word in SHELL_WORD.findall(line)]
        known = [word for word in typed if not PLACEHOLDER.search(word) and SETTING.match(word.lstrip("\"'"))]
        arrived = dict(zip(known, quoted_settings(pasted(tuple(known))), strict=True))
        for setting in arrived.values():
            OverridesParser.create().parse_override(setting)
        for start, word in enumerate(typed[:-1]):
            if word == "frostline" and typed[start + 1] in COMMANDS:
                rest = takewhile(lambda word: SETTING.match(word.lstrip("\"'")), typed[start + 2 :])
                _require_command(typed[start + 1], tuple(arrived[word] for word in rest if word in arrived))


@cache
def pasted(words: tuple[str, ...]) -> list[str]:
    """The arguments that a program gets when these words are pasted into a shell behind its name."""
    if not words:
        return []
    script = f"printf '%s\\0' {' '.join(words)}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


@cache
def _require_command(name: str, settings: tuple[str, ...]) -> None:
    """Compose the command and check it, unless it names classes of the test itself."""
    if not settings or any("_target_" in setting or setting.startswith("+callbacks") for setting in settings):
        return
    resumes = any(setting.startswith("resume=") for setting in settings)
    folder = [] if resumes or name != "train" or any(it.startswith("run_dir=") for it in settings) else ["run_dir=it"]
    config = _composed("resume" if resumes else name, (*settings, *folder))
    if resumes:
        check(config, command="resume")
    elif name in ("train", "evaluate", "predict", "export"):
        check(config, command=name)
    GlobalHydra.instance().clear()


class Answer:
    """The program's output and exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Answer]:
    """`program("train", "data=digits")`: the program in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        from frostline.__main__ import main

        monkeypatch.setattr(sys, "argv", ["frostline", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        finally:
            GlobalHydra.instance().clear()
        captured = capsys.readouterr()
        require_pasteable(captured.err.replace(str(tmp_path), "/it"))  # the same command in each test is checked once
        return Answer(code, captured.out, captured.err)

    return run
