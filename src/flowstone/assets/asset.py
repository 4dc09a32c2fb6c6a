"""The asset: a named piece of data, how it is computed and what it needs."""

from __future__ import annotations

import builtins
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import FunctionType
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, cast, overload

import msgspec

from flowstone.assets import options
from flowstone.assets.approval import Approval
from flowstone.assets.due import Due, check_due
from flowstone.assets.loaded import closure_of
from flowstone.assets.mappings import PartitionMapping
from flowstone.assets.partitions import Partitions
from flowstone.assets.policies import NO_RETRY, Retry
from flowstone.assets.resources import Resource
from flowstone.assets.signature import NO_DEFAULT, Gives, Parameter, parameter_names, read_parameters, what_calling_gives
from flowstone.assets.sources import SourceFile, source_file
from flowstone.foundation.errors import ValidationError

P = ParamSpec("P")
R = TypeVar("R")
VersionFunction: TypeAlias = Callable[..., str]


class Asset(msgspec.Struct, Generic[P, R], frozen=True, eq=False, kw_only=True):
    """A declared asset; calling it calls its function.

    ``function`` is ``None`` for an observed source, which has versions but is never computed. ``deps`` are the aliases as
    given; ``parameters`` have them applied. ``gives`` tells what calling the function gives: its value, or what must be run for
    it. ``problems`` are faults of the signature, reported when a pipeline is built.
    """

    name: str
    function: Callable[P, R] | None
    file: str
    line: int
    parameters: tuple[Parameter, ...] = ()
    deps: Mapping[str, str] = options.NOTHING
    after: tuple[str, ...] = ()
    partitions: Partitions | None = None
    mapping: Mapping[str, PartitionMapping] = options.NOTHING
    retries: Retry = NO_RETRY
    code_version: str | None = None
    config: Mapping[str, Any] = options.NOTHING
    source: bool = False
    sensitive: bool = False
    version: VersionFunction | None = None
    io: str | None = None
    format: str | None = None
    executor: str | None = None
    concurrency: int | None = None
    timeout: float | None = None
    due: Due | None = None
    approval: Approval | None = None
    given_description: str | None = None
    tags: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    gives: Gives = "value"
    problems: tuple[str, ...] = ()
    origin: SourceFile | None = None
    cache: dict[str, Any] = {}  # msgspec gives every asset its own

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.function is None:
            raise ValidationError(f"{self.name!r} is observed only: it has no function to call", hint="give it one with @asset")
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} at {self.file}:{self.line}>"

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def __wrapped__(self) -> Callable[P, R]:
        if self.function is None:
            raise AttributeError("__wrapped__")
        return self.function

    @property
    def observed(self) -> bool:
        """Whether it is only observed, never computed."""
        return self.function is None

    @property
    def kind(self) -> str:
        """One of ``asset``, ``source`` and ``observed``."""
        return "observed" if self.function is None else "source" if self.source else "asset"

    @property
    def description(self) -> str | None:
        """The given description, else the first line of the function's docstring."""
        if self.given_description is not None or self.function is None:
            return self.given_description
        doc = getattr(self.function, "__doc__", None)
        return doc.strip().partition("\n")[0].strip() or None if isinstance(doc, str) else None

    @property
    def upstream(self) -> tuple[str, ...]:
        """The names of what it receives, assets and resources, and of the assets it comes after, each once, in order."""
        loaded = [p.upstream for p in self.parameters if p.upstream is not None]
        return tuple(dict.fromkeys([*loaded, *self.after])) if self.after or len(loaded) > 1 else tuple(loaded)

    @property
    def version_parameters(self) -> tuple[str, ...]:
        """Which of ``ctx`` and ``config`` the version function takes."""
        return (self.version and parameter_names(self.version)) or ()

    def annotation_of(self, parameter: Parameter) -> Any:
        """Return the resolved annotation of *parameter*, ``None`` without one; raises ``ValidationError`` for unknown names."""
        return self._resolve(parameter.annotation, parameter.name)

    def return_annotation(self) -> Any:
        """Return what the function says it returns, ``None`` without a statement; raises ``ValidationError`` likewise."""
        annotations = getattr(self.function, "__annotations__", options.NOTHING)
        return self._resolve(annotations.get("return", NO_DEFAULT), "return")

    def _resolve(self, annotation: Any, where: str) -> Any:
        if annotation is NO_DEFAULT:
            return None
        if not isinstance(annotation, str):
            return annotation
        key = "annotation " + where  # no parameter has a space in its name, so none meets the digests kept beside it
        if key not in self.cache:
            self.cache[key] = self._evaluate(annotation, where)
        return self.cache[key]

    def _evaluate(self, annotation: str, where: str) -> Any:
        function = inspect.unwrap(cast(Callable[..., Any], self.function))
        closure, known = closure_of(function), getattr(function, "__globals__", {})
        if annotation.isidentifier() and annotation not in closure:  # most are a plain name: no need to compile it
            found = known.get(annotation, getattr(builtins, annotation, NO_DEFAULT))
            if found is not NO_DEFAULT:
                return found
        try:
            return eval(annotation, known, closure)
        except Exception as error:
            raise ValidationError(
                f"{self.file}:{self.line}: asset {self.name!r}: the annotation {annotation!r} of {where!r} is unknown: {error}",
                hint="the annotation decides what is loaded and stored: import its names at run time, not under TYPE_CHECKING",
            ) from error


AnyAsset: TypeAlias = Asset[..., Any]


@overload
def asset(function: Callable[P, R], /) -> Asset[P, R]: ...


