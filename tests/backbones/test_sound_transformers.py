"""Encoders for sounds against the transformers library itself: its hidden states of padded batches."""

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import Tensor

from conftest import make_phase
from frostline.backbones.base import Backbone
from frostline.backbones.sound_layouts import LAYOUTS
from frostline.backbones.sound_transformers import SoundTransformer
from frostline.contracts.tokens import Tokens, padded
from frostline.errors import ConfigError, WeightsError
from frostline.frozen.blocks import FrozenPass, lowered
from frostline.frozen.key import prefix_digests
from frostline.plan.freezing import set_trainable
from tiny_waves import FAMILIES, make_encoder, network_of

LENGTHS = (1_300, 800, 401)
ALL = pytest.mark.parametrize("pair", FAMILIES, indirect=True)
OF_VALUES = [family for family in FAMILIES if family not in ("whisper", "ast")]


class Pair(NamedTuple):
    """network: of the library, without a decoder, in eval mode. folder: with its weights."""

    family: str
    network: Any
    backbone: SoundTransformer
    folder: Path

    @property
    def extractor(self) -> Any:
        return FAMILIES[self.family].extractor()


@pytest.fixture(scope="module")
def made() -> dict[str, Pair]:
    return {}


@pytest.fixture
def pair(request: pytest.FixtureRequest, made: dict[str, Pair], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    if request.param not in made:
        folder = make_encoder(tmp_path_factory.mktemp(request.param), request.param)
        network = network_of(request.param)
        network = getattr(network, "encoder", network) if request.param == "whisper" else network
        made[request.param] = Pair(request.param, network, backbone_of(folder).eval(), folder)
    return made[request.param]


def backbone_of(folder: Path, **settings: Any) -> SoundTransformer:
    return SoundTransformer(**{"name": str(folder), "weights": "DEFAULT", "dropout": None} | settings)


def waves(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.3 * torch.randn(length, generator=generator) + 0.1 for length in lengths]


def tokens_of(*sounds: Tensor) -> Tokens:
    return padded([sound[:, None] for sound in sounds])


def states(backbone: Backbone, tokens: Tokens) -> list[Tokens]:
    """The output of every block."""
    found = []
    with torch.no_grad():
        for block in backbone.blocks.values():
            tokens = block(tokens)
            found.append(tokens)
    return found


def library_states(pair: Pair, sounds: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Inputs of each layer and the last hidden state, for a batch that the library pads."""
    given = pair.extractor(
        [sound.numpy() for sound in sounds],
        sampling_rate=pair.extractor.sampling_rate,
        return_tensors="pt",
        **({"padding": True} if pair.family in OF_VALUES else {}),
    )
    mask = {"attention_mask": given["attention_mask"]} if FAMILIES[pair.family].masked else {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # WavLM gives torch masks of two types
        out = pair.network(given[pair.network.main_input_name], output_hidden_states=True, **mask)
    return list(out.hidden_states[: len(layers_of(pair.backbone))]), out.last_hidden_state


def layers_of(backbone: Backbone) -> list[int]:
    """Indices of the blocks whose output a layer takes."""
    names = list(backbone.blocks)
    return [names.index(name) - 1 for name in names if name.startswith("layer_")]


def require_alike(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_every_layout_is_compared(architecture: str) -> None:
    config = {"WhisperEncoder": "whisper", "ASTModel": "ast"}.get(
        architecture, architecture.removesuffix("Model").lower()
    )
    assert config in FAMILIES


@ALL
def test_hidden_states_of_a_padded_batch_are_the_librarys(pair: Pair) -> None:
    """A GroupNorm over time has no mask in the library, so that its padding changes a sound: there, each sound alone is
    the truth."""
    sounds = waves(*LENGTHS)
    found = states(pair.backbone, tokens_of(*sounds))
    alone = pair.family in OF_VALUES and not FAMILIES[pair.family].masked
    batches = [[number] for number in range(len(sounds))] if alone else [[*range(len(sounds))]]
    for members in batches:
        inputs, last = library_states(pair, [sounds[number] for number in members])
        for row, number in enumerate(members):
            real = found[-1].mask[number]
            require_alike(found[-1].values[number][real], last[row][: int(real.sum())])
            for place, expected in zip(layers_of(pair.backbone), inputs, strict=True):
                require_alike(found[place].values[number][real], expected[row][: int(real.sum())])


@pytest.mark.parametrize("pair", OF_VALUES, indirect=True)
def test_masks_have_the_librarys_lengths(pair: Pair) -> None:
    lengths = torch.tensor([*LENGTHS, 40, 41, 59, 60])
    expected = pair.network._get_feat_extract_output_lengths(lengths)
    assert pair.backbone.spec.tokens_of(lengths).tolist() == expected.tolist()
    found = states(pair.backbone, tokens_of(*waves(*lengths.tolist())))
    assert [state.mask.sum(1).tolist() for state in found] == [expected.tolist()] * len(found)
    assert pair.backbone.spec.least == 40, "the fewest values that give a token"
    assert pair.network._get_feat_extract_output_lengths(torch.tensor(39)) == 0


@ALL
def test_features_do_not_depend_on_the_padding_beside_a_sound(pair: Pair) -> None:
    sounds = waves(*LENGTHS)
    with torch.no_grad():
        together = pair.backbone(tokens_of(*sounds))
        alone = torch.cat([pair.backbone(tokens_of(sound)) for sound in sounds])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))
    assert (together[0] - together[1]).abs().max() > 1e-3, "different sounds have different features"


@ALL
def test_features_are_what_the_librarys_classifiers_pool(pair: Pair) -> None:
    sounds = waves(*LENGTHS[:1])
    _, last = library_states(pair, sounds)
    expected = (last[:, 0] + last[:, 1]) / 2 if pair.family == "ast" else last.mean(1)
    with torch.no_grad():
        require_alike(pair.backbone(tokens_of(*sounds)), expected)


@ALL
def test_the_frozen_pass_gives_the_same_bits_from_any_line(pair: Pair) -> None:
    """Run block by block, as with cached outputs; results do not depend on the rest of the batch."""
    work, count = FrozenPass(pair.backbone), len(pair.backbone.blocks)
    x = tokens_of(*waves(*LENGTHS))
    whole = work(x, 0, count)
    for line in range(1, count):
        assert torch.equal(work(work(x, 0, line), line, count), whole), line
    other = tokens_of(*waves(LENGTHS[0], 700), torch.ones(300))
    assert torch.equal(work(other, 0, count)[0], whole[0])
    with torch.no_grad():
        torch.testing.assert_close(whole, pair.backbone(x), rtol=1e-3, atol=1e-3)


@ALL
def test_blocks_in_bf16_hear_the_same(pair: Pair) -> None:
    x = tokens_of(*waves(*LENGTHS))
    low = FrozenPass(pair.backbone, torch.bfloat16)(x, 0, len(pair.backbone.blocks)).float()
    with torch.no_grad():
        expected = pair.backbone(x)
    assert (low - expected).norm() < 0.05 * expected.norm()
    stem = next(iter(pair.backbone.blocks.values()))
    assert all(p.dtype == torch.bfloat16 for p in lowered(stem, torch.bfloat16).parameters())


@ALL
def test_every_parameter_learns_and_a_frozen_prefix_does_not(pair: Pair) -> None:
    backbone = backbone_of(pair.folder)
    names = list(backbone.blocks)
    head = torch.nn.Linear(1, 1)
    for thaw in (names[0], names[2]):
        set_trainable(backbone, head, make_phase(thaw=thaw))
        backbone.zero_grad()
        backbone(tokens_of(*waves(*LENGTHS))).square().sum().backward()
        learning = names[names.index(thaw) :]
        for name, parameter in backbone.named_parameters():
            assert (parameter.grad is not None) == (name.split(".")[1] in learning), name


@ALL
def test_another_config_has_another_key(pair: Pair, tmp_path: Path) -> None:
    folder, name = make_encoder(tmp_path / "other", pair.family), pair.backbone.name
    same = prefix_digests(backbone_of(folder, name=name, weights=str(folder)))
    assert same == prefix_digests(pair.backbone)
    file = folder / "preprocessor_config.json"
    other = {"ast": {"mean": 0.5}, "whisper": {"n_fft": 320}}.get(pair.family, {"do_normalize": False})
    file.write_text(json.dumps(json.loads(file.read_text()) | other))
    digests = prefix_digests(backbone_of(folder, name=name, weights=str(folder)))
    assert all(one != another for one, another in zip(digests[1:], same[1:], strict=True))


@pytest.mark.parametrize("pair", ["wav2vec2_layer"], indirect=True)
def test_loudness_matters_only_without_normalisation(pair: Pair, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "raw", pair.family)
    FAMILIES[pair.family].extractor().__class__(sampling_rate=2_000, do_normalize=False).save_pretrained(folder)
    (sound,) = waves(900)
    x, louder = tokens_of(sound), tokens_of(2 * sound)
    with torch.no_grad():
        torch.testing.assert_close(pair.backbone(x), pair.backbone(louder), rtol=1e-3, atol=1e-4)
        raw = backbone_of(folder).eval()
        assert (raw(x) - raw(louder)).abs().max() > 1e-3


@pytest.mark.parametrize("pair", ["wavlm"], indirect=True)
def test_an_adapter_in_wavlm_changes_what_it_gives(pair: Pair) -> None:
    """The library's attention reads `q_proj.weight`, whatever stands in for the layer."""
    backbone = backbone_of(pair.folder).eval()
    attention = backbone.blocks["layer_1"].layer.attention
    attention.q_proj = torch.nn.Sequential(attention.q_proj, torch.nn.Linear(32, 32))
    with torch.no_grad():
        x = tokens_of(*waves(900))
        assert (backbone(x) - pair.backbone(x)).abs().max() > 1e-3


def test_what_is_left_out_of_weights_is_named(tmp_path: Path) -> None:
    config = FAMILIES["wav2vec2"].config()
    transformers.Wav2Vec2ForCTC(config).save_pretrained(tmp_path)
    FAMILIES["wav2vec2"].extractor().save_pretrained(tmp_path)
    backbone = backbone_of(tmp_path)
    assert "left out on purpose" in backbone.loaded
    assert "lm_head.weight" in backbone.loaded
    assert "masked_spec_embed" in backbone.loaded


def test_random_weights_have_the_same_architecture(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "hubert")
    random = backbone_of(folder, weights=None)
    assert random.loaded == "random, from scratch"
    assert random.state_dict().keys() == backbone_of(folder).state_dict().keys()
    assert backbone_of(folder, load=False).structure.split()[1:] == random.structure.split()[1:]


def test_the_asts_own_bands_are_no_reason_for_a_warning(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "ast", num_mel_bins=128)
    with pytest.warns(UserWarning, match="has all zero values"):
        transformers.ASTFeatureExtractor(max_length=64).save_pretrained(folder)
    assert backbone_of(folder).spec.tokens == 2 + 16 * 8  # a warning would be an error


# --- what is refused ---


def test_a_folder_without_a_preprocessor_is_refused(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "wav2vec2")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json") as error:
        backbone_of(folder)
    assert "preprocessor_config.json" in error.value.next_step


def test_a_text_model_is_refused(tmp_path: Path) -> None:
    transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no layout of blocks is known for BertModel") as error:
        backbone_of(tmp_path)
    assert "Wav2Vec2Model" in str(error.value)
    assert "sound_layouts.py" in error.value.next_step


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such folder"):
        backbone_of(tmp_path / "nowhere")


def test_a_part_without_a_place_is_refused(tmp_path: Path) -> None:
    config = FAMILIES["wav2vec2"].config()
    config.add_adapter, config.num_adapter_layers = True, 1
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    FAMILIES["wav2vec2"].extractor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="in no block"):
        backbone_of(tmp_path)


def test_patches_are_no_text(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, "ast")
    with pytest.raises(ConfigError, match="not in the order of time") as error:
        backbone_of(folder, form="tokens")
    assert "model=wav2vec2_base" in error.value.next_step
