"""Data sets made of a reader and its settings, as `build` makes them of a config."""

import inspect
from pathlib import Path
from typing import Any

from frostline.contracts.specs import ImageSpec, Spec
from frostline.contracts.targets import Targets
from frostline.data.composed import data_of
from frostline.data.module import Data
from frostline.data.pictures.cifar import read_parquet
from frostline.data.pictures.sources import ArrayPictures
from frostline.data.reader import Reader
from frostline.data.sample_cache import NOWHERE, SampleCache


def data(
    kind: type[Reader],
    spec: Spec,
    *,
    target_kind: str = "class",
    known: Targets | None = None,
    sample_cache: SampleCache = NOWHERE,
    **settings: Any,
) -> Data:
    """grey_range: as in YAML, unless the settings say otherwise."""
    if "flip" in settings:  # of pictures
        settings = {"grey_range": None} | settings
    unset: dict[str, Any] = {"group_pattern": None, "group_column": None, "group_columns": None, "split_by": "random"}
    unset |= {"time_column": None, "user_column": None, "relevant": None}
    own = inspect.signature(kind).parameters
    settings = (
        {name: it for name, it in unset.items() if name in own}
        | {"folds": None, "fold": 0, "per_identity": "auto"}
        | settings
    )
    return data_of(kind, spec, settings, target_kind=target_kind, cache=sample_cache, known=known)


def parquet_pictures(file: Path, cache: SampleCache = NOWHERE) -> tuple[ArrayPictures, list[str]]:
    """Pictures and names of classes of a parquet file, decoded."""
    found = read_parquet(file)
    return found.source(ImageSpec(8, 8, (0.5,) * 3, (0.5,) * 3), None, cache, "pictures"), found.names
