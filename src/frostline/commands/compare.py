"""Compare two runs on the samples of their test split, or on others, from their stored predictions."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from frostline.commands.evaluated import read_evaluation, scoring_command
from frostline.data.reader import GENERIC_NAMES
from frostline.errors import RunError
from frostline.quoting import command_of
from frostline.report.comparison import print_comparison
from frostline.report.pairs import TEST_SPLITS, Compared, answers, differences, differing, not_comparable, require_same
from frostline.runs.predictions import Predictions, read
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
        _require_same_data(records, first, second, where)
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
                next_step=" && ".join(
                    command_of("evaluate", *(own.weights_settings or []), run=it)
                    for it, own in zip(runs, records, strict=True)
                )
                + "   # then the compare that they print",
            )


def _require_same_data(records: Sequence[Record], first: Predictions, second: Predictions, where: str) -> None:
    """Raise RunError for runs of other data. The fingerprint of texts is that of their tokens: where networks have
    tokenizers of their own, samples are compared by file, line and target, and a note says so."""
    one, other = records
    if one.data.get("fingerprint") == other.data.get("fingerprint"):
        return
    names = [record.data.get("name") for record in records]
    of_texts = all("tokens" in record.data for record in records) and one.model.get("name") != other.model.get("name")
    same_name = names[0] == names[1] or not GENERIC_NAMES.isdisjoint(names)  # named so by earlier versions
    if of_texts and same_name and [*first.columns["sample"]] == [*second.columns["sample"]]:
        print("samples  compared by file, line and target: the networks have other tokenizers")
        return
    raise not_comparable(f"they are of other data ({names[0]} and {names[1]}; other fingerprints)", where)
