"""Write README.md of a run: a model card with the metadata that the hub of Hugging Face reads.

The metadata is YAML, of which JSON is a part: texts are written as JSON.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from frostline.errors import few, one_line, shortened, shown
from frostline.pages.template import fixed
from frostline.paths import write_atomically
from frostline.quoting import command_of
from frostline.report.score_intervals import cautions, without_bounds
from frostline.runs.record import Record

CARD = "README.md"
END = re.compile(r"\n<!-- written by Frostline ([0-9a-f]{16}); an edited card is not overwritten -->\n$")
HUB_TASK = re.compile(r"[a-z]+(-[a-z]+)*")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
UNPRINTABLE = re.compile("[\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")  # in YAML; control characters are escaped
MOST_CLASSES = 100
FOLDERS = re.compile(r"(?<![^\s=\[,'\"])/([^\s,'\"\]]*/)?")  # of this machine: the card may be published
MARKS = re.compile(r"([\\`*_\[\]#!|~])")


def write_card(folder: Path, record: Record, *, private: bool) -> Path | None:
    """Write the card and return its path; None if there is one that was edited. private: whether to leave out notes on
    the data, which may name samples. Raises OSError."""
    path = folder / CARD
    if path.exists() and not _is_ours(path):
        return None
    content = "\n".join(["---", *_metadata(record), "---", "", *_body(record, private=private)])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    write_atomically(path, f"{content}\n<!-- written by Frostline {digest}; an edited card is not overwritten -->\n")
    return path


def _is_ours(path: Path) -> bool:
    """Whether the file is a card as it was written."""
    content = path.read_text(encoding="utf-8", errors="replace")
    found = END.search(content)
    return found is not None and hashlib.sha256(content[: found.start()].encode()).hexdigest()[:16] == found[1]


# --- metadata ---


def _metadata(record: Record) -> Iterator[str]:
    task = record.model.get("hub_task")
    task = task if isinstance(task, str) and HUB_TASK.fullmatch(task) else None
    yield "library_name: frostline"
    if task is not None:
        yield f"pipeline_tag: {task}"
    yield f"tags: {_json([name for name in ('frostline', one_line(str(record.model.get('name', '')))) if name])}"
    for key, name in (("base_model", record.model.get("hub_name")), ("datasets", record.data.get("hub_name"))):
        if isinstance(name, str) and HUB_NAME.fullmatch(name):
            yield f"{key}: {_json(name if key == 'base_model' else [name])}"
    scores = _tested(record)
    if scores:
        yield f"metrics: {_json([*dict.fromkeys(name.partition('/')[2] for name in scores)])}"
        yield f"model-index: {_json([_results(record, task, scores)])}"
    yield "# license: name one before you publish the weights"


def _tested(record: Record) -> dict[str, float]:
    names = without_bounds(name for name in record.metrics if name.startswith("test/") and name != "test/n")
    return {name: record.metrics[name] for name in names if name != "test/loss" and isfinite(record.metrics[name])}


def _results(record: Record, task: str | None, scores: dict[str, float]) -> dict[str, Any]:
    data = one_line(str(record.data.get("name", "")))
    metrics = [{"type": name.partition("/")[2], "name": name, "value": value} for name, value in scores.items()]
    result = {
        "task": {"type": task or "other"},
        "dataset": {"name": data, "type": data, "split": "test"},
        "metrics": metrics,
    }
    return {"name": f"{one_line(str(record.model.get('name', '')))} on {data}", "results": [result]}


def _json(value: Any) -> str:
    """As is beyond ASCII: YAML knows no pairs of surrogates."""
    found = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return UNPRINTABLE.sub(lambda it: f"\\u{ord(it[0]):04x}", found)


# --- text ---


def plain(text: object) -> str:
    """Escape a name for Markdown, on one line."""
    return MARKS.sub(r"\\\1", escape(one_line(str(text)), quote=False))


def code(text: str, language: str = "") -> list[str]:
    """A block of code, whose fence is longer than any in the text."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", shown(text), fence, ""]


