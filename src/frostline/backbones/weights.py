"""Weights from a file into a network, with both sides named: left out on purpose, missing, extra."""

import argparse
import json
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from frostline.errors import WeightsError, first_line
from frostline.quoting import setting_of

StateDict = dict[str, Tensor]


class FoundWeights(StateDict):
    """Weights that were found in a file. told: what was done to find them."""

    def __init__(self, state: StateDict, told: list[str]) -> None:
        super().__init__(state)
        self.told = told

    def __reduce__(self) -> tuple[Any, ...]:
        """Saved as an OrderedDict, as torch saves state dicts: torch.load with weights_only reads it."""
        return OrderedDict, (), None, None, iter(self.items())


SUFFIX = ".safetensors"
ABOUT = "frostline"  # in the metadata of a file of ours: what it is of, in JSON
# Where programs keep the weights within a file. Of several the first is taken.
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "student", "model_ema", "state_dict_ema", "net")
# What they put before every name: DataParallel and DDP, torch.compile, and a module's name for the network in it.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "teacher.", "student.")
# What torch.load and safetensors raise on truncated and foreign files (found by cutting and changing bytes).
UNREADABLE = (SafetensorError, pickle.UnpicklingError, struct.error, RuntimeError, EOFError, OSError, ValueError,
              LookupError, TypeError, AssertionError, AttributeError, zipfile.BadZipFile)  # fmt: skip


def read_weights(path: Path) -> FoundWeights:
    """A `.safetensors` file, or what `torch.save` wrote, with or without wrappers, prefixes, and bookkeeping beside.

    Raises WeightsError where the file is missing, truncated, or holds more than plain values, and where Frostline wrote
    it: its names are those of a backbone and a head.
    """
    content = _content(path)
    if (isinstance(content, Mapping) and ABOUT in content) or said_of(path) is not None:
        raise WeightsError(
            "this file was written by Frostline and holds a backbone and a head",
            where=path,
            next_step=f"{setting_of('init_from', path)} in the place of model.weights",
        )
    return _unwrapped(content, path)


def read_exported(path: Path) -> StateDict:
    """As `read_weights`, and what `frostline export` wrote with its own names: `backbone.*` and `head.*`."""
    content = _content(path)
    return content if said_of(path) is not None else _unwrapped(content, path)


