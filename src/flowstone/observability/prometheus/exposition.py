"""Families of samples as Prometheus reads them: its text format, or OpenMetrics, which alone carries exemplars.

``prometheus_client`` writes both: https://prometheus.io/docs/instrumenting/exposition_formats and
https://prometheus.io/docs/specs/om/open_metrics_spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as TEXT
from prometheus_client.exposition import generate_latest as write_text
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as write_openmetrics
from prometheus_client.samples import Exemplar as ShownExemplar
from prometheus_client.utils import floatToGoString

from flowstone.foundation.texts import storable
from flowstone.observability.metrics.families import Exemplar, Family, Sample

_OPENMETRICS = "application/openmetrics-text"


def render(families: Iterable[Family], accept: str = "") -> tuple[bytes, str]:
    """Return the exposition of *families* in the best format that *accept*, an HTTP header, allows, and its content type."""
    return (as_openmetrics(families), OPENMETRICS) if _wants_openmetrics(accept) else (as_text(families), TEXT)


def as_text(families: Iterable[Family]) -> bytes:
    """The text format, version 0.0.4."""
    return write_text(_Collected(families))


def as_openmetrics(families: Iterable[Family]) -> bytes:
    """OpenMetrics 1.0, with exemplars."""
    # Our names need no escaping, and escaping them costs as much as all the rest.
    return bytes(write_openmetrics(_Collected(families), escaping=ALLOWUTF8))  # type: ignore[no-untyped-call]


def _wants_openmetrics(accept: str) -> bool:
    for item in accept.split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind == _OPENMETRICS:
            given = dict(part.partition("=")[::2] for part in parameters)
            if given.get("version", "1.0.0").startswith("1.") and given.get("q") != "0":
                return True
    return False


class _Collected:
    """What ``prometheus_client`` takes for a registry."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            match family.kind:
                case "counter":
                    yield _counter(family)
                case "gauge":
                    yield _gauge(family)
                case "histogram":
                    yield _histogram(family)


def _counter(family: Family) -> Metric:
    shown = CounterMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    for sample in family.samples:
        shown.add_metric(_texts(sample), sample.value, exemplar=_exemplar(sample, 0))
    return shown


def _gauge(family: Family) -> Metric:
    shown = GaugeMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    for sample in family.samples:
        shown.add_metric(_texts(sample), sample.value)
    return shown


def _histogram(family: Family) -> Metric:
    shown = HistogramMetricFamily(family.name, family.help, labels=family.labels, unit=family.unit)
    bounds: list[str] = [floatToGoString(bound) for bound in (*family.bounds, float("inf"))]  # type: ignore[no-untyped-call]
    for sample in family.samples:
        exemplars: list[Any] = [_exemplar(sample, index) for index in range(len(bounds))]
        shown.add_metric(_texts(sample), list(zip(bounds, accumulate(sample.counts), exemplars, strict=True)), sample.value)
    return shown


def _texts(sample: Sample) -> list[str]:
    """The label values; what no UTF-8 can carry is escaped, or one value would cost the whole scrape."""
    return [storable(text) for text in sample.labels]


def _exemplar(sample: Sample, index: int) -> ShownExemplar | None:
    found: Exemplar | None = sample.exemplars.get(index)
    return ShownExemplar(dict(found.labels), found.value, found.at) if found else None
