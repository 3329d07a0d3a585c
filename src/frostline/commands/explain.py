"""Show where in one sample the answer of a run comes from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from frostline.commands.calibrated import calibrated
from frostline.commands.checks import check
from frostline.commands.predict import require_used
from frostline.commands.train import quiet
from frostline.commands.trained import Network
from frostline.contracts.batch import Batch
from frostline.data.predicting import Asked, Columns, Predicted
from frostline.data.split import Transfers
from frostline.errors import ConfigError, DataError, close_names, shown
from frostline.pages.explained import explained_page
from frostline.paths import write_atomically
from frostline.runs.folder import amended
from frostline.runs.record import Record
from frostline.saliency.explainer import Answering, explainer_of
from frostline.saliency.look import Word

PAGE = ".html"  # the suffix of explanations by words, which are printed too
MOST_WORDS = 20  # that are printed


def explain(cfg: DictConfig, record: Record, settings: DictConfig) -> Path | None:
    """Write the file and print the answer. settings: of the run, `opened`. Raises ConfigError for runs whose answers
    have no place in a sample, DataError for a sample that cannot be read, and if shares do not add up."""
    quiet()
    settings = amended(settings, trainer=cfg.trainer, model=cfg.model)
    check(settings, command=None)
    network = Network(settings, Path(cfg.run), cfg.checkpoint)
    network.task.evidence(torch.zeros(1, network.task.num_outputs))  # raises if this task has none
    calibrated(record, cfg.checkpoint, network.task, "temperature")  # as predict does
    chosen = _chosen(cfg.answer, network.targets.names)
    explainer = explainer_of(network.model.backbone)
    sample = _OneSample(network, explainer.example_input)
    predicting = network.predicting(sample.predictions)
    output = _output(cfg, explainer.suffix)
    data = {"windows": False, **{str(name): value for name, value in cfg.data.items()}}
    require_used(cfg, predicting)
    found = predicting.of_input(Asked(cfg.input, cfg.text, 1, cfg.top_k, data))
    if found.problems:
        raise predicting.unreadable(found.problems)
    answering = Answering(network.model.backbone, network.model.head, network.task.evidence, network.computing)
    made = explainer.explain(answering, predicting, sample.batch, found, chosen)
    answer, facts = network.targets.names[made.chosen], dict([made.summary])
    if output is not None:
        _write(output, made.picture or explained_page(made.texts, made.words, answer, made.summary[1]))
        facts["picture" if made.picture else "page"] = str(output)
    _tell(found, answer, facts)
    if made.texts:
        _print_words(made.texts, made.words, network.task.evidence_unit)
    return output


def _write(output: Path, content: str | bytes) -> None:
    try:
        write_atomically(output, content)
    except OSError as error:
        raise DataError(
            f"the file cannot be written: {error.strerror or error}",
            where=output,
            next_step="output=<a new file> in a writable folder",
        ) from error


class _OneSample:
    """Predicts one sample, and keeps what the network took. Raises DataError for more. example_input: how a user gives
    one."""

    batch: Batch

    def __init__(self, network: Network, example_input: str) -> None:
        self.network = network
        self.example_input = example_input

    def predictions(self, data: Transfers) -> Iterator[Tensor]:
        for number, batch in enumerate(self.network.batches(data)):
            if number or batch.size > 1:
                raise DataError(
                    "explain takes one sample, and there are several",
                    where="input",
                    next_step=f"{self.example_input}; frostline predict answers several",
                )
            self.batch = batch
            with torch.no_grad(), self.network.computing():
                outputs = self.network.model(batch.inputs)
            yield from (row.cpu() for row in self.network.task.decode(outputs, batch))


def _chosen(answer: str | None, names: Sequence[str]) -> int | None:
    if answer is None:
        return None
    if str(answer) not in names:
        raise ConfigError(
            f"this run has no answer '{answer}': {close_names(str(answer), names)}",
            where="answer",
            next_step="leave answer= out for the one with the highest score",
        )
    return [*names].index(str(answer))


def _output(cfg: DictConfig, suffix: str) -> Path | None:
    """Where to write; None prints. Raises ConfigError for another suffix, DataError if the file exists or cannot be
    written."""
    if cfg.output is None and suffix == PAGE:
        return None
    output = Path(f"{Path(str(cfg.input)).stem}.explained{suffix}" if cfg.output is None else cfg.output).absolute()
    if output.suffix.lower() != suffix:
        raise ConfigError(
            f"an explanation of this run's samples is written as {suffix}",
            where="output",
            next_step=f"output=explained{suffix}",
        )
    if output.exists() or output.is_symlink() or not output.parent.is_dir():
        raise DataError(
            "this file exists already" if output.parent.is_dir() else "there is no such folder",
            where=output,
            next_step=f"output=<a new file>{suffix} in a folder that exists",
        )
    return output


def _tell(found: Predicted, answer: str, more: Mapping[str, str]) -> None:
    rows = {name: cells[0] for name, cells in found.predicted.items()} | {"explained": answer, **more}
    width = max(map(len, rows))
    print(shown("".join(f"  {name:{width}}   {value}\n" for name, value in rows.items())), end="", flush=True)


def _print_words(texts: Mapping[str, str], words: Sequence[Word], unit: str) -> None:
    strings = [*texts.values()]
    largest = sorted(words, key=lambda word: -abs(word.share))[:MOST_WORDS]
    columns: Columns = {
        "word": [strings[word.text][word.start : word.end] for word in largest],
        "share": [f"{word.share:+.4f}" for word in largest],
    }
    width = max(map(len, columns["word"]), default=0)
    lines = [f"  {word:{width}}   {share}\n" for word, share in zip(*columns.values(), strict=True)]
    rest = len(words) - len(largest)
    print(
        shown("".join([f"\n  shares of {unit}:\n", *lines, f"  and {rest} more\n" if rest else ""])), end="", flush=True
    )
