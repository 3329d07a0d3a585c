"""Read a run's checkpoints, load them into a model, and find where the run stands."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from frostline.backbones.weights import UNREADABLE, load_tensors, not_finite, unreadable
from frostline.config.signatures import value_problem
from frostline.contracts.targets import Targets
from frostline.data.target_types.find import about_schema, target_types
from frostline.distributed.sharding import load_whole
from frostline.errors import RunError, few
from frostline.plan.phases import BEFORE, Plan
from frostline.quoting import begun_anew, instead_of, setting_of
from frostline.runs.folders import CONFIG
from frostline.training.finetuner import CHECKPOINT_KEY, FineTuner

CHECKPOINTS = "checkpoints"  # subfolder of a run folder
VIEWS = "list[NonNegative[int] | None]"  # of each phase
Schema = Mapping[str, Any]  # by key: an annotation, a schema, or a function that returns a problem or None


def completed_targets(written: Any) -> Any:
    """A record of `Targets` in this version's format. Earlier versions wrote `mean` and `std` for every kind: both for
    numbers, for tags the mean words of a sample as `mean`, for others empty lists."""
    if not isinstance(written, dict) or "about" in written or not {"mean", "std"} <= written.keys():
        return written
    match written["mean"], written["std"]:
        case [], []:
            about = {}
        case [words], []:
            about = {"mean_words": words}
        case mean, std:
            about = {"mean": mean, "std": std}
    return {key: value for key, value in written.items() if key not in ("mean", "std")} | {"about": about}


def targets_problem(record: Any, where: str) -> str | None:
    """`record_problem` for a record of `Targets`, whose schema depends on their kind."""
    kinds = ", ".join(map(repr, target_types()))
    schema = {"kind": f"Literal[{kinds}]", "names": "list[str]", "counts": "list[int]", "about": "dict"}
    return record_problem(record, schema, where) or record_problem(
        record["about"], about_schema(record["kind"], record["about"]), f"{where}.about"
    )


RECORD: Schema = {  # of a checkpoint, under CHECKPOINT_KEY
    "phase": "str",
    "first_epoch": "NonNegative[int]",
    "epoch": "NonNegative[int]",
    "batches": "NonNegative[int]",
    "ended": "bool",
    "val": "dict",
    "average": "str | None",
    "identity": {"targets": targets_problem},
}


class Stand(NamedTuple):
    """Where the run of a checkpoint stands. number: index of the phase in the plan."""

    path: Path
    number: int
    first_epoch: int
    epoch: int
    batches: int
    ended: bool
    val: dict[str, float]

    def at(self, plan: Plan) -> str:
        """Where the run resumes, such as `in phase all after epoch 3 of 7`."""
        phase = plan.phases[self.number]
        if self.ended:
            return f"after phase {phase.name}"
        done = self.epoch - self.first_epoch
        if self.batches:
            return f"in phase {phase.name} in epoch {done + 1} of {phase.epochs}, after {self.batches} of its batches"
        return f"in phase {phase.name} after epoch {done + 1} of {phase.epochs}"


def load_checkpoint(model: FineTuner, path: Path) -> dict[str, Any]:
    """Read a file and call `loaded`. Raises RunError."""
    return loaded(model, read_checkpoint(path), path)


def loaded(model: FineTuner, content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Load the weights of a checkpoint into the model. Return their phase, their epoch in it, from 1, and the name of
    their average, if they are one. Raises RunError."""
    load_state(model, content["state_dict"], path)
    saved = content[CHECKPOINT_KEY]
    return {"phase": saved["phase"], "epoch": saved["epoch"] - saved["first_epoch"] + 1, "average": saved["average"]}


def load_state(model: FineTuner, state: dict[str, Any], path: Path) -> None:
    """state: tensors by name, of the checkpoint `path`. Raises RunError if they belong to another model."""
    try:
        load_whole(model, state)
    except RuntimeError as error:
        raise RunError(
            f"the checkpoint belongs to another model: {' '.join(str(error).split())[:300]}",
            where=path,
            next_step="restore the file, or the run's config.yaml and run.json",
        ) from error


