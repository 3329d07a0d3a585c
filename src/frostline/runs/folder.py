"""Read a run folder, and decide which settings may differ when it is opened again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from frostline.config.constructors import parameters_of
from frostline.config.plain import Config, Settings, resolved, selected
from frostline.distributed.launcher import follows
from frostline.errors import RunError, shortened
from frostline.paths import at_home, leaves, moved
from frostline.plan.phases import BEFORE
from frostline.quoting import begun_anew, command_of, escaped, hydra_quoted, key_of, setting_of
from frostline.runs.folders import CONFIG
from frostline.runs.opening import read_settings, require_trusted
from frostline.runs.record import FILE, Record

# May differ when the same command continues a run: paths, hardware, display.
MAY_DIFFER = {
    *("run_dir", "logs_dir", "resume", "test", "dry_run", "requeue", "trust", "callbacks", "logger"),
    *("data.dir", "data.file", "data.path", "data.train_file", "data.val_file", "data.test_file", "data.num_workers"),
    "data.vocabulary",
    *("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy"),
    *("cache.dir", "schedule.minutes"),  # the depth that schedule.minutes chose is compared instead
    *("predictions", "predictions_max_gigabytes", "report"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar"),
}


OF_SWEEP = ("hydra.", "sweep.", "launcher.")  # settings that are not those of its runs

# How earlier versions read data, for configs from before these settings existed.
EARLIER: dict[str, dict[str, Any]] = {
    "frostline.data.pictures.cifar.Cifar": {"grey_range": "each"},
    "frostline.data.pictures.digits.Digits": {"grey_range": "each"},
    "frostline.data.pictures.image_csv.ImageCsv": {"suffix": "", "quotes": True, "grey_range": "each"},
    "frostline.data.pictures.image_folder.ImageFolder": {"grey_range": "each"},
    "frostline.data.texts.readers.TextCsv": {"quotes": True},
}
# The same of settings that any data may have.
LATER = {
    **{"folds": None, "fold": 0, "group_column": None, "group_pattern": None, "group_columns": None},
    **{"vocabulary": None, "per_identity": None},
    **{"split_by": "random", "time_column": None, "user_column": None, "relevant": None},
}
# Settings that name files and folders; a run stores them as absolute paths.
PLACES = ("data.dir", "data.file", "data.path", "data.vocabulary", "model.weights", "init_from")
# null: decided by the data, or by a version without this setting
LEFT_OPEN = {"data.grey_range", "data.quotes", "data.sample_rate", "data.seconds", "data.sides", "data.tile"}
FILES = ("data.train_file", "data.val_file", "data.test_file")  # relative to data.dir, if that is set


def opened(folder: Path, *, trains: bool, trust: bool, again: str) -> tuple[Record, DictConfig]:
    """Read a run's record and its config, from which objects may then be built. Raises RunError if building them would
    run code or write to folders that need `trust`.

    trains: whether training continues; else the config has no callbacks and no logger. trust: the user's trust=true.
    again: this command with trust=true.
    """
    record, settings = read_run(folder)
    if not trains:  # callbacks and logger are not built, and the cache lies in this user's folder
        settings.callbacks, settings.logger = {}, {}
        OmegaConf.update(settings, "cache.dir", None)
    plain = OmegaConf.to_container(settings)
    assert isinstance(plain, dict)
    require_trusted({str(key): value for key, value in plain.items()}, folder, trust=trust, again=again)
    return record, settings


def read_run(folder: Path) -> tuple[Record, DictConfig]:
    """Read a run's record and its config, with paths moved to where the folder lies now. Build nothing from this config
    before `opened` has checked it. Raises RunError."""
    return Record.read(folder), _relocated(read_settings(folder / CONFIG), folder)


def require_same_settings(settings: DictConfig, kept: DictConfig, folder: Path) -> None:
    """Raise RunError that names the differences from `kept`, the settings that the run in `folder` started with."""
    now, before = (_single(lasting(node)) for node in (settings, kept))
    differing = [
        key for key in {**now, **before} if now.get(key) != before.get(key) and not _is_chosen_by_run(key, now.get(key))
    ]
    if differing:
        differences = [f"{key} was {before.get(key)} and is {now.get(key)}" for key in differing]
        raise RunError(
            f"the unfinished run in this folder was started with other settings: {'; '.join(differences)}",
            where=folder,
            next_step="run the same command as before, or run_dir=<another folder>",
        )


def changed_settings(before: Mapping[Any, Any], now: Mapping[Any, Any]) -> list[str]:
    """Name the settings that differ between two configs of trainings, and phases that only one has. Other settings that
    only one has do not count, as versions of Frostline differ in them."""
    then, since = (
        {key: it for key, it in _single(node).items() if not key.startswith(OF_SWEEP)} for node in (before, now)
    )
    changed = [f"{key} was {then[key]} and is {since[key]}" for key in then if then[key] != since.get(key, then[key])]
    first, second = (_phases(node) for node in (before, now))
    changed += [f"there is no phase {name} any more" for name in first if name not in second]
    return changed + [f"phase {name} is new" for name in second if name not in first]


def _phases(node: Mapping[Any, Any]) -> list[str]:
    phases = selected(Settings(node), "schedule.phases")
    return [*phases] if isinstance(phases, dict) else []


def _single(node: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten `{a: {b: 1}}` to `{a.b: 1}`, without the keys in MAY_DIFFER."""
    found: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{prefix}{name}"
        if key not in MAY_DIFFER:
            found |= _single(value, f"{key}.") if isinstance(value, dict) and value else {key: value}
    return found


