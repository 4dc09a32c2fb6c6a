"""What observes a deployment for OpenTelemetry: one observer for each signal somebody has set up. Never sets anything up itself.

Imported only where OpenTelemetry is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import _logs as logs_api
from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.trace import NoOpTracer

from flowstone.events.dispatcher import Dispatcher
from flowstone.events.trace import RunFacts
from flowstone.foundation.redaction import Redactor
from flowstone.observability.logs.capture import Capture
from flowstone.observability.metrics.definitions import Metric
from flowstone.observability.otel import names
from flowstone.observability.otel.ambient import Ambient
from flowstone.observability.otel.logs import Records
from flowstone.observability.otel.metrics import Measurements
from flowstone.observability.otel.providers import is_real
from flowstone.observability.otel.span_ids import tracer_of
from flowstone.observability.otel.span_transfer import Shipper, install
from flowstone.observability.otel.tracing import Spans

TRACES, METRICS, LOGS = "flowstone.otel.traces", "flowstone.otel.metrics", "flowstone.otel.logs"
"""The ids of the observers."""
WAITING = 16_384
"""Events that wait for an observer of this process's own; what does not fit is counted as dropped."""
LINGER = 0.1
"""Seconds after which such an observer goes to work."""


class Observers:
    """The observers of one deployment, attached as far as there is a provider; *everything*: log records of others as well.

    With everything the process is FlowStone's own: instruments and log records of events are then fed beside the run, which
    would wait for them longer than it takes to record a step. Spans cannot be: user code asks for the current one.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        capture: Capture,
        *,
        facts: Callable[[str], RunFacts | None],
        metrics: Sequence[Metric],
        max_series: int,
        version: str,
        everything: bool,
    ) -> None:
        self._dispatcher = dispatcher
        self._patient = everything  # what it gives to is ours, and never waits
        self._beside: dict[str, Any] = {"queued": True, "capacity": WAITING, "linger": LINGER} if everything else {}
        self.tracing = self._trace(facts, version)
        self._measure(metrics, max_series, version)
        self._log_to = logging.getLogger("" if everything else "flowstone")
        self._records = self._log(capture, version)

    def accept(self, spans: Sequence[Any]) -> None:
        """Take in spans of users' own that a child process has recorded."""
        if self.tracing is None or not self.tracing.accept(spans):
            self._dispatcher.losses.add(TRACES, "refused", len(spans))

    def close(self) -> None:
        """Hear nothing more."""
        if self._records is not None:
            self._log_to.removeHandler(self._records)

    def _trace(self, facts: Callable[[str], RunFacts | None], version: str) -> Spans | None:
        provider = trace_api.get_tracer_provider()
        if not is_real(provider) or isinstance(tracer := tracer_of(provider, version), NoOpTracer):
            return None
        spans = Spans(tracer, self._dispatcher.redactor, now_ns=self._dispatcher.now_ns, facts=facts)
        self._dispatcher.attach(TRACES, spans.events, spans.handle, patient=self._patient)
        return spans

    def _measure(self, metrics: Sequence[Metric], max_series: int, version: str) -> None:
        provider = metrics_api.get_meter_provider()
        if is_real(provider):
            meter = provider.get_meter(names.SCOPE, version)
            measurements = Measurements(meter, metrics, max_series, self._dispatcher.losses)
            self._dispatcher.attach(METRICS, measurements.events, measurements.handle, **self._beside)

    def _log(self, capture: Capture, version: str) -> Records | None:
        provider = logs_api.get_logger_provider()
        if not is_real(provider):
            return None
        records = Records(provider.get_logger(names.SCOPE, version), self._dispatcher.redactor)
        self._dispatcher.attach(LOGS, "*", records.handle_event, **self._beside)
        capture.listen(LOGS, records.handle_line)
        self._log_to.addHandler(records)
        return records


def in_child(redactor: Redactor, send: Callable[[list[Any]], object], version: str) -> tuple[Ambient, Shipper]:
    """What makes bodies in a child process part of their traces, and what sends users' own spans to the process above."""
    shipper = Shipper(send)
    return Ambient(tracer_of(install(shipper), version), redactor), shipper
