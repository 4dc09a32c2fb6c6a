"""Folds events into figures: for each metric one figure for each set of label values, capped, with exact totals.

Nothing here knows where events come from or where figures are kept.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from flowstone.foundation.clock import NANOSECONDS
from flowstone.observability.metrics.definitions import OVERFLOW, Metric, Source
from flowstone.observability.metrics.families import Exemplar, Family, Kind, Sample

MOST_TEXT = 400  # characters of all labels of a set together: more does not fit the key of an index
KINDS: Mapping[str, Kind] = {
    "counter": "counter", "sum": "counter", "last_value": "gauge", "distribution": "histogram", "gauge": "gauge",
}  # fmt: skip

Labels = tuple[str, ...]
Shown = tuple[str, str, float, int]
"""An exemplar: run, trace, the measurement in its own unit, and when."""
_decode_labels = msgspec.json.Decoder(Labels).decode
_decode_counts = msgspec.json.Decoder(list[int]).decode
_decode_exemplars = msgspec.json.Decoder(dict[int, Shown]).decode
_encode = msgspec.json.Encoder().encode


class Figures(NamedTuple):
    """The figures of one set of label values as they are kept: plain texts and numbers."""

    metric: str
    labels: str
    taken: int
    total: float
    buckets: str
    exemplars: str
    at: int


class Figure:
    """What one set of label values has come to. ``total`` is the sum, or the last value, in the measurement's own unit."""

    __slots__ = ("at", "buckets", "count", "exemplars", "total")

    def __init__(self, buckets: list[int] | None) -> None:
        self.count, self.total, self.at = 0, 0.0, 0
        self.buckets = buckets
        self.exemplars: dict[int, Shown] | None = None


class Folded:
    """One metric and its figures; at most *most* sets of label values, and one more for what overflows."""

    def __init__(self, metric: Metric, most: int) -> None:
        self.metric, self._most = metric, most
        self._overflow = (OVERFLOW,) * len(metric.labels)
        self._figures: dict[Labels, Figure] = {}
        self._refused = Figure(None)
        self._touched: dict[Labels | None, Figure] = {}
        self._shows_runs = metric.kind in ("counter", "distribution")
        self.overflowed = False
        """Whether something has overflowed since this was made."""

    def load(self, kept: Figures) -> None:
        """Go on from what was kept."""
        if not kept.labels:
            self._refused.count = kept.taken
            return
        figure = self._figures[_decode_labels(kept.labels)] = Figure(_decode_counts(kept.buckets) if kept.buckets else None)
        figure.count, figure.total, figure.at = kept.taken, kept.total, kept.at
        figure.exemplars = _decode_exemplars(kept.exemplars) if kept.exemplars else None

    def take(self, source: Source, payload: Mapping[str, Any]) -> None:
        """Fold one recorded event that *source* is about."""
        measured = source.measure(payload)
        if measured is None:
            return
        labels, value = measured
        if not isinstance(value, int | float) or not math.isfinite(value) or (value < 0 and self.metric.kind == "sum"):
            self._refused.count += 1
            self._touched[None] = self._refused
            return
        if len(labels) > 2 and sum(map(len, labels)) > MOST_TEXT:
            labels = tuple(map(_short, labels))
        figure = self._figures.get(labels)
        if figure is None:
            labels, figure = self._room_for(labels)
        self._touched[labels] = figure
        self._add(figure, value, payload)

    def _add(self, figure: Figure, value: float, payload: Mapping[str, Any]) -> None:
        metric, bucket = self.metric, 0
        figure.count += 1
        figure.at = payload.get("at", 0)
        if metric.kind == "last_value":
            figure.total = float(value)
        else:
            figure.total += value
        if figure.buckets is not None:
            bucket = bisect_left(metric.buckets, value / metric.divisor)
            figure.buckets[bucket] += 1
        if self._shows_runs and "run_id" in payload:
            if figure.exemplars is None:
                figure.exemplars = {}
            figure.exemplars[bucket] = (payload["run_id"], payload.get("trace_id", ""), float(value), figure.at)

    def _room_for(self, labels: Labels) -> tuple[Labels, Figure]:
        """A new figure, or that of everything that has found no room."""
        if len(self._figures) - (self._overflow in self._figures) >= self._most and labels:
            labels, self.overflowed = self._overflow, True
            if labels in self._figures:
                return labels, self._figures[labels]
        buckets = [0] * (len(self.metric.buckets) + 1) if self.metric.kind == "distribution" else None
        figure = self._figures[labels] = Figure(buckets)
        return labels, figure

    def touched(self) -> Iterator[Figures]:
        """What has changed since this was asked last, as it is to be kept."""
        for labels, figure in self._touched.items():
            text = "" if labels is None else _encode(labels).decode()
            buckets = _encode(figure.buckets).decode() if figure.buckets is not None else ""
            exemplars = _encode(figure.exemplars).decode() if figure.exemplars else ""
            yield Figures(self.metric.name, text, figure.count, figure.total, buckets, exemplars, figure.at)
        self._touched = {}

    @property
    def refused(self) -> int:
        """How many measurements the metric could not take."""
        return self._refused.count

    @property
    def beyond(self) -> int:
        """How many measurements have found no room for a set of label values of their own."""
        return self._figures[self._overflow].count if self.metric.labels and self._overflow in self._figures else 0

    def family(self) -> Family:
        """The metric as it is shown, in its unit; a counter without labels begins at 0."""
        metric = self.metric
        samples = [self._sample(labels, figure) for labels, figure in sorted(self._figures.items())]
        if not samples and not metric.labels and metric.kind != "last_value":
            samples = [Sample((), 0.0, (0,) * (len(metric.buckets) + 1) if metric.kind == "distribution" else ())]
        return family_of(metric, samples)

    def _sample(self, labels: Labels, figure: Figure) -> Sample:
        divisor = self.metric.divisor
        exemplars = {
            bucket: Exemplar({"run_id": run, "trace_id": trace}, value / divisor, at / NANOSECONDS)
            for bucket, (run, trace, value, at) in (figure.exemplars or {}).items()
        }
        value = figure.count if self.metric.kind == "counter" else figure.total / divisor
        return Sample(labels, float(value), tuple(figure.buckets or ()), exemplars)


class Folding:
    """Several metrics that take the same events."""

    def __init__(self, members: Iterable[Folded]) -> None:
        self._takers: dict[str, list[tuple[Folded, Source]]] = {}
        for member in members:
            for source in member.metric.sources:
                self._takers.setdefault(source.event, []).append((member, source))

    @property
    def names(self) -> list[str]:
        """The events that are asked for."""
        return list(self._takers)

    def take(self, name: str, payload: Mapping[str, Any]) -> None:
        """Fold one recorded event into every metric that asks for it."""
        for member, source in self._takers.get(name, ()):
            member.take(source, payload)


def family_of(metric: Metric, samples: Iterable[Sample]) -> Family:
    """The metric with *samples*, however they were come by."""
    return Family(metric.name, KINDS[metric.kind], metric.description, metric.labels, tuple(samples), metric.unit, metric.buckets)


def _short(text: str) -> str:
    """*text*, or the beginning of a long one and what tells it from others that begin alike."""
    return text if len(text) <= 40 else f"{text[:31]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
