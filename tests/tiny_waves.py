"""Small random encoders for sounds, as folders with config, weights and preprocessor_config.json; and sounds in which
each character is a tone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
import transformers

RATE = 2_000  # values per second of the small encoders that read values
WIDTH = 32
COMMON: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2,
                          "intermediate_size": 48, "conv_dim": (24, 24, 24), "conv_kernel": (10, 3, 3),
                          "conv_stride": (5, 2, 2), "num_conv_pos_embeddings": 8,
                          "num_conv_pos_embedding_groups": 2}  # fmt: skip
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WAVLM = COMMON | {"num_buckets": 16, "max_bucket_distance": 20}


class Family(NamedTuple):
    """extractor: makes the library's. masked: whether the library takes a mask of padding for it."""

    config: Callable[[], Any]
    extractor: Callable[[], Any]
    masked: bool = False


def of_values(**settings: Any) -> Callable[[], Any]:
    return lambda: transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=RATE, do_normalize=True, return_attention_mask=True, **settings
    )


FAMILIES = {
    "wav2vec2": Family(lambda: transformers.Wav2Vec2Config(**COMMON), of_values()),
    "wav2vec2_layer": Family(lambda: transformers.Wav2Vec2Config(**COMMON, **LAYER_NORM), of_values(), masked=True),
    "hubert": Family(lambda: transformers.HubertConfig(**COMMON), of_values()),
    "hubert_layer": Family(lambda: transformers.HubertConfig(**COMMON, **LAYER_NORM), of_values(), masked=True),
    "wavlm": Family(lambda: transformers.WavLMConfig(**WAVLM), of_values()),
    "wavlm_layer": Family(lambda: transformers.WavLMConfig(**WAVLM, **LAYER_NORM), of_values(), masked=True),
    "whisper": Family(
        lambda: transformers.WhisperConfig(
            d_model=WIDTH, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=48, decoder_layers=1,
            decoder_attention_heads=2, decoder_ffn_dim=48, num_mel_bins=16, max_source_positions=100, vocab_size=64,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        ),
        lambda: transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=2),
    ),
    "ast": Family(
        lambda: transformers.ASTConfig(
            hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48, patch_size=8,
            frequency_stride=8, time_stride=8, max_length=64, num_mel_bins=16,
        ),
        lambda: transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=64),
    ),
}  # fmt: skip


def network_of(family: str, **changes: Any) -> Any:
    """The library's network, with its decoder and in eval mode, always the same. changes: of its config."""
    config = FAMILIES[family].config()
    config.update(changes)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = transformers.AutoModel.from_config(config)
        for name, parameter in network.named_parameters():
            if parameter.ndim == 2 and "embed_positions" not in name:
                torch.nn.init.normal_(parameter, std=0.2)  # so that attention is not almost even
            if name.endswith(("position_embeddings", "token")):
                torch.nn.init.normal_(parameter, std=0.5)  # zeros would hide a wrong order
    return network.eval()


def make_encoder(folder: Path, family: str = "wav2vec2_layer", **changes: Any) -> Path:
    network_of(family, **changes).save_pretrained(folder)
    FAMILIES[family].extractor().save_pretrained(folder)
    return folder


PITCHES = {"a": 200.0, "b": 350.0, "c": 600.0, " ": 0.0}
LETTER = 0.1  # seconds
TEXTS = ["ab", "ba c", "cab", "a b", "c ba", "bac", "ca", "bc a"]


def spoken(text: str, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """(T,) float32: a tone for each character, with noise 40 dB below it."""
    at = np.arange(round(LETTER * rate)) / rate
    loudness = np.sin(np.pi * at / LETTER)
    tones = [0.5 * loudness * np.sin(2 * np.pi * PITCHES[character] * at) for character in text]
    noise = np.random.default_rng(seed).standard_normal(len(at) * len(text))
    return (np.concatenate(tones) + 0.005 * noise).astype(np.float32)


def put_spoken(folder: Path, texts: list[str] = TEXTS) -> Path:
    """Write each text three times, for training, validation and test, and their table."""
    folder.mkdir(parents=True)
    lines = ["path,text,split"]
    for number, text in enumerate(texts):
        for take, split in enumerate(("train", "val", "test")):
            name = f"{number}_{split}.wav"
            soundfile.write(folder / name, spoken(text, seed=take), RATE)
            lines.append(f"{name},{text},{split}")
    (folder / "spoken.csv").write_text("\n".join(lines) + "\n")
    return folder / "spoken.csv"
