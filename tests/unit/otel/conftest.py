"""An OpenTelemetry that somebody has set up for one test, and what it was told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import _logs as logs_api
from opentelemetry import trace as trace_api
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Told:
    """What was recorded; spans by name in order of their ends."""

    def __init__(self) -> None:
        self._spans, self._records, self._reader = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self._records))

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def span(self, name: str, number: int = 0) -> ReadableSpan:
        return [span for span in self.spans if span.name == name][number]

    def parent(self, span: ReadableSpan) -> str | None:
        """The name of the span's parent, ``None`` for a root."""
        names = {one.context.span_id: one.name for one in self.spans}
        return names[span.parent.span_id] if span.parent is not None else None

    @property
    def records(self):
        return [one.log_record for one in self._records.get_finished_logs()]

    def points(self, name: str):
        """The data points of an instrument by their label values."""
        data = self._reader.get_metrics_data()
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        return {tuple(point.attributes.values()): point for m in metrics if m.name == name for point in m.data.data_points}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Traces are set up, as a program would have done it."""
    told = Told()
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", told.tracers)
    return told


@pytest.fixture
def everything(traced: Told, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Traces, metrics and logs are set up."""
    monkeypatch.setattr(metrics_api, "_METER_PROVIDER", traced.meters)
    monkeypatch.setattr(logs_api._internal, "_LOGGER_PROVIDER", traced.loggers)
    return traced
