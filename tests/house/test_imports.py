"""Who may import whom: the table of layers, held against every file of src/frostline."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "frostline"

# A layer imports from the layers above it in this table. A room is a folder, or a module that stands alone, or one of a
# folder that is named here by itself; the words, what flows between the parts, and the two halves
# of the door, share one room each.
LAYERS: dict[str, list[str]] = {
    "words": [
        "",
        "errors",
        "specs",
        "targets",
        "phase",
        "phases",
        "paths",
        "record",
        "values",
        "signatures",
        "launcher",
        "stopping",
        "quoting",
        "hub",
        "range_test",
        "rate_advice",
        "reuse",
        "adapting",
    ],
    "batches": ["batch", "tokens"],
    "parts": [
        "backbones",
        "adapters",
        "heads",
        "tasks",
        "freezing",
        "frozen_pass",
        "frozen_cache",
        "agreement",
        "probes",
        "estimate",
        "depth",
        "sharding",
        "compiling",
        "allocator",
    ],
    "machines": ["finetuner", "strategies", "data", "callbacks", "frozen_cache.fill", "solving"],
    "joiner": [
        "build",
        "settling",
        "making",
        "optimizers",
        "costing",
        "keeping",
        "trainers",
        "checks",
        "checkpoint",
        "runs",
        "opening",
        "folders",
        "keys",
        "schedules",
    ],
    "story": [
        "run",
        "requeue",
        "fitting",
        "baselines",
        "averaging",
        "planning",
        "init_from",
        "evaluate",
        "predict",
        "picture_predictions",
        "text_predictions",
        "export",
        "lr_find",
        "rank",
        "report",
    ],
    "door": [
        "cli",
        "commands",
        "usage",
        "ranks",
        "hydra_errors",
        "typed",
        "resuming",
        "sweep",
        "sweep_jobs",
        "sweep_place",
        "__main__",
    ],
}
SHARED_ROOMS = {"words", "batches", "door"}

# Sideways imports that are wanted, with the reason.
SIDEWAYS = {
    ("adapters.layers", "backbones.base"): "what stands beside the layers of a Backbone",
    ("adapters.kinds", "backbones.base"): "and is put there",
    ("freezing", "adapters.layers"): "adapters are one of the parts of a block that learn",
    ("frozen_pass", "adapters.layers"): "a copy for inference has them in its weights",
    ("frozen_cache.key", "adapters.layers"): "what they do is part of the key",
    ("freezing", "backbones.base"): "the frost line lies between the blocks of a Backbone",
    ("build", "checks"): "the plan and the plain values are read in one way",
    ("build", "making"): "what the config names",
    ("build", "optimizers"): "one for each phase",
    ("build", "keeping"): "what becomes of its frozen blocks",
    ("keeping", "trainers"): "whether compiling pays is asked of the Trainer's device",
    ("build", "costing"): "a batch that fits, where none is said",
    ("checks", "keys"): "which settings a command knows",
    ("checks", "folders"): "the name of a run's config",
    ("checkpoint", "folders"): "the name of a run's config",
    ("runs", "folders"): "whose folder it is",
    ("runs", "opening"): "a run folder is data before it is opened",
    ("build", "settling"): "what of the plan waits for the data",
    ("settling", "costing"): "what a block costs on this machine",
    ("settling", "keeping"): "what is computed once, and what in each epoch",
    ("settling", "trainers"): "on which devices, and in which precision",
    ("depth", "estimate"): "seconds of a plan are the sum of its phases'",
    ("depth", "frozen_pass"): "arithmetic below each block",
    ("planning", "settling"): "the table counts samples of an epoch as the choice of a depth does",
    ("run", "report.depth_table"): "before it, what `thaw: auto` chose",
    ("optimizers", "making"): "what the config names, again",
    ("build", "trainers"): "one of the five objects, and the one with the most conditions",
    ("trainers", "checks"): "plain values again",
    ("trainers", "making"): "and what the config names",
    ("agreement", "sharding"): "a sharded tensor is compared as it is gathered",
    ("frozen_pass", "backbones.base"): "it runs the lower blocks of a Backbone",
    ("frozen_pass", "compiling"): "compiled, where that pays",
    ("frozen_cache.key", "backbones.base"): "whose structure and weights are the key",
    ("frozen_cache.fill", "data.module"): "a part of the data is stored, and served, as the frozen blocks leave it",
    ("frozen_cache.fill", "data.parts"): "of which it serves what is kept",
    ("frozen_cache.fill", "data.loader"): "in the order in which pictures would come",
    ("solving", "data.parts"): "the head is solved for a part of the data",
    ("solving", "finetuner"): "whose head it is",
    ("solving", "frozen_cache.fill"): "from the features that it has at hand",
    ("estimate", "backbones.base"): "a pass through each block of a Backbone is measured",
    ("estimate", "freezing"): "what is kept in memory follows from the parameter groups",
    ("run", "report.summary"): "a run ends with what it prints",
    ("run", "report.plan_table"): "and begins with its plan",
    ("run", "planning"): "which is made there",
    ("run", "fitting"): "phase by phase",
    ("run", "averaging"): "and after the last one",
    ("run", "requeue"): "and is queued again where its time is up",
    ("run", "init_from"): "from old weights",
    ("planning", "report.plan_table"): "the rows of the table are made where the plan is known",
    ("fitting", "baselines"): "where a phase leaves features at hand",
    ("rank", "baselines"): "the same scores, of many backbones",
    ("rank", "run"): "it is as quiet",
    ("rank", "report.ranking"): "and ends with what it prints",
    ("predict", "run"): "and is as quiet",
    ("predict", "picture_predictions"): "what a run says of pictures",
    ("predict", "text_predictions"): "what a run says of texts",
    ("picture_predictions", "text_predictions"): "in columns of the same kind",
    ("evaluate", "run"): "a score is made as at the end of a run",
    ("evaluate", "report.summary"): "and printed as it is there",
    ("export", "run"): "and so is this",
    ("lr_find", "run"): "it starts as a run does",
    ("lr_find", "fitting"): "what Lightning refuses is told alike",
    ("lr_find", "report.rate_curves"): "it ends with its picture",
    ("lr_find", "report.rate_table"): "and with what it prints",
}

WANTED = {(name, part) for name, other in SIDEWAYS for part in (other, other.split(".")[0])}

PARTS = {"torch", "torchvision", "transformers", "timm", "torchmetrics"}
THIRD_PARTIES: dict[str, set[str]] = {
    "words": set(),
    "batches": {"torch"},
    "parts": PARTS,
    "machines": PARTS | {"lightning"},
    "joiner": PARTS | {"lightning", "hydra", "omegaconf"},
    "story": {"torch", "lightning", "omegaconf"},
    "door": {"hydra", "omegaconf"},
}
OF_THE_ROOM = {  # what one room needs and its layer does not
    "adapters": {"peft"},
    "backbones": {"safetensors"},
    "data": {"numpy", "PIL", "pyarrow", "sklearn", "datasets", "yaml"},
    "report": {"rich", "matplotlib"},
    "opening": {"yaml"},
    "hub": {"huggingface_hub"},
}
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
}


# --- the graph, read from the source ---


class Module(NamedTuple):
    ours: set[str]  # modules of frostline, as in LAYERS: without `frostline.`
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


GRAPH = {name: read(name, file) for name, file in FILES.items()}


def room_of(name: str) -> str:
    return name if any(name in rooms for rooms in LAYERS.values()) else name.split(".")[0]


def layer_of(name: str) -> str:
    return next(layer for layer, rooms in LAYERS.items() if room_of(name) in rooms)


def reachable(start: str) -> set[str]:
    """What importing a module imports, itself included."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += GRAPH[name].ours_at_once
    return seen


