"""Embed a gallery with a trained run, for `frostline search`."""

from pathlib import Path

from omegaconf import DictConfig

from frostline.commands.neighbours.embedded import embedded, opened_to_embed
from frostline.commands.neighbours.gallery import require_new, write
from frostline.commands.train import quiet
from frostline.errors import counted
from frostline.quoting import command_of, with_program
from frostline.runs.record import Record


def index(cfg: DictConfig, record: Record, settings: DictConfig) -> Path:
    """Write the index. record, settings: of the run, `opened`. Raises DataError, RunError; for samples that cannot be
    read, only after the others are written."""
    quiet()
    output = Path(cfg.output).absolute()
    require_new(output)
    run = opened_to_embed(cfg, record, settings)
    samples = embedded(run, cfg)
    number, known = len(samples.names), {*samples.identities} - {""}
    write(output, samples.vectors.numpy(), samples.names, samples.identities, model=run.model, weights=run.key)
    of = f" of {counted(len(known), 'identity', 'identities')}" if known else ", of no known identity"
    print(f"{number:,} {run.predicting.samples}{of} in {cfg.output}")
    print(with_program(f"next  {command_of('search', run=cfg.run, index=cfg.output)} input=<file or folder>"))
    if samples.found.problems:
        raise run.predicting.unreadable(samples.found.problems, f"; the other {number:,} are in the index")
    return output
