"""Encoders of the transformers library as backbones for sounds, if their architecture has a layout in
`sound_layouts.py`."""

import warnings
from typing import Any

import torch
from torch import Tensor

from frostline.backbones.base import Backbone
from frostline.backbones.sound_layouts import LAYOUTS, SoundChain, sound_chain
from frostline.backbones.transformers_files import (
    UNLOADABLE,
    Family,
    Source,
    imported,
    pretrained,
    quiet,
    read_config,
    refused,
    require_layout,
    source_of,
    unloadable,
    untrained,
)
from frostline.config.ranges import Probability
from frostline.contracts.features import Form
from frostline.contracts.tokens import padded
from frostline.errors import ConfigError

ENCODERS = {"WhisperModel": "WhisperEncoder"}  # networks of which only the encoder is used
DROPOUTS = ("activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "dropout", "feat_proj_dropout",
            "hidden_dropout", "hidden_dropout_prob")  # fmt: skip
SOUNDS = Family({*LAYOUTS, *ENCODERS} - {*ENCODERS.values()}, "sound_layouts.py", DROPOUTS)
FILES = "config.json, model.safetensors, preprocessor_config.json"
LENGTHS = (9, 4)  # tokens of the two sounds on which a chain is compared with the library's network
SAME = 2e-3  # most difference from the library, relative to the largest value; its spectrograms are of float64


class SoundTransformer(Backbone):
    """`name`: on the hub, or a folder. `weights`: DEFAULT for those of `name`, another name or folder, or null for
    random ones with the config of `name`; rate, normalisation and spectrogram come from the preprocessor_config.json of
    the same source. `dropout`: of blocks that learn; null for the model's own.
    `load=False`: the architecture and spec of these weights, with random values.

    Masking of tokens in training (`mask_time_prob`) and LayerDrop of the library are left out: they draw random numbers
    that a resumed run could not repeat. `data.augment` covers parts of a sound.

    The output of the blocks is compared with the library's own hidden states on short sounds.
    Raises ConfigError if the model has no layout or its output differs, WeightsError if files cannot be loaded.
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
        library = imported()
        key = "model.name" if weights is None else "model.weights"
        source = source_of(name if weights in (None, "DEFAULT") else weights, key, False, FILES)
        with quiet(library), warnings.catch_warnings():
            # Some of the AST's 128 bands hold no frequency, in its pretraining too.
            warnings.filterwarnings("ignore", message="At least one mel filter has all zero values")
            config = read_config(library, source, dropout, SOUNDS)
            config.mask_time_prob = config.mask_feature_prob = 0.0
            extractor = _read_extractor(library, source)
            made = pretrained if weights is not None and load else untrained
            network, loaded = made(library, config, source)
            if type(network).__name__ in ENCODERS:
                network, loaded = network.encoder, f"{loaded}; only the encoder is used"
            network.eval()  # so that the comparison draws no random numbers
            chain = _chain(source, network, extractor, library)
            if form == "tokens" and not chain.in_time:
                raise ConfigError(
                    f"the tokens of {source.name} are patches of a spectrogram, not in the order of time",
                    where="model, task",
                    next_step="model=wav2vec2_base, or task=classification",
                )
            width = _require_the_same(source, network, extractor, chain)
        super().__init__(
            name=name, blocks=chain.blocks, pool=chain.pool, width=width, spec=chain.spec, loaded=loaded, form=form
        )
        self.train()


def _read_extractor(library: Any, source: Source) -> Any:
    try:
        return library.AutoFeatureExtractor.from_pretrained(source.name)
    except UNLOADABLE as error:
        raise unloadable("preprocessor_config.json", source, error) from error


def _chain(source: Source, network: Any, extractor: Any, library: Any) -> SoundChain:
    require_layout(source, type(network).__name__, SOUNDS._replace(layouts=LAYOUTS))
    try:
        return sound_chain(network, extractor, library)
    except (NotImplementedError, AttributeError) as error:  # the layout names a part that this network lacks
        why = f"its {type(network).__name__} does not match its layout: {error}"
        raise refused(source, why, SOUNDS) from error


def _require_the_same(source: Source, network: Any, extractor: Any, chain: SoundChain) -> int:
    """Return the number of features D. Raises ConfigError if the blocks do not return the library's hidden states of
    each sound alone."""
    spec = chain.spec
    waves = [_noise(spec.least + tokens * spec.hop) for tokens in (LENGTHS if spec.tokens is None else LENGTHS[:1])]
    with torch.no_grad():
        expected = [_of_library(network, extractor, wave) for wave in waves]
        tokens = padded([wave[:, None] for wave in waves])
        try:
            for block in chain.blocks.values():
                tokens = block.eval()(tokens)
        except (RuntimeError, TypeError) as error:
            raise refused(source, f"its blocks cannot run one after another: {error}", SOUNDS) from error
    found = [values[mask] for values, mask in zip(*tokens, strict=True)]
    if not all(map(_alike, found, expected)):
        shape = tuple(tokens.values.shape)
        raise refused(source, f"its blocks return {shape}, which differ from the library's hidden states", SOUNDS)
    return tokens.values.shape[-1]


def _noise(length: int) -> Tensor:
    """(T,) without a use of torch's own generator."""
    return torch.sin(torch.arange(length) ** 2 * 0.37) * 0.1


def _of_library(network: Any, extractor: Any, wave: Tensor) -> Tensor:
    """(L, D) hidden states of one sound, without padding."""
    given = extractor(wave.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    hidden: Tensor = network(given[network.main_input_name]).last_hidden_state[0]
    return hidden


def _alike(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= SAME * expected.abs().max())
