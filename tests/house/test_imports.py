"""Who may import whom: the ordered list of rooms, held against every file of src/frostline."""

import ast
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from frostline import __version__
from frostline.cli.dispatch import TASKS
from frostline.cli.help import COMMANDS

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "frostline"

# Rooms from the foundation up: a module imports from its own room and from rooms above it in this list. Behind each
# room stand the third parties that it needs.
ROOMS: dict[str, set[str]] = {
    "": {"huggingface_hub"},
    "contracts": {"torch"},
    "config": {"hydra", "lightning", "omegaconf", "yaml"},
    "distributed": {"lightning", "torch"},
    "storage": {"torch"},
    "backbones": {"safetensors", "scipy", "timm", "torch", "torchvision", "transformers"},
    "adapters": {"peft", "torch", "transformers"},
    "heads": {"segmentation_models_pytorch", "torch", "torchvision"},
    "tasks": {"PIL", "faster_coco_eval", "numpy", "torch", "torchmetrics"},
    "data.tables": {"pyarrow", "torch"},
    "data.target_types": {"torch"},
    "data": {"lightning", "sklearn", "torch"},
    "data.files": {"torch"},
    "data.pictures": {"PIL", "numpy", "pydicom", "pyarrow", "sklearn", "torch", "torchvision"},
    "data.boxes": {"PIL", "torch", "yaml"},
    "data.sounds": {"numpy", "scipy", "soundfile", "torch"},
    "data.texts": {"datasets", "torch", "transformers", "yaml"},
    "data.rows": {"numpy", "torch"},
    "plan": {"omegaconf", "torch"},
    "frozen": {"torch"},
    "saliency": {"PIL", "captum", "numpy", "torch"},
    "runs": {"numpy", "omegaconf", "pyarrow", "yaml"},
    "training.callbacks": {"lightning", "torch"},
    "training": {"lightning", "omegaconf", "sklearn", "torch", "torchmetrics"},
    "report": {"numpy", "rich", "scipy", "torch"},
    "pages": {"PIL", "google", "jinja2", "markupsafe", "numpy", "tensorboard"},
    "commands": {"PIL", "lightning", "numpy", "omegaconf", "torch"},
    "commands.neighbours": {"numpy", "omegaconf", "torch"},
    "commands.rank": {"lightning", "omegaconf", "rich"},
    "commands.lr_find": {"lightning", "matplotlib", "omegaconf", "rich"},
    "sweeps": {"hydra", "optuna", "sqlalchemy", "submitit"},
    "cli": {"hydra", "omegaconf", "yaml"},
}
DOOR = "__main__"  # stands above all rooms
HEAVY = {
    "torch",
    "torchvision",
    "torchmetrics",
    "lightning",
    "transformers",
    "timm",
    "peft",
    "numpy",
    "sklearn",
    "pyarrow",
    "datasets",
    "PIL",
    "matplotlib",
    "optuna",
}


# --- the graph, read from the source ---


class Module(NamedTuple):
    ours: set[str]  # modules, without `frostline.`
    others: set[str]  # top packages of third parties
    ours_at_once: set[str]  # of these, what is imported with the module and not in a function
    others_at_once: set[str]


def names_of(package: Path) -> dict[str, Path]:
    files = {".".join(file.relative_to(package).with_suffix("").parts): file for file in package.rglob("*.py")}
    return {name.removesuffix("__init__").removesuffix("."): file for name, file in files.items()}


FILES = names_of(PACKAGE)


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names, as far as they are modules."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert not node.level, f"line {node.lineno}: imports name the module in full"
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full.removeprefix("frostline.") in FILES else str(node.module)


