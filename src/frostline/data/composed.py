"""Build a data set from one config node, whose settings are those of a reader, its modality and the sampling."""

import inspect
from collections.abc import Mapping
from typing import Any

from frostline.contracts.specs import Spec
from frostline.contracts.targets import Targets
from frostline.data.modality import Given, Modality
from frostline.data.module import Data
from frostline.data.reader import Reader
from frostline.data.sample_cache import NOWHERE, SampleCache
from frostline.data.sampling import Sampling
from frostline.data.target_types.find import kinds_in_columns, require_kind, target_type
from frostline.errors import ConfigError, close_names


def data_of(
    kind: type[Reader],
    spec: Spec,
    settings: Mapping[str, Any],
    *,
    target_kind: str = "class",
    cache: SampleCache = NOWHERE,
    known: Targets | None = None,
) -> Data:
    """Let the reader find samples, hand them to its modality, and join both in `Data`.

    kind: the reader's class. settings: of reader, modality and sampling together, by parameter name. target_kind: of
    the target type that the task learns. cache: of decoded or tokenized samples. known: see `Data`.

    Raises ConfigError for an unknown setting, and if backbone, task and data do not fit together; DataError for data
    that cannot be read or split.
    """
    own, shared, sampled = _divided(kind, settings)
    require_kind(target_kind, kinds_of(kind))
    target = target_type(target_kind)
    modality: Modality = _made(kind.modality.shown_to(spec), spec, **shared)
    sampling: Sampling = _made(kind.sampling, **sampled)
    reader: Reader = _made(kind, **own)
    found = reader.read(target, known)
    samples = (found.train, found.val, found.test)
    about = {} if known is None else known.about
    modality.read(Given(samples, target, reader.name, reader.where, cache, found.notes, about))
    return Data(reader, found, modality, sampling, target=target, known=known)


def kinds_of(kind: type[Reader]) -> list[str]:
    """Kinds of targets that a reader can read, those in columns first."""
    in_columns = kinds_in_columns(modality_type(kind).samples) if kind.reads_columns else ()
    return [*in_columns, *kind.kinds]


def modality_of(kind: type[Reader], spec: Spec, settings: Mapping[str, Any]) -> Modality:
    """Build the modality alone, for samples without targets; settings of reader and sampling are ignored. Raises
    ConfigError for an unknown setting, or if the backbone takes another modality."""
    modality: Modality = _made(kind.modality.shown_to(spec), spec, **_divided(kind, settings)[1])
    return modality


def modality_type(kind: type[Reader]) -> type[Modality]:
    """The class of the modality that a reader names. Raises ConfigError."""
    found = getattr(kind, "modality", None)
    if not (isinstance(found, type) and issubclass(found, Modality)):
        raise ConfigError(
            f"{kind.__name__} names no modality",
            where="data._target_",
            next_step=f"`modality = PictureModality` or another one in class {kind.__name__}",
        )
    return found


def _made(kind: type, *arguments: Any, **settings: Any) -> Any:
    """Raises ConfigError if a setting is missing."""
    try:
        inspect.signature(kind).bind(*arguments, **settings)
    except TypeError as error:
        raise ConfigError(
            f"{kind.__name__} cannot be made: {error}", where="data", next_step="add the setting to its YAML"
        ) from error
    return kind(*arguments, **settings)


def _divided(kind: type[Reader], settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Assign each setting to reader, modality and sampling by the names of their parameters. Raises ConfigError."""
    names = [_parameters(it) - {"spec"} for it in (kind, modality_type(kind), kind.sampling)]
    known = set[str]().union(*names)
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"{kind.__name__} has no setting '{name}': {close_names(name, known)}",
                where=f"data.{name}",
                next_step="correct or remove it",
            )
    own, shared, sampled = ({name: it for name, it in settings.items() if name in some} for some in names)
    return own, shared, sampled


def _parameters(kind: type) -> set[str]:
    """Names of the constructor's keyword parameters, and of its base class's if it passes `**kwargs` on."""
    names: set[str] = set()
    for cls in kind.__mro__:
        if "__init__" in vars(cls) and cls is not object:
            own = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
            names |= {it.name for it in own if it.kind in (it.KEYWORD_ONLY, it.POSITIONAL_OR_KEYWORD)}
            if all(it.kind != it.VAR_KEYWORD for it in own):
                break
    return names
