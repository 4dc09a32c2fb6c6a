"""Metric definitions: which events a metric counts, sums, keeps or distributes, and by which labels.

A definition is data and aggregates nothing. It is stored with the pipeline, so a process that never imports users' code can
fold the record by it; every reporter reads the same definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

import msgspec

from flowstone.events.event import Event
from flowstone.foundation.serialize import digest_of
from flowstone.observability.metrics import rules
from flowstone.observability.metrics.rules import On, Value

MetricKind = Literal["counter", "sum", "last_value", "distribution", "gauge"]

OVERFLOW = "__overflow__"
"""What every label says of the measurements that found no room for a set of label values of their own."""
LONGEST_LABEL = 200

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
BYTES = tuple(float(1_000**n) for n in range(1, 5))
_BUCKETS = {"seconds": SECONDS, "bytes": BYTES}


class Options(TypedDict, total=False):
    """What may stand beside an event class; see :class:`Metric`."""

    measurement: str
    labels: Iterable[str] | Mapping[str, str]
    fixed: Mapping[str, str]
    keep: Mapping[str, Value | Sequence[Value]]
    drop: Mapping[str, Value | Sequence[Value]]
    description: str


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one event gives to a metric. All of it is data."""

    event: str
    measurement: str = ""
    """The field that is measured; empty: the event is counted."""
    labels: tuple[tuple[str, str, str], ...] = ()
    """For each label of the metric in order: its name and the field it takes, or no field and the text it always has."""
    keep: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    drop: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    defaults: dict[str, Value] = {}
    """The fields that are left out of a recorded payload when they have this value."""

    def measure(self, fields: Mapping[str, Any]) -> tuple[tuple[str, ...], int | float | None] | None:
        """The label values and the measurement in its own unit; ``None`` for an event the metric does not take.

        A measurement of ``None`` is one that is no number.
        """
        defaults = self.defaults
        for field, values in self.keep:
            if fields.get(field, defaults.get(field)) not in values:
                return None
        for field, values in self.drop:
            if fields.get(field, defaults.get(field)) in values:
                return None
        labels = tuple([_text(fields.get(field, defaults.get(field))) if field else text for _, field, text in self.labels])
        return labels, fields.get(self.measurement, defaults.get(self.measurement)) if self.measurement else 1