def walk(node: ast.AST, *, functions: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from walk(child, functions=functions)


def split(names: set[str]) -> tuple[set[str], set[str]]:
    """Ours, the packages above each included; and third parties."""
    ours = {name.removeprefix("frostline").removeprefix(".") for name in names if name.split(".")[0] == "frostline"}
    packages = {name.rpartition(".")[0] for name in ours}
    tops = {name.split(".")[0] for name in names}
    return ours | packages, tops - {"frostline"} - sys.stdlib_module_names


def read(name: str, file: Path) -> Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    everything = {found for node in walk(tree, functions=True) for found in imported(node)}
    at_once = {found for node in walk(tree, functions=False) for found in imported(node)}
    parts = [*split(everything), *split(at_once)]
    return Module(parts[0] - {name}, parts[1], parts[2] - {name}, parts[3])


@cache
def graph() -> dict[str, Module]:
    return {name: read(name, file) for name, file in FILES.items()}


def room_of(name: str) -> str:
    """The folder of a module; a package is in its own room."""
    return name if name in ROOMS else name.rpartition(".")[0]


def reachable(start: str) -> set[str]:
    """What importing a module imports, itself included."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph()[name].ours_at_once
    return seen


# --- the rules ---


def test_the_graph_was_read() -> None:
    assert len(graph()) >= 35
    assert {"training.build", "plan.composed", "report.summary"} <= graph()["commands.train"].ours
    assert "commands.train" in graph()["cli.training"].ours - graph()["cli.training"].ours_at_once
    assert graph()["backbones.torchvision_layouts"].others == {"torch", "torchvision"}


def test_the_rooms_are_the_folders() -> None:
    assert {room_of(name) for name in FILES if name != DOOR} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(set(FILES) - {DOOR}), ids=lambda name: name or "frostline")
def test_a_module_imports_from_its_own_room_or_from_below(name: str) -> None:
    order = list(ROOMS)
    above = {other for other in graph()[name].ours if order.index(room_of(other)) > order.index(room_of(name))}
    assert not {other for other in above if not is_package_of(other, graph()[name].ours)}


def is_package_of(name: str, others: set[str]) -> bool:
    """Whether this is the folder around another module: importing one imports the other, which is empty."""
    return name in ROOMS and any(other.startswith(f"{name}.") for other in others)


@pytest.mark.parametrize("name", sorted(set(FILES) - {DOOR}), ids=lambda name: name or "frostline")
def test_a_module_imports_only_the_third_parties_of_its_room(name: str) -> None:
    assert graph()[name].others <= ROOMS[room_of(name)]


def test_no_import_runs_in_a_circle() -> None:
    assert set(TopologicalSorter({name: module.ours for name, module in graph().items()}).static_order()) == set(FILES)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [name for name in FILES if drawers & set(name.split("."))] == []


def test_the_door_opens_without_the_heavy_libraries() -> None:
    at_once = {other for name in reachable("cli.main") for other in graph()[name].others_at_once}
    assert at_once == {"hydra", "omegaconf", "yaml"}
    everything = {other for name in reachable("commands.train") for other in graph()[name].others_at_once}
    assert {"torch", "lightning"} <= everything & HEAVY  # the walk does find them where they are
    assert "matplotlib" not in everything  # a training draws nothing


def test_the_door_opens_for_one_run_without_what_runs_sweeps() -> None:
    begun = reachable("cli.main") | reachable("cli.training")
    assert {name for name in begun if name.startswith(("sweeps", "cli.sweep"))} == {"cli.sweep_arguments"}
    assert {"cli.sweep_jobs", "sweeps.planning"} <= reachable("cli.sweep_run")  # the walk does find them


def test_the_usage_names_every_command() -> None:
    assert set(COMMANDS) == set(TASKS)


@pytest.mark.parametrize(
    "asked", [["--help"], ["predict", "--help"], ["train", "-m", "-h"], ["--version"], ["train", "--version"]]
)
def test_help_is_printed_without_hydra(asked: list[str]) -> None:
    code = "import sys; from frostline.__main__ import main; main(); print({'hydra', 'omegaconf'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(__version__ if "--version" in asked else f"frostline {__version__}")
    assert answer.stdout.endswith("\nset()\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_as_one_that_nobody_reads(closed: str, tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m frostline train --cfg job {closed} && touch done"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "done").is_file()


def test_importing_the_door_really_loads_none_of_them() -> None:
    code = f"import sys, frostline.cli.main; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
