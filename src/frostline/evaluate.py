"""A run scored again: on its own test part, or on other labelled samples."""

from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf

from frostline.build import Built, build
from frostline.checkpoint import load_checkpoint
from frostline.checks import check
from frostline.data.targets import counts_of
from frostline.errors import RunError, few
from frostline.quoting import command_of
from frostline.record import Record
from frostline.report.summary import print_classes, print_scores
from frostline.run import enter_phase_of, others_stopped, quiet
from frostline.runs import amended, require_checkpoint
from frostline.targets import Targets

ELSEWHERE = ("dir", "file", "path", "test_split")  # settings of data that name other samples


def evaluate(cfg: DictConfig, record: Record, settings: DictConfig) -> dict[str, float]:
    """settings: of the run, opened. Raises RunError where there is nothing to score, and any error of its data."""
    quiet()
    folder = Path(cfg.run)
    settings = amended(_reading(settings, cfg.data), trainer=cfg.trainer)
    check(settings, command=None)
    L.seed_everything(settings.seed, workers=True, verbose=False)
    elsewhere = any(cfg.data[name] is not None for name in ELSEWHERE)
    built = _built(settings, record, folder, elsewhere=elsewhere)
    model, data, trainer = built.model, built.data, built.trainer
    enter_phase_of(built, load_checkpoint(model, require_checkpoint(folder, cfg.checkpoint), finite=True))
    if trainer.is_global_zero and record.status != "finished":
        print(f"run   {folder} is not finished ({record.status}): what it has reached so far is scored")
    with others_stopped(trainer):
        (scores,) = trainer.test(model, datamodule=data, verbose=False)
    if trainer.is_global_zero:
        print_classes(model.per_class)
        print_scores(dict(scores))
    return dict(scores)


def _reading(settings: DictConfig, given: DictConfig) -> DictConfig:
    """The settings of the run with the samples that the user names. Texts have a file for each part: `file` is the only
    one then."""
    if given.file is None or "train_file" not in settings.data:
        return amended(settings, data=given)
    settings = settings.copy()
    files = {"dir": None, "train_file": given.file, "val_file": None, "test_file": None}
    OmegaConf.update(settings, "data", files, merge=True)
    return amended(settings, data=OmegaConf.create({**given, "file": None}))


def _built(settings: DictConfig, record: Record, folder: Path, *, elsewhere: bool) -> Built:
    """elsewhere: whether other samples were named, which are those of the run if only their place is another."""
    if elsewhere:
        built = build(settings, load_weights=False, logs=False, known=Targets(**record.data["targets"]))
        if built.data.fingerprint != record.data.get("fingerprint"):
            if built.trainer.is_global_zero:
                _tell(built)
            return built
    built = build(settings, load_weights=False, logs=False)
    if built.data.fingerprint != record.data.get("fingerprint"):
        raise RunError(
            "the data is not the one that this run was trained and tested on",
            where=built.data.where,
            next_step=f"restore it; or score all of it as other data: {_again(folder, built)}",
        )
    return built


def _tell(built: Built) -> None:
    data = built.data
    print(f"data  {len(data.test_part):,} {data.samples} of {data.where}: other data than this run's own test part")
    counts = counts_of(data.target_kind, data.names, data.test_part.labels)
    missing = [name for name, count in counts.items() if not count]
    for note in [*([f"without a sample of: {few(missing, 10)}"] if missing else []), *data.notes()]:
        print(f"  {note}")


def _again(folder: Path, built: Built) -> str:
    """The command that scores what lies at the run's own place."""
    data = built.data
    setting = "data.dir" if Path(str(data.where)).is_dir() else "data.file"
    return command_of("evaluate", **{"run": folder, setting: data.where})
