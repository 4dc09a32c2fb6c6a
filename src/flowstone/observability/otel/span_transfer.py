"""Spans that cross a pipe: users' own spans in a child process reach the exporters of the process that started it.

So a child needs no exporter, exits without waiting for one, and one that is killed has lost only what had not ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

BATCH = 64
Place = tuple[int, int, int, str]
"""A span's context: trace id, span id, flags, state."""


class Carried(NamedTuple):
    """A span that has ended, as plain data."""

    name: str
    place: Place
    parent: Place | None
    kind: int
    started_at: int | None
    ended_at: int | None
    status: tuple[int, str | None]
    attributes: dict[str, Any]
    events: list[tuple[str, int, dict[str, Any]]]
    links: list[tuple[Place, dict[str, Any]]]
    scope: tuple[str, str | None, str | None]


def pack(span: ReadableSpan) -> Carried:
    """Return the span as it travels."""
    scope = span.instrumentation_scope
    return Carried(
        span.name,
        _place(span.get_span_context()),
        _place(span.parent) if span.parent is not None else None,
        span.kind.value,
        span.start_time,
        span.end_time,
        (span.status.status_code.value, span.status.description),
        dict(span.attributes or {}),
        [(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events],
        [(_place(link.context), dict(link.attributes or {})) for link in span.links],
        (scope.name, scope.version, scope.schema_url) if scope is not None else ("", None, None),
    )


def unpack(carried: Carried, resource: Resource) -> ReadableSpan:
    """Return the span, as one of this process's *resource*."""
    return ReadableSpan(
        carried.name,
        _context(carried.place),
        _context(carried.parent) if carried.parent is not None else None,
        resource,
        carried.attributes,
        [Event(name, attributes, at) for name, at, attributes in carried.events],
        [Link(_context(place), attributes) for place, attributes in carried.links],
        SpanKind(carried.kind),
        status=Status(StatusCode(carried.status[0]), carried.status[1]),
        start_time=carried.started_at,
        end_time=carried.ended_at,
        instrumentation_scope=InstrumentationScope(*carried.scope),
    )


class Shipper(SpanProcessor):
    """Sends spans that have ended on their way, some at a time."""

    def __init__(self, send: Callable[[list[Any]], object]) -> None:
        self._send, self._process = send, os.getpid()
        self._lock = threading.Lock()
        self._waiting: list[Carried] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is sent of a span that has not ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span; when there are enough, send them."""
        if span.context is None or not span.context.trace_flags.sampled or os.getpid() != self._process:
            return  # what users' code has forked must not write into the pipe
        with self._lock:
            self._waiting.append(pack(span))
            full = len(self._waiting) >= BATCH
        if full:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if waiting:
            with suppress(OSError):  # nobody listens any more; users' code must not hear of it
                self._send(list(waiting))

    def shutdown(self) -> None:
        """Nothing is held but what nobody asks for any more."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the base class's signature
        """Send what waits."""
        self.flush()
        return True


def install(shipper: Shipper) -> trace_api.TracerProvider:
    """Have users' code in this process, which is FlowStone's own, record spans that are shipped, unless it has set up its own."""
    found = trace_api.get_tracer_provider()
    if not isinstance(found, trace_api.ProxyTracerProvider):
        return found
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(shipper)
    trace_api.set_tracer_provider(provider)
    return provider


def accept(spans: Sequence[Carried], processor: SpanProcessor, resource: Resource) -> None:
    """Give spans that were shipped to a process's own processor."""
    for carried in spans:
        processor.on_end(unpack(carried, resource))


def _place(context: SpanContext | None) -> Place:
    context = context or trace_api.INVALID_SPAN_CONTEXT
    return context.trace_id, context.span_id, int(context.trace_flags), context.trace_state.to_header()


def _context(place: Place) -> SpanContext:
    trace_id, span_id, flags, state = place
    return SpanContext(trace_id, span_id, True, TraceFlags(flags), TraceState.from_header([state]) if state else TraceState())
