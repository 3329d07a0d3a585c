"""Update configs of earlier versions: classes that moved to other modules, settings that moved to other groups."""

from typing import Any

RENAMED = {
    "frostline.callbacks.checkpoints.PlacedCheckpoint": "frostline.training.callbacks.checkpoints.PlacedCheckpoint",
    "frostline.callbacks.curves.Curves": "frostline.training.callbacks.curves.Curves",
    "frostline.callbacks.progress.EpochLines": "frostline.training.callbacks.progress.EpochLines",
    "frostline.callbacks.safety.Safety": "frostline.training.callbacks.safety.Safety",
    "frostline.data.cifar.Cifar": "frostline.data.pictures.cifar.Cifar",
    "frostline.data.digits.Digits": "frostline.data.pictures.digits.Digits",
    "frostline.data.image_csv.ImageCsv": "frostline.data.pictures.image_csv.ImageCsv",
    "frostline.data.image_folder.ImageFolder": "frostline.data.pictures.image_folder.ImageFolder",
    "frostline.data.text.Conll": "frostline.data.texts.readers.Conll",
    "frostline.data.text.HfDataset": "frostline.data.texts.readers.HfDataset",
    "frostline.data.text.TextCsv": "frostline.data.texts.readers.TextCsv",
    "frostline.data.texts.kinds.Conll": "frostline.data.texts.readers.Conll",
    "frostline.data.texts.kinds.HfDataset": "frostline.data.texts.readers.HfDataset",
    "frostline.data.texts.kinds.TextCsv": "frostline.data.texts.readers.TextCsv",
    "frostline.heads.LinearHead": "frostline.heads.vector.LinearHead",
    "frostline.heads.MlpHead": "frostline.heads.vector.MlpHead",
    "frostline.reuse.Reuse": "frostline.frozen.policy.Reuse",
}


def renamed(node: Any) -> Any:
    """Replace each `_target_` of an earlier version by the class's present name."""
    if isinstance(node, dict):
        named = {key: renamed(value) for key, value in node.items()}
        target = named.get("_target_")
        return named | ({"_target_": RENAMED.get(target, target)} if isinstance(target, str) else {})
    return [renamed(item) for item in node] if isinstance(node, list) else node


def with_planned_views(settings: dict[Any, Any]) -> dict[Any, Any]:
    """Move `cache.views` of earlier versions to `views` of the plan.

    Earlier versions derived the views from the cache: with `never`, each epoch had new views; phases that cached frozen
    blocks cycled through `cache.views` views, or showed pictures without augmentation; phases without frozen blocks had
    new views. Which phases have frozen blocks depends on the network, except for phases that thaw the stem by
    definition; a resume reads its views from the checkpoint.
    """
    cache, schedule = settings.get("cache"), settings.get("schedule")
    if not isinstance(cache, dict) or not isinstance(schedule, dict):
        return settings
    every_phase = schedule.get("every_phase")
    if not isinstance(every_phase, dict) or "views" in every_phase:
        return settings
    when, kept = cache.get("when"), cache.get("views", 0)
    planned = "fresh" if when == "never" else kept or ("none" if when == "always" else "auto")
    changed = {**schedule, "every_phase": {**every_phase, "views": planned}}
    if planned not in ("auto", "fresh") and isinstance(phases := schedule.get("phases"), dict):
        changed["phases"] = {name: _fresh_above_nothing(phase) for name, phase in phases.items()}
    return {**settings, "cache": {name: it for name, it in cache.items() if name != "views"}, "schedule": changed}


def _fresh_above_nothing(phase: Any) -> Any:
    """Add fresh views to a phase that thaws the stem, as no block is frozen below it."""
    thaw = phase.get("thaw") if isinstance(phase, dict) else None
    return phase | {"views": "fresh"} if thaw == "all" or (isinstance(thaw, int) and thaw < 0) else phase