def read_start(folder: Path, number: int) -> dict[str, Any]:
    """The weights with which the phase at index `number` begins. Raises RunError."""
    return read_checkpoint(start_of(folder, number), record={})["state_dict"]


def read_checkpoint(path: Path, *, instead: str | None = None, record: Schema = RECORD) -> dict[str, Any]:
    """Read a checkpoint and check it. instead: next step of the error. record: schema of what is under CHECKPOINT_KEY.
    Raises RunError if the file is damaged, or no checkpoint of a run."""
    try:
        content = _with_completed_targets(load_tensors(path))
        if (problem := _problem(content, record)) is None:
            read: dict[str, Any] = content
            return read
    except UNREADABLE as error:
        problem = unreadable(error)
    raise RunError(f"the checkpoint cannot be read: {problem}", where=path, next_step=instead or instead_of(path))


def _with_completed_targets(content: Any) -> Any:
    """The content of a file, with `completed_targets` applied if a run's identity has targets."""
    saved = content.get(CHECKPOINT_KEY) if isinstance(content, dict) else None
    identity = saved.get("identity") if isinstance(saved, dict) else None
    if isinstance(identity, dict) and "targets" in identity:
        identity["targets"] = completed_targets(identity["targets"])
    return content


def is_checkpoint(path: Path) -> bool:
    """Whether a file is readable and a checkpoint of a run, valid or not."""
    try:
        content = load_tensors(path)
    except UNREADABLE:
        return False
    return isinstance(content, dict) and CHECKPOINT_KEY in content


def _problem(content: Any, record: Schema) -> str | None:
    """Why the content is no valid checkpoint of a run; None if it is."""
    if not isinstance(content, dict) or not {"state_dict", CHECKPOINT_KEY} <= content.keys():
        return "it is not a checkpoint of a run"
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        return "its 'state_dict' does not map names to tensors"
    return record_problem(content[CHECKPOINT_KEY], record, CHECKPOINT_KEY)


def record_problem(record: Any, schema: Schema, where: str) -> str | None:
    """The first key of a record that is missing or has another type than in `schema`, as a message, or None."""
    if not isinstance(record, dict):
        return f"its '{where}' is not a mapping"
    for name, expected in schema.items():
        place = f"{where}.{name}"
        if name not in record:
            return f"its '{place}' is missing"
        if isinstance(expected, str):
            problem = value_problem(name, record[name], expected)
            problem = None if problem is None else f"its '{place}': {problem}"
        elif callable(expected):
            problem = expected(record[name], place)
        else:
            problem = record_problem(record[name], expected, place)
        if problem is not None:
            return problem
    return None


def require_finite_weights(content: dict[str, Any], path: Path) -> None:
    """Raises RunError if weights are not finite, as their predictions mean nothing."""
    if spoilt := not_finite(content["state_dict"]):
        raise RunError(
            f"the weights are not finite: {few(spoilt, 4)}",
            where=path,
            next_step="the training diverged, or the file is damaged: start a new run at a lower rate (optimizer.lr)",
        )


def require_unchanged(content: dict[str, Any], model: FineTuner, path: Path, *keys: str) -> None:
    """keys: of the identity; those that an earlier version did not write are skipped. Raises RunError that names the
    differences between config.yaml, from which `model` was made, and the run that wrote the checkpoint."""
    before: dict[str, Any] = content[CHECKPOINT_KEY]["identity"]
    messages = {"parts": "the samples are split differently (data.split_seed, data.val_fraction, data.test_fraction)"}
    other = [
        messages.get(key) or difference
        for key in keys
        if key in before
        for difference in _differences(before[key], model.identity[key], key)
    ]
    if other:
        raise RunError(
            f"config.yaml differs from the one used in training: {'; '.join(other)}",
            where=path.parent.with_name(CONFIG),
            next_step="restore the file, or start a new run",
        )


