"""A tower for pictures and one for texts, each any backbone of Frostline's. Both may be left out."""

from collections.abc import Mapping
from typing import Any, Literal

from frostline.backbones.base import Backbone
from frostline.backbones.towers import Towers
from frostline.config.instantiate import instantiate_nested
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec, Spec, TextSpec
from frostline.errors import ConfigError

TAKES: dict[str, type[Spec]] = {"image": ImageSpec, "text": TextSpec}


class FusionBackbone(Towers):
    """image, text: settings of a backbone with their `_target_`; null or {} for none. order: of the blocks in the
    chain, by their relative `depth`, or one tower after the other.
    `load=False`: the architectures and specs of these weights, with random values.

    Raises ConfigError if a tower takes other inputs, if the head does not take columns, or as the towers do.
    """

    def __init__(
        self,
        *,
        image: Mapping[str, Any] | None,
        text: Mapping[str, Any] | None,
        order: Literal["depth", "image_first", "text_first"],
        load: bool = True,
        form: Form = "vector",
    ) -> None:
        if form != "parts":
            raise ConfigError(
                "model=fusion returns features of several columns, which this head does not take",
                where="model, head",
                next_step="head=fusion, with task=classification, multi_label or regression",
            )
        settings = {"image": image, "text": text}
        towers = {part: _tower(part, node, load=load) for part, node in settings.items() if node}
        super().__init__(towers, name="fusion", first=None if order == "depth" else order.removesuffix("_first"))


def _tower(part: str, node: Mapping[str, Any], *, load: bool) -> Backbone:
    tower: Backbone = instantiate_nested(node, f"model.{part}", Backbone, load=load)
    if not isinstance(tower.spec, TAKES[part]):
        raise ConfigError(
            f"model.{part} names a backbone that takes {tower.spec.kind}s",
            where=f"model.{part}",
            next_step=f"model.{part}={'efficientnet_lite0' if part == 'image' else 'minilm'}, or another one for "
            f"{TAKES[part].kind}s",
        )
    return tower
