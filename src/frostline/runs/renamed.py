"""Classes that configurations of earlier versions name, where they are defined now."""

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
    "frostline.data.text.Conll": "frostline.data.texts.kinds.Conll",
    "frostline.data.text.HfDataset": "frostline.data.texts.kinds.HfDataset",
    "frostline.data.text.TextCsv": "frostline.data.texts.kinds.TextCsv",
    "frostline.heads.LinearHead": "frostline.heads.vector.LinearHead",
    "frostline.heads.MlpHead": "frostline.heads.vector.MlpHead",
    "frostline.reuse.Reuse": "frostline.frozen.policy.Reuse",
}


def renamed(node: Any) -> Any:
    """Plain values of a configuration, in which each `_target_` names the class of this version."""
    if isinstance(node, dict):
        named = {key: renamed(value) for key, value in node.items()}
        target = named.get("_target_")
        return named | ({"_target_": RENAMED.get(target, target)} if isinstance(target, str) else {})
    return [renamed(item) for item in node] if isinstance(node, list) else node
