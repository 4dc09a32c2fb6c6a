"""What a function's parameters ask for: the context, the configuration, or an asset."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["ctx", "config", "asset"]
Gives: TypeAlias = Literal["value", "generator", "coroutine", "async generator"]

RESERVED = frozenset({"ctx", "config"})
NO_DEFAULT = inspect.Parameter.empty

_GIVES: dict[int, Gives] = {
    inspect.CO_COROUTINE: "coroutine",
    inspect.CO_ASYNC_GENERATOR: "async generator",
    inspect.CO_GENERATOR: "generator",
}
_LAZY = sum(_GIVES)
_VARIABLE = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


class Parameter(msgspec.Struct, frozen=True, gc=False):
    """One parameter of an asset's function.

    ``upstream`` names the asset it receives, or the resource: the pipeline knows which of them; ``None`` for ctx and config. A
    parameter with a default is optional; without one ``default`` is ``NO_DEFAULT``. ``annotation`` is as written and may be text;
    ``Asset.annotation_of`` resolves it.
    """

    name: str
    kind: Kind
    upstream: str | None
    optional: bool
    default: Any
    annotation: Any


def read_parameters(function: Callable[..., Any], deps: Mapping[str, str]) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """Return *function*'s parameters in order, and what is wrong with its signature."""
    if type(function) is FunctionType and "__wrapped__" not in function.__dict__:
        code = function.__code__
        if not code.co_posonlyargcount and not code.co_flags & _VARIABLE:
            return _from_code(function, deps), ()
    return _from_inspection(function, deps)


def what_calling_gives(function: Callable[..., Any]) -> Gives:
    """Return what calling *function* gives: its value, or something that must be run for it; partials are looked through."""
    while isinstance(function, partial):
        function = function.func
    code = getattr(function, "__code__", None)
    lazy = code.co_flags & _LAZY if isinstance(code, CodeType) else 0
    return _GIVES[lazy] if lazy else "value"


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the names *function* takes, or ``None`` when they cannot be known or cannot all be passed by name."""
    parameters, problems = read_parameters(function, {})
    return None if problems or what_calling_gives(function) != "value" else tuple(parameter.name for parameter in parameters)


def _from_code(function: FunctionType, deps: Mapping[str, str]) -> tuple[Parameter, ...]:
    code = function.__code__
    count = code.co_argcount
    names = code.co_varnames[: count + code.co_kwonlyargcount]
    if not names:
        return ()
    defaults: dict[str, Any] = {}
    if function.__defaults__:
        defaults.update(zip(names[count - len(function.__defaults__) : count], function.__defaults__, strict=True))
    if function.__kwdefaults__:
        defaults.update(function.__kwdefaults__)
    annotations = function.__annotations__
    return tuple([_parameter(name, deps, defaults.get(name, NO_DEFAULT), annotations.get(name, NO_DEFAULT)) for name in names])


def _from_inspection(function: Callable[..., Any], deps: Mapping[str, str]) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError) as error:
        return (), (f"its signature cannot be read ({error}); wrap it in a plain function",)
    usable = [p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    parameters = tuple(_parameter(p.name, deps, p.default, p.annotation) for p in usable)
    return parameters, tuple(_unusable(found))


def _parameter(name: str, deps: Mapping[str, str], default: Any, annotation: Any) -> Parameter:
    optional = default is not NO_DEFAULT
    if name == "ctx" or name == "config":  # noqa: PLR1714 - this runs for every parameter of every asset
        return Parameter(name, "ctx" if name == "ctx" else "config", None, optional, default, annotation)
    return Parameter(name, "asset", deps.get(name, name), optional, default, annotation)


def _unusable(parameters: Any) -> Iterator[str]:
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            yield f"*{p.name} names no asset; write one parameter per dependency"
        elif p.kind is p.VAR_KEYWORD:
            yield f"**{p.name} names no asset; write one parameter per dependency"
        elif p.kind is p.POSITIONAL_ONLY:
            yield f"parameter {p.name!r} is positional-only, but dependencies are passed by name; remove the '/'"
