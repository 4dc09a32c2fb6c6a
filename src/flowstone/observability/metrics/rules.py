"""What the definition of a metric must keep to: each rule is checked where the metric is written, and names what breaks it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowstone.events.event import Event
from flowstone.foundation.errors import MetricError, did_you_mean

Value = str | int | bool

_NAME = re.compile(r"[a-z][a-z0-9_]{0,199}", re.ASCII)
_LABEL = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,99}", re.ASCII)
_UNITS = {"ns": ("seconds", 10**9), "us": ("seconds", 10**6), "ms": ("seconds", 1000), "s": ("seconds", 1), "By": ("bytes", 1)}
_SHOWN = ("seconds", "bytes")
_TAKEN_ENDINGS = ("_count", "_sum", "_bucket", "_created", "_info")
_TAKEN_LABELS = {"le": "names the buckets of a histogram", "quantile": "belongs to summaries"}
_MANY = {"run_id": "runs", "partition": "partitions", "trace_id": "traces"}
AT = "at"
"""When the event happened: the one field that is no measurement and can be kept by ``last_value``."""
MOST_BUCKETS = 50


@dataclass(frozen=True, slots=True)
class On:
    """An event class as one of several sources of a metric, with options of its own; see :class:`Metric`."""

    event: type[Event]
    measurement: str | None = None
    labels: Iterable[str] | Mapping[str, str] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict)
    drop: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Where:
    """The metric that is being defined, for the errors that name it."""

    metric: str
    kind: str

    def require(self, holds: bool, text: str, hint: str | None = None) -> None:
        """Raise :class:`MetricError` unless it *holds*."""
        if not holds:
            raise MetricError(f"metric {self.metric!r}: {text}", hint=hint, metric=self.metric)


def as_on(where: Where, source: Any, given: Mapping[str, Any]) -> On:
    """The *source* with the options *given* beside it; an :class:`On` has its own."""
    if isinstance(source, On):
        where.require(not given, f"{', '.join(given)}= stands beside On(...)", hint="give it inside each On(...)")
        on = source
    else:
        on = On(source, **given)
    event = on.event
    is_event = isinstance(event, type) and issubclass(event, Event) and bool(event.__dict__.get("name"))
    hint = "give an event class that is decorated with @event(...), or the stop of a span: UPLOAD.stop"
    where.require(is_event, f"{event!r} is no declared event", hint=hint)
    hint = "declare it with recorded=True: a metric is folded from the record"
    where.require(event.recorded, f"{event.name} is not recorded, so nobody could count it", hint=hint)
    return on


def check(where: Where, on: On) -> str:
    """Check one source; return the unit of what it measures."""
    event, fields = on.event, on.event.fields
    for label, name in mapped(on.labels).items():
        _check_label(where, label)
        where.require(name not in _MANY, f"{name} cannot be a label: there are as many as {_MANY.get(name)}",
                      hint="an exemplar leads to the run; labels have few distinct values")  # fmt: skip
        _known(where, on, "labels", name)
        where.require(fields[name].kind == "label", f"{event.name}.{name} is {_a(fields[name].kind)}, not a label",
                      hint="only fields declared as Label may label a metric")  # fmt: skip
    for label, text in on.fixed.items():
        _check_label(where, label)
        where.require(isinstance(text, str), f"fixed label {label!r} is {text!r}", hint="give a text")
        where.require(label not in mapped(on.labels), f"label {label!r} stands in labels= and in fixed=")
    where.require(not (on.keep and on.drop), "has both keep= and drop=", hint="say it with one of them")
    for option, conditions_ in (("keep", on.keep), ("drop", on.drop)):
        for name, values in conditions_.items():
            _known(where, on, option, name)
            where.require(fields[name].kind != "text", f"{option}= compares {event.name}.{name}, which is text",
                          hint="compare a label")  # fmt: skip
            plain = bool(_values(values)) and all(isinstance(value, str | int) for value in _values(values))
            where.require(plain, f"{option}={{{name!r}: {values!r}}}: values are texts, whole numbers or booleans",
                          hint="one value, or a tuple of them")  # fmt: skip
    return _check_measurement(where, on)


def _check_measurement(where: Where, on: On) -> str:
    event, name = on.event, on.measurement
    if where.kind == "counter":
        where.require(name is None, f"counts events, and measurement={name!r} is given", hint="Metric.sum adds measurements up")
        return ""
    measured = [known for known, role in event.fields.items() if role.kind == "measurement"]
    has = f"{event.name} measures {', '.join(measured) or 'nothing'}"
    where.require(name is not None, f"no measurement is given; {has}", hint="measurement=..., or Metric.counter for how many")
    assert name is not None
    if name == AT and where.kind == "last_value":
        return "ns"
    _known(where, on, "measurement", name)
    role = event.fields[name]
    where.require(role.kind == "measurement", f"{event.name}.{name} is {_a(role.kind)}, not a measurement; {has}")
    return role.unit


def unit_of(where: Where, units: Sequence[str]) -> tuple[str, int]:
    """What the metric is shown in, and how many of the measurement's unit make one."""
    where.require(len(set(units)) == 1, f"its sources measure in {' and '.join(dict.fromkeys(units))}",
                  hint="one metric has one unit")  # fmt: skip
    return _UNITS.get(units[0], ("", 1))


