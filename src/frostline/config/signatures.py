"""Check a config against the constructors that it names, whose source is parsed and not imported.

So a wrong key or type is reported in milliseconds, before torch is loaded. A config node with `_target_` must hold only
names of that constructor's parameters, each with a value that its annotation allows. An annotation that is not
understood here (a torch type, an alias of another package) allows every value.
"""

import ast
import builtins
import importlib.util
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from frostline.config import ranges as values
from frostline.errors import close_names
from frostline.quoting import list_of

KNOWN = {"frostline", "torch", "lightning", "datetime"}  # packages whose classes options name in `_target_`
Check = Callable[[Any], bool]


class Parameter(NamedTuple):
    annotation: ast.expr | None
    required: bool


Parameters = dict[str, Parameter]

PLAIN: dict[str, Check] = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "None": lambda value: value is None,
    "dict": lambda value: isinstance(value, Mapping),
    "list": lambda value: isinstance(value, list),
}
JOINED = ("modality", "sampling")  # attributes of a class that name classes whose settings lie in the same node
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
        yield from _node_problems(config, key, None if supplied is None else supplied.get(key, ()))
    for name, value in config.items():
        yield from problems(value, f"{key}.{name}" if key else str(name), supplied)


def value_problem(key: str, value: Any, annotation: str) -> str | None:
    """Why an annotation such as `int | None` does not allow the value of a setting; None if it does."""
    expression = ast.parse(annotation, mode="eval").body
    return None if _allows(expression, value) else _refused(expression, value, key)


def parameters_of(target: str) -> list[str]:
    """Names of the keyword parameters of a class or function; empty if its source is not found."""
    return list(_parameters(target) or {})


def origin_of(target: str) -> str | None:
    """The dotted name under which the class is defined that `target` names, perhaps through an import; None if no
    source defines it."""
    module, _, name = target.rpartition(".")
    if module.partition(".")[0] not in KNOWN or not all(part.isidentifier() for part in target.split(".")):
        return None
    source = _source(module)
    for node in _tree(source).body if source is not None else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return target
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module != module:
                    return origin_of(f"{node.module}.{alias.name}")
    return None


def _node_problems(config: Mapping[str, Any], key: str, supplied: Collection[str] | None) -> Iterator[str]:
    parameters = _parameters(config["_target_"])
    if parameters is None:
        return
    for name, value in config.items():
        if name in ("_target_", "_partial_", "_convert_", "_recursive_"):
            continue
        if name not in parameters:
            taken = {*(supplied or ()), "_target_", "_partial_", "_convert_", "_recursive_"}
            close = close_names(name, set(parameters) - taken)
            yield f"{key}.{name}: {config['_target_']} has no such setting; {close}"
        elif value != "???" and not _allows(parameters[name].annotation, value):
            yield f"{key}.{name}: {_refused(parameters[name].annotation, value, f'{key}.{name}')}"
    if supplied is not None:
        for name, parameter in parameters.items():
            if parameter.required and name not in config and name not in supplied:
                yield f"{key}.{name} is missing"


# --- annotations -------------------------------------------------------------------------------------------------


def _allows(annotation: ast.expr | None, value: Any) -> bool:
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Constant(value=str() as text):
            return _allows(ast.parse(text, mode="eval").body, value)
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
    return f"{value!r} is not {_said(annotation)}{bracketed}"


def _within(name: str, value: Any) -> bool:
    return _condition(name).holds(value)


def _condition(name: str) -> values.Condition:
    found: values.Condition = getattr(values, name).__metadata__[0]
    return found


def _choices(node: ast.expr) -> list[Any]:
    return [ast.literal_eval(item) for item in (node.elts if isinstance(node, ast.Tuple) else [node])]


