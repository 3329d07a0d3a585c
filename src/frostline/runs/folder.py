"""What lies in a run folder, and which settings may differ when it is opened again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frostline.distributed.launcher import follows
from frostline.errors import RunError, shortened
from frostline.paths import at_home, moved
from frostline.plan.phases import BEFORE
from frostline.quoting import begun_anew, command_of, hydra_quoted, setting_of
from frostline.runs.folders import CONFIG
from frostline.runs.opening import read_settings, require_trusted
from frostline.runs.record import FILE, Record

# What may differ when the command of a run is given again, and the run goes on: places, hardware, what is shown.
MAY_DIFFER = {
    *("run_dir", "logs_dir", "resume", "dry_run", "requeue", "trust", "callbacks", "logger"),
    *("data.dir", "data.file", "data.path", "data.train_file", "data.val_file", "data.test_file", "data.num_workers"),
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("cache.dir", "schedule.minutes"),  # what the minutes chose is compared
    *("predictions", "predictions_max_gigabytes"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar"),
}


# What data read that had no such setting yet.
EARLIER: dict[str, dict[str, Any]] = {
    "frostline.data.pictures.cifar.Cifar": {"grey_range": "each"},
    "frostline.data.pictures.digits.Digits": {"grey_range": "each"},
    "frostline.data.pictures.image_csv.ImageCsv": {"suffix": "", "quotes": True, "grey_range": "each"},
    "frostline.data.pictures.image_folder.ImageFolder": {"grey_range": "each"},
    "frostline.data.texts.readers.TextCsv": {"quotes": True},
}
# Settings that name files and folders, which mean the same from any folder.
PLACES = ("data.dir", "data.file", "data.path", "model.weights", "init_from")
LEFT_OPEN = {"data.grey_range", "data.quotes"}  # null leaves it to the data, or to a version that knew no such setting
FILES = ("data.train_file", "data.val_file", "data.test_file")  # in data.dir, where that is set


def opened(folder: Path, *, trains: bool, trust: bool, again: str) -> tuple[Record, DictConfig]:
    """What a run says of itself, and its configuration, from which parts are made. Raises RunError where that would run
    code, or write to places, that need trust.

    trains: whether it goes on; else it comes without callbacks and logger. trust: whether the user said so. again: the
    command that says so.
    """
    record, settings = read_run(folder)
    if not trains:  # none of these is made, and what is cached goes where this user's does
        settings.callbacks, settings.logger = {}, {}
        OmegaConf.update(settings, "cache.dir", None)
    plain = OmegaConf.to_container(settings)
    assert isinstance(plain, dict)
    require_trusted({str(key): value for key, value in plain.items()}, folder, trust=trust, again=again)
    return record, settings


def read_run(folder: Path) -> tuple[Record, DictConfig]:
    """What a run says of itself, and its configuration placed where the folder lies now: nothing may be made from it
    before it is `opened`. Raises RunError."""
    return Record.read(folder), _relocated(read_settings(folder / CONFIG), folder)


def require_same_settings(settings: DictConfig, kept: DictConfig, folder: Path) -> None:
    """kept: those that the run in `folder` began with. Raises RunError that names what differs."""
    now, before = (_single(OmegaConf.to_container(lasting(node), resolve=True)) for node in (settings, kept))
    differing = [
        key for key in {**now, **before} if now.get(key) != before.get(key) and not _is_chosen_by_run(key, now.get(key))
    ]
    if differing:
        said = [f"{key} was {before.get(key)} and is {now.get(key)}" for key in differing]
        raise RunError(
            f"the unfinished run in this folder was started with other settings: {'; '.join(said)}",
            where=folder,
            next_step="give the command as it was given before, or run_dir=<another folder>",
        )


def _single(node: Any, prefix: str = "") -> dict[str, Any]:
    """`{a: {b: 1}}` as `{a.b: 1}`, without what may differ."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key not in MAY_DIFFER:
            found |= _single(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def _is_chosen_by_run(key: str, value: Any) -> bool:
    """Whether a run chooses this setting for itself, and keeps its choice."""
    if key == "data.batch_size":
        return value in ("auto", None)
    if key in LEFT_OPEN:
        return value is None
    return key.startswith("schedule.phases.") and key.endswith(".thaw") and value == "auto"


def with_found(settings: DictConfig, folder: Path) -> DictConfig:
    """With what the run in `folder` has found for itself."""
    found, kept = settings.copy(), read_run(folder)[1]
    for key, value in _single(OmegaConf.to_container(settings, resolve=True)).items():
        if key in LEFT_OPEN and value is None:  # which the run may have left so, too
            OmegaConf.update(found, key, OmegaConf.select(kept, key))
        elif _is_chosen_by_run(key, value):
            number = OmegaConf.select(kept, key)
            if not isinstance(number, int) or isinstance(number, bool):
                raise RunError(
                    f"the run's config.yaml has no number for {key}, which it chose: {shortened(str(number))}",
                    where=folder,
                    next_step=f"{key}=<number> as the run had it, or run_dir=<another folder>",
                )
            OmegaConf.update(found, key, number)
    return found


def goes_on(folder: Path, settings: DictConfig) -> bool:
    """Whether the run in `folder` can be taken up by the command that began it. Of several processes each answers for
    itself, and all alike: no checkpoint appears before they have met.

    Raises RunError where the run is finished, or was begun with other settings.
    """
    if (folder / FILE).exists():
        require_unfinished(Record.read(folder), folder)
    elif (there := [name for name in (CONFIG, "checkpoints") if (folder / name).exists()]) and not follows():
        raise RunError(
            f"this folder holds other files: {', '.join(there)}",
            where=folder,
            next_step="run_dir=<a new or empty folder>",
        )
    if checkpoint_of(folder, "last") is None:
        return False
    require_same_settings(settings, read_run(folder)[1], folder)
    return True


def require_unfinished(record: Record, folder: Path, typed: Sequence[str] = ()) -> None:
    """typed: settings of a resume. Raises RunError if there is nothing to go on with: the run is finished, or its last
    checkpoint is gone."""
    if record.status == "finished":
        raise RunError(
            "this run is finished",
            where=folder,
            next_step=f"{command_of('evaluate', run=folder)}; or {begun_anew(record.command, folder, typed)}"
            "  # trains on from its weights",
        )
    best = checkpoint_of(folder, "best")
    if checkpoint_of(folder, "last") is None and (best is not None or record.phases):
        raise RunError(
            "the run was trained, but its checkpoint last.ckpt is missing",
            where=folder / "checkpoints",
            next_step=begun_anew(record.command, best, typed),
        )


def placed(settings: DictConfig, folder: Path) -> DictConfig:
    """The settings as they were composed, for a run in `folder`: what refers to `run_dir` follows."""
    placed = settings.copy()
    OmegaConf.update(placed, "run_dir", str(folder))
    OmegaConf.update(placed, "resume", None)
    OmegaConf.update(placed, "trust", False)
    return placed


def _relocated(settings: dict[str, Any], folder: Path) -> DictConfig:
    """The settings that a run left: where they name its former place, they name where it lies now; and where its
    version had no such setting, what it did."""
    plain = moved(settings, str(settings.get("run_dir")), str(folder.absolute()))
    schedule = plain.get("schedule")
    if isinstance(schedule, dict) and isinstance(schedule.get("every_phase"), dict):
        schedule["every_phase"] = BEFORE | schedule["every_phase"]
    data = plain.get("data")
    if isinstance(data, dict):
        plain["data"] = EARLIER.get(str(data.get("_target_")), {}) | data
    if "predictions_max_gigabytes" not in plain:
        plain["predictions"] = False
    return OmegaConf.create({**plain, "run_dir": str(folder), "resume": None})


def lasting(settings: DictConfig, found: Mapping[str, Any] | None = None) -> DictConfig:
    """The settings as a run keeps them: a relative place means the same from any folder, and none is mistaken for
    another word. found: what the run chose for itself, by key."""
    kept = settings.copy()
    for key, value in (found or {}).items():
        OmegaConf.update(kept, key, value)
    OmegaConf.update(kept, "run_dir", str(Path(settings.run_dir).absolute()))
    for key, place in _whole_places(settings):
        OmegaConf.update(kept, key, place)
    return kept


def typed_anywhere(settings: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides that the settings come from, with places that mean the same from any folder."""
    places = dict(_whole_places(settings))
    keys = [override.partition("=")[0].lstrip("+") for override in overrides]
    return [
        f"{key}={hydra_quoted(places[key])}" if key in places else override
        for key, override in zip(keys, overrides, strict=True)
    ]


def _whole_places(settings: DictConfig) -> Iterator[tuple[str, str]]:
    """Settings that name a file or folder which is there, by its absolute path."""
    for key in (*PLACES, *(FILES if OmegaConf.select(settings, "data.dir") is None else ())):
        place = OmegaConf.select(settings, key)
        if isinstance(place, str) and at_home(place).exists():
            yield key, str(at_home(place).absolute())


def amended(settings: DictConfig, **others: DictConfig) -> DictConfig:
    """The settings with what `others` say by group; null says nothing. In another data.dir files are found by name."""
    data = others.get("data")
    if data is not None and data.get("dir") is not None:
        settings = settings.copy()
        for key in FILES:
            place = OmegaConf.select(settings, key)
            if isinstance(place, str) and Path(place).is_absolute():
                OmegaConf.update(settings, key, Path(place).name)
    said = {group: {key: value for key, value in node.items() if value is not None} for group, node in others.items()}
    merged = OmegaConf.merge(settings, said)
    assert isinstance(merged, DictConfig)
    return merged


def checkpoint_of(folder: Path, name: str) -> Path | None:
    """name: best or last."""
    path = folder / "checkpoints" / f"{name}.ckpt"
    return path if path.is_file() else None


def require_checkpoint(folder: Path, name: str, *, starts: bool = False) -> Path:
    """starts: whether a new run starts from it. Raises RunError."""
    path = checkpoint_of(folder, name)
    if path is None:
        other = "last" if name == "best" else "best"
        there = checkpoint_of(folder, other)
        raise RunError(
            f"the run has no checkpoint '{name}'",
            where=folder / "checkpoints",
            next_step=(setting_of("init_from", there) if starts else f"checkpoint={other}")
            if there is not None
            else f"{command_of('train', resume=folder)}  # finishes it",
        )
    return path
