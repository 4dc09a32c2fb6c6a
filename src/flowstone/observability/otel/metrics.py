"""The defined metrics as OpenTelemetry instruments of this process: an observer. Imported only where they are wanted.

They count what this process has seen, from its beginning; the deployment's own series are folded from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Meter
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from flowstone.events.event import Event
from flowstone.events.losses import Losses
from flowstone.events.trace import trace_of
from flowstone.observability.metrics.definitions import OVERFLOW, Metric
from flowstone.observability.otel import names
from flowstone.observability.otel.span_ids import context_of

SINK = "otel.metrics"
Record = Callable[..., None]
Told = tuple[Metric, Record]


class Measurements:
    """Feeds one instrument for each of *metrics*; at most *max_series* sets of label values each, the rest in one series."""

    def __init__(self, meter: Meter, metrics: Iterable[Metric], max_series: int, losses: Losses) -> None:
        self._max, self._losses = max_series, losses
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._by_event: dict[str, list[Told]] = {}
        for metric in metrics:
            if not metric.sources:  # a state is read from the store, by whoever is asked for it
                continue
            told = metric, _recorder(meter, metric)
            for name in {source.event for source in metric.sources}:
                self._by_event.setdefault(name, []).append(told)

    @property
    def events(self) -> tuple[str, ...]:
        """The names of the events it wants to see."""
        return tuple(self._by_event)

    def handle(self, happened: Event) -> None:
        """Measure the event."""
        context: Context | None = None
        for metric, record in self._by_event.get(happened.name, ()):
            for labels, value in metric.measure(happened):
                if metric.kind == "sum" and value < 0:
                    self._losses.add(SINK, "refused")
                    continue
                context = context or _context(happened)
                record(value, dict(zip(metric.labels, self._capped(metric, labels), strict=True)), context=context)

    def _capped(self, metric: Metric, labels: tuple[str, ...]) -> tuple[str, ...]:
        seen = self._seen.setdefault(metric.name, set())
        if labels not in seen:
            if len(seen) >= self._max:
                return (OVERFLOW,) * len(labels)
            seen.add(labels)
        return labels


def _recorder(meter: Meter, metric: Metric) -> Record:
    name: Any = names.instrument_name(metric.name, metric.unit)
    described = {"unit": names.UNITS[metric.unit], "description": metric.description}
    if metric.kind == "distribution":
        return meter.create_histogram(name, **described, explicit_bucket_boundaries_advisory=metric.buckets).record
    if metric.kind == "last_value":
        return meter.create_gauge(name, **described).set
    return meter.create_counter(name, **described).add


def _context(happened: Event) -> Context:
    """What an exemplar points at: the span the event is about."""
    trace = trace_of(happened)
    return set_span_in_context(NonRecordingSpan(context_of(trace)), Context()) if trace is not None else Context()