def _said(annotation: ast.expr | None) -> str:
    """The annotation in words: `a whole number`, `one of none, standard, strong`, `a number or null`."""
    words = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "None": "null"}
    words |= {"dict": "settings"}
    match annotation:
        case ast.Constant(value=None):
            return "null"
        case ast.Name(id=name) if name in words:
            return words[name]
        case ast.Name(id=("Fraction" | "Probability" | "Rate") as name):
            return f"a number x with {_condition(name).said}"
        case ast.Name(id="Seed"):
            return f"a whole number x with {_condition('Seed').said}"
        case ast.BinOp(left=left, right=right):
            return f"{_said(left)} or {_said(right)}"
        case ast.Subscript(value=ast.Name(id=("Positive" | "NonNegative") as name), slice=inner):
            return f"{_said(inner)} x with {_condition(name).said}"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return f"one of {', '.join(str(choice) for choice in _choices(choices))}"
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in CONTAINERS:
            return f"a list of {_said(inner)}"
    return ast.unparse(annotation) if annotation is not None else "anything"


# --- constructors, found in source -------------------------------------------------------------------------------


def _parameters(target: str) -> Parameters | None:
    """The keyword parameters of a class or function by its dotted name; None if its source is not found."""
    module, _, name = target.rpartition(".")
    source = _source(module)
    return _with_joined(source, name) if source is not None else None


def _with_joined(source: Path, name: str) -> Parameters | None:
    """The parameters of a class or function, and of the classes that share its node."""
    own, joined = _own_parameters(source, name), _joined(source, name)
    if not joined:
        return own
    others = [_own_parameters(*place) or {} for place in joined.values()]
    return dict(chain(*(found.items() for found in (own or {}, *others))))


def _joined(source: Path, name: str) -> dict[str, tuple[Path, str]]:
    """The classes that a class names in JOINED, by attribute: a file that knows each, and its name there."""
    found: dict[str, tuple[Path, str]] = {}
    source, node = _definition(source, name) or (source, None)
    if not isinstance(node, ast.ClassDef):
        return found
    for base in reversed([base.id for base in node.bases if isinstance(base, ast.Name)]):
        found |= _joined(source, base)
    for item in node.body:
        value = item.value if isinstance(item, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Name) and (attribute := ast.unparse(item).partition(":")[0].split()[0]) in JOINED:
            found[attribute] = (source, value.id)
    return found


def _own_parameters(source: Path, name: str) -> Parameters | None:
    defined = _definition(source, name)
    if defined is None:
        return None
    source, node = defined
    return _arguments(node, skip=0) if isinstance(node, ast.FunctionDef) else _constructor(source, node)


def _definition(source: Path, name: str) -> tuple[Path, ast.FunctionDef | ast.ClassDef] | None:
    """A class or function that a file defines or imports, with the file that defines it."""
    for node in _tree(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return source, node
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name and (origin := _source(node.module)) is not None:
                    return _definition(origin, alias.name)
    return None


def _constructor(source: Path, node: ast.ClassDef) -> Parameters | None:
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    inherited = next((found for base in bases if (found := _own_parameters(source, base)) is not None), None)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
        own = {ast.unparse(item.target): Parameter(item.annotation, item.value is None) for item in fields}
        return (inherited or {}) | own
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            own = _arguments(item, skip=1)
            if item.args.kwarg is None or inherited is None:
                return own
            if not source.is_relative_to(Path(__file__).parents[1]):  # a library's class may pass some itself
                inherited = {name: parameter._replace(required=False) for name, parameter in inherited.items()}
            return inherited | own
    return inherited


def _arguments(node: ast.FunctionDef, skip: int) -> Parameters:
    positional = [*node.args.posonlyargs, *node.args.args]
    plain = len(positional) - len(node.args.defaults)
    found = {argument.arg: Parameter(argument.annotation, place < plain) for place, argument in enumerate(positional)}
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        found[argument.arg] = Parameter(argument.annotation, default is None)
    return dict(list(found.items())[skip:])


@cache
def _source(module: str) -> Path | None:
    """The file of a module. Only the top package is looked up: `find_spec` of a submodule would import its parents."""
    top, *rest = module.split(".")
    if not top or hasattr(builtins, top):
        return None
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*rest) if rest else Path(spec.origin)
    for candidate in (path, path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file() and candidate.suffix == ".py":
            return candidate
    return None


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text(encoding="utf-8"))
