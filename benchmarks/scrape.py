"""What a scrape costs when everything is folded: over HTTP, of 1,000 and of 10,000 series; the floor is the exposition alone."""

from __future__ import annotations

import urllib.request
from functools import partial

from benchmarks.measure import Bench, Budget, Took, stopwatch
from flowstone import Event, FlowStone, Label, Metric, Pipeline, asset, event
from flowstone.app.exporter import Exporter, Pages, of_process
from flowstone.app.gate import Gate, address
from flowstone.observability.metrics.families import Family
from flowstone.observability.prometheus.exposition import as_text

METRICS = 10
BUDGETS = {10_000: Budget(300)}  # milliseconds


@event("bench.visited")
class Visited(Event, frozen=True, kw_only=True):
    """Somebody came."""

    place: Label


@asset(io="memory")
def nothing() -> int:
    return 0


def measure(bench: Bench) -> None:
    """Stores of users' counters with one label; a store has FlowStone's own series beside them."""
    for number in bench.sizes.series:
        _scrape(bench, number)


def _scrape(bench: Bench, number: int) -> None:
    own = [Metric.counter(f"bench_visits_{n}_total", Visited, labels=["place"]) for n in range(METRICS)]
    with FlowStone(Pipeline("bench", [nothing], metrics=own), home=bench.scratch()) as flow:
        flow.run().raise_if_failed()
        for place in range(number // METRICS):
            flow.emit(Visited, place=f"place {place}")
        found = flow.metrics()
        at = address("127.0.0.1:0")
        with Exporter(at, Pages(Gate(at, None), lambda: [*flow.metrics(), *of_process(flow._deployment)], flow.health)) as served:
            taken, floor = bench.alternating(partial(_ask, f"{served.url}/metrics"), partial(_write, found))
        shown = sum(len(family.samples) for family in found)
    case = f"scrape of {number:,} series"
    bench.report(case, "ms", taken, floor=floor, floor_is="exposition alone", budget=BUDGETS.get(number), shown=shown)


def _ask(url: str) -> Took:
    stop = stopwatch(1000)
    with urllib.request.urlopen(url) as answer:
        answer.read()
    return stop()


def _write(found: list[Family]) -> Took:
    stop = stopwatch(1000)
    as_text(found)
    return stop()
