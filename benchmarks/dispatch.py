"""What events, spans and captured lines cost, on their own and inside an asset."""

from __future__ import annotations

import logging
import time
from typing import Any

from benchmarks.measure import Bench, Budget, per_call
from flowstone import Count, Event, FlowStone, Label, Pipeline, asset, event, span
from flowstone.events.dispatcher import Dispatcher


@event("bench.shipped", recorded=False)
class Shipped(Event):
    """An order left."""

    region: Label
    parcels: Count


@event("bench.packed")
class Packed(Event):
    """An order was packed."""

    region: Label
    parcels: Count


@span("bench.upload", recorded=False)
class Upload(Event):
    """A file was sent."""

    region: Label


def _nothing(*_: object, **__: object) -> None:
    return None


def measure(bench: Bench) -> None:
    """Emitting unheard, to one handler, and a whole span; then events and lines of an asset, recorded with it."""
    unheard, heard = Dispatcher(), Dispatcher()
    heard.attach("one", "bench.*", _nothing)

    def one_span() -> None:
        with heard.span(Upload, region="eu"):
            pass

    calls = bench.sizes.calls
    for case, most, function in (
        ("emit unheard", 0.3, lambda: unheard.emit(Shipped, region="eu", parcels=3)),
        ("emit to one handler", 1.0, lambda: heard.emit(Shipped, region="eu", parcels=3)),
        ("span to one handler", 3.0, one_span),
    ):
        taken, floor = bench.alternating(
            lambda function=function: per_call(function, calls),
            lambda: per_call(lambda: _nothing(Shipped, region="eu", parcels=3), calls),
        )
        bench.report(case, "us", taken, floor=floor, floor_is="an empty function", budget=Budget(most))
    _inside(bench)


def _inside(bench: Bench) -> None:
    """What one more line or event costs an asset, with its row in the store."""
    number, kept = bench.sizes.lines, logging.getLogger("bench.kept")
    kept.propagate = False
    kept.setLevel(logging.INFO)
    kept.addHandler(logging.NullHandler())

    def none() -> None:
        pass

    def logged(ctx: Any) -> None:
        for _ in range(number):
            ctx.log.info("line of some length, number %d", 7)

    def printed() -> None:
        for _ in range(number):
            print("line of some length, number 7")

    def emitted(ctx: Any) -> None:
        for _ in range(number):
            ctx.emit(Packed, region="eu", parcels=3)

    bodies = {"none": none, "captured log line": logged, "captured print": printed, "event of an asset, recorded": emitted}
    pipeline = Pipeline(
        "lines", [asset(name=name.replace(" ", "_").replace(",", ""), io="memory")(f) for name, f in bodies.items()]
    )
    with FlowStone(pipeline, home=bench.scratch(), echo=_nothing) as flow:

        def run(name: str) -> float:
            started = time.process_time()
            flow.run(name.replace(" ", "_").replace(",", ""), force=True).raise_if_failed()
            return (time.process_time() - started) * 1e6 / number

        for name in list(bodies)[1:]:
            with_it, without, floor = bench.alternating(
                lambda name=name: run(name),
                lambda: run("none"),
                lambda: per_call(lambda: kept.info("line of some length, number %d", 7), number),
            )
            added = [a - b for a, b in zip(with_it, without, strict=True)]
            bench.report(name, "us", added, floor=floor, floor_is="logging to a handler that drops it")