def _is_chosen_by_run(key: str, value: Any) -> bool:
    """Whether this value leaves the choice to the run, which then stores its choice."""
    if key == "data.batch_size":
        return value in ("auto", None)
    if key in LEFT_OPEN:
        return value is None
    return key.startswith("schedule.phases.") and key.endswith(".thaw") and value == "auto"


def with_found(settings: DictConfig, folder: Path) -> DictConfig:
    """Replace open settings by the values that the run in `folder` chose. Raises RunError if one of them is missing."""
    found, kept = settings.copy(), read_run(folder)[1]
    for key, value in _single(OmegaConf.to_container(settings, resolve=True)).items():
        if key in LEFT_OPEN and value is None:  # null in the run's config, too, if the run left it open
            OmegaConf.update(found, key, OmegaConf.select(kept, key))
        elif _is_chosen_by_run(key, value):
            number = OmegaConf.select(kept, key)
            if not isinstance(number, int) or isinstance(number, bool):
                raise RunError(
                    f"the run chose a number for {key}, but its config.yaml has {shortened(str(number))}",
                    where=folder,
                    next_step=f"{key}=<number> as the run had it, or run_dir=<another folder>",
                )
            OmegaConf.update(found, key, number)
    return found


def goes_on(folder: Path, settings: DictConfig) -> bool:
    """Whether the run in `folder` has a checkpoint from which the same command continues. Every rank decides for
    itself, and all agree: no checkpoint is written before the ranks have met.

    Raises RunError if the run is finished, was started with other settings, or `folder` holds other files.
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
    """Raise RunError if the run cannot continue: it is finished, or its last checkpoint is gone. A run that was killed
    in its first phase may have none yet, as it waited in memory: it starts again. typed: the overrides of a resume."""
    if record.status == "finished":
        raise RunError(
            "this run is finished",
            where=folder,
            next_step=f"{command_of('evaluate', run=folder)}; or {begun_anew(record.command, folder, typed)}"
            "  # starts a new run from its weights",
        )
    best = checkpoint_of(folder, "best")
    trained = bool(record.phases) or (best is not None and record.status != "running")
    if checkpoint_of(folder, "last") is None and trained:
        raise RunError(
            "the run was trained, but its checkpoint last.ckpt is missing",
            where=folder / "checkpoints",
            next_step=begun_anew(record.command, best, typed),
        )


def placed(settings: DictConfig, folder: Path) -> DictConfig:
    """Set `run_dir` to `folder` before interpolations are resolved, so that settings that refer to it follow, and hold
    from any folder. Changes `settings`, as a copy takes longer than all else here."""
    for key, value in {"run_dir": escaped(str(folder.absolute())), "resume": None, "trust": False}.items():
        OmegaConf.update(settings, key, value)
    return settings


def _relocated(settings: dict[str, Any], folder: Path) -> DictConfig:
    """Move paths from the run's former folder to `folder`, and add settings that its version did not have yet, with the
    values that describe how that version behaved."""
    plain = moved(settings, str(settings.get("run_dir")), escaped(str(folder.absolute())))
    schedule = plain.get("schedule")
    if isinstance(schedule, dict) and isinstance(schedule.get("every_phase"), dict):
        schedule["every_phase"] = BEFORE | schedule["every_phase"]
    data = plain.get("data")
    if isinstance(data, dict):
        target = str(data.get("_target_"))
        later = {name: LATER[name] for name in parameters_of(target) if name in LATER}
        plain["data"] = later | EARLIER.get(target, {}) | data
    if "predictions_max_gigabytes" not in plain:
        plain["predictions"] = False
    return OmegaConf.create({**plain, "run_dir": escaped(str(folder)), "resume": None})


def lasting(cfg: Config, found: Mapping[str, Any] | None = None, settings: Settings | None = None) -> Settings:
    """The settings that a run stores, after `placed`. Existing paths are absolute, so that they hold from any folder
    and are not mistaken for names. found: values that the run chose, by key. settings: those of `cfg`, if known."""
    kept = (settings or Settings.of(cfg)).deep_copy()
    places = {key: place for key, place in _whole_places(kept) if place != selected(kept, key)}
    if places and isinstance(cfg, DictConfig):  # interpolations that refer to them follow
        moved_cfg = cfg.copy()
        for key, place in places.items():
            OmegaConf.update(moved_cfg, key, escaped(place))
        kept = Settings.of(moved_cfg)
    for key, value in {**(found or {}), **places}.items():
        kept.put(key, value)
    return kept


def typed_anywhere(settings: DictConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides that composed `settings`, with existing paths made absolute, for use from any folder."""
    places = dict(_whole_places(settings))
    keys = [*map(key_of, overrides)]
    return [
        f"{key}={hydra_quoted(places[key])}" if key in places else override
        for key, override in zip(keys, overrides, strict=True)
    ]