# --- the rules ---


def test_the_graph_was_read() -> None:
    assert len(GRAPH) >= 35
    assert {"build", "checks", "report.summary"} <= GRAPH["run"].ours
    assert "run" in GRAPH["commands"].ours - GRAPH["commands"].ours_at_once
    assert GRAPH["backbones.layouts"].others == {"torch", "torchvision"}


def test_every_module_has_its_place_in_the_table_and_every_place_its_module() -> None:
    assert sorted({room_of(name) for name in FILES}) == sorted(room for rooms in LAYERS.values() for room in rooms)


@pytest.mark.parametrize("name", sorted(FILES), ids=lambda name: name or "frostline")
def test_a_module_imports_from_below_or_from_its_own_room(name: str) -> None:
    order = list(LAYERS)
    layer = layer_of(name)
    for other in sorted(GRAPH[name].ours):
        below = order.index(layer_of(other)) < order.index(layer)
        at_home = room_of(other) == room_of(name) or (layer_of(other) == layer and layer in SHARED_ROOMS)
        assert below or at_home or (name, other) in WANTED, f"{name} ({layer}) imports {other} ({layer_of(other)})"


@pytest.mark.parametrize("name", sorted(FILES), ids=lambda name: name or "frostline")
def test_a_module_imports_only_the_third_parties_of_its_layer(name: str) -> None:
    allowed = THIRD_PARTIES[layer_of(name)] | OF_THE_ROOM.get(room_of(name), set())
    assert GRAPH[name].others <= allowed, f"{layer_of(name)} may import {sorted(allowed)}"


def test_every_exception_is_still_needed() -> None:
    assert [pair for pair in SIDEWAYS if pair[1] not in GRAPH[pair[0]].ours] == []


def test_no_import_runs_in_a_circle() -> None:
    assert set(TopologicalSorter({name: module.ours for name, module in GRAPH.items()}).static_order()) == set(FILES)


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [name for name in FILES if drawers & set(name.split("."))] == []


def test_the_door_opens_without_the_heavy_libraries() -> None:
    at_once = {other for name in reachable("cli") for other in GRAPH[name].others_at_once}
    assert at_once == {"hydra", "omegaconf", "yaml"}
    everything = {other for name in reachable("run") for other in GRAPH[name].others_at_once}
    assert {"torch", "lightning"} <= everything & HEAVY  # the walk does find them where they are
    assert "matplotlib" not in everything  # a training draws nothing


def test_importing_the_door_really_loads_none_of_them() -> None:
    code = f"import sys, frostline.cli; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
