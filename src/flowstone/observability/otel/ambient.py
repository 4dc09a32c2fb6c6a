"""What makes the code of a body part of a trace, in whatever process it runs. Imported only where OpenTelemetry is wanted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.trace import NonRecordingSpan, Span, Tracer, set_span_in_context

from flowstone.events.trace import Attempt, Trace
from flowstone.foundation.redaction import Redactor
from flowstone.observability.otel.span_ids import context_of, fail

log = logging.getLogger("flowstone.tracing")


class Ambient:
    """What makes code part of a trace: all there is to do in a process that only runs bodies."""

    def __init__(self, tracer: Tracer, redactor: Redactor) -> None:
        self._tracer, self._redactor = tracer, redactor

    def produced(self, attempt: Attempt, producers: Iterable[Attempt]) -> None:
        """Nobody asks here."""

    def trace_of(self, attempt: Attempt, trace: Trace) -> Trace:  # noqa: ARG002 - the protocol's signature
        return trace

    def forget(self, run_id: str) -> None:
        """Nothing is held."""

    @contextmanager
    def around(self, attempt: Attempt, trace: Trace) -> Iterator[None]:
        token = None
        try:
            token = contexts.attach(set_span_in_context(self._span_of(attempt, trace)))
        except Exception as error:  # noqa: BLE001 - tracing never breaks work
            log.warning("attempt %d of %s is not traced: %s", attempt.attempt, attempt.asset, type(error).__name__)
        try:
            yield
        finally:
            if token is not None:
                contexts.detach(token)

    def span(self, name: str, fields: Mapping[str, Any], texts: tuple[str, ...]) -> UsersSpan:
        return UsersSpan(self._tracer, self._redactor, name, fields, texts)

    def _span_of(self, attempt: Attempt, trace: Trace) -> Span:  # noqa: ARG002 - for those who know better
        return NonRecordingSpan(context_of(trace))


class UsersSpan:
    """A span of users' own: part of the span around it, and around what its code does."""

    def __init__(self, tracer: Tracer, redactor: Redactor, name: str, fields: Mapping[str, Any], texts: tuple[str, ...]) -> None:
        self._tracer, self._redactor, self._name, self._fields, self._texts = tracer, redactor, name, fields, texts
        self._open: tuple[Span, Any] | None = None

    def begin(self) -> None:
        try:
            span = self._tracer.start_span(self._name, attributes=self._attributes(self._fields))
            self._open = span, contexts.attach(set_span_in_context(span))
        except Exception as error:  # noqa: BLE001 - tracing never breaks work
            log.warning("span %s could not be recorded: %s", self._name, type(error).__name__)

    def end(self, fields: Mapping[str, Any], error: BaseException | None) -> None:
        if self._open is None:
            return
        span, token = self._open
        try:
            contexts.detach(token)
            span.set_attributes(self._attributes(fields))
            if error is not None:
                fail(span, type(error).__name__)
            span.end()
        except Exception as wrong:  # noqa: BLE001 - tracing never breaks work
            log.warning("span %s could not be recorded: %s", self._name, type(wrong).__name__)

    def _attributes(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        values = {name: self._redactor.value(value, name) if name in self._texts else value for name, value in fields.items()}
        plain = {name: value if isinstance(value, str | int | float) else str(value) for name, value in values.items()}
        return {f"{self._name}.{name}": value for name, value in plain.items()}
