"""What a function consists of as Python has loaded it: for code whose source is out of reach.

Stable from process to process, but not from one Python version to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_SIMPLE = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def code_shape(code: CodeType, doc: str | None = None) -> list[Any]:
    """Return *code* as plain lists and texts: instructions, names, constants and the code inside it, but no positions."""
    constants = code.co_consts
    if doc is not None and constants and constants[0] == doc:
        constants = constants[1:]
    return [
        code.co_code.hex(),
        code.co_argcount,
        code.co_kwonlyargcount,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        [code_shape(const) if isinstance(const, CodeType) else fingerprint(const) for const in constants],
    ]


def fingerprint(value: object, depth: int = 8) -> str | None:
    """Return text that is equal for equal simple constants only; ``None`` for a value that is not simple."""
    if type(value) in _SIMPLE:
        return f"{type(value).__name__}:{value!r}"
    if depth == 0:
        return None
    if type(value) is dict:
        items = fingerprint([part for item in value.items() for part in item], depth - 1)
        return items and f"dict:{items}"
    if type(value) not in (tuple, list, frozenset, set):
        return None
    assert isinstance(value, tuple | list | frozenset | set)
    parts = [fingerprint(item, depth - 1) for item in value]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return f"{type(value).__name__}:{known if isinstance(value, tuple | list) else sorted(known)!r}"


def functions_in(value: object) -> list[FunctionType]:
    """Return the plain functions *value* runs when called: itself, what it wraps, or the methods of a class."""
    if isinstance(value, type):
        members = [getattr(member, "__func__", getattr(member, "fget", member)) for member in vars(value).values()]
        return [member for member in members if isinstance(member, FunctionType)]
    found: list[FunctionType] = []
    current: Any = value
    while current is not None and len(found) < 20:
        function = getattr(current, "__func__", current)
        if isinstance(function, FunctionType):
            found.append(function)
        current = getattr(current, "__wrapped__", None) or getattr(current, "func", None)
    return found


class LoadedCode:
    """The loaded code of *function* with the functions, classes and constants of its module that it uses."""

    def __init__(self, function: FunctionType) -> None:
        self.modules: set[str] = set()
        self._module = function.__module__
        self._seen: dict[str, list[Any]] = {}
        self.shape = [self._add("", function), self._seen]

    def _add(self, name: str, function: FunctionType) -> list[Any]:
        shape = code_shape(function.__code__, function.__doc__)
        if name:
            self._seen[name] = shape
        for used in sorted(set(_names_in(function.__code__))):
            if used in function.__globals__ and used not in self._seen:
                self._use(used, function.__globals__[used])
        return shape

    def _use(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__)
            return
        constant = fingerprint(value)
        if constant is not None:
            self._seen[name] = [constant]
            return
        functions = functions_in(value) if callable(value) else []
        home = getattr(value, "__module__", None)
        if functions and functions[0].__module__ == self._module:
            self._seen[name] = []
            for index, function in enumerate(functions):
                self._add(f"{name}.{function.__qualname__}.{index}", function)
        elif isinstance(home, str) and home not in (self._module, "builtins"):
            self.modules.add(home)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names_in(const)


def closure_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the values *function* has from the functions around it, by name; a name without a value is left out."""
    names = function.__code__.co_freevars if isinstance(function, FunctionType) else ()
    values: dict[str, Any] = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:
            continue
    return values
