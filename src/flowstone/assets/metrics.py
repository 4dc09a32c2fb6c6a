"""What a pipeline asks of its metrics. How they are defined is said elsewhere: here they are names and plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

OURS = "flowstone_"
"""What the names of FlowStone's own metrics begin with."""


@runtime_checkable
class MetricDefinition(Protocol):
    """A metric of a pipeline, as ``flowstone.Metric`` makes them."""

    @property
    def name(self) -> str:
        """The complete name."""
        ...

    def described(self) -> dict[str, Any]:
        """The definition as plain values, by which any process can fold the record."""
        ...


def metric_problems(metrics: Iterable[object]) -> Iterator[str]:
    """What is wrong with *metrics* as a pipeline's."""
    known: dict[str, str] = {}
    for number, metric in enumerate(metrics, 1):
        if isinstance(metric, type) or not isinstance(metric, MetricDefinition):
            yield f"metric {number} is {type(metric).__name__}; Metric.counter, sum, last_value and distribution make them"
            continue
        name, stem = metric.name, metric.name.removesuffix("_total")
        if name.startswith(OURS):
            yield f"metric {name!r} begins with {OURS}, as FlowStone's own metrics do; choose another prefix"
        if not metric.described().get("sources"):
            yield f"metric {name!r} is told by no event; a gauge of your own is Metric.last_value over an event you emit"
        if known.get(stem) == name:
            yield f"metric {name!r} is listed twice; list it once, with On(...) for each of its events"
        elif stem in known:
            yield f"metric {name!r} is the same as {known[stem]!r} for whoever reads both; rename one of them"
        known.setdefault(stem, name)
