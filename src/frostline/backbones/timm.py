"""Classification models of timm as backbones, if their architecture has a layout in `timm_layouts.py`."""

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.backbones.base import Backbone
from frostline.backbones.timm_layouts import LAYOUTS, Chain, chain_of, has_tokens
from frostline.backbones.weights import UNREADABLE, StateDict, load_weights, read_weights, unreadable
from frostline.config.ranges import Probability
from frostline.contracts.features import Form
from frostline.contracts.specs import ImageSpec
from frostline.errors import ConfigError, WeightsError, close_names, needs
from frostline.hub import go_offline
from frostline.paths import at_home

SMALLEST = 32  # pixels a side: networks that halve their input five times can take these
CHECKED = 64  # pixels a side of the picture on which a chain is compared with timm's network
SMALL = 10_000  # elements: a larger parameter is a matrix, which is initialised at random


class TimmBackbone(Backbone):
    """`name`: one of timm.list_models(), with or without a tag (`convnextv2_tiny.fcmae_ft_in22k_in1k`); the tag chooses
    the weights and their preprocessing. `weights`: DEFAULT for those of the tag, a file, or null for random ones.
    `drop_path_rate`: stochastic depth of blocks that learn; null for the model's own.
    `load=False`: the architecture and spec of these weights, with random values.

    The features of the blocks are compared with timm's own on one picture. Raises ConfigError if timm has no such
    model, if it has no layout or if its features differ, WeightsError if the weights cannot be loaded.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str | None,
        drop_path_rate: Probability | None,
        load: bool = True,
        form: Form = "vector",
    ) -> None:
        timm = _imported()
        _require_known(timm, name)
        published = weights == "DEFAULT" and load
        network = _created(timm, name, drop_path_rate)
        if published:
            network = _pretrained(timm, network, name, drop_path_rate)
        loaded = f"timm's {_tagged(name, network)}" if published else "random, from scratch"
        if weights is not None and weights != "DEFAULT":
            file = _file(weights)
            if load:
                loaded = load_weights(network, self._read(file), _classifiers(network), source=file)
        network.reset_classifier(0)
        network.eval()  # so that the comparison changes no statistics and draws no numbers
        chain = _chain(name, network)
        spec = _spec(name, network, fixed=has_tokens(chain))
        width = _require_the_same(name, network, chain, spec)
        super().__init__(
            name=name, blocks=chain.blocks, pool=chain.pool, width=width, spec=spec, loaded=loaded, form=form
        )
        self.train()

    def _read(self, file: Path) -> StateDict:
        """Weights with timm's keys."""
        return read_weights(file)


def _imported() -> Any:
    with needs("timm", "which provides this model", where="model", extra="timm", otherwise="another model"):
        go_offline()
        import timm
    return timm


def _require_known(timm: Any, name: str) -> None:
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        resembling = difflib.get_close_matches(architecture, known, n=10, cutoff=0.3)
        raise ConfigError(
            f"timm {timm.__version__} has no model '{architecture}': {close_names(architecture, resembling)}",
            where="model.name",
            next_step="model.name=<one of timm.list_models()>",
        )
    tags = [known.partition(".")[2] for known in timm.list_models(f"{architecture}*", include_tags=True)
            if known.partition(".")[0] == architecture]  # fmt: skip
    if tag and tag not in tags:
        raise ConfigError(
            f"timm's {architecture} has no weights '{tag}': {close_names(tag, filter(None, tags))}",
            where="model.name",
            next_step=f"model.name={architecture}.<one of these>, or {architecture} alone",
        )


def _created(timm: Any, name: str, drop_path_rate: float | None) -> Any:
    """Create the network with random weights, so that a model is refused before anything is downloaded."""
    try:
        network = timm.create_model(name, pretrained=False, **_options(drop_path_rate))
    except TypeError as error:
        raise ConfigError(
            f"timm's {name} cannot be made with these settings: {error}",
            where="model.drop_path_rate",
            next_step="model.drop_path_rate=null",
        ) from error
    architecture = type(network).__name__
    if architecture not in LAYOUTS:
        raise _refused(
            name, f"no layout of blocks is known for {architecture}; available: {', '.join(sorted(LAYOUTS))}"
        )
    return network


