"""What OpenTelemetry adds to a step: traces alone, all three signals, and a collector that never answers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.measure import Bench, Budget, beyond, process

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
QUIET = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}

RUN = """
import json, sys, time
from benchmarks.graphs import chain
from benchmarks.measure import stopwatch
from flowstone import FlowStone
home, size, again = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with FlowStone(chain(size, "memory"), home=home) as flow:
    flow.export_telemetry()
    flow.run("n0").raise_if_failed()
    stop = stopwatch(1e6 / size / again)
    for _ in range(again):
        flow.run(force=True).raise_if_failed()
    took = stop()
    closing = time.perf_counter()
    lost = flow._deployment.dispatcher.losses
print(json.dumps([took, took.cpu, time.perf_counter() - closing, sum(loss.lost for loss in lost.totals())]))
"""

COLLECTOR = """
import sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
server = grpc.server(ThreadPoolExecutor(2))
for add, base, answer in (
    (trace_service_pb2_grpc.add_TraceServiceServicer_to_server, trace_service_pb2_grpc.TraceServiceServicer,
     trace_service_pb2.ExportTraceServiceResponse),
    (logs_service_pb2_grpc.add_LogsServiceServicer_to_server, logs_service_pb2_grpc.LogsServiceServicer,
     logs_service_pb2.ExportLogsServiceResponse),
    (metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, metrics_service_pb2_grpc.MetricsServiceServicer,
     metrics_service_pb2.ExportMetricsServiceResponse),
):
    add(type("Servicer", (base,), {"Export": staticmethod(lambda request, context, answer=answer: answer())})(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
"""


class Ran(float):
    """Microseconds a step; ``cpu`` what they used of a core, ``closing`` seconds of closing, ``lost`` how many things."""

    cpu: float
    closing: float
    lost: int


def measure(bench: Bench) -> None:
    """A no-op step with OpenTelemetry: what it adds, and what a collector that hangs costs the run and its end."""
    size, again = bench.sizes.steps, 3 if bench.sizes.repetitions > 1 else 1
    with collector() as there, blackhole() as nowhere:
        off, traces, everything, hanging = bench.alternating(
            partial(_run, bench, size, again),
            partial(_run, bench, size, again, **QUIET, **{ENDPOINT: there}),
            partial(_run, bench, size, again, **{ENDPOINT: there}),
            partial(_run, bench, size, again, **{ENDPOINT: nowhere}),
            most=3,
        )
    steps = f"{size * again:,} steps"
    bench.report("step, telemetry off", "us", off, steps=steps)
    for case, taken in (("traces add", traces), ("traces, metrics and logs add", everything)):
        bench.report(
            case, "us", beyond(taken, off), floor=off, floor_is="telemetry off", steps=steps, lost=max(t.lost for t in taken)
        )
    bench.report(
        "step, a collector that never answers",
        "us",
        hanging,
        floor=everything,
        floor_is="one that answers",
        budget=Budget(2_000, 1.05),
    )
    bench.report("end of a run whose collector never answers", "s", [one.closing for one in hanging], budget=Budget(6))
    bench.report("end of a run whose collector answers", "s", [one.closing for one in everything])


def _run(bench: Bench, size: int, again: int, **variables: str) -> Ran:
    took, cpu, closing, lost = (
        float(word) for word in process(RUN, str(bench.scratch()), str(size), str(again), **variables).strip("[]\n").split(",")
    )
    ran = Ran(took)
    ran.cpu, ran.closing, ran.lost = cpu, closing, int(lost)
    return ran


@contextmanager
def collector() -> Iterator[str]:
    """The address of a collector in a process of its own that takes everything."""
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.communicate()


@contextmanager
def blackhole() -> Iterator[str]:
    """An address where connections are accepted and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