def _content(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError("there is no such weights file", where=path, next_step="model.weights=<file>, or null")
    try:
        # Training scripts save their options beside the weights: plain values in a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content: Any = load_file(path) if path.suffix == SUFFIX else load_tensors(path)
    except UNREADABLE as error:
        raise WeightsError(
            f"the weights file cannot be read: {unreadable(error)}",
            where=path,
            next_step="it may be truncated (copy it again), or hold more than tensors (save model.state_dict() alone)",
        ) from error
    return content


def load_tensors(path: Path) -> Any:
    """What `torch.save` wrote, if it is plain and whole. torch itself passes over the checksums of its files.

    Raises one of UNREADABLE.
    """
    if zipfile.is_zipfile(path):
        require_whole(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def require_whole(path: Path) -> None:
    """Raises ValueError if a zip file holds other bytes than were written, or more than its size on disk tells."""
    with zipfile.ZipFile(path) as archive:
        # torch stores tensors as they are; a compressed one of a few bytes can stand for all memory.
        if squeezed := [it.filename for it in archive.infolist() if it.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"it is compressed ({squeezed[0]}), which torch.save never does")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"it is damaged: the checksum of {damaged} is another one")


def packed(weights: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    """A safetensors file. about: what it is of, in plain values."""
    own = {name: it.detach().clone(memory_format=torch.contiguous_format) for name, it in weights.items()}
    return save(own, metadata={"format": "pt", ABOUT: json.dumps(about)})


def said_of(path: Path) -> dict[str, Any] | None:
    """What a readable file says that it is of; None where it is none that `packed` made. Raises WeightsError where that
    is no JSON object."""
    if path.suffix != SUFFIX:
        return None
    with safe_open(path, "pt") as file:
        about = (file.metadata() or {}).get(ABOUT)
    if about is None:
        return None
    try:
        said = json.loads(about)
        problem = None if isinstance(said, dict) else f"its record '{ABOUT}' is no object"
    except (ValueError, RecursionError) as error:
        problem = f"its record '{ABOUT}' is no JSON: {first_line(error)}"
    if problem is not None:
        raise WeightsError(f"the weights file cannot be read: {problem}", where=path, next_step="export it anew")
    return cast("dict[str, Any]", said)


def load_weights(network: nn.Module, state: StateDict, left_out: Iterable[str], *, source: object) -> str:
    """Load `state`, except what lies under the module names `left_out`. Gives a sentence on what was done.

    Raises WeightsError where a parameter is missing, extra or of another shape.
    """
    dropped = tuple(f"{name}." for name in left_out)
    kept = {key: value for key, value in state.items() if not key.startswith(dropped)}
    wanted = {key: value for key, value in network.state_dict().items() if not key.startswith(dropped)}
    shapes = [
        f"{key} is {tuple(kept[key].shape)}, not {tuple(wanted[key].shape)}"
        for key in wanted.keys() & kept.keys()
        if kept[key].shape != wanted[key].shape
    ]
    missing: list[str] = []
    extra: list[str] = []
    if not shapes:
        versioned = OrderedDict(kept)
        # The root's only: MNASNet refuses weights without it; BatchNorm fills in what files of 2017 lack without it.
        versioned._metadata = {"": {"version": network._version}}  # type: ignore[attr-defined]
        report = network.load_state_dict(versioned, strict=False)
        missing = [key for key in report.missing_keys if not key.startswith(dropped)]
        extra = list(report.unexpected_keys)
    require_the_same(type(network).__name__, shapes, missing, extra, source=source)
    require_finite(kept, source=source)
    left = sorted(key for key in state if key.startswith(dropped))
    told = "".join(f"; {it}" for it in state.told) if isinstance(state, FoundWeights) else ""
    return f"{source} ({len(kept)} tensors; left out on purpose: {', '.join(left) if left else 'nothing'}{told})"


def require_the_same(network: str, shapes: list[str], missing: list[str], extra: list[str], *, source: object) -> None:
    """Raises WeightsError that names what is of another shape, missing and extra, where there is any."""
    if shapes or missing or extra:
        said = [_listed("of another shape", shapes), _listed("missing", missing), _listed("extra", extra)]
        raise WeightsError(
            f"the weights do not belong to {network}: " + "; ".join(filter(None, said)),
            where=source,
            next_step="choose the model that these weights belong to (model=...), or other weights (model.weights=...)",
        )


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    return [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]


def require_finite(state: StateDict, *, source: object) -> None:
    """Raises WeightsError where a tensor is not, such as in torchvision's IMAGENET1K_FEATURES of VGG-16, whose big
    layers are NaN on purpose."""
    if spoilt := not_finite(state):
        raise WeightsError(
            f"the weights are not finite: {_listed('tensors', spoilt)}",
            where=source,
            next_step="choose other weights (model.weights=...)",
        )


def _unwrapped(content: Any, path: Path) -> FoundWeights:
    """The weights within what other programs save beside them."""
    told = []
    while isinstance(content, Mapping) and (there := [it for it in WRAPPERS if isinstance(content.get(it), Mapping)]):
        others = f"; {', '.join(there[1:])} is there too" if there[1:] else ""
        told += [f"'{there[0]}' of the file{others}"]
        content = content[there[0]]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(
            "the file holds no named weights", where=path, next_step="save model.state_dict() with torch.save"
        )
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    beside = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    while prefix := next((it for it in PREFIXES if 2 * sum(key.startswith(it) for key in state) > len(state)), None):
        beside += [key for key in state if not key.startswith(prefix)]
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        told.append(f"names without '{prefix}'")
    if not state:
        raise WeightsError(
            f"the file holds no named weights: {_some(beside)}",
            where=path,
            next_step="save model.state_dict() alone, or under the key 'state_dict'",
        )
    if beside:
        told.append(f"{len(beside)} passed over ({_some(beside)})")
    return FoundWeights(state, told)


def _listed(what: str, keys: list[str]) -> str:
    return f"{len(keys)} {what} ({_some(sorted(keys))})" if keys else ""


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


def unreadable(error: BaseException) -> str:
    """Why, in a line. Of an unpickling error torch's own advice would be to trust the file: it is left out, and so are
    the places in torch's source at which its reader gives up."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is no plain file of tensors"
    if isinstance(error, zipfile.BadZipFile | EOFError) or re.search(r"\w\.cc:|miniz|PytorchStreamReader", str(error)):
        return "it is truncated or damaged"
    return first_line(error)
