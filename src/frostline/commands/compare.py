"""Compare two runs on the samples of their test split, or on others, from their stored predictions."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from frostline.commands.evaluated import read_evaluation, scoring_command
from frostline.errors import RunError
from frostline.report.comparison import print_comparison
from frostline.report.pairs import TEST_SPLITS, Compared, answers, differences, differing, not_comparable, require_same
from frostline.runs.predictions import read
from frostline.runs.record import Record


def compare(cfg: DictConfig) -> None:
    """Print the comparison. Raises RunError if a folder is no run or stored no predictions, if the runs were not scored
    on the same samples, or if one has gone on since; ConfigError if neither was scored on samples of the name
    `evaluated`."""
    runs = Path(cfg.first), Path(cfg.second)
    records = [Record.read(run) for run in runs]
    where = f"{runs[0]}, {runs[1]}"
    if cfg.evaluated is None:
        _require_tested(runs, records)
        first, second = (read(run, "test") for run in runs)
        _require_same_data(records, where)
        compared = TEST_SPLITS
    else:
        first, second = (read_evaluation(run, str(cfg.evaluated), other) for run, other in (runs, runs[::-1]))
        both = [scoring_command(run, first.about) for run in runs]  # by the same settings
        compared = Compared("evaluated samples", " && ".join(both))
    require_same(first, second, where, compared)
    print_comparison(runs, differences(first, second), answers(first, second), differing(first, second, cfg.shown))


def _require_tested(runs: Sequence[Path], records: Sequence[Record]) -> None:
    for run, record in zip(runs, records, strict=True):
        if record.status == "finished" and "test/n" not in record.metrics:
            raise RunError(
                "the run was not scored on its test split: a sweep tests its best setting alone",
                where=run,
                next_step="sweep.test=all scores every run of a new sweep",
            )


def _require_same_data(records: Sequence[Record], where: str) -> None:
    prints = [record.data.get("fingerprint") for record in records]
    if prints[0] != prints[1]:
        names = [record.data.get("name") for record in records]
        raise not_comparable(f"they are of other data ({names[0]} and {names[1]}; other fingerprints)", where)
