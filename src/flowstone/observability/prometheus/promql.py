"""Parts of PromQL, built from definitions: whatever names a metric or a label that does not exist is refused when it is built.

A deployment is one ``job`` of Prometheus. Its exporters all show the same deployment series, so a question takes the greatest of
what they say (``max by``), never their sum; only what each process says of itself is told by ``instance``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from flowstone.foundation.errors import MetricError, did_you_mean

TARGET = ("job", "instance")
"""The labels Prometheus adds to whatever it scrapes."""
_SUFFIXES = {"bucket": "_bucket", "count": "_count", "sum": "_sum"}


class Defined(Protocol):
    """A metric, or a family of a process."""

    @property
    def name(self) -> str:
        """Its complete name."""
        ...

    @property
    def kind(self) -> str:
        """``counter``, ``sum``, ``last_value``, ``gauge``, ``distribution`` or ``histogram``."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it has."""
        ...


class Like(NamedTuple):
    """A regular expression that a label must match."""

    pattern: str


def series(metric: Defined, part: str = "", /, **matchers: str | Like) -> str:
    """The selector of *metric*, or of the ``bucket``, ``count`` or ``sum`` *part* of a histogram, where its labels match.

    Raises :class:`MetricError` for a part or a label it does not have.
    """
    is_histogram = metric.kind in ("distribution", "histogram")
    if bool(part) != is_histogram:
        raise MetricError(f"metric {metric.name!r} is a {metric.kind}", hint="bucket, count and sum are parts of a histogram")
    known = (*metric.labels, *TARGET, *(["le"] if part == "bucket" else []))
    _check(metric, matchers, known)
    written = ", ".join(_matcher(label, value) for label, value in matchers.items())
    return f"{metric.name}{_SUFFIXES[part] if part else ''}" + (f"{{{written}}}" if written else "")


def deployed(metric: Defined, expression: str, part: str = "") -> str:
    """One value of *expression*, built of *metric*, for each of its label sets in each deployment, however many show it."""
    labels = ("job", *metric.labels, *(["le"] if part == "bucket" else []))
    return f"max by ({', '.join(labels)}) ({expression})"


def value(metric: Defined, /, **matchers: str | Like) -> str:
    """What *metric* is now in each deployment."""
    return deployed(metric, series(metric, **matchers))


def rate(metric: Defined, window: str, part: str = "", /, **matchers: str | Like) -> str:
    """How much *metric*, or a part of it, grew a second over *window*."""
    return deployed(metric, f"rate({series(metric, part, **matchers)}[{window}])", part)


def summed(metric: Defined, expression: str, by: Iterable[str] = (), part: str = "") -> str:
    """*expression*, built by :func:`value`, :func:`rate` or :func:`grown`, added up for each deployment and each of *by*."""
    _check(metric, by, (*metric.labels, *(["le"] if part == "bucket" else [])))
    return f"sum by ({', '.join(('job', *by))}) ({expression})"


def grown(metric: Defined, window: str, present: Defined, by: Iterable[str] = (), /, **matchers: str | Like) -> str:
    """By how much a counter grew over *window*, exactly, also one that appeared with its first event; for each of *by*.

    ``increase()`` does not see the step from nothing to the first value. Nothing is told while *present*, which every exporter
    shows, was not there at the beginning of the window: else the whole past would be new to a Prometheus that has just begun.
    """
    now, labels = series(metric, **matchers), ", ".join(("job", *by))
    _check(metric, by, metric.labels)
    total = f"sum by ({labels}) ({deployed(metric, now)})"
    before = f"sum by ({labels}) ({deployed(metric, f'{now} offset {window}')})"
    watched = f"group by (job) ({series(present)} offset {window})"
    return f"(\n  ({total}\n   - {before}\n   or {total})\n  and on (job) {watched}\n)"


def quantile(metric: Defined, of: float, window: str, by: Iterable[str] = (), /, **matchers: str | Like) -> str:
    """The quantile *of* what was distributed over *window*, for each of *by*."""
    return f"histogram_quantile({of:g}, {summed(metric, rate(metric, window, 'bucket', **matchers), (*by, 'le'), 'bucket')})"


def _check(metric: Defined, labels: Iterable[str], known: Iterable[str]) -> None:
    for label in labels:
        if label not in known:
            hint = did_you_mean(label, known) or f"its labels: {', '.join(known)}"
            raise MetricError(f"metric {metric.name!r} has no label {label!r}", hint=hint)


def _matcher(label: str, value: str | Like) -> str:
    pattern, operator = (value, "=") if isinstance(value, str) else (value.pattern, "=~")
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return f'{label}{operator}"{escaped}"'
