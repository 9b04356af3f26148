"""The identity of a function: its syntax tree and, followed through its names, everything of the project that it calls.

Layout, comments, docstrings, annotations and decorators do not count; a change anywhere else does, in the function
itself or in a helper two calls away. The form is written here rather than taken from `ast.dump`, whose output differs
between Python versions.
"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from features.canonical import identity
from features.errors import DefinitionError

_FOREIGN_ALLOWED = ("numpy", "math")
_IMPURE = ("numpy.random", "numpy.memmap", "numpy.load", "numpy.fromfile", "numpy.save", "numpy.lib", "numpy.ctypeslib")
# Attributes of an array that lead to memory outside it: a window is a view of a longer line.
_BEYOND_THE_WINDOW = frozenset({"base", "ctypes", "data", "strides", "setflags", "flags", "__array_interface__"})
_BUILTINS_ALLOWED = frozenset(
    each.__name__
    for each in (abs, all, any, bool, divmod, enumerate, float, int, len, list, max, min, range, reversed, round)
) | {"slice", "sorted", "sum", "tuple", "zip", "ValueError"}
_SKIPPED_FIELDS = frozenset(
    {"ctx", "decorator_list", "returns", "annotation", "type_comment", "type_params", "type_ignores", "kind"}
)
_FORBIDDEN = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Yield, ast.YieldFrom, ast.Await)


def function_identity(function: Callable[..., Any]) -> str:
    """64 hex digits naming what `function` computes; neither its name nor its module counts.

    DefinitionError when its source is not at hand, or it reaches for something that is neither NumPy, `math`, a
    function of its project nor an immutable constant: such a thing could change without the identity changing.
    """
    visited: dict[str, int] = {}
    forms: list[Any] = []
    _visit(function, visited, forms)
    return identity(forms)


def _visit(function: Callable[..., Any], visited: dict[str, int], forms: list[Any]) -> int:
    """Appends the function's form and, before it, those of what it calls; returns its number in order of visit."""
    label = _label(function)
    if label in visited:
        return visited[label]
    number = visited[label] = len(visited)
    tree = _tree(function)
    scope = _scope(function)
    names = {
        ".".join(chain): _resolve(chain, scope, label, visited, forms)
        for chain in sorted(set(_chains(tree)))
        if chain[0] in scope
    }
    forms.append({"number": str(number), "tree": _form(tree), "names": names, "defaults": _defaults(function)})
    return number


def _label(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _named(function: Any) -> str:
    return _label(function) if hasattr(function, "__qualname__") else repr(function)


def _tree(function: Callable[..., Any]) -> ast.AST:
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise DefinitionError(
            f"{_label(function)}: expected a function whose source can be read, found none ({error}); "
            "define it with `def` in a module"
        ) from error
    if not isinstance(tree, ast.FunctionDef):
        raise DefinitionError(f"{_label(function)}: expected a plain function, found {type(tree).__name__}; use `def`")
    for node in ast.walk(tree):
        if isinstance(node, _FORBIDDEN):
            raise DefinitionError(
                f"{_label(function)}, line {node.lineno}: expected a pure function, found {type(node).__name__}; "
                "move imports to the module's top and return what it computes"
            )
        if isinstance(node, ast.Attribute) and node.attr in _BEYOND_THE_WINDOW:
            raise DefinitionError(
                f"{_label(function)}, line {node.lineno}: expected a function of its window alone, found .{node.attr}, "
                "which leads beyond it; declare a longer window"
            )
    return tree


def _form(node: Any) -> Any:
    if isinstance(node, ast.AST):
        fields = {name: _form(value) for name, value in ast.iter_fields(node) if name not in _SKIPPED_FIELDS}
        if isinstance(node, ast.FunctionDef):
            fields["name"] = ""
            fields["body"] = fields["body"][1:] if ast.get_docstring(node) is not None else fields["body"]
        return [type(node).__name__, {name: value for name, value in fields.items() if value not in (None, [])}]
    if isinstance(node, list):
        return [_form(item) for item in node]
    return node if node is None else f"{type(node).__name__}:{node!r}"


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    chain = _chain(node)
    if chain:
        yield chain
        return
    for name, value in ast.iter_fields(node):
        if name in _SKIPPED_FIELDS:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _chains(child)


def _chain(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        left = _chain(node.value)
        return (*left, node.attr) if left else ()
    return ()


def _scope(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Everything the function may take from outside itself: globals, closed-over names and defaults, by name."""
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        found = "a wrapped one" if isinstance(function, FunctionType) else type(function).__name__
        raise DefinitionError(f"{_named(function)}: expected a plain function, found {found}; use `def` alone")
    wanted = set(_outer_names(function.__code__))
    outside = {**vars(builtins), **function.__globals__, **inspect.getclosurevars(function).nonlocals}
    unknown = sorted(wanted - outside.keys())
    if unknown:
        raise DefinitionError(f"{_label(function)}: expected defined names, found {', '.join(unknown)}; import them")
    return {name: outside[name] for name in wanted}


def _outer_names(code: CodeType) -> Iterator[str]:
    yield from code.co_freevars
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            # What an inner function takes from its outer one is no name of the outside.
            yield from (name for name in _outer_names(constant) if name not in code.co_cellvars)


def _defaults(function: Callable[..., Any]) -> list[str]:
    """The values of default arguments: made when the function was defined, they may come from anywhere."""
    given = inspect.signature(function).parameters.values()
    values = [(each.name, each.default) for each in given if each.default is not inspect.Parameter.empty]
    for name, value in values:
        if not _is_constant(value):
            raise DefinitionError(
                f"{_label(function)}: expected an immutable default for {name}, found {type(value).__name__}; "
                "use a number or text"
            )
    return [f"{name}={type(value).__name__}:{value!r}" for name, value in values]


def _resolve(
    chain: tuple[str, ...], scope: Mapping[str, Any], label: str, visited: dict[str, int], forms: list[Any]
) -> str:
    value = scope[chain[0]]
    walked = 1
    while isinstance(value, ModuleType) and walked < len(chain):
        value = getattr(value, chain[walked], None)
        walked += 1
    if isinstance(value, FunctionType) and _is_project(value.__module__):
        return f"project:{_visit(value, visited, forms)}"
    if _is_constant(value):
        return f"{type(value).__name__}:{value!r}"
    return _foreign(chain[:walked], value, label)


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_constant(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _foreign(chain: tuple[str, ...], value: Any, label: str) -> str:
    named = ".".join(chain)
    if vars(builtins).get(chain[0]) is value and chain[0] in _BUILTINS_ALLOWED:
        return f"builtin:{named}"
    module = value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", None) or "")
    origin = module.partition(".")[0] or _numpy_home(value)
    path = f"{module}.{chain[-1]}"
    if origin in _FOREIGN_ALLOWED and not path.startswith(_IMPURE):
        return f"{origin}:{'.'.join(chain[1:])}"
    raise DefinitionError(
        f"{label}: expected only NumPy, math, functions of the project and immutable constants, found {named} "
        f"({type(value).__name__} of {module or 'no module'}); pass it as a parameter or write it as a function"
    )


def _numpy_home(value: Any) -> str:
    # NumPy's own ufuncs and builtins carry no module name.
    return "numpy" if type(value).__module__ == "numpy" or isinstance(value, BuiltinFunctionType) else ""


def _is_project(module: str) -> bool:
    top = module.partition(".")[0]
    return top not in _FOREIGN_ALLOWED and top not in sys.stdlib_module_names
