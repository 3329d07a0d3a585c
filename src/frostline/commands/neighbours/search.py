"""Find the nearest samples of an index for each sample of an input."""

from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from frostline.commands.neighbours.embedded import embedded, opened_to_embed
from frostline.commands.neighbours.gallery import Gallery, read
from frostline.commands.neighbours.nearest import nearest
from frostline.commands.predict import require_writable, tell_formulas, write_table
from frostline.commands.train import quiet
from frostline.data.predicting import STANDARD_INPUT, Columns
from frostline.errors import RunError
from frostline.quoting import command_of
from frostline.runs.record import Record

UNKNOWN = "unknown"


def search(cfg: DictConfig, record: Record, settings: DictConfig) -> Columns:
    """Write a CSV, or print it if `output` is null: a row for each query. record, settings: of the run, `opened`.
    Raises DataError, RunError; for samples that cannot be read, only after the rows of the others are written."""
    quiet()
    again = f"{command_of('index', run=cfg.run)} input=<folder or table> output=<a new folder>"
    gallery = read(Path(cfg.index), again)
    run = opened_to_embed(cfg, record, settings)
    if gallery.key != run.key:
        raise RunError(
            f"this index was made with other weights (of {gallery.model}), whose embeddings do not compare",
            where=Path(cfg.index),
            next_step=again,
        )
    output = Path(cfg.output).absolute() if cfg.output is not None else None
    if output is not None:
        require_writable(output, Path(cfg.input or STANDARD_INPUT), run.predicting)
    queries = embedded(run, cfg, text=cfg.text)
    similar, places = nearest(queries.vectors, gallery.vectors, min(cfg.top_k, len(gallery.names)))
    threshold = run.threshold if cfg.threshold is None else cfg.threshold
    columns = {"query": queries.names} | _columns(similar, places, gallery, threshold)
    tell_formulas(columns)
    write_table(columns, output, cfg.output)
    if queries.found.problems:
        number = len(queries.names)
        raise run.predicting.unreadable(queries.found.problems, f"; the other {number:,} are searched")
    return columns


def _columns(similar: Tensor, places: Tensor, gallery: Gallery, threshold: float | None) -> Columns:
    """`answer`: the identity of the nearest, UNKNOWN if it is less similar than the threshold. Then `neighbour`,
    `similarity` and, if the index knows any, `identity`; those of the next with the suffix _2, ..."""
    known = any(gallery.identities)
    nearby = [threshold is None or value >= threshold for value in similar[:, 0].tolist()]
    own = [gallery.identities[place] for place in places[:, 0].tolist()]
    columns = {"answer": [name if near else UNKNOWN for name, near in zip(own, nearby, strict=True)]}
    for rank, (values, chosen) in enumerate(zip(similar.T.tolist(), places.T.tolist(), strict=True)):
        end = f"_{rank + 1}" if rank else ""
        columns[f"neighbour{end}"] = [gallery.names[place] for place in chosen]
        columns[f"similarity{end}"] = [f"{value:.6f}" for value in values]
        if known:
            columns[f"identity{end}"] = [gallery.identities[place] for place in chosen]
    return columns
