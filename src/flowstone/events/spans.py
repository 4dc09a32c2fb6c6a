"""A span is a start and exactly one ending: ``stop`` or ``exception``, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, get_type_hints

import msgspec

from flowstone.events.event import Event, Nanoseconds, Text, event
from flowstone.events.trace import Inside
from flowstone.foundation.errors import EventError
from flowstone.foundation.errors import message_of as message_of  # noqa: PLC0414 - rooms above name it from here


class SpanKind(NamedTuple):
    """The three events of one kind of span; the endings have every field of the start."""

    start: type[Event]
    stop: type[Event]
    exception: type[Event]

    @property
    def name(self) -> str:
        """The name the three events share, without its last word."""
        return self.start.name.rpartition(".")[0]


class Emitter(Protocol):
    """What a span needs of its surroundings."""

    def emit(self, cls: type[Event], /, **fields: Any) -> None:
        """Emit an event of class *cls*."""
        ...

    def monotonic_ns(self) -> int:
        """Return a monotonic reading in nanoseconds."""
        ...


class Span:
    """The context manager behind ``span(...)``: ``with flow.span(UPLOAD, region="eu") as span: span.set(rows=3)``."""

    __slots__ = ("_emitter", "_fields", "_inside", "_kind", "_more", "_started")

    def __init__(self, emitter: Emitter, kind: SpanKind, fields: dict[str, Any], inside: Inside | None = None) -> None:
        self._emitter, self._kind, self._fields, self._inside = emitter, kind, fields, inside
        self._more: dict[str, Any] = {}
        self._started = 0

    def set(self, **fields: Any) -> None:
        """Give fields of the stop event; the exception event does not take them. Raises :class:`EventError` for others."""
        for name in fields:
            if name not in self._kind.stop.fields:
                raise EventError(
                    f"span {self._kind.name!r} has no field {name!r}", hint=f"its fields: {', '.join(self._kind.stop.fields)}"
                )
        self._more.update(fields)

    def __enter__(self) -> Self:
        self._emitter.emit(self._kind.start, **self._fields)
        if self._inside is not None:
            self._inside.begin()
        self._started = self._emitter.monotonic_ns()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        duration = self._emitter.monotonic_ns() - self._started
        if self._inside is not None:
            self._inside.end(self._more, error)
        if cls is None:
            self._emitter.emit(self._kind.stop, **{**self._fields, **self._more, "duration_ns": duration})
        else:
            self._emitter.emit(
                self._kind.exception, **self._fields, duration_ns=duration, type=cls.__name__, message=message_of(error)
            )


def span(name: str, *, recorded: bool = True) -> Callable[[type[Event]], SpanKind]:
    """Declare a span of your own from one event class: fields without a default belong to all three events, fields with
    a default to the stop only.

    >>> @span("acme.upload")
    ... class Upload(Event):
    ...     "A file was sent to the archive."
    ...     region: Label
    ...     rows: Count = 0
    """

    def declare(cls: type[Event]) -> SpanKind:
        if not cls.__doc__:
            raise EventError(f"span {name!r}: {cls.__name__} has no docstring", hint="its first line is its documentation")
        hints = get_type_hints(cls, include_extras=True)
        own = [f for f in msgspec.structs.fields(cls) if f.name not in ("at", "trace_id", "run_id")]
        taken = {f.name for f in own} & {"duration_ns", "type", "message"}
        if taken:
            raise EventError(f"span {name!r}: a field cannot be called {', '.join(sorted(taken))}", hint="rename it")
        shared = [(f.name, hints[f.name]) for f in own if f.required]
        late = [(f.name, hints[f.name], f.default) for f in own if not f.required]
        parts: dict[str, list[Any]] = {
            "start": shared,
            "stop": [*shared, *late, ("duration_ns", Nanoseconds)],
            "exception": [*shared, ("duration_ns", Nanoseconds), ("type", str), ("message", Text)],
        }
        made: list[type[Event]] = []
        for part, fields in parts.items():
            struct: Any = msgspec.defstruct(
                f"{cls.__name__}{part.capitalize()}",
                fields,
                bases=(Event,),
                module=cls.__module__,
                frozen=True,
                kw_only=True,
                namespace={"__doc__": f"{cls.__doc__.splitlines()[0]} ({part})"},
            )
            made.append(event(f"{name}.{part}", recorded=recorded)(struct))
        return SpanKind(*made)

    return declare
