"""Write report.html of a run: one file without anything from elsewhere, of at most 3 MB."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frostline.errors import RunError
from frostline.pages import sections
from frostline.pages.plan import plan
from frostline.pages.samples import Galleries, Looked, Shown, galleries
from frostline.pages.template import duration, filled, fixed
from frostline.paths import write_atomically
from frostline.report.calibration_record import recorded_calibration
from frostline.report.score_intervals import recorded_intervals
from frostline.report.summary import PAGE
from frostline.runs.folders import CONFIG
from frostline.runs.predictions import Predictions, Split, file_of, read
from frostline.runs.record import Record

MOST_BYTES = 3_000_000
TOO_LARGE = "The samples are left out: the page would be larger than 3 MB."
SPLITS = {"num_train": "training samples", "num_val": "validation samples", "num_test": "test samples"}
MOST_SETTINGS = 20_000  # characters


def write_page(
    folder: Path, record: Record, show: Shown | None, why_no_samples: str, *, private: bool, look: Looked | None = None
) -> Path:
    """Write the page and return its path. show: gives a sample by its index in its source; None: the page has no
    samples, for the reason `why_no_samples`. private: whether to leave out also what may name samples. look: see
    `galleries`."""
    found, damage = _predictions(folder, "test")
    why_no_samples = damage or why_no_samples
    samples = Galleries([])
    if show is not None and found is not None:
        samples = galleries(found, show, look, temperature=record.temperature)
    notes = [] if private else record.notes
    page = rendered(folder, record, found, samples, why_no_samples, notes)
    if len(page.encode()) > MOST_BYTES and samples.shown:
        page = rendered(folder, record, found, Galleries([]), TOO_LARGE, notes)
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _predictions(folder: Path, split: Split) -> tuple[Predictions | None, str]:
    """None if the run stored none; or if they are damaged, with a sentence on what the page lacks."""
    if not (folder / file_of(split)).is_file():
        return None, ""
    try:
        return read(folder, split), ""
    except RunError as error:
        print(f"frostline: the page lacks samples and diagrams: {error.what}\n  where: {error.where}", file=sys.stderr)
        return None, f"Samples, confusion matrix and diagrams are left out: {error.what}."


def rendered(
    folder: Path,
    record: Record,
    found: Predictions | None,
    samples: Galleries,
    why_no_samples: str,
    notes: list[str],
) -> str:
    from markupsafe import Markup

    if not record.intervals and found is not None:  # earlier versions stored none
        record.intervals = recorded_intervals(folder, record.metrics)
    calibration = record.calibration or recorded_calibration(folder)
    values: dict[str, Any] = {
        "record": record,
        "headline": [*_headline(record)],
        "scores": sections.scores(record),
        "has_intervals": bool(record.intervals),
        "best": _best(record),
        "baselines": Markup(sections.baselines(record)),
        "plan": Markup(plan(record.phases) if record.phases else ""),
        "charts": sections.charts(record, folder),
        "one_epoch": sum(int(phase["epochs"]) for phase in record.phases) == 1,
        "matrix": None if found is None else sections.confusion(found),
        "per_class_title": _title_of(record),
        "galleries": samples.shown,
        "has_heat": samples.have_heat,
        "has_pieces": samples.have_pieces,
        "unit": "" if found is None else found.about.get("evidence", ""),
        "why_no_looks": samples.why_no_looks,
        "why_no_samples": why_no_samples,
        "diagram": Markup("" if found is None else sections.reliability(found)),
        "risk": Markup("" if found is None else sections.risk(found, record.temperature)),
        "abstain": sections.abstention(folder, record.temperature),
        "calibration": calibration,
        "slices": record.slices,
        "data": [*_data(record)],
        "notes": notes,
        "counts": _counts(record),
        "environment": [*_environment(record)],
        "settings": _settings(folder),
        "commands": sections.commands(record, folder),
    }
    values["contents"] = [*_contents(values)]
    return filled("page.html", values)


def _headline(record: Record) -> Iterator[tuple[str, str, str]]:
    test = record.monitor.replace("val/", "test/", 1)
    for name in (test, record.monitor):
        if name in record.metrics:
            own = record.intervals.get(name)
            yield name, fixed(record.metrics[name]), f"95 %: {own['low']:.4f} to {own['high']:.4f}" if own else ""
    yield "total time", duration(record.seconds.get("total", 0.0)), ""
    if "parameters" in record.model:
        trained = max((int(phase["trainable_parameters"]) for phase in record.phases), default=0)
        yield "parameters", f"{record.model['parameters']:,}", f"{trained:,} learned at most"


def _best(record: Record) -> str:
    where = record.tested_weights
    return f"The tested weights are those of {where}, chosen by {record.monitor}." if where else ""


def _title_of(record: Record) -> str:
    first = next(iter(record.per_class[0]), "class") if record.per_class else "class"
    return {"class": "Classes", "label": "Labels", "entity": "Entities"}.get(first, f"By {first}")


def _data(record: Record) -> Iterator[tuple[str, str]]:
    for key, value in record.data.items():
        if key in ("classes", "targets") or value in (None, "", {}, []):
            continue
        name = SPLITS.get(key, key)
        if isinstance(value, dict):
            for part, own in value.items():
                if not isinstance(own, dict | list):
                    yield f"{name.replace('_', ' ')}: {str(part).replace('_', ' ')}", _formatted(own)
        else:
            yield name.replace("_", " "), _formatted(value)


def _formatted(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _counts(record: Record) -> list[tuple[str, int]]:
    targets = record.data.get("targets") or {}
    return list(zip(map(str, targets.get("names", [])), targets.get("counts", []), strict=False))


def _environment(record: Record) -> Iterator[tuple[str, str]]:
    yield from ((name, version) for name, version in record.versions.items() if version != "not installed")
    yield "seed", str(record.seed)
    yield "peak memory", f"{record.peak_memory_bytes / 2**30:.2f} GiB"
    for name, seconds in record.seconds.items():
        if name != "total":
            yield f"seconds: {name}", f"{seconds:.1f}"
    if record.model.get("weights"):
        yield "weights", str(record.model["weights"])


def _settings(folder: Path) -> str:
    file = folder / CONFIG
    return file.read_text(encoding="utf-8", errors="replace")[:MOST_SETTINGS] if file.is_file() else ""


def _contents(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield anchor and title of each section that the page has."""
    has = {
        "scores": bool(values["scores"]), "plan": bool(values["plan"]), "curves": True,
        "classes": bool(values["matrix"] or values["record"].per_class), "slices": bool(values["slices"]),
        "samples": bool(values["galleries"] or values["why_no_samples"]), "calibration": bool(values["diagram"]),
        "data": True, "environment": True, "next": True,
    }  # fmt: skip
    titles = {name: name.capitalize() for name in has} | {"classes": values["per_class_title"]}
    yield from ((name, titles[name]) for name, there in has.items() if there)
