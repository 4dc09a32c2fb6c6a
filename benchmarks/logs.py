"""What a log line costs: captured, rendered as JSON, and kept; next to the same line through bare logging."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from benchmarks.measure import Bench, per_call
from flowstone import FlowStone, Pipeline, asset
from flowstone.events.catalogue import MaterializationStop
from flowstone.events.context import Scope
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.redaction import Redactor
from flowstone.observability.logs.capture import Capture
from flowstone.observability.logs.shape import ConsoleFormatter, JsonFormatter, log_event

SCOPE = Scope("run_019ab2c4d5e67f8091a2b3c4d5", "orders", "d:2026-11-23", 1, "f" * 32)
ABOUT = {"pipeline": "shop", "environment": "prod", "host": "db1", "worker": "proc_019ab2c4d5e6", "version": "0.1.0"}
TEXT = "line of some length, number %d"
BARE = "%(asctime)s %(levelname)s %(name)s %(message)s"


def measure(bench: Bench) -> None:
    """Capturing, rendering, and what stays in the database."""
    _capturing(bench)
    _rendering(bench)
    _kept(bench)


def _capturing(bench: Bench) -> None:
    """A print and a log record of an attempt, until they are in the list that the store gets; and bare logging beside it."""
    capture, log, calls = (
        Capture(SystemClock(), Redactor(), limit=10**9, run_limit=10**9),
        _logger("bench.lines"),
        bench.sizes.calls,
    )

    def drained(function: Callable[[], object]) -> float:
        taken = per_call(function, calls)
        capture.take()
        return taken

    cases: dict[str, Callable[[], object]] = {
        "captured print": lambda: print("line of some length, number 7"),
        "captured log record": lambda: log.info(TEXT, 7),
        "captured log record with extra": lambda: log.info(TEXT, 7, extra={"rows": 7, "region": "eu"}),
    }
    for case, function in cases.items():

        def inside(function: Callable[[], object] = function) -> float:
            with capture:
                begun = capture.begin(SCOPE)
                try:
                    return drained(function)
                finally:
                    capture.end(SCOPE, begun)

        taken, floor = bench.alternating(inside, lambda: _bare(calls))
        bench.report(case, "us", taken, floor=floor, floor_is="a record through logging to a stream in memory")


def _rendering(bench: Bench) -> None:
    """A user's record and an event as a line, in both shapes."""
    calls = bench.sizes.calls
    stop = MaterializationStop(
        at=1,
        run_id=SCOPE.run_id,
        asset="orders",
        partition="",
        attempt=1,
        outcome="success",
        duration_ns=5,
        trace_id=SCOPE.trace_id,
    )
    redactor = Redactor()
    shapes = {"JSON": JsonFormatter(redactor, ABOUT), "console": ConsoleFormatter(redactor)}
    for shape, formatter in shapes.items():
        for case, function in (
            ("record", lambda: logging.getLogger("bench.shown").info(TEXT, 7)),
            ("event", lambda: log_event(stop)),
        ):

            def shown(formatter: logging.Formatter = formatter, function: Callable[[], object] = function) -> float:
                with _handled("bench.shown", formatter), _handled("flowstone.events", formatter):
                    return per_call(function, calls)

            taken, floor = bench.alternating(shown, lambda: _bare(calls))
            bench.report(f"{shape} line of a {case}", "us", taken, floor=floor, floor_is="a record through logging to a stream")


def _kept(bench: Bench) -> None:
    """How much the database grows by a line of 30 characters."""
    number = min(10 * bench.sizes.lines, 10_000)

    def talks(ctx: Any) -> None:
        for line in range(number if ctx.run_id else 0):
            ctx.log.info(TEXT, line)

    def quiet() -> None:
        pass

    grown = []
    for body in (quiet, talks):
        home = bench.scratch()
        with FlowStone(Pipeline("lines", [asset(name="lines", io="memory")(body)]), home=home, echo=_nobody) as flow:
            flow.run().raise_if_failed()
        grown.append(os.path.getsize(home / "flowstone.db"))
    bench.report("a line in the database", "bytes", [(grown[1] - grown[0]) / number])


def _nobody(text: str) -> None:  # noqa: ARG001 - who hears what assets print
    return None


def _logger(name: str) -> logging.Logger:
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    return log


@contextmanager
def _handled(name: str, formatter: logging.Formatter) -> Any:
    """Lines of one logger go through *formatter* to a stream in memory, and nowhere else."""
    log, handler = _logger(name), logging.StreamHandler(io.StringIO())
    handler.setFormatter(formatter)
    log.addHandler(handler)
    before, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.propagate = before
        log.removeHandler(handler)


def _bare(calls: int) -> float:
    """Microseconds of a record through logging as it comes with Python."""
    with _handled("bench.bare", logging.Formatter(BARE)):
        return per_call(lambda: logging.getLogger("bench.bare").info(TEXT, 7), calls)