def check_name(name: Any, kind: str, unit: str | None) -> None:
    """Check the name by Prometheus' rules; *unit* ``None`` leaves the unit to the name."""
    where = Where(str(name), kind)
    where.require(isinstance(name, str) and bool(_NAME.fullmatch(name)), "is no name of a metric",
                  hint="lower-case letters, digits and _, at most 200: acme_orders_total")  # fmt: skip
    grows, plain = kind in ("counter", "sum"), name.removesuffix("_total")
    where.require(not grows or name != plain, "only grows", hint=f"call it {name}_total")
    where.require(grows or name == plain, "may fall, or has buckets", hint=f"call it {plain}: _total is for what only grows")
    ending = next((ending for ending in _TAKEN_ENDINGS if name.endswith(ending)), "")
    where.require(
        not ending or kind == "gauge", f"ends in {ending}, which exporters add to names themselves", hint="choose another ending"
    )
    if unit is None:
        return
    wrong = next((shown for shown in _SHOWN if plain.endswith(f"_{shown}") and shown != unit), "")
    where.require(not wrong, f"says {wrong}, and is in {unit or 'neither seconds nor bytes'}",
                  hint="name the unit that is measured, or declare the measurement with its unit: measurement('s')")  # fmt: skip
    where.require(not unit or plain.endswith(f"_{unit}"), f"is in {unit}",
                  hint=f"call it {plain}_{unit}{'_total' if grows else ''}")  # fmt: skip


def check_same_labels(where: Where, sources: Sequence[On]) -> tuple[str, ...]:
    """The labels of the metric, in the order of its first source; every source gives all of them."""
    first, *others = [(*mapped(on.labels), *on.fixed) for on in sources]
    for on, labels in zip(sources[1:], others, strict=True):
        text = f"{on.event.name} has the labels {', '.join(labels) or '(none)'}, not {', '.join(first) or '(none)'}"
        where.require(sorted(labels) == sorted(first), text, hint="rename fields, or say it with fixed=")
    return first


def check_buckets(where: Where, buckets: Sequence[float] | None) -> tuple[float, ...]:
    """The upper bounds of a distribution as numbers."""
    hint = "buckets=(0.1, 1, 10): rising upper bounds, at most 50, without infinity"
    where.require(buckets is not None, "no buckets are given, and there are none by default for this unit", hint=hint)
    given: tuple[Any, ...] = tuple(buckets or ())
    numbers = all(type(bound) in (int, float) and math.isfinite(bound) for bound in given)
    where.require(numbers and 0 < len(given) <= MOST_BUCKETS, f"buckets={given!r}", hint=hint)
    where.require(list(given) == sorted(set(given)), f"buckets={given!r} do not rise", hint=hint)
    return tuple(float(bound) for bound in given)


def mapped(labels: Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    """The field of each label."""
    if isinstance(labels, str):
        labels = [labels]
    return dict(labels) if isinstance(labels, Mapping) else {name: name for name in labels}


def conditions(given: Mapping[str, Value | Sequence[Value]]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    """Conditions as they are stored."""
    return tuple((name, _values(values)) for name, values in given.items())


def _values(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple | set | frozenset) else (given,)


def _check_label(where: Where, label: str) -> None:
    where.require(bool(_LABEL.fullmatch(label)), f"{label!r} is no name of a label", hint="letters, digits and _: shop")
    where.require(label not in _TAKEN_LABELS, f"label {label!r} {_TAKEN_LABELS.get(label)}", hint="choose another name")
    where.require(label not in _MANY, f"{label} cannot be a label: there are as many as {_MANY.get(label)}",
                  hint="an exemplar leads to the run; labels have few distinct values")  # fmt: skip


def _known(where: Where, on: On, option: str, name: Any) -> None:
    fields = on.event.fields
    hint = did_you_mean(str(name), fields) or f"its fields: {', '.join(fields)}"
    where.require(name in fields, f"{option}= names {name!r}, which {on.event.name} does not have", hint=hint)


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
