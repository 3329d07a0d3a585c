"""The modality of sounds: one class for each way to show them, chosen by the backbone's spec."""

from typing import ClassVar

from frostline.contracts.specs import Spec
from frostline.data.sounds.base import Sounds
from frostline.data.sounds.pictures import SoundPictures
from frostline.data.sounds.waves import SoundWaves
from frostline.errors import ConfigError


class SoundModality(Sounds):
    """What readers of sounds name; `shown_to` returns the class that serves them."""

    ways: ClassVar[tuple[type[Sounds], ...]] = (SoundPictures, SoundWaves)

    @classmethod
    def shown_to(cls, spec: Spec) -> type[Sounds]:
        for way in cls.ways:
            if isinstance(spec, way.takes):
                return way
        raise ConfigError(
            f"this backbone takes {spec.kind}s, but this data is {cls.samples}",
            where="model, data",
            next_step="a picture backbone (model=resnet50), a backbone for sounds (model=wav2vec2_base), or text data "
            "(data=text_csv)",
        )