def read_saved(checkpoint: Path, command: str = "") -> dict[str, Any]:
    """Read the checkpoint of a run to resume. command: the one that began it. Raises RunError if it is damaged."""
    content = read_checkpoint(checkpoint, instead=_anew(checkpoint, command))
    identity = content[CHECKPOINT_KEY]["identity"]
    if "views" in identity and (problem := value_problem("views", identity["views"], VIEWS)) is not None:
        raise RunError(
            f"the checkpoint cannot be read: its 'views': {problem}",
            where=checkpoint,
            next_step=_anew(checkpoint, command),
        )
    return content


def _anew(checkpoint: Path, command: str) -> str:
    best = checkpoint.with_name("best.ckpt")
    return begun_anew(command, best if best.is_file() else None)


def stand_of(content: dict[str, Any], checkpoint: Path, model: FineTuner, plan: Plan, command: str = "") -> Stand:
    """command: the one that began the run. Raises RunError if it is another, or if its best checkpoint is missing."""
    saved: dict[str, Any] = content[CHECKPOINT_KEY]
    _require_same(_completed(saved["identity"], model.identity), model.identity, checkpoint)
    _require_best(content, checkpoint, _anew(checkpoint, command))
    number = phase_number(plan, saved["phase"], checkpoint)
    return Stand(checkpoint, number, *(saved[key] for key in ("first_epoch", "epoch", "batches", "ended", "val")))


def _require_best(content: dict[str, Any], checkpoint: Path, instead: str) -> None:
    """Raises RunError if the best weights, which the end of the run needs, are missing from its folder."""
    states = content.get("callbacks") if checkpoint.parent.name == CHECKPOINTS else None
    for state in states.values() if isinstance(states, dict) else ():
        best = state.get("best_model_path") if isinstance(state, dict) else None
        if isinstance(best, str) and best and not checkpoint.with_name(Path(best).name).is_file():
            raise RunError(
                "the checkpoint of the best epoch so far is missing",
                where=checkpoint.with_name(Path(best).name),
                next_step=f"restore the file; or {instead}",
            )


def phase_number(plan: Plan, name: str, checkpoint: object) -> int:
    """Index in the plan of the phase called `name`. Raises RunError if there is none."""
    names = [phase.name for phase in plan.phases]
    if name not in names:
        raise RunError(
            f"the checkpoint belongs to phase '{name}', but the plan has {', '.join(names)}",
            where=checkpoint,
            next_step="restore the run's config.yaml, or start a new run",
        )
    return names.index(name)


def start_of(folder: Path, number: int) -> Path:
    """The file for the weights with which a phase begins, if they are needed again."""
    return folder / "checkpoints" / f"before_phase_{number}.ckpt"


def forget_starts(folder: Path) -> None:
    """Delete the files of `start_of`, which a finished run no longer needs."""
    for path in folder.glob("checkpoints/before_phase_*.ckpt"):
        path.unlink()


def _completed(identity: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Add the settings that an earlier version did not have, and leave out keys that a newer version added."""
    identity = {key: now[key] for key in ("network", "steps")} | {key: identity[key] for key in identity if key in now}
    identity["targets"] = asdict(Targets.of(identity["targets"]))
    plan = identity.get("plan")
    if not isinstance(plan, dict) or "phases" not in plan:
        return identity
    phases = tuple(BEFORE | phase for phase in plan["phases"])
    if not all("views" in phase for phase in phases):  # the cache chose them; `now` has those of this checkpoint
        own = {phase["name"]: {"views": phase["views"]} for phase in now["plan"]["phases"]}
        phases = tuple(own.get(phase["name"], {}) | phase for phase in phases)
        identity |= {"views": now["views"]}
    return identity | {"plan": plan | {"phases": phases}}


def _require_same(before: dict[str, Any], now: dict[str, Any], checkpoint: Path) -> None:
    """Raises RunError that names the differences."""
    if other := [*_differences(before, now, "")]:
        raise RunError(
            f"this is another run: {'; '.join(other)}",
            where=checkpoint,
            next_step=f"restore what differs; or {setting_of('init_from', checkpoint)}  # in a new run",
        )


def _differences(before: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for key in now:
            yield from _differences(before[key], now[key], f"{where}.{key}" if where else str(key))
    elif isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from _differences(*pair, f"{where}[{number}]")
    elif before != now:
        yield f"{where} was {before!r} and is {now!r}"