class Metric(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told of events as one figure for each set of label values. Make one with :meth:`counter`, :meth:`sum`,
    :meth:`last_value` or :meth:`distribution`.

    A source is an event class with the options given beside it, or an :class:`On` for each of several. ``labels`` are fields
    of the event, or new names for them (``{"shop": "branch"}``); ``fixed`` are labels that always say the same. ``keep`` and
    ``drop`` name the values of fields with which an event counts, or does not. Names carry the unit as Prometheus wants it:
    ``_total`` for what only grows, ``_seconds`` for times, ``_bytes`` for sizes. Raises :class:`MetricError`.
    """

    name: str
    kind: MetricKind
    description: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    """What the figure is shown in: ``seconds``, ``bytes`` or nothing; ``divisor`` of the measurement's own unit make one."""
    divisor: int = 1
    buckets: tuple[float, ...] = ()
    sources: tuple[Source, ...] = ()

    @classmethod
    def counter(cls, name: str, *sources: type[Event] | On, **options: Unpack[Options]) -> Metric:
        """How many events there were: ``Metric.counter("acme_orders_rejected_total", OrderRejected, labels=["shop"])``."""
        return _made("counter", name, sources, options)

    @classmethod
    def sum(cls, name: str, *sources: type[Event] | On, **options: Unpack[Options]) -> Metric:
        """The measurements of all events added up; one below zero is refused and counted."""
        return _made("sum", name, sources, options)

    @classmethod
    def last_value(cls, name: str, *sources: type[Event] | On, **options: Unpack[Options]) -> Metric:
        """The measurement of the newest event; ``measurement="at"`` is when that happened."""
        return _made("last_value", name, sources, options)

    @classmethod
    def distribution(
        cls, name: str, *sources: type[Event] | On, buckets: Sequence[float] | None = None, **options: Unpack[Options]
    ) -> Metric:
        """How many measurements were up to which bound: a histogram. *buckets* are upper bounds in seconds, bytes or ones.

        Without them: 1 ms to 1 h for times, 1 kB to 1 TB for sizes.
        """
        return _made("distribution", name, sources, options, buckets)

    @classmethod
    def gauge(cls, name: str, description: str, *, labels: Sequence[str] = ()) -> Metric:
        """A figure that FlowStone reads from its own state when it is asked; a pipeline's metrics are told by events."""
        rules.check_name(name, "gauge", None)
        unit = next((unit for unit in _BUCKETS if name.endswith(f"_{unit}")), "")
        return cls(name, "gauge", description, tuple(labels), unit)

    def measure(self, happened: Event) -> list[tuple[tuple[str, ...], int | float]]:
        """The label values and the figure, in the metric's unit, of each source that takes the event; a count is 1."""
        found = [source.measure(_Fields(happened)) for source in self.sources if source.event == happened.name]
        return [(labels, value / self.divisor) for labels, value in filter(None, found) if value is not None]

    def measure_payload(self, name: str, payload: Mapping[str, Any]) -> list[tuple[tuple[str, ...], int | float]]:
        """What :meth:`measure` gives, for a recorded event: its name, and its payload without fields of default value."""
        found = [source.measure(payload) for source in self.sources if source.event == name]
        return [(labels, value / self.divisor) for labels, value in filter(None, found) if value is not None]

    def described(self) -> dict[str, Any]:
        """The definition as plain values, as it is stored with a pipeline."""
        return dict(msgspec.to_builtins(self))

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Metric:
        """The metric that was :meth:`described`; raises ``ValueError`` for what is none."""
        return msgspec.convert(described, cls)

    def digest(self) -> str:
        """What the folded figures depend on: all but the words that explain it."""
        return digest_of({**self.described(), "description": ""})


class _Fields(Mapping[str, Any]):
    """An event read as its recorded payload is."""

    __slots__ = ("_event",)

    def __init__(self, happened: Event) -> None:
        self._event = happened

    def __getitem__(self, field: str) -> Any:
        return getattr(self._event, field)

    def get(self, field: str, default: Any = None) -> Any:
        return getattr(self._event, field, default)

    def __iter__(self) -> Any:
        return iter(self._event.__struct_fields__)

    def __len__(self) -> int:
        return len(self._event.__struct_fields__)


def _made(
    kind: MetricKind,
    name: str,
    sources: Sequence[type[Event] | On],
    options: Options,
    buckets: Sequence[float] | None = None,
) -> Metric:
    where = rules.Where(name, kind)
    given: dict[str, Any] = {option: value for option, value in options.items() if value and option != "description"}
    where.require(bool(sources), "no event is given", hint=f"Metric.{kind}({name!r}, YourEvent)")
    each = [rules.as_on(where, source, given) for source in sources]
    unit, divisor = rules.unit_of(where, [rules.check(where, on) for on in each])
    rules.check_name(name, kind, unit)
    labels = rules.check_same_labels(where, each)
    default = _BUCKETS.get(unit)
    bounds = rules.check_buckets(where, default if buckets is None else buckets) if kind == "distribution" else ()
    description = options.get("description") or (each[0].event.__doc__ or "").splitlines()[0]
    return Metric(name, kind, description, labels, unit, divisor, bounds, tuple(_source(on, labels) for on in each))


def _source(on: On, order: tuple[str, ...]) -> Source:
    fields = rules.mapped(on.labels)
    taken = [*fields.values(), *on.keep, *on.drop, *([on.measurement] if on.measurement else [])]
    names, last = on.event.__struct_fields__, on.event.__struct_defaults__  # the defaults are those of the last fields
    known = dict(zip(names[len(names) - len(last) :], last, strict=True))
    return Source(
        event=on.event.name,
        measurement=on.measurement or "",
        labels=tuple((label, fields.get(label, ""), on.fixed.get(label, "")) for label in order),
        keep=rules.conditions(on.keep),
        drop=rules.conditions(on.drop),
        defaults={field: known[field] for field in taken if known.get(field, msgspec.NODEFAULT) is not msgspec.NODEFAULT},
    )


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:LONGEST_LABEL]
    return ("false", "true")[value] if isinstance(value, bool) else str(value)
