"""The resource: something opened once and used by many attempts, such as a connection, a client or a pool."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, overload

import msgspec

from flowstone.assets import options
from flowstone.assets.signature import Parameter, read_parameters, what_calling_gives
from flowstone.foundation.errors import ValidationError

Scope: TypeAlias = Literal["process", "run"]


class Resource(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A declared resource; calling it calls its function and opens nothing that FlowStone would close.

    ``parameters`` are ``config`` and the resources it needs. ``problems`` are faults of the signature, reported when a pipeline
    is built.
    """

    name: str
    function: Callable[..., Any]
    file: str
    line: int
    parameters: tuple[Parameter, ...] = ()
    scope: Scope = "process"
    limit: int | None = None
    health: Callable[[Any], object] | None = None
    config: Mapping[str, Any] = options.NOTHING
    problems: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<resource {self.name!r} at {self.file}:{self.line}>"

    @property
    def needs(self) -> dict[str, str]:
        """The resources it is opened after and closed before: parameter → name."""
        return {p.name: p.upstream for p in self.parameters if p.upstream is not None}

    @property
    def description(self) -> str | None:
        """The first line of the function's docstring."""
        doc = getattr(self.function, "__doc__", None)
        return doc.strip().partition("\n")[0].strip() or None if isinstance(doc, str) else None


@overload
def resource(function: Callable[..., Any], /) -> Resource: ...


@overload
def resource(
    *,
    scope: Scope = ...,
    limit: int | None = ...,
    health: Callable[[Any], object] | None = ...,
    config: Mapping[str, Any] | None = ...,
    name: str | None = ...,
) -> Callable[[Callable[..., Any]], Resource]: ...


def resource(
    function: Callable[..., Any] | None = None,
    /,
    *,
    scope: Scope = "process",
    limit: int | None = None,
    health: Callable[[Any], object] | None = None,
    config: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> Any:
    """Declare a function as a resource: assets receive what it yields, or returns, by a parameter of its name.

    It is opened when the first attempt needs it, once for each process or, with *scope* "run", for each run. What stands after a
    generator's ``yield`` closes it; so does leaving a context manager of ``contextlib`` that was returned; anything else is not
    closed. *limit* is how many attempts, of all processes, may hold it at once. *health* is asked before it is handed out again:
    ``False`` or an exception closes it and opens it anew. Its parameters are other resources, and ``config`` with the values
    *config* declares. Raises ``ValidationError`` for options of the wrong kind.
    """
    if function is not None:
        return _declare(function, None, {})
    given = {"scope": scope, "limit": limit, "health": health, "config": config}
    given = {key: value for key, value in given.items() if value is not None}
    return lambda body: _declare(body, name, given)


def _declare(function: Any, name: str | None, given: dict[str, Any]) -> Resource:
    if not callable(function) or isinstance(function, type):
        raise ValidationError(f"@resource was given {function!r}, which is no function", hint='write @resource(name="...")')
    named = options.name_of(name, function, "resource")
    checked = options.check(named, given, "resource")
    parameters, problems = read_parameters(function, {})
    plain = inspect.unwrap(function)
    code = getattr(plain, "__code__", None)
    file, line = (code.co_filename, code.co_firstlineno) if code is not None else ("<unknown>", 0)
    if what_calling_gives(plain) in ("coroutine", "async generator"):
        problems = (*problems, "is async def, but attempts of several threads and event loops share a resource; open it with def")
    return Resource(name=named, function=function, file=file, line=line, parameters=parameters, problems=problems, **checked)
