"""Train phase by phase: one `trainer.fit` per phase, all by one Trainer, from the start or from a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from frostline.distributed.agreement import require_agreement
from frostline.distributed.sharding import whole_state
from frostline.errors import ConfigError, RunError, memory_is_short
from frostline.plan.freezing import Group, blocks_of, count_of
from frostline.plan.phase import Phase
from frostline.runs.folder import checkpoint_of, require_checkpoint
from frostline.runs.record import Record, Stopwatch
from frostline.training.baselines import baselines_of, features_at_hand
from frostline.training.build import Built
from frostline.training.callbacks.checkpoint_files import WholeFiles
from frostline.training.checkpoint import Stand, load_checkpoint, load_state, read_start, start_of
from frostline.training.finetuner import CHECKPOINT_KEY
from frostline.training.projector import log_projector
from frostline.training.scoring import score_untrained


class Learns(NamedTuple):
    """What learns in a phase, noted before its fit: the groups themselves would keep the unsharded parameters alive."""

    blocks: list[str]
    parameters: int

    @classmethod
    def of(cls, groups: list[Group]) -> "Learns":
        return cls(blocks_of(groups), count_of(groups))


def fit(built: Built, record: Record, folder: Path, stand: Stand | None, watch: Stopwatch, *, pictures: bool) -> None:
    """Train the remaining phases. Epochs and steps continue from phase to phase; everything else is made anew. Without
    phases, score the weights as they are. pictures: whether TensorBoard may show samples.

    Raises ConfigError, PlanError, RankError, RunError.
    """
    if not built.plan.phases:
        score_untrained(built, record, folder)
    first_epoch, start = (stand.first_epoch, stand.number) if stand is not None else (0, 0)
    rows = {row["name"]: row for row in record.phases}
    record.phases = record.phases[:start]
    for number, phase in list(enumerate(built.plan.phases))[start:]:
        resumed = stand if stand is not None and stand.number == number else None
        if resumed is None:
            _begin(built, number, folder)
        learns = Learns.of(built.enter(number, first_epoch))
        seconds: dict[str, float] = {}
        lap = Stopwatch(seconds)
        _fit_phase(built, phase, first_epoch, resumed)
        require_agreement(
            {"backbone": built.model.backbone, "head": built.model.head}, where=f"the end of phase '{phase.name}'"
        )
        lap.add_to("fit")
        watch.add_to("fit")
        epochs = built.trainer.current_epoch - first_epoch
        ended = resumed is not None and resumed.ended
        scores = resumed.val if resumed is not None and ended else built.trainer.callback_metrics
        row = _row(built, phase, learns, epochs, seconds["fit"], scores)
        record.phases.append(rows.get(phase.name, row) if ended else row)
        if built.trainer.is_global_zero:
            if not record.baselines.keys() - {"majority"}:  # probes of the features run once
                record.baselines = baselines_of(built, number)  # the other ranks do not wait for it
            if number == 0 and features_at_hand(built, number):
                log_projector(built, pictures=pictures)
            record.checkpoints = _checkpoints(folder)
            record.write(folder)
        first_epoch = built.trainer.current_epoch


def _begin(built: Built, number: int, folder: Path) -> None:
    """Load and save the weights with which the phase begins, if these are the best so far or `wise_ft` needs them. They
    are saved because a run that is killed early in the phase may have another best by then."""
    plan, model = built.plan, built.model
    from_best = plan.phases[number].start_from == "best"
    mixed_later = bool(plan.average.wise_ft) and number == plan.first_thaw(list(model.backbone.blocks))
    if not from_best and not mixed_later:
        return
    kept = start_of(folder, number)
    if kept.is_file():
        load_state(model, read_start(folder, number), kept)
    elif from_best:
        load_checkpoint(model, require_checkpoint(folder, "best"))
    state = whole_state(model)
    if built.trainer.is_global_zero and not kept.is_file():
        WholeFiles().save_checkpoint({"state_dict": state, CHECKPOINT_KEY: {}}, kept)


def _fit_phase(built: Built, phase: Phase, first_epoch: int, resumed: Stand | None) -> None:
    last = first_epoch + phase.epochs
    built.model.starts_at = (resumed.epoch, resumed.batches) if resumed is not None else (first_epoch, 0)
    if resumed is not None:
        built.data.resume_at(resumed.epoch, resumed.batches)
        if resumed.ended:
            last = resumed.epoch + 1  # nothing to train: the Trainer only restores its state
    built.trainer.fit_loop.max_epochs = last
    checkpoint = resumed.path if resumed is not None else None
    with refusals_told(phase, built.trainer):
        built.trainer.fit(built.model, datamodule=built.data, ckpt_path=checkpoint, weights_only=True)


@contextmanager
def refusals_told(phase: Phase, trainer: L.Trainer) -> Iterator[None]:
    """Raises ConfigError if Lightning rejects a setting only in `fit`, RunError if memory is short or a batch too small
    for BatchNorm."""
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(
            f"Lightning rejects a setting: {error}", where="trainer, callbacks", next_step="correct that setting"
        ) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RunError(
            f"BatchNorm has no statistics for one picture of one pixel in phase '{phase.name}'",
            where="data.batch_size",
            next_step="data.batch_size=2 or more, more pictures, a larger data.image_size, or "
            "schedule.every_phase.norm=frozen with pretrained weights",
        ) from error
    except RuntimeError as error:
        if not memory_is_short(error):
            raise
        raise RunError(
            f"the device has no memory left in phase '{phase.name}'",
            where=trainer.strategy.root_device,
            next_step="a smaller data.batch_size, perhaps with trainer.accumulate_grad_batches=2",
        ) from error


def _row(built: Built, phase: Phase, learns: Learns, epochs: int, seconds: float, scores: Any) -> dict[str, Any]:
    rates = {group["name"]: group["initial_lr"] for group in built.trainer.optimizers[0].param_groups}
    return {
        "name": phase.name,
        "thaw": phase.thaw,
        "learns": learns.blocks,
        "epochs": epochs,
        "trainable_parameters": learns.parameters,
        "learning_rates": rates,
        "seconds": round(seconds, 3),
        "samples_per_second": round(built.measure.samples_per_second, 1),
        "solved": built.solver.solution._asdict() if built.solver.solution is not None else None,
        "cached": built.frozen.at_work,
        "cache": built.frozen.counts | {"seconds": round(built.frozen.counts["seconds"], 3)},
        "val": {name: float(value) for name, value in scores.items() if name.startswith("val/")},
    }


def _checkpoints(folder: Path) -> dict[str, str | None]:
    paths = {name: checkpoint_of(folder, name) for name in ("best", "last")}
    return {name: str(path.relative_to(folder)) if path is not None else None for name, path in paths.items()}
