"""Starts real processes cheaply: forks one for each command it reads, so that what all of them import is imported once.

A command is one line of JSON, ``{"do": NAME, ...}``: the function to call in a new process, which leads a group of its own, and
its arguments; the answer is the process's number. ``{"wait": NUMBER}`` is answered, when that process has ended, with how.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dying
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowstone import FlowStone
from flowstone.app import heartbeat
from flowstone.app.pipelines import load_pipeline
from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.dispatcher import Dispatcher
from flowstone.execution import lost
from flowstone.foundation.channels import ChannelSettings
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import FlowStoneError, NotFoundError, RecordError, UsageError
from flowstone.ledger.event_log import EventLog
from flowstone.stores import dialects
from flowstone.stores.database import Database
from flowstone.testing import isolated_flow, isolated_settings

PATIENCE = 60  # seconds after which a process says where it is stuck, and ends
PROJECTS = Path(__file__).parent
dialects.connect("postgresql://nobody@localhost/nothing")  # imports what each process would have to


def opened(given: dict[str, Any], pipeline: bool = True) -> Any:
    """A FlowStone over the pipeline and the store that the command names."""
    os.environ["SHAKEN_NOTES"] = given["notes"]
    made = load_pipeline(str(PROJECTS / given.get("pipeline", "shaken.py")), PROJECTS) if pipeline else None
    url = given["url"]
    if given.get("reporters"):
        return reported(made, isolated_settings(given["home"], project=given["project"], database_url=url))
    return isolated_flow(made, home=given["home"], project=given["project"], database_url=url, echo=lambda text: None)


def reported(pipeline: Any, settings: Any) -> FlowStone:
    """A FlowStone with everything on that reports: the three signals of an SDK, a queued handler, a channel, a scraper."""
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    records = LoggerProvider(shutdown_on_exit=False)
    records.add_log_record_processor(SimpleLogRecordProcessor(InMemoryLogRecordExporter()))
    _logs.set_logger_provider(records)
    channels = {"ops": ChannelSettings("ops", "log")}
    flow = FlowStone(pipeline, settings=dataclasses.replace(settings, channels=channels), actor="test", echo=lambda text: None)
    flow.attach("slow", "*", lambda happened: time.sleep(0.001), queued=True)
    threading.Thread(target=scrape, args=(flow,), daemon=True).start()
    return flow


def scrape(flow: FlowStone) -> None:
    """Read the metrics, which folds them, for as long as the process lives."""
    while True:
        with contextlib.suppress(FlowStoneError):  # there may be no database yet, or no longer
            flow.metrics()
        time.sleep(0.005)


def runs_of(flow: Any) -> list[Any]:
    """The runs, none while there is no store."""
    try:
        return list(flow.runs())
    except NotFoundError:
        return []


def work(given: dict[str, Any]) -> str:
    """Go on with the project's run, else begin one; return the run's status, or how the work was stopped."""
    seconds = given.get("dead_seconds")
    if seconds is not None:
        lost.DEAD_SECONDS = seconds
        heartbeat.LISTEN_SECONDS = heartbeat.BEAT_SECONDS = seconds / 10
    if "at" in given:
        around = dying.counting(given["at"], list)
        dying.over_files(around)
        dying.over_statements(around, dialects.SqliteBackend, dialects.PostgresBackend)
    if "child_at" in given:
        os.environ["SHAKEN_CHILD_AT"] = str(given["child_at"])
    with opened(given) as flow:
        found = runs_of(flow)
        how = {"executor": given["executor"], "jobs": given["jobs"]}
        until = time.monotonic() + PATIENCE
        while found and found[0].status in ("running", "waiting"):
            try:
                return str(flow.resume(found[0].id, **how).status)
            except UsageError:
                if time.monotonic() > until or not given.get("insist"):
                    raise
                time.sleep(0.02)  # its process is not dead for long enough
        try:
            return str(flow.run(given.get("targets"), partition=given.get("partition"), **how).status)
        except RecordError as error:
            return f"RecordError: {error.message}"


def run(given: dict[str, Any]) -> str:
    """Run the targets, as often as it is said; return how that ended."""
    with opened(given) as flow:
        ended = [flow.run(given["targets"]).status for _ in range(given.get("times", 1))]
    return ",".join(sorted(set(ended)))


def invalidate(given: dict[str, Any]) -> str:
    """Withdraw the target again and again; return how often there was something to withdraw."""
    with opened(given) as flow:
        return str(sum(flow.invalidate(given["targets"][0]) for _ in range(given["times"])))


def cancel(given: dict[str, Any]) -> str:
    """Cancel the project's run, which must exist; return the status it ended with, or why that was refused."""
    with opened(given, pipeline=False) as flow:
        try:
            return str(flow.cancel(flow.runs()[0].id, wait=PATIENCE).status)
        except UsageError as error:
            return error.message