@overload
def asset(
    *,
    name: str | None = ...,
    deps: Mapping[str, str | AnyAsset | Resource] | None = ...,
    after: Sequence[str | AnyAsset] = ...,
    partitions: Partitions | None = ...,
    mapping: Mapping[str, PartitionMapping] | None = ...,
    retries: Retry | int | None = ...,
    code_version: str | None = ...,
    config: Mapping[str, Any] | None = ...,
    source: bool = ...,
    sensitive: bool = ...,
    version: VersionFunction | None = ...,
    io: str | None = ...,
    format: str | None = ...,
    executor: Literal["inline", "thread", "process"] | None = ...,
    concurrency: int | None = ...,
    timeout: float | timedelta | None = ...,
    due: str | timedelta | None = ...,
    approval: Approval | None = ...,
    description: str | None = ...,
    tags: Sequence[str] = ...,
    owners: Sequence[str] = ...,
) -> Callable[[Callable[P, R]], Asset[P, R]]: ...


def asset(  # noqa: PLR0913 - options are keywords, written out for help() and editors
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    deps: Mapping[str, str | AnyAsset | Resource] | None = None,
    after: Sequence[str | AnyAsset] = (),
    partitions: Partitions | None = None,
    mapping: Mapping[str, PartitionMapping] | None = None,
    retries: Retry | int | None = None,
    code_version: str | None = None,
    config: Mapping[str, Any] | None = None,
    source: bool = False,
    sensitive: bool = False,
    version: VersionFunction | None = None,
    io: str | None = None,
    format: str | None = None,
    executor: Literal["inline", "thread", "process"] | None = None,
    concurrency: int | None = None,
    timeout: float | timedelta | None = None,
    due: str | timedelta | None = None,
    approval: Approval | None = None,
    description: str | None = None,
    tags: Sequence[str] = (),
    owners: Sequence[str] = (),
) -> Any:
    """Declare a function as an asset; each parameter is ``ctx``, a resource, ``config`` or the asset of its name.

    A parameter with a default is an optional dependency. *deps* gives parameters other assets, *after* orders without loading,
    *mapping* says which upstream keys a parameter needs. *code_version* replaces the look at the code. *source* marks an asset
    that reads the outside; *version* returns a short fingerprint of it. Who is given a *sensitive* one's value is told in the
    audit log. *executor* says where it runs, *concurrency* how many of its attempts run at once in a run, *timeout* (seconds)
    ends an attempt, which then runs in a child process. *due* is by
    when a value must be there: ``"07:30"``, ``"07:30 Europe/Zurich"``, or a timedelta after its partition closes; *owners* are
    told when it is not. *approval* is the gate: who must agree before the value becomes current. Raises ``ValidationError`` for
    options of the wrong kind; everything that needs the other assets is checked when a ``Pipeline`` is built.
    """
    if function is not None:
        return _declare(function, name, {})
    given = {
        "deps": deps, "after": after, "partitions": partitions, "mapping": mapping, "retries": retries,
        "code_version": code_version, "config": config, "source": source, "sensitive": sensitive,
        "version": version, "io": io, "format": format,
        "executor": executor, "concurrency": concurrency, "timeout": timeout, "due": due, "approval": approval,
        "description": description, "tags": tags, "owners": owners,
    }  # fmt: skip
    changed = {key: value for key, value in given.items() if value is not None and value != ()}
    return lambda body: _declare(body, name, changed)


def source(
    name: str,
    *,
    version: VersionFunction,
    partitions: Partitions | None = None,
    config: Mapping[str, Any] | None = None,
    due: str | timedelta | None = None,
    description: str | None = None,
    tags: Sequence[str] = (),
    owners: Sequence[str] = (),
) -> Asset[..., Any]:
    """Declare data that something else makes: FlowStone records its versions and lineage and never computes it."""
    frame = sys._getframe(1)
    given = {"partitions": partitions, "config": config, "due": due, "description": description}
    given = {option: value for option, value in given.items() if value is not None}
    checked = _checked(options.name_of(name, None), {**given, "version": version, "tags": tags, "owners": owners})
    return Asset(name=name, function=None, file=frame.f_code.co_filename, line=frame.f_lineno, source=True, **checked)


def _checked(name: str, given: dict[str, Any]) -> dict[str, Any]:
    checked = options.check(name, given)
    if "due" in checked:
        check_due(name, checked["due"], checked.get("partitions"))
    return checked


def _declare(function: Any, name: str | None, given: dict[str, Any]) -> AnyAsset:
    if not callable(function) or isinstance(function, type):
        raise ValidationError(f"@asset was given {function!r}, which is no function", hint='write @asset or @asset(name="...")')
    named = options.name_of(name, function)
    checked = _checked(named, given) if given else {}
    parameters, problems = read_parameters(function, checked.get("deps", options.NOTHING))
    plain = function if type(function) is FunctionType else inspect.unwrap(function)
    if "__wrapped__" in getattr(plain, "__dict__", ()):
        plain = inspect.unwrap(plain)
    file, line, origin = "<unknown>", 0, None
    if isinstance(plain, FunctionType):
        code = plain.__code__
        file, line = code.co_filename, code.co_firstlineno
        origin = source_file(file, plain.__globals__)
    gives = what_calling_gives(function)
    if gives == "async generator":
        problems = (*problems, "is an async generator, which cannot be stored piece by piece; yield from def, or return a list")
    return Asset(
        name=named, function=function, file=file, line=line, parameters=parameters, gives=gives, problems=problems, origin=origin,
        **checked,
    )  # fmt: skip
