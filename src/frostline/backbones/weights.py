"""Load weights from a file into a network, and report what is left out on purpose, missing or extra."""

import argparse
import json
import math
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

from frostline.backbones.held import read_held
from frostline.errors import WeightsError, first_line
from frostline.quoting import setting_of

StateDict = dict[str, Tensor]


class FoundWeights(StateDict):
    """Weights found in a file. told: notes on the wrappers and prefixes that were removed."""

    def __init__(self, state: StateDict, told: list[str]) -> None:
        super().__init__(state)
        self.told = told

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as an OrderedDict, like torch's state dicts, which torch.load reads with weights_only."""
        return OrderedDict, (), None, None, iter(self.items())


SUFFIX = ".safetensors"
ABOUT = "frostline"  # metadata key of files written by Frostline: JSON that describes the weights
# Keys under which training programs store the weights in a file. The first one found is used.
WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "student", "model_ema", "state_dict_ema", "net")
# Prefixes that they add to every name: DataParallel and DDP, torch.compile, the attribute that holds the network.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "teacher.", "student.")
# What torch.load and safetensors raise on truncated and foreign files (found by cutting and changing bytes).
UNREADABLE = (SafetensorError, pickle.UnpicklingError, struct.error, RuntimeError, EOFError, OSError, ValueError,
              LookupError, TypeError, AssertionError, AttributeError, zipfile.BadZipFile)  # fmt: skip


def read_weights(path: Path) -> FoundWeights:
    """Read a file of safetensors or `torch.save`, with or without wrappers, prefixes, and other entries. Copy its
    tensors before you modify them: a process that reads the file again gets the same ones.

    Raises WeightsError if the file is missing, truncated, or holds more than plain values, or if Frostline wrote it:
    its names are those of a backbone and a head.
    """
    found: FoundWeights = read_held(path, _found) if path.is_file() else _found(path)
    return FoundWeights(found, found.told)


def _found(path: Path) -> FoundWeights:
    content = _content(path)
    if (isinstance(content, Mapping) and ABOUT in content) or record_of(path) is not None:
        raise WeightsError(
            "this file was written by Frostline and holds a backbone and a head",
            where=path,
            next_step=f"{setting_of('init_from', path)}  # instead of model.weights",
        )
    return _unwrapped(content, path)


def read_exported(path: Path) -> StateDict:
    """Like `read_weights`; also reads files of `frostline export`, with their names `backbone.*` and `head.*`."""
    content = _content(path)
    return content if record_of(path) is not None else _unwrapped(content, path)


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
    """Load a file of `torch.save` with weights_only, after checking its checksums, which torch ignores.

    Raises one of UNREADABLE.
    """
    if zipfile.is_zipfile(path):
        require_whole(path)
    else:
        with path.open("rb") as file:
            if file.read(2) == b"PK":  # the beginning of a zip file, whose end lists what it holds
                raise ValueError("it is truncated or damaged")
    return torch.load(path, map_location="cpu", weights_only=True)


def require_whole(path: Path) -> None:
    """Raises ValueError if an entry of a zip file has a wrong checksum or is compressed."""
    with zipfile.ZipFile(path) as archive:
        # torch stores tensors uncompressed; a compressed entry of a few bytes can expand until memory runs out.
        if squeezed := [it.filename for it in archive.infolist() if it.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"it is compressed ({squeezed[0]}), which torch.save never does")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"it is damaged: the checksum of {damaged} is wrong")


def packed(weights: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
    """The bytes of a safetensors file. about: a description of the weights, in plain values."""
    own = {name: it.detach().clone(memory_format=torch.contiguous_format) for name, it in weights.items()}
    return save(own, metadata={"format": "pt", ABOUT: json.dumps(about)})


def record_of(path: Path) -> dict[str, Any] | None:
    """The `about` of a readable file that `packed` made; None for other files. Raises WeightsError if it is no JSON
    object."""
    if path.suffix != SUFFIX:
        return None
    with safe_open(path, "pt") as file:
        about = (file.metadata() or {}).get(ABOUT)
    if about is None:
        return None
    try:
        record = json.loads(about)
        problem = None if isinstance(record, dict) else f"its record '{ABOUT}' is not an object"
    except (ValueError, RecursionError) as error:
        problem = f"its record '{ABOUT}' is not valid JSON: {first_line(error)}"
    if problem is not None:
        raise WeightsError(f"the weights file cannot be read: {problem}", where=path, next_step="export it again")
    return cast("dict[str, Any]", record)


def load_weights(network: nn.Module, state: StateDict, left_out: Iterable[str], *, source: object) -> str:
    """Load `state`, except the keys below the module names in `left_out`. Returns a sentence on what was loaded.

    Raises WeightsError if a tensor is missing, extra, of another shape or not finite.
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
        # A version for the root only: MNASNet refuses weights without one, and BatchNorm, if it finds none, fills in
        # the counter that files of 2017 lack.
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
    """Raises WeightsError that lists the keys of another shape, missing and extra, if there are any."""
    if shapes or missing or extra:
        differences = [_listed("of another shape", shapes), _listed("missing", missing), _listed("extra", extra)]
        raise WeightsError(
            f"the weights do not belong to {network}: " + "; ".join(filter(None, differences)),
            where=source,
            next_step="choose the model that these weights belong to (model=...), or other weights (model.weights=...)",
        )


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    return [key for key, value in state.items() if value.is_floating_point() and not _is_finite(value)]


def _is_finite(value: Tensor) -> bool:
    """Whether no number is NaN or infinite. `aminmax` passes NaN on, and takes a tenth of the time of `isfinite` (5
    million numbers on one core of an AMD EPYC, torch 2.14.1)."""
    value = value.float() if value.itemsize == 1 else value  # torch compares no numbers of 8 bits
    return value.numel() == 0 or all(math.isfinite(end.item()) for end in value.aminmax())


def require_finite(state: StateDict, *, source: object) -> None:
    """Raises WeightsError if a tensor is not finite, as in torchvision's IMAGENET1K_FEATURES of VGG-16, whose big
    linear layers are NaN on purpose."""
    if spoilt := not_finite(state):
        raise WeightsError(
            f"the weights are not finite: {_listed('tensors', spoilt)}",
            where=source,
            next_step="choose other weights (model.weights=...)",
        )


def _unwrapped(content: Any, path: Path) -> FoundWeights:
    """Extract the weights from what training programs save with them. Raises WeightsError if there are none."""
    told = []
    while isinstance(content, Mapping) and (there := [it for it in WRAPPERS if isinstance(content.get(it), Mapping)]):
        others = f"; also present: {', '.join(there[1:])}" if there[1:] else ""
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
        told.append(f"{len(beside)} ignored ({_some(beside)})")
    return FoundWeights(state, told)


def _listed(what: str, keys: list[str]) -> str:
    return f"{len(keys)} {what} ({_some(sorted(keys))})" if keys else ""


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "")


def unreadable(error: BaseException) -> str:
    """One line on why a file cannot be read. It leaves out torch's advice to trust the file, which follows an
    unpickling error, and the lines of torch's source at which its reader failed."""
    if isinstance(error, pickle.UnpicklingError):
        return "it is not a plain file of tensors"
    if isinstance(error, zipfile.BadZipFile | EOFError) or re.search(r"\w\.cc:|miniz|PytorchStreamReader", str(error)):
        return "it is truncated or damaged"
    return first_line(error)