def write(given: dict[str, Any]) -> str:
    """Commit many small transactions; return how long each of them took, in nanoseconds, sorted."""
    database = Database(given["url"], Dispatcher(), SystemClock())
    database.recorders = (EventLog(given["project"]),)
    took = []
    for number in range(given["times"]):
        began = time.perf_counter_ns()
        with database.transaction() as tx:
            tx.emit(AssetInvalidated, asset=given["name"], partition="", output=str(number), actor="", identity="os")
        took.append(time.perf_counter_ns() - began)
    database.close()
    return json.dumps(sorted(took))


def tick(given: dict[str, Any]) -> str:
    """Tick, with one channel that posts to a hook of this machine; return the duties that failed."""
    dying.over_statements(dying.counting(given["at"], list), dialects.SqliteBackend, dialects.PostgresBackend)
    hook = ChannelSettings("ops", "slack", url=given["hook"], allow_private=True, allow_http=True)
    settings = isolated_settings(given["home"], project=given["project"], database_url=given["url"])
    with FlowStone(settings=dataclasses.replace(settings, channels={"ops": hook}), actor="test") as flow:
        return ",".join(duty.name for duty in flow.tick().duties if not duty.ok)


def decide(given: dict[str, Any]) -> str:
    """Say yes to the project's newest request, as one and the same decision; return what became of it."""
    if "at" in given:
        dying.over_statements(dying.counting(given["at"], list), dialects.SqliteBackend, dialects.PostgresBackend)
    with opened(given, pipeline=False) as flow:
        asked = flow.approvals.requests(status=None)[0]
        return str(flow.approvals.approve(asked.id, "fine", decision="once").approval.status)


DO: dict[str, Callable[[dict[str, Any]], str]] = {
    "work": work, "run": run, "invalidate": invalidate, "cancel": cancel, "write": write,
    "tick": tick, "decide": decide,
}  # fmt: skip


def meet(given: dict[str, Any]) -> None:
    """Where processes are to begin at the same moment: say that this one is ready, and wait for the word."""
    if "go" in given:
        Path(f"{given['go']}.{os.getpid()}").touch()
        while not os.path.exists(given["go"]):  # noqa: PTH110 - in a loop that must be quick
            pass


def forked(given: dict[str, Any]) -> int:
    """Start a process that does what *given* says, and leaves what that returns in the file of its number."""
    begun, begins = os.pipe()
    child = os.fork()
    if child:
        os.close(begins)
        os.read(begun, 1)  # until the child leads a group of its own: before that nobody could kill it as one
        os.close(begun)
        return child
    os.setsid()
    os.close(begun)
    os.close(begins)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    out = os.open(f"{given['notes']}.{os.getpid()}", os.O_WRONLY | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    code = 0
    meet(given)
    try:
        print(DO[given["do"]](given), flush=True)
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        code = 1
    os._exit(code)


def main() -> None:
    """Serve until nobody asks any more."""
    for line in sys.stdin:
        given = json.loads(line)
        answer = os.waitpid(given["wait"], 0)[1] if "wait" in given else forked(given)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
