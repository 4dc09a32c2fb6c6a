"""Series of one process: its handlers, what they lost, its runs, its memory. They begin at 0 with it and end with it.

What the whole deployment did is told by the series that are folded from the record; these tell how one process fares. Definitions
live here and nothing that reads or shows them.
"""

from __future__ import annotations

from collections.abc import Callable

from flowstone.events.handlers import HandlerInfo
from flowstone.foundation.clock import NANOSECONDS
from flowstone.observability.metrics.families import Family, Kind


def _of_handlers(name: str, kind: Kind, meaning: str) -> Family:
    return Family(f"flowstone_process_handler_{name}", kind, meaning, ("handler",))


QUARANTINED = _of_handlers("quarantined", "gauge", "1 while the handler is in quarantine.")
BUSY = _of_handlers("busy_seconds_total", "counter", "Time of all calls.")
HANDLERS: tuple[tuple[Family, Callable[[HandlerInfo], float]], ...] = (
    (_of_handlers("calls_total", "counter", "Calls of the handler."), lambda handler: handler.calls),
    (_of_handlers("failures_total", "counter", "Calls of the handler that raised."), lambda handler: handler.failures),
    (_of_handlers("slow_total", "counter", "Calls of the handler that took over 100 ms."), lambda handler: handler.slow),
    (_of_handlers("skipped_total", "counter", "Events not shown to the handler in quarantine."), lambda handler: handler.skipped),
    (_of_handlers("dropped_total", "counter", "Events that did not fit in its queue."), lambda handler: handler.dropped),
    (QUARANTINED, lambda handler: handler.quarantined),
    (_of_handlers("waiting", "gauge", "Events in its queue."), lambda handler: handler.waiting),
    (BUSY, lambda handler: handler.busy_ns / NANOSECONDS),
)
LOST = Family(
    "flowstone_process_telemetry_lost_total",
    "counter",
    "Events and lines that handlers, queues and exporters of the process did not see.",
    ("sink", "reason"),
)
UNAUDITED = Family(
    "flowstone_process_audit_append_failures_total",
    "counter",
    "Changes that the process undid because their entry of the audit log could not be written.",
)
RUNS = Family("flowstone_process_runs", "gauge", "Runs the process works on.")
THREADS = Family("flowstone_process_threads", "gauge", "Threads of the process that Python knows of.")
COLLECTIONS = Family("flowstone_process_gc_collections_total", "counter", "Collections of objects in cycles.", ("generation",))
MEMORY = Family("flowstone_process_resident_memory_bytes", "gauge", "Resident memory of the process.")
CPU = Family("flowstone_process_cpu_seconds_total", "counter", "Time of a core the process used.")
START = Family("flowstone_process_start_time_seconds", "gauge", "When the process began, in seconds since the epoch.")
FILES = Family("flowstone_process_open_fds", "gauge", "File descriptors the process has open.")
MOST_FILES = Family("flowstone_process_max_fds", "gauge", "File descriptors the process may open.")
HOME_FREE = Family("flowstone_process_home_free_bytes", "gauge", "Bytes that are free where the process keeps its home folder.")
RUNTIME = (MEMORY, CPU, START, FILES, MOST_FILES)

PROCESS_FAMILIES: tuple[Family, ...] = (
    *(family for family, _ in HANDLERS), LOST, UNAUDITED, RUNS, THREADS, COLLECTIONS, *RUNTIME, HOME_FREE,
)  # fmt: skip
"""Every family of a process, without samples: what can be asked for in dashboards and alerts."""
