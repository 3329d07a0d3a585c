"""Read a file of JSON that names its schema: run.json of a run, sweep.json of a sweep."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from frostline.config.signatures import value_problem
from frostline.errors import RunError, first_line

Made = TypeVar("Made")


def read_schema(
    path: Path, schema: int, make: Callable[[dict[str, Any]], Made], *, kind: str, writer: str = ""
) -> Made:
    """make: builds what the file holds from its content, without the schema; raises ValueError, KeyError, TypeError or
    AttributeError if the content has another form. kind: what the file belongs to. writer: where the file names the
    version that wrote it. Raises RunError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("schema")
        if found == schema:
            return make(content)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, OSError) as error:
        raise RunError(
            f"{path.name} cannot be read: {first_line(error)}",
            where=path,
            next_step=f"restore the file, or start a new {kind}",
        ) from error
    raise RunError(
        f"{path.name} has schema {found}, but this version reads schema {schema}",
        where=path,
        next_step=f"use the Frostline that wrote it{f' ({writer} in the file)' * bool(writer)}",
    )


def known_fields(kind: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the content has of the fields of a dataclass: keys that a newer version added are ignored."""
    return {own.name: content[own.name] for own in fields(kind) if own.name in content}


def require_types(made: object, annotations: Mapping[str, str]) -> None:
    """Raise TypeError if an attribute is not of its type. annotations: by name."""
    for name, annotation in annotations.items():
        problem = value_problem(name, getattr(made, name), annotation)
        if problem is not None:
            raise TypeError(f"'{name}': {problem}")