def _whole_places(settings: Config) -> Iterator[tuple[str, str]]:
    """Yield the key and the absolute path of every setting that names an existing file or folder, and of the cache's
    folder, which the run creates."""
    model = resolved(settings.model) if "model" in settings else {}
    parts = [f"model.{key}" for key, _ in leaves(model) if key.endswith(".weights")]  # of networks within the network
    # A table of all samples makes `data.dir` the folder of other files.
    own_files = selected(settings, "data.dir") is None or selected(settings, "data.file") is not None
    for key in (*PLACES, "cache.dir", *parts, *(FILES if own_files else ())):
        place = selected(settings, key)
        if isinstance(place, str) and (key == "cache.dir" or at_home(place).exists()):
            yield key, str(at_home(place).absolute())
    for key, target in leaves(model, "model"):  # networks of transformers may be named by their folders
        named = f"{key.removesuffix('_target_')}name"
        name = selected(settings, named) if key.endswith("._target_") and "transformers" in str(target) else None
        if isinstance(name, str) and (at_home(name) / "config.json").is_file():
            yield named, str(at_home(name).absolute())


def amended(settings: DictConfig, **others: DictConfig) -> DictConfig:
    """Merge `others`, by group, into the settings; null changes nothing. In a new data.dir, files are found by name."""
    data = others.get("data")
    if data is not None and data.get("dir") is not None:
        settings = settings.copy()
        for key in FILES:
            place = OmegaConf.select(settings, key)
            if isinstance(place, str) and Path(place).is_absolute():
                OmegaConf.update(settings, key, Path(place).name)
    given = {group: {key: value for key, value in node.items() if value is not None} for group, node in others.items()}
    merged = OmegaConf.merge(settings, given)
    assert isinstance(merged, DictConfig)
    return merged


def checkpoint_of(folder: Path, name: str) -> Path | None:
    """Return the path of checkpoint `name` (best or last), or None if it is missing."""
    path = folder / "checkpoints" / f"{name}.ckpt"
    return path if path.is_file() else None


def require_checkpoint(folder: Path, name: str, *, starts: bool = False) -> Path:
    """Return the path of a checkpoint. Raises RunError if it is missing. starts: whether a new run starts from it."""
    path = checkpoint_of(folder, name)
    if path is None:
        Record.read(folder)  # raises if it is no run
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
