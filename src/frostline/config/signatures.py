"""Check a config against the constructors that it names, whose source is parsed and not imported.

So a wrong key or type is reported in milliseconds, before torch is loaded. A config node with `_target_` must hold only
names of that constructor's parameters, each with a value that its annotation allows. An annotation that is not
understood here (a torch type, an alias of another package) allows every value.
"""

import ast
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any

from frostline.config import ranges as values
from frostline.config.constructors import parameters
from frostline.errors import close_names
from frostline.quoting import list_of

Check = Callable[[Any], bool]


MOST = sys.float_info.max  # beyond it are infinities, integers that no float holds, and, as it compares with none, NaN
PLAIN: dict[str, Check] = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and -MOST <= value <= MOST,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
    "dict": lambda value: isinstance(value, Mapping),
    "list": lambda value: isinstance(value, list),
}
# Keys of a node that are Hydra's, as annotations.
OF_HYDRA = {"_partial_": "bool", "_recursive_": "bool", "_convert_": "Literal['none', 'partial', 'object', 'all']"}
CONTAINERS = {"list", "List", "Sequence", "tuple", "Tuple", "Iterable"}


def problems(config: Any, key: str = "", supplied: Mapping[str, Collection[str]] | None = None) -> Iterator[str]:
    """Yield a line for each wrong, missing or superfluous key and each wrong value below `config`.

    supplied: parameters that Frostline passes to a constructor, by the key of its node. None: missing keys are allowed.
    """
    if isinstance(config, list):
        for number, item in enumerate(config):
            yield from problems(item, f"{key}[{number}]")
    if not isinstance(config, Mapping):
        return
    if isinstance(config.get("_target_"), str):
        yield from _node_problems(config, key, supplied)
    for name, value in config.items():
        yield from problems(value, f"{key}.{name}" if key else str(name), supplied)


def value_problem(key: str, value: Any, annotation: str) -> str | None:
    """Why an annotation such as `int | None` does not allow the value of a setting; None if it does."""
    expression = _parsed(annotation)
    return None if _allows(expression, value) else _refused(expression, value, key)


@cache
def _parsed(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _node_problems(config: Mapping[str, Any], key: str, every: Mapping[str, Collection[str]] | None) -> Iterator[str]:
    """every: `supplied` of `problems`; it has an entry for each component."""
    found = parameters(config["_target_"])
    component = every is not None and key in every
    supplied = every[key] if every is not None and component else () if every is not None else None
    if found is None:
        return
    for name, value in config.items():
        if name == "_target_":
            continue
        if name in OF_HYDRA:
            problem = value_problem(f"{key}.{name}", value, OF_HYDRA[name])
            if problem is None and name == "_convert_" and component and value != "all":
                problem = "set by Frostline, to all; remove it"
            yield from [] if problem is None else [f"{key}.{name}: {problem}"]
        elif name == "_args_":
            yield f"{key}._args_: positional arguments are not supported; use the names of {config['_target_']}"
        elif name not in found:
            close = close_names(name, set(found) - set(supplied or ()))
            yield f"{key}.{name}: {config['_target_']} has no such setting; {close}"
        elif value != "???" and not _allows(found[name].annotation, value):
            yield f"{key}.{name}: {_refused(found[name].annotation, value, f'{key}.{name}')}"
    called_later = config.get("_partial_") is True and not component  # Frostline calls each component
    if supplied is not None and not called_later:
        for name, parameter in found.items():
            if parameter.required and name not in config and name not in supplied:
                yield f"{key}.{name} is missing"


# --- annotations -------------------------------------------------------------------------------------------------


def _allows(annotation: ast.expr | None, value: Any) -> bool:
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str() as text):
            return _allows(_parsed(text), value)
        case ast.Name(id=name) if name in PLAIN:
            return PLAIN[name](value)
        case ast.Name(id=("Fraction" | "Probability" | "Rate") as name):
            return PLAIN["float"](value) and _within(name, value)
        case ast.Name(id="Seed"):
            return PLAIN["int"](value) and _within("Seed", value)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _allows(left, value) or _allows(right, value)
        case ast.Subscript(value=ast.Name(id=("Positive" | "NonNegative") as name), slice=inner):
            return _allows(inner, value) and _within(name, value)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return any(type(value) is type(choice) and value == choice for choice in _choices(choices))
        case ast.Subscript(value=ast.Name(id=("Optional" | "Union") as name), slice=inner):
            options = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return (name == "Optional" and value is None) or any(_allows(option, value) for option in options)
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in CONTAINERS:
            of = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            return isinstance(value, list) and all(_allows(of, item) for item in value)
    # A tensor cannot be written in YAML; any other type that is not understood allows everything.
    return not (isinstance(annotation, ast.Name) and annotation.id == "Tensor")


def _refused(annotation: ast.expr | None, value: Any, key: str) -> str:
    """Why the annotation does not allow a value; and how to write a list, or names that YAML reads as other types."""
    alone = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    bracketed = f"; write a list in brackets: [{value}]" if alone and _allows(annotation, [value]) else ""
    if isinstance(value, list) and all(isinstance(item, str | int | float | None) for item in value):
        names = [
            str(item).lower() if isinstance(item, bool) else "null" if item is None else str(item) for item in value
        ]
        if _allows(annotation, names):
            bracketed = f"; write names in quotes: {list_of(key, names)}"
    return f"{value!r} is not {_described(annotation)}{bracketed}"


def _within(name: str, value: Any) -> bool:
    return _condition(name).holds(value)


def _condition(name: str) -> values.Condition:
    found: values.Condition = getattr(values, name).__metadata__[0]
    return found


def _choices(node: ast.expr) -> list[Any]:
    return [ast.literal_eval(item) for item in (node.elts if isinstance(node, ast.Tuple) else [node])]


def _described(annotation: ast.expr | None) -> str:
    """The annotation in words: `a whole number`, `one of none, standard, strong`, `a number or null`."""
    words = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "None": "null"}
    words |= {"dict": "settings"}
    match annotation:
        case ast.Constant(value=None):
            return "null"
        case ast.Name(id=name) if name in words:
            return words[name]
        case ast.Name(id=("Fraction" | "Probability" | "Rate") as name):
            return f"a number x with {_condition(name).condition}"
        case ast.Name(id="Seed"):
            return f"a whole number x with {_condition('Seed').condition}"
        case ast.BinOp(left=left, right=right):
            return f"{_described(left)} or {_described(right)}"
        case ast.Subscript(value=ast.Name(id=("Positive" | "NonNegative") as name), slice=inner):
            return f"{_described(inner)} x with {_condition(name).condition}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return f"one of {', '.join(str(choice) for choice in _choices(choices))}"
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in CONTAINERS:
            return f"a list of {_described(inner)}"
    return ast.unparse(annotation) if annotation is not None else "anything"
