"""Networks of the transformers library that find objects, as a chain of blocks that ends in the maps which their own
decoder takes, if their architecture has a layout in `detection_layouts.py`."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from frostline.backbones.base import Backbone
from frostline.backbones.detection_decoders import DecoderMaker
from frostline.backbones.detection_layouts import LAYOUTS, MapChain, maps_of_library
from frostline.backbones.transformers_files import (
    UNLOADABLE,
    Family,
    Source,
    imported,
    quiet,
    read_config,
    refused,
    source_of,
    unloadable,
)
from frostline.backbones.weights import require_finite, require_the_same
from frostline.config.ranges import Probability
from frostline.contracts.features import Features, Form
from frostline.contracts.specs import ImageSpec
from frostline.errors import ConfigError, needs

DROPOUTS = ("activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "dropout",
            "hidden_dropout_prob")  # fmt: skip
NETWORKS = Family(LAYOUTS, "detection_layouts.py", DROPOUTS)
FILES = "config.json, model.safetensors, preprocessor_config.json"
INTERPOLATIONS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
SAME = 1e-4  # most difference from the library's maps, relative to their largest value


class DetectionTransformer(Backbone):
    """`name`: on the hub, or a folder. `weights`: DEFAULT for those of `name`, another name or folder, or null for
    random ones with the config of `name`; size and normalisation of pictures come from the preprocessor_config.json of
    the same source. `dropout`: of blocks and decoder that learn; null for the model's own.
    `load=False`: the architecture and spec of these weights, with random values.

    The features are a pyramid, whose `own_head` makes the network's own decoder. The maps are compared with those of
    the library on one picture.
    Raises ConfigError if the model has no layout, its maps differ or the form is another one, WeightsError if files
    cannot be loaded.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None,
        dropout: Probability | None,
        load: bool = True,
        form: Form = "vector",
    ) -> None:
        if form != "pyramid":
            raise ConfigError(
                f"{name} finds objects: it returns features as pyramid, but this head or task needs {form}",
                where="model, head, task",
                next_step="task=detection head=detr, or another model (model=resnet50)",
            )
        library = imported()
        with needs(
            "scipy", "which matches boxes with objects", where="model", extra="detr", otherwise="model=resnet50"
        ):
            import scipy  # noqa: F401  # the library imports it for its loss
        key = "model.name" if weights is None else "model.weights"
        source = source_of(name if weights in (None, "DEFAULT") else weights, key, False, FILES)
        with quiet(library):
            config = read_config(library, source, dropout, NETWORKS)
            # The library leaves out or reuses positions of this size in evaluation alone: blocks would not return the
            # same in training.
            config.eval_size = config.anchor_image_size = None
            processor = _read_processor(library, source)
            network, loaded = _network(library, config, source, load=weights is not None and load)
            network.eval()  # so that the comparison changes no statistics and draws no numbers
            maker = DecoderMaker(library, network)
            chain = _chain(source, network)
        if weights is not None and load:
            loaded += f"; left out on purpose: {', '.join([*maker.new, *chain.left])})"
        self._maps, self._own_head = chain.maps, maker  # before `_give`
        super().__init__(
            name=name,
            blocks=chain.blocks,
            pool=nn.Identity(),
            width=chain.maps.widths[-1],
            spec=_spec(source, processor, chain, _least(chain, network)),
            loaded=loaded,
            form=form,
        )
        self.train()

    def _give(self, form: Form) -> None:
        self.features = Features(form, self._maps.widths, self._maps.strides, own_head=self._own_head)

    def to_head(self, x: Tensor) -> list[Tensor]:
        return self._maps.open(x)


def _read_processor(library: Any, source: Source) -> Any:
    try:
        return library.AutoImageProcessor.from_pretrained(source.name)
    except UNLOADABLE as error:
        raise unloadable("preprocessor_config.json", source, error) from error


def _network(library: Any, config: Any, source: Source, *, load: bool) -> tuple[Any, str]:
    """The library's whole network, and the beginning of a sentence on its weights."""
    maker = library.AutoModelForObjectDetection
    try:
        if not load:
            return maker.from_config(config, dtype=torch.float32), "random, from scratch"
        network, found = maker.from_pretrained(
            source.name,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed in the error below, with all else that does not fit
        )
    except UNLOADABLE as error:
        raise unloadable("weights" if load else "config", source, error) from error
    shapes = [f"{key} is {tuple(theirs)}, not {tuple(ours)}" for key, theirs, ours in found["mismatched_keys"]]
    require_the_same(type(network).__name__, shapes, sorted(found["missing_keys"]), [], source=source.name)
    require_finite(network.state_dict(), source=source.name)
    extra = sorted(found["unexpected_keys"])  # of other outputs: the network is whole without them
    return network, f"{source.name} ({len(network.state_dict())} tensors; extra: {', '.join(extra) or 'nothing'}"


def _chain(source: Source, network: Any) -> MapChain:
    """Raises ConfigError if the blocks do not return the library's maps."""
    model = network.model
    try:
        whole = copy.deepcopy(model)
        chain = LAYOUTS[type(model).__name__](model)
    except (NotImplementedError, AttributeError) as error:  # the layout names a part that this network lacks
        why = f"its {type(model).__name__} does not match its layout: {error}"
        raise refused(source, why, NETWORKS) from error
    side = max(2 * chain.multiple, _least(chain, network))
    picture = torch.linspace(0, 1000, 3 * side * side).sin().view(1, 3, side, side)
    with torch.no_grad():
        expected = maps_of_library(whole, picture)
        value = picture
        try:
            for block in chain.blocks.values():
                value = block(value)
        except (RuntimeError, TypeError) as error:
            raise refused(source, f"its blocks cannot run one after another: {error}", NETWORKS) from error
    found = chain.maps.open(value)
    if len(found) != len(expected) or not all(map(_alike, found, expected)):
        shapes = [tuple(one.shape) for one in found]
        raise refused(source, f"its blocks return {shapes}, which differ from the library's maps", NETWORKS)
    return chain


def _least(chain: MapChain, network: Any) -> int:
    """The least side, in pixels, of a square with as many cells in all maps as the decoder has queries."""
    side = chain.multiple
    while sum((side // stride) ** 2 for stride in chain.maps.strides) < network.config.num_queries:
        side += chain.multiple
    return side


def _alike(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= SAME * expected.abs().max())


def _spec(source: Source, processor: Any, chain: MapChain, least: int) -> ImageSpec:
    """The preprocessing published with the weights. least: side of a picture, in pixels. Raises ConfigError for one
    that Frostline does not have."""
    side = processor.size.get("height") or processor.size.get("shortest_edge")
    resample = getattr(processor, "resample", None)
    resample = 2 if resample is None else int(resample)
    scaled_otherwise = not processor.do_rescale or abs(processor.rescale_factor * 255 - 1) > 1e-6
    if scaled_otherwise or resample not in INTERPOLATIONS or not side:
        raise ConfigError(
            "its preprocessor_config.json wants pictures scaled otherwise than Frostline does: to 0..1, bilinear or "
            "bicubic, with a size",
            where=source.name,
            next_step="choose another model",
        )
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    size = max(round(side / chain.multiple) * chain.multiple, least)
    return ImageSpec(
        size=size,
        resize=size,
        mean=tuple(mean),
        std=tuple(std),
        interpolation=INTERPOLATIONS[resample],
        min_size=least,
        sizes="square" if chain.square else "any",
        multiple=chain.multiple,
    )
