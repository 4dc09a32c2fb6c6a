"""OpenTelemetry over the wire: real processes, the official exporters, and receivers built on the official servicers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from flowstone import FlowStone
from flowstone.events.trace import run_span_id, span_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATIENCE = 60.0

PIPELINE = '''
import os, time
from pathlib import Path
from opentelemetry import trace
from flowstone import Count, Event, Label, Pipeline, Retry, asset, span

@span("acme.upload")
class Upload(Event):
    """A file was sent to the archive."""
    region: Label
    rows: Count = 0

@asset
def orders(ctx):
    print("ordered")
    with trace.get_tracer("users").start_as_current_span("outer"), ctx.span(Upload, region="eu"):
        with trace.get_tracer("users").start_as_current_span("inner"):
            return [1, 2, 3]

@asset(retries=Retry(attempts=2, delay=0.0))
def totals(ctx, orders):
    if ctx.attempt == 1:
        raise ValueError("the first time")
    return sum(orders)

@asset
def stuck(orders):
    wait = Path("wait")
    while wait.exists():
        with trace.get_tracer("users").start_as_current_span("waited"):
            time.sleep(0.01)
        Path("begun").touch()
    return 1

pipeline = Pipeline("shop", [orders, totals, stuck])
'''


class Receiver:
    """A collector on a port of its own that keeps what it is sent."""

    def __init__(self) -> None:
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.spans: list[Span] = []
        self.records: list[Any] = []
        self.metrics: list[Any] = []
        self.resources: list[dict[str, str]] = []
        servicers = (
            (trace_grpc.add_TraceServiceServicer_to_server, trace_grpc.TraceServiceServicer, self._traces),
            (logs_grpc.add_LogsServiceServicer_to_server, logs_grpc.LogsServiceServicer, self._logs),
            (metrics_grpc.add_MetricsServiceServicer_to_server, metrics_grpc.MetricsServiceServicer, self._metrics),
        )
        for add, base, export in servicers:
            add(type("Servicer", (base,), {"Export": staticmethod(export)})(), self.server)
        self.endpoint = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def span(self, name: str, number: int = 0) -> Span:
        found = sorted((span for span in self.spans if span.name == name), key=lambda span: span.end_time_unix_nano)
        return found[number]

    def parent(self, span: Span) -> str:
        return next((one.name for one in self.spans if one.span_id == span.parent_span_id), span.parent_span_id.hex())

    def _traces(self, request: Any, _: Any) -> Any:
        for one in request.resource_spans:
            self.resources.append(plain(one.resource.attributes))
            self.spans += [span for scope in one.scope_spans for span in scope.spans]
        return trace_pb.ExportTraceServiceResponse()

    def _logs(self, request: Any, _: Any) -> Any:
        self.records += [one for r in request.resource_logs for scope in r.scope_logs for one in scope.log_records]
        return logs_pb.ExportLogsServiceResponse()

    def _metrics(self, request: Any, _: Any) -> Any:
        self.metrics += [one for r in request.resource_metrics for scope in r.scope_metrics for one in scope.metrics]
        return metrics_pb.ExportMetricsServiceResponse()


@pytest.fixture
def receiver():
    """A collector that takes everything."""
    made = Receiver()
    yield made
    made.server.stop(None)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a pipeline file in it."""
    (tmp_path / "pipeline.py").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes of the wire as a dictionary."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start ``flowstone`` in *folder*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TRACE"))}
    command = [sys.executable, "-m", "flowstone", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=kept | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the process to succeed and return what it printed."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out + err
    return out, err


def run(folder: Path, *arguments: str, **variables: str) -> tuple[str, str]:
    """Run ``flowstone`` in *folder* to its end."""
    return finish(start(folder, *arguments, **variables))


def newest_run(folder: Path) -> str:
    """The id of the newest run there."""
    with FlowStone(home=folder / ".flowstone", project=folder.name) as flow:
        return flow.runs()[0].id


def wait_until(condition: Any, what: str) -> None:
    """Wait until *condition* holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not in {PATIENCE:.0f} s: {what}"
        time.sleep(0.01)


def test_three_signals_cross_the_process_boundary(receiver: Receiver, project: Path) -> None:
    """Spans, metrics and log records of a real run with child processes arrive, each part below or beside what it belongs to."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
    _, err = run(project, "run", "--executor", "process", "--traceparent", f"00-{TRACE}-{SPAN}-01", **variables)
    run_id = newest_run(project)

    assert err == ""
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
    assert sorted((span.name, receiver.parent(span)) for span in receiver.spans) == sorted([
        ("RUN shop", SPAN), ("orders", "RUN shop"), ("totals", "RUN shop"), ("totals", "RUN shop"), ("stuck", "RUN shop"),
        ("outer", "orders"), ("acme.upload", "outer"), ("inner", "acme.upload"), ("store orders", "orders"),
        ("load orders", "totals"), ("load orders", "totals"), ("store totals", "totals"),
        ("load orders", "stuck"), ("store stuck", "stuck"),
    ])  # fmt: skip
    assert receiver.span("RUN shop").kind == Span.SPAN_KIND_SERVER
    assert receiver.span("RUN shop").status.code == Status.STATUS_CODE_UNSET
    first, second = receiver.span("totals", 0), receiver.span("totals", 1)
    assert [span.status.code for span in (first, second)] == [Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET]
    assert plain(first.attributes)["error.type"] == "ValueError"
    assert second.span_id.hex() == span_id_of(run_id, "totals", "", 2)
    assert [link.span_id for link in second.links] == [receiver.span("orders").span_id]
    about = receiver.resources[0]
    assert (about["service.name"], about["service.namespace"], about["deployment.environment"]) == (
        "flowstone", project.name, "test",
    )  # fmt: skip

    (line,) = [record for record in receiver.records if record.body.string_value == "ordered"]
    assert (line.trace_id.hex(), line.span_id) == (TRACE, receiver.span("orders").span_id)
    (error,) = [record for record in receiver.records if record.event_name == "flowstone.error"]
    assert (error.span_id, plain(error.attributes)["exception.type"]) == (first.span_id, "ValueError")
    (attempts,) = [metric for metric in receiver.metrics if metric.name == "flowstone.materialization.attempts"]
    assert sum(point.as_int or int(point.as_double) for point in attempts.sum.data_points) == 4


def test_a_killed_run_has_one_ending_each_and_goes_on_in_a_linked_span(receiver: Receiver, project: Path) -> None:
    """After ``kill -9`` the next process ends the spans of what was lost, with the ids they had, and links its own to them."""
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    (project / "wait").touch()
    killed = start(project, "run", "--executor", "process", **variables)
    wait_until((project / "begun").exists, "the body runs")
    wait_until(lambda: any(span.name == "waited" for span in receiver.spans), "a span of the child has arrived")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    (project / "wait").unlink()
    run_id = newest_run(project)
    assert not [span for span in receiver.spans if span.name in ("stuck", "RUN shop")]
    run(project, "run", "--resume", run_id, **variables)

    lost, again = receiver.span("stuck", 0), receiver.span("stuck", 1)
    before, after = receiver.span("RUN shop", 0), receiver.span("RUN shop", 1)
    ours = [span for span in receiver.spans if span.name != "waited"]
    assert max(Counter(span.span_id for span in ours).values()) == 1
    assert (lost.span_id.hex(), again.span_id.hex()) == tuple(span_id_of(run_id, "stuck", "", number) for number in (1, 2))
    assert (plain(lost.attributes)["cicd.pipeline.task.run.result"], lost.status.code) == ("error", Status.STATUS_CODE_ERROR)
    assert before.span_id.hex() == run_span_id(run_id)
    assert (lost.parent_span_id, again.parent_span_id) == (before.span_id, after.span_id)
    assert (plain(before.attributes)["flowstone.reason"], plain(after.attributes)["flowstone.outcome"]) == ("lost", "success")
    assert [link.span_id for link in after.links] == [before.span_id]
    with FlowStone(home=project / ".flowstone", project=project.name) as flow:
        recorded = {event.payload.get("trace_id") for event in flow.events(run_id=run_id, limit=1_000)}
    assert {before.trace_id.hex(), after.trace_id.hex()} == recorded
    assert {span.parent_span_id for span in receiver.spans if span.name == "waited"} == {lost.span_id}
    assert before.start_time_unix_nano <= lost.start_time_unix_nano <= lost.end_time_unix_nano


@pytest.mark.parametrize("kind", ["refuses", "never answers"])
def test_a_dead_collector_costs_nothing_but_telemetry(project: Path, kind: str) -> None:
    """A run whose collector refuses or never answers ends as ever, soon after its last step, and says what is lost."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if kind == "refuses":
            server.close()
        _, err = run(project, "run", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        exited = time.time()
        with FlowStone(home=project / ".flowstone", project=project.name) as flow:
            lost = {one.payload["sink"]: one.payload["lost"] for one in flow.events(names=("flowstone.telemetry.lost",))}
            ended = next(one.at for one in flow.events(names=("flowstone.run.stop",)))

    assert exited - ended / 1e9 < 9  # 5 and what a busy machine adds; nobody's patience but the exporter's is 10 at least
    assert lost["otel.traces.otlp"] == 14
    assert lost["otel.logs.otlp"] >= 12
    assert "telemetry lost: otel.traces.otlp" in err
    assert "opentelemetry" not in err.lower().replace("otel", "")


def test_a_process_that_exports_is_ended_by_one_signal(project: Path) -> None:
    """A run that is stopped while its collector never answers still ends in order."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        (project / "wait").touch()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        stopped = start(project, "run", "--executor", "process", "--grace", "0", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        wait_until((project / "begun").exists, "the body runs")
        os.kill(stopped.pid, signal.SIGTERM)
        stopped.communicate(timeout=PATIENCE)

    assert stopped.returncode == 143