def _body(record: Record, *, private: bool) -> Iterator[str]:
    data, model = record.data, record.model
    yield f"# {plain(model.get('name', 'A network'))} on {plain(data.get('name', 'data'))}"
    yield ""
    sizes = [f"{data[key]:,} {split}" for key, split in _SPLITS if isinstance(data.get(key), int)]
    yield (
        f"Fine-tuned with Frostline {plain(record.versions.get('frostline', ''))}: {', '.join(sizes)} samples of "
        f"{plain(data.get('name', 'data'))}."
    )
    if model.get("weights"):
        yield f"Weights before the training: {plain(FOLDERS.sub('', str(model['weights'])))}."
    yield ""
    yield from _scores(record)
    yield from _classes(record)
    yield from _use(record)
    yield from _training(record)
    yield from _limits(record, private=private)


_SPLITS = (("num_train", "training"), ("num_val", "validation"), ("num_test", "test"))


def _scores(record: Record) -> Iterator[str]:
    scores = {name: value for name, value in record.metrics.items() if name.startswith("test/")}
    names = without_bounds(name for name in scores if name != "test/n")
    if not names:
        return
    yield from ["## Scores", "", "| score | value | 95 % interval |", "|---|---|---|"]
    for name in names:
        own = record.intervals.get(name)
        ends = f"{own['low']:.4f} to {own['high']:.4f}" if own else ""
        yield f"| {plain(name)} | {fixed(scores[name])} | {ends} |"
    yield ""
    if where := record.tested_weights:
        yield f"The weights are those of {plain(where)}, chosen by {plain(record.monitor)}."
    calibrated = record.calibration.get("calibrated")
    used = calibrated or record.calibration.get("raw")
    if used:
        which = "calibrated probabilities" if calibrated else "probabilities as trained"
        yield f"Expected calibration error of the {which}: {fixed(used['ece'])} "
        yield f"({fixed(used['low'])} to {fixed(used['high'])})."
        if record.temperature_harms:
            yield "Their negative log-likelihood is higher than that of the probabilities as trained."
    yield ""


def _use(record: Record) -> Iterator[str]:
    """How to predict from within the folder, wherever it lies; nothing for a run that saved no weights."""
    settings = record.weights_settings
    if settings is None:
        return
    yield from ["## Use", "", "In the folder of this file:", ""]
    typed = (setting.split("=") for setting in settings)
    more = [f"{name}={'True' if value == 'true' else repr(value)}" for name, value in typed]
    opened = f"run = frostline.open({', '.join([repr('.'), *more])})"
    lines = ["import frostline", "", opened, "for found in run.predict([sample]):", "    print(found.columns)"]
    yield from code("\n".join(lines), "python")
    yield from code(command_of("predict", *settings, run=".", input="new_samples"))


def _classes(record: Record) -> Iterator[str]:
    names = [str(name) for name in record.data.get("classes") or []]
    if names:
        yield from ["## Classes", "", plain(few([shortened(name) for name in names], MOST_CLASSES)), ""]


def _training(record: Record) -> Iterator[str]:
    yield from ["## Training", ""]
    if record.command:
        yield from code(FOLDERS.sub("", record.command))
    if record.phases:
        yield from ["| phase | learns | epochs | seconds |", "|---|---|---|---|"]
        for phase in record.phases:
            learns = few([str(name) for name in phase["learns"]], 4) or "nothing"
            yield f"| {plain(phase['name'])} | {plain(learns)} | {phase['epochs']} | {phase['seconds']:.1f} |"
        yield ""
    versions = [f"{name} {version}" for name, version in record.versions.items() if version != "not installed"]
    fingerprint = plain(record.data.get("fingerprint", ""))
    yield f"Seed {record.seed}; {plain(', '.join(versions))}; fingerprint of the data {fingerprint}."
    yield ""


def _limits(record: Record, *, private: bool) -> Iterator[str]:
    yield from ["## Limits", "", "The scores hold for samples like those of the test split.", ""]
    notes = [*([] if private else record.notes), *cautions(record.intervals)]
    yield from (f"- {plain(FOLDERS.sub('', note))}" for note in notes)
    if notes:
        yield ""
