"""OpenTelemetry's SDK for a process that is an application: exporters as its environment variables say, bounded and counted.

A library never does this: it uses what its application has set up. Imported only where it is wanted.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import _logs as logs_api
from opentelemetry import metrics as metrics_api
from opentelemetry import trace as trace_api
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from flowstone.events.losses import Losses
from flowstone.foundation.errors import SettingsError
from flowstone.observability.otel.providers import is_real

SIGNALS = ("traces", "metrics", "logs")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
FLUSH_SECONDS = 5.0
QUEUE = 16_384
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_DONE = 0  # the value of success in every signal's enumeration of results


class Account:
    """What one exporter was given: at most *size* wait at once; what is refused, and what it could not send, is lost."""

    def __init__(self, sink: str, size: int, losses: Losses) -> None:
        self._sink, self._size, self._losses = sink, size, losses
        self._lock = threading.Lock()
        self._pending = 0

    def enter(self) -> bool:
        """Whether there is room for one more."""
        with self._lock:
            if self._pending < self._size:
                self._pending += 1
                return True
        self._losses.add(self._sink, "dropped")
        return False

    def counting(self, export: Callable[..., Any]) -> Callable[..., Any]:
        """Return *export*, counted."""

        def counted(batch: Any, *more: Any, **options: Any) -> Any:
            result, failed = None, len(batch)
            try:
                result = export(batch, *more, **options)
                failed = failed if getattr(result, "value", None) != _DONE else 0
            finally:
                with self._lock:
                    self._pending -= len(batch)
                self._losses.add(self._sink, "failed", failed)
            return result

        return counted

    def close(self) -> None:
        """Count what still waits as lost, and take no more."""
        with self._lock:
            left, self._pending, self._size = self._pending, 0, 0
        self._losses.add(self._sink, "dropped", left)


class BoundedSpans(SpanProcessor):
    """A span processor that is given no more than it can hold: what does not fit is the newest, and counted."""

    def __init__(self, inner: SpanProcessor, account: Account) -> None:
        self._inner, self._account = inner, account

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is kept of a span that has not ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Hand the span on."""
        if span.context is not None and span.context.trace_flags.sampled and self._account.enter():
            self._inner.on_end(span)

    def shutdown(self) -> None:
        """Send what waits."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._inner.force_flush(timeout_millis)


class BoundedLogs(LogRecordProcessor):
    """The same for log records."""

    def __init__(self, inner: LogRecordProcessor, account: Account) -> None:
        self._inner, self._account = inner, account

    def on_emit(self, log_record: Any) -> None:
        """Hand the log record on."""
        if self._account.enter():
            self._inner.on_emit(log_record)

    def shutdown(self) -> None:
        """Send what waits."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return self._inner.force_flush(timeout_millis)


class Export:
    """The providers this process has set up; each signal that its application has set up already is left alone."""

    def __init__(self, resource: Mapping[str, str], losses: Losses, *, always: bool) -> None:
        wanted = {signal: _exporters(signal, always=always) for signal in SIGNALS}
        self._resource, self._losses = _resource(resource), losses
        self._accounts: list[Account] = []
        self._providers: list[TracerProvider | MeterProvider | LoggerProvider] = []
        if wanted["traces"] and not is_real(trace_api.get_tracer_provider()):
            self._trace(wanted["traces"])
        if wanted["metrics"] and not is_real(metrics_api.get_meter_provider()):
            self._measure(wanted["metrics"])
        if wanted["logs"] and not is_real(logs_api.get_logger_provider()):
            self._log(wanted["logs"])

    def close(self) -> None:
        """Send what waits, for at most 5 seconds; what remains then is counted as dropped."""
        until = time.monotonic() + FLUSH_SECONDS
        closing = [threading.Thread(target=provider.shutdown, daemon=True) for provider in self._providers]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(0.0, until - time.monotonic()))
        for account in self._accounts:
            account.close()
        self._providers, self._accounts = [], []

    def _trace(self, exporters: Mapping[str, Any]) -> None:
        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        size = _number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE)
        for name, exporter in exporters.items():
            account = self._counted(f"otel.traces.{name}", exporter, size)
            provider.add_span_processor(BoundedSpans(BatchSpanProcessor(exporter, size), account))
        trace_api.set_tracer_provider(provider)
        self._providers.append(provider)

    def _measure(self, exporters: Mapping[str, Any]) -> None:
        readers = [one if isinstance(one, MetricReader) else PeriodicExportingMetricReader(one) for one in exporters.values()]
        provider = MeterProvider(readers, self._resource, shutdown_on_exit=False)
        metrics_api.set_meter_provider(provider)
        self._providers.append(provider)

    def _log(self, exporters: Mapping[str, Any]) -> None:
        provider = LoggerProvider(self._resource, shutdown_on_exit=False)
        size = _number("OTEL_BLRP_MAX_QUEUE_SIZE", QUEUE)
        for name, exporter in exporters.items():
            account = self._counted(f"otel.logs.{name}", exporter, size)
            provider.add_log_record_processor(BoundedLogs(BatchLogRecordProcessor(exporter, max_queue_size=size), account))
        logs_api.set_logger_provider(provider)
        self._providers.append(provider)

    def _counted(self, sink: str, exporter: Any, size: int) -> Account:
        account = Account(sink, size, self._losses)
        exporter.export = account.counting(exporter.export)
        self._accounts.append(account)
        return account


def _exporters(signal: str, *, always: bool) -> dict[str, Any]:
    """The exporters the environment names for the signal, by name: OTLP where only an endpoint is given, or *always*."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    named = os.environ.get(variable, "")
    if not named and (always or os.environ.get(ENDPOINT) or os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")):
        named = "otlp"
    wanted = [name.strip() for name in named.split(",") if name.strip() not in ("", "none")]
    return {name: _exporter(signal, name, variable) for name in wanted}


def _exporter(signal: str, name: str, variable: str) -> Any:
    entry = name
    if name == "otlp":
        setting = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
        protocol = os.environ.get(setting) or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
        if protocol not in _PROTOCOLS:
            raise SettingsError(f"the OTLP protocol {protocol!r} is not known", hint=f"one of {', '.join(_PROTOCOLS)}")
        entry = _PROTOCOLS[protocol]
    group = f"opentelemetry_{signal}_exporter"
    found = list(entry_points(group=group, name=entry))
    if not found:
        known = sorted({point.name for point in entry_points(group=group)})
        raise SettingsError(f"{variable} names {name!r}, which is not installed", hint=f"installed: {', '.join(known)}; or none")
    return found[0].load()()


def _resource(ours: Mapping[str, str]) -> Resource:
    """What sends all this; what the environment says of it comes first."""
    given = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in ours.items() if name not in given})


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) else default
