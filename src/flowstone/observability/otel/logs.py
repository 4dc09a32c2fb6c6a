"""Events, log records and captured lines as OpenTelemetry log records: an observer, a logging handler and a listener.

The logs API is used as it is: the SDK's own logging handler is deprecated. Imported only where log records are wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from flowstone.events.catalogue import ErrorRecorded, IoLoadStart, IoLoadStop, IoStoreStart, IoStoreStop
from flowstone.events.context import Scope, current
from flowstone.events.event import Event, attributes_of
from flowstone.events.trace import Trace, span_id_of, trace_of
from flowstone.foundation.redaction import Redactor
from flowstone.observability.logs.lines import Line
from flowstone.observability.logs.records import capped, ends_of, extras_of, text_of
from flowstone.observability.logs.records import trace_of as traceback_of
from flowstone.observability.logs.shape import level_of, sentence
from flowstone.observability.otel import names
from flowstone.observability.otel.span_ids import context_of

SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG, logging.INFO: SeverityNumber.INFO, logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR, logging.CRITICAL: SeverityNumber.FATAL,
}  # fmt: skip
_PLACE = {
    "run_id": names.RUN_ID, "asset": names.ASSET, "partition": names.PARTITION, "attempt": names.ATTEMPT,
    "pipeline": names.PIPELINE, "actor": names.ACTOR,
}  # fmt: skip
_ERROR = {"type": names.EXCEPTION_TYPE, "message": names.EXCEPTION_MESSAGE}
_SPANS = frozenset({IoLoadStart, IoLoadStop, IoStoreStart, IoStoreStop})
_NOT_SENT = ("flowstone.events", "flowstone.losses", "opentelemetry")
"""Loggers whose records are sent as events, or are about what sends them."""


class Records(logging.Handler):
    """Turns events, log records and lines into log records of *logger*."""

    def __init__(self, logger: Logger, redactor: Redactor) -> None:
        super().__init__()
        self._logger, self._redactor = logger, redactor

    def handle_event(self, happened: Event) -> None:
        """Send an event that is recorded, or is a warning; not what only shows progress, nor moves of values: they are spans."""
        if type(happened) in _SPANS:
            return
        level = level_of(happened)
        if not happened.recorded and level < logging.WARNING:
            return
        fields = {name: value for name, value in attributes_of(happened).items() if value != ""}
        own = happened.name.startswith("flowstone.")
        known = _PLACE | (_ERROR if isinstance(happened, ErrorRecorded) else {})
        prefix = "flowstone" if own else happened.name
        attributes = {known.get(name, f"{prefix}.{name}"): value for name, value in fields.items() if name != "trace_id"}
        self._send(happened.at, level, sentence(happened, fields), attributes, trace_of(happened), happened.name)

    def handle_line(self, line: Line) -> None:
        """Send a captured line that was no log record of this process."""
        level = logging.getLevelNamesMapping().get(line.level.upper(), logging.INFO)
        attributes = {**_of_scope(line.scope), names.LOGGER: line.logger, **line.given}
        self._send(line.at, level, line.message, attributes, _trace_of_scope(line.scope))

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log record; one that is about sending is not sent."""
        if record.name.startswith(_NOT_SENT):
            return
        scope = current.get()
        attributes = {**(_of_scope(scope) if scope else {}), names.LOGGER: record.name, **extras_of(record, self._redactor)}
        if trace := traceback_of(record):
            attributes[names.EXCEPTION_STACKTRACE] = ends_of(trace, self._redactor)
            error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
            if error is not None:
                attributes[names.EXCEPTION_TYPE] = type(error).__qualname__
        text = capped(self._redactor.text(text_of(record)))
        self._send(int(record.created * 1e9), record.levelno, text, attributes, _trace_of_scope(scope) if scope else None)

    def _send(
        self, at: int, level: int, text: str, attributes: Mapping[str, Any], trace: Trace | None, event: str | None = None
    ) -> None:
        context = set_span_in_context(NonRecordingSpan(context_of(trace)), Context()) if trace is not None else None
        self._logger.emit(
            timestamp=at,
            context=context,
            severity_number=SEVERITIES[max(10, min(level // 10 * 10, 50))],
            severity_text=logging.getLevelName(level),
            body=text,
            attributes={
                name: value if isinstance(value, str | int | float) else str(value) for name, value in attributes.items()
            },
            event_name=event,
        )


def _of_scope(scope: Scope) -> dict[str, Any]:
    place = {
        names.RUN_ID: scope.run_id, names.ASSET: scope.asset, names.PARTITION: scope.partition, names.ATTEMPT: scope.attempt,
    }  # fmt: skip
    return {name: value for name, value in place.items() if value != ""}


def _trace_of_scope(scope: Scope) -> Trace | None:
    if not scope.trace_id:
        return None
    return Trace(scope.trace_id, span_id_of(scope.run_id, scope.asset, scope.partition, scope.attempt))
