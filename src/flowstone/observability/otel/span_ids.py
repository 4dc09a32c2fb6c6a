"""Spans with ids we choose: a tracer of our own, contexts of spans that are elsewhere, and how a span fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanContext, StatusCode, TraceFlags, Tracer, TracerProvider, TraceState

from flowstone.events.trace import Trace
from flowstone.observability.otel import names


class ChosenIds(RandomIdGenerator):
    """Gives the ids the current thread has chosen, else random ones."""

    def __init__(self) -> None:
        self._chosen = threading.local()

    @contextmanager
    def choose(self, trace_id: str, span_id: str) -> Iterator[None]:
        """Give these ids, in hexadecimal digits, to the span that is started inside the block."""
        self._chosen.ids = int(trace_id, 16), int(span_id, 16)
        try:
            yield
        finally:
            self._chosen.ids = None

    def generate_trace_id(self) -> int:
        """The chosen trace id, else a random one."""
        ids = getattr(self._chosen, "ids", None)
        return ids[0] if ids else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """The chosen span id, else a random one."""
        ids = getattr(self._chosen, "ids", None)
        return ids[1] if ids else super().generate_span_id()


def tracer_of(provider: TracerProvider, version: str) -> Tracer:
    """FlowStone's tracer; one of the SDK takes ids from :class:`ChosenIds`, those of others are not touched."""
    tracer = provider.get_tracer(names.SCOPE, version)
    if isinstance(tracer, SdkTracer) and not isinstance(tracer.id_generator, ChosenIds):
        tracer.id_generator = ChosenIds()
    return tracer


def context_of(trace: Trace) -> SpanContext:
    """The context of a span that is recorded elsewhere."""
    state = TraceState.from_header([trace.state]) if trace.state else TraceState()
    return SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), True, TraceFlags(trace.flags), state)


def fail(span: Span, type: str, message: str = "") -> None:
    """Say that what the span stands for failed. The exception itself is a log record, as conventions have it."""
    span.set_attribute(names.ERROR_TYPE, type or "_OTHER")
    span.set_status(StatusCode.ERROR, message or None)
