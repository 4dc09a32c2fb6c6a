"""What the command line sets up: exporters as the environment says, queues that are bounded, losses that are counted exactly."""

from __future__ import annotations

import threading

import pytest
from opentelemetry import _logs as logs_api
from opentelemetry import trace as trace_api
from opentelemetry.metrics import _internal as metrics_api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from flowstone import Pipeline, asset
from flowstone.app.telemetry import ASKING
from flowstone.events.losses import Losses
from flowstone.foundation.errors import SettingsError
from flowstone.foundation.setting_groups import TelemetrySettings
from flowstone.observability.otel import export as otel_export
from flowstone.observability.otel.export import Account, BoundedSpans, Export
from flowstone.testing import isolated_flow


@asset
def orders():
    return [1, 2, 3]


SHOP = Pipeline("shop", [orders])


@pytest.fixture
def process(monkeypatch):
    """A process in which nothing of OpenTelemetry is set up, and nothing asks for it."""
    for name in ASKING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(metrics_api, "_METER_PROVIDER", None)
    monkeypatch.setattr(logs_api._internal, "_LOGGER_PROVIDER", None)
    for module in (trace_api, metrics_api, logs_api._internal):
        once = next(name for name in vars(module) if name.endswith("_PROVIDER_SET_ONCE"))
        monkeypatch.setattr(module, once, type(getattr(module, once))())
    return monkeypatch


class Slow(SpanExporter):
    """An exporter that waits until it may go on, and then answers as it is told."""

    def __init__(self, answer):
        self.answer, self.entered, self.go = answer, threading.Event(), threading.Event()
        self.exported = 0

    def export(self, spans):
        self.entered.set()
        self.go.wait(20)
        if isinstance(self.answer, Exception):
            raise self.answer
        self.exported += len(spans) if self.answer is SpanExportResult.SUCCESS else 0
        return self.answer


def losses_of(made):
    return {reason: lost for _, reason, lost in made.totals()}


@pytest.mark.parametrize("answer", [SpanExportResult.SUCCESS, SpanExportResult.FAILURE, OSError("gone")], ids=str)
def test_offered_is_exported_failed_or_dropped(answer, caplog):
    """Ten thousand spans into a queue of a hundred behind an exporter that hangs: not one is missing from the account."""
    losses, exporter = Losses(lambda: 0), Slow(answer)
    account = Account("test", 100, losses)
    exporter.export = account.counting(exporter.export)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BoundedSpans(BatchSpanProcessor(exporter, 100, max_export_batch_size=10), account))
    tracer = provider.get_tracer("test")
    for _ in range(10_000):
        tracer.start_span("one").end()
    assert exporter.entered.wait(20)
    exporter.go.set()
    provider.shutdown()
    account.close()

    found = losses_of(losses)
    assert exporter.exported + found.get("failed", 0) + found["dropped"] == 10_000
    assert exporter.exported + found.get("failed", 0) == 100
    assert (exporter.exported == 0) is (answer is not SpanExportResult.SUCCESS)


def test_what_waits_when_time_is_up_is_dropped(process):
    """An exporter that never answers holds nobody up for longer than the limit, and what it holds is counted."""
    process.setattr(otel_export, "FLUSH_SECONDS", 0.05)
    exporter, losses = Slow(SpanExportResult.SUCCESS), Losses(lambda: 0)
    process.setattr(otel_export, "_exporter", lambda *_: exporter)
    process.setenv("OTEL_TRACES_EXPORTER", "slow")
    made = Export({}, losses, always=False)
    for _ in range(7):
        trace_api.get_tracer("test").start_span("one").end()
    made.close()
    exporter.go.set()

    assert [tuple(loss) for loss in losses.totals()] == [("otel.traces.slow", "dropped", 7)]


