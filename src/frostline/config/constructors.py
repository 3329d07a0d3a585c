"""The parameters of classes and functions by dotted name, read from their source: nothing is imported."""

import ast
import builtins
import importlib.util
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

KNOWN = {"frostline", "torch", "lightning", "datetime"}  # packages whose classes options name in `_target_`
JOINED = ("modality", "sampling")  # attributes of a class that name classes whose settings lie in the same node


class Parameter(NamedTuple):
    annotation: ast.expr | None
    required: bool


Parameters = dict[str, Parameter]


def parameters_of(target: str) -> list[str]:
    """Names of the keyword parameters of a class or function; empty if its source is not found."""
    return list(parameters(target) or {})


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


def parameters(target: str) -> Parameters | None:
    """The keyword parameters of a class or function by its dotted name; None if its source is not found."""
    module, _, name = target.rpartition(".")
    source = _source(module)
    return _with_joined(source, name) if source is not None else None


def constant_of(target: str, name: str) -> Any:
    """The literal value of an attribute in the body of a class, or of the nearest class above it, by its dotted name;
    None if there is none."""
    module, _, cls = target.rpartition(".")
    source = _source(module)
    return _constant(source, cls, name) if source is not None else None


def _constant(source: Path, cls: str, name: str) -> Any:
    source, node = _definition(source, cls) or (source, None)
    if not isinstance(node, ast.ClassDef):
        return None
    value = _assigned(node.body, name)
    if value is not None:
        return _literal(source, value)
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return next((found for base in bases if (found := _constant(source, base, name)) is not None), None)


def _literal(source: Path, value: ast.expr) -> Any:
    """The value of an expression of literals and of names of such; None for another one."""
    if isinstance(value, ast.Name):
        origin, assigned = _named(source, value.id)
        return None if assigned is None else _literal(origin, assigned)
    if isinstance(value, ast.Dict):
        made: dict[Any, Any] = {}
        for key, it in zip(value.keys, value.values, strict=True):
            made |= (_literal(source, it) or {}) if key is None else {ast.literal_eval(key): _literal(source, it)}
        return made
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None


def _named(source: Path, name: str) -> tuple[Path, ast.expr | None]:
    """What a file assigns to a name, or the file from which it imports it."""
    for node in _tree(source).body:
        if isinstance(node, ast.ImportFrom) and node.module and name in [it.asname or it.name for it in node.names]:
            origin = _source(node.module)
            return (source, None) if origin is None else _named(origin, name)
    return source, _assigned(_tree(source).body, name)


def _assigned(body: list[ast.stmt], name: str) -> ast.expr | None:
    for item in body:
        targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
        if isinstance(item, ast.Assign | ast.AnnAssign) and name in [getattr(it, "id", None) for it in targets]:
            return item.value
    return None


def _with_joined(source: Path, name: str) -> Parameters | None:
    """The parameters of a class or function, and of the classes that share its node; None if one is not found."""
    own, joined = _own_parameters(source, name), _joined(source, name)
    if not joined:
        return own
    own = {} if own is None and _has_no_constructor(source, name) else own
    found = [own, *(None if place is None else _own_parameters(*place) for place in joined.values())]
    known = [parameters for parameters in found if parameters is not None]
    return dict(chain(*(it.items() for it in known))) if len(known) == len(found) else None


def _joined(source: Path, name: str) -> dict[str, tuple[Path, str] | None]:
    """The classes that a class names in JOINED, by attribute: a file that knows each, and its name there; None for an
    expression that is no name."""
    found: dict[str, tuple[Path, str] | None] = {}
    source, node = _definition(source, name) or (source, None)
    if not isinstance(node, ast.ClassDef):
        return found
    for base in reversed([base.id for base in node.bases if isinstance(base, ast.Name)]):
        found |= _joined(source, base)
    for item in node.body:
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id in JOINED:
                    found[target.id] = (source, item.value.id) if isinstance(item.value, ast.Name) else None
    return found


def _has_no_constructor(source: Path, name: str) -> bool:
    """Whether neither a class nor a class above it has a constructor, as far as all of them are found."""
    source, node = _definition(source, name) or (source, None)
    if not isinstance(node, ast.ClassDef):
        return name in ("ABC", "object")
    own = any(isinstance(item, ast.FunctionDef) and item.name == "__init__" for item in node.body)
    return not own and all(isinstance(base, ast.Name) and _has_no_constructor(source, base.id) for base in node.bases)


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