def _pretrained(timm: Any, network: Any, name: str, drop_path_rate: float | None) -> Any:
    """Create the network with timm's weights, which timm reads from safetensors or with weights_only."""
    if not _is_published(timm, name):
        raise WeightsError(
            f"timm publishes no weights for {name}",
            where="model.weights",
            next_step="model.weights=<file> (.pth, .safetensors), or model.weights=null to train from scratch",
        )
    try:
        return timm.create_model(name, pretrained=True, **_options(drop_path_rate))
    except UNREADABLE as error:  # the hub's errors are OSErrors
        raise WeightsError(
            f"the weights of timm's {name} cannot be downloaded or read: "
            + ("the hub cannot be reached" if go_offline() else unreadable(error)),
            where=network.pretrained_cfg.get("hf_hub_id") or network.pretrained_cfg.get("url"),
            next_step="model.weights=<file> with a copy of them, or model.weights=null to train from scratch",
        ) from error


def _options(drop_path_rate: float | None) -> dict[str, float]:
    return {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}


def _is_published(timm: Any, name: str) -> bool:
    published = timm.get_pretrained_cfg(name)
    return published is not None and bool(published.has_weights)


def _tagged(name: str, network: Any) -> str:
    tag = network.pretrained_cfg.get("tag")
    return f"{name.partition('.')[0]}.{tag}" if tag else name


def _file(weights: str) -> Path:
    if Path(weights).suffix or "/" in weights:
        return at_home(weights)
    raise WeightsError(
        f"'{weights}' is not a weights file; the tag in the model's name selects timm's own weights",
        where="model.weights",
        next_step=f"model.name=<name>.{weights} model.weights=DEFAULT, model.weights=<file>, or model.weights=null",
    )


def _classifiers(network: Any) -> tuple[str, ...]:
    named = network.pretrained_cfg.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _chain(name: str, network: nn.Module) -> Chain:
    try:
        return chain_of(network)
    except (NotImplementedError, AttributeError) as error:  # the layout names a part that this model lacks
        raise _refused(name, f"its {type(network).__name__} does not match its layout: {error}") from error


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"timm's {name} cannot be split into a chain of blocks: {why}",
        where="model.name",
        next_step="choose another model, or add a layout in src/frostline/backbones/timm_layouts.py",
    )


def _require_the_same(name: str, network: Any, chain: Chain, spec: ImageSpec) -> int:
    """Return the number of features D. Raises ConfigError if blocks and pool do not return timm's own features."""
    side = spec.size if spec.sizes == "fixed" else min(spec.size, max(spec.min_size, CHECKED))
    picture = torch.linspace(0, 1000, 3 * side * side).sin().view(1, 3, side, side)
    with torch.no_grad(), _stirred(network):
        expected = network.forward_head(network.forward_features(picture.clone()), pre_logits=True)
        features = picture
        try:
            for block in (*chain.blocks.values(), chain.pool):
                features = block(features)
        except (RuntimeError, TypeError) as error:
            raise _refused(name, f"its blocks cannot run one after another: {error}") from error
    same = features.shape == expected.shape and (features.is_meta or torch.allclose(features, expected, 1e-4, 1e-5))
    if features.ndim != 2 or not same:
        raise _refused(name, f"its blocks return {tuple(features.shape)}, which differ from timm's own features")
    return features.shape[1]


@contextmanager
def _stirred(network: nn.Module) -> Iterator[None]:
    """Perturb scales, biases and tokens inside the context: with their initial values (residual branches of 0, layer
    scales of 1e-6), blocks would hardly change the features."""
    real = [value for value in network.parameters() if not value.is_meta]
    small = [value for value in real if value.numel() <= SMALL or not value.any()]
    before = [value.clone() for value in small]
    for value in small:
        value.add_(torch.linspace(1, 1000, value.numel()).sin().view_as(value), alpha=0.1)
    try:
        yield
    finally:
        for value, held in zip(small, before, strict=True):
            value.copy_(held)


def _spec(name: str, network: Any, *, fixed: bool) -> ImageSpec:
    """The preprocessing that timm publishes with the weights. A `crop_mode` that squeezes a picture into a square, or
    pads it, is replaced by a centre crop."""
    from timm.data import resolve_data_config

    published = network.pretrained_cfg
    config = resolve_data_config(pretrained_cfg=published)
    channels, height, width = config["input_size"]
    if (channels, height) != (3, width):
        raise ConfigError(
            f"timm's {name} takes pictures of {channels} × {height} × {width}, but Frostline makes 3 × S × S",
            where="model.name",
            next_step="choose another model",
        )
    least = published.get("min_input_size") or (channels, SMALLEST, SMALLEST)
    return ImageSpec(
        size=height,
        resize=math.floor(height / config["crop_pct"]),  # rounded down, as timm does
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        min_size=least[1],
        sizes="fixed" if fixed or published.get("fixed_input_size") else "any",
    )