@pytest.mark.parametrize(
    ("variables", "always", "expected"),
    [
        ({}, False, ""), ({}, True, "traces metrics logs"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False, "traces metrics logs"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_LOGS_EXPORTER": "none"}, False, "traces metrics"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, False, "traces"),
        ({"OTEL_METRICS_EXPORTER": "console"}, False, "metrics"), ({"OTEL_TRACES_EXPORTER": "none"}, True, "metrics logs"),
    ],
    ids=str,
)  # fmt: skip
def test_the_environment_says_which_signals_are_exported(process, variables, always, expected):
    """An endpoint asks for all signals, a variable of one signal for that one; ``none`` refuses; ``on`` asks for all."""
    for name, value in variables.items():
        process.setenv(name, value)
    asked = []
    process.setattr(otel_export, "_exporter", lambda signal, *_: asked.append(signal) or Slow(SpanExportResult.SUCCESS))
    for signal in otel_export.SIGNALS:
        otel_export._exporters(signal, always=always)

    assert asked == expected.split()


@pytest.mark.parametrize(("protocol", "expected"), [("", "proto.grpc"), ("grpc", "proto.grpc"), ("http/protobuf", "proto.http")])
@pytest.mark.parametrize("signal", otel_export.SIGNALS)
def test_the_protocol_chooses_the_exporter(process, signal, protocol, expected):
    """OTLP goes over gRPC unless the environment asks for HTTP, for each signal."""
    process.setenv(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", protocol)
    (exporter,) = otel_export._exporters(signal, always=True).values()
    exporter.shutdown()

    assert expected in type(exporter).__module__


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin9", "OTEL_TRACES_EXPORTER names 'zipkin9'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke", "protocol 'smoke'"),
    ],
)
def test_what_is_not_there_is_named(process, variable, value, message):
    """An exporter that is not installed and a protocol that does not exist are told with what there is."""
    process.setenv(variable, value)
    with pytest.raises(SettingsError, match=message) as caught:
        otel_export._exporters("traces", always=True)

    assert "otlp" in caught.value.hint or "grpc" in caught.value.hint


def test_what_the_program_has_set_up_is_left_alone(process):
    """A provider that is there already is neither replaced nor shut down."""
    theirs = TracerProvider(shutdown_on_exit=False)
    process.setattr(trace_api, "_TRACER_PROVIDER", theirs)
    process.setenv("OTEL_TRACES_EXPORTER", "otlp")
    made = Export({}, Losses(lambda: 0), always=False)
    made.close()

    assert trace_api.get_tracer_provider() is theirs
    assert made._providers == []


def test_nothing_asks_and_nothing_is_set_up(process):
    """Without variables and with the default setting the command line sets up nothing."""
    with isolated_flow(SHOP) as flow:
        assert flow.export_telemetry() is False
        flow.run()
        assert {handler.id for handler in flow.list_handlers("flowstone.run")} == {"flowstone.logs"}

    assert isinstance(trace_api.get_tracer_provider(), trace_api.ProxyTracerProvider)


def test_the_resource_says_what_sends(process):
    """Spans come from service ``flowstone`` of the project, unless the environment says otherwise; each process is told apart."""
    exporter = Slow(SpanExportResult.SUCCESS)
    exporter.go.set()
    process.setattr(otel_export, "_exporter", lambda *_: exporter)
    process.setenv("OTEL_TRACES_EXPORTER", "fast")
    process.setenv("OTEL_SERVICE_NAME", "nightly")
    with isolated_flow(SHOP) as flow:
        assert flow.export_telemetry() is True
        flow.run()
        about = dict(trace_api.get_tracer_provider().resource.attributes)

    assert (about["service.name"], about["service.namespace"]) == ("nightly", "test")
    assert about["service.instance.id"].startswith("proc_")
    assert exporter.exported == 3  # the run, its attempt, and the value it stored: sent when the flow was closed


@pytest.mark.parametrize("otel", ["on", "off"])
def test_a_library_sets_nothing_up(process, caplog, otel):
    """As a library FlowStone only says that nothing is set up where the setting asks for it, and sets up nothing itself."""
    with isolated_flow(SHOP) as flow:
        flow._deployment.telemetry._wanted = TelemetrySettings(otel).otel
        flow.run()

    assert ("telemetry.otel is on" in caplog.text) is (otel == "on")
    assert isinstance(trace_api.get_tracer_provider(), trace_api.ProxyTracerProvider)


def test_a_missing_library_is_named_where_it_is_asked_for(process):
    """With the setting ``on`` and OpenTelemetry not installed the run is refused, with what to install."""
    process.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with isolated_flow(SHOP) as flow:
        flow._deployment.telemetry._wanted = "on"
        with pytest.raises(SettingsError, match=r"opentelemetry\.sdk\.trace is not installed") as caught:
            flow.run()

    assert "flowstone[otel]" in caught.value.hint
