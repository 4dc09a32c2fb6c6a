"""Expectations of events, one for each event there is: made of the catalogue, so that a misspelt name or field is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import structs

from flowstone.events.event import Event, class_of
from flowstone.foundation.errors import EventError, did_you_mean
from flowstone.stores.records import EventRecord

OURS = "flowstone."
SHOWN = 20

Told = Event | EventRecord


def expect_events(events: Iterable[Told], *, exactly: int | None = None) -> Expectations:
    """What is expected of *events*, caught ones or those of ``flow.events()``: one method for each declared event.

    It is called as the event without ``flowstone.`` and with ``_`` for each dot, your own events by their whole name; it takes
    values of fields and returns the first event that has them. *exactly*: so many must have them, ``0`` for none.

    >>> expect_events(caught).materialization_stop(asset="orders", outcome="success")
    >>> expect_events(caught, exactly=0).error()
    """
    return Expectations(list(events), exactly)


class Expectations:
    """The expectations of some events, by the event's name."""

    def __init__(self, events: list[Told], exactly: int | None) -> None:
        self._events, self._exactly = events, exactly

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """The expectation of the event called *method*; raises :class:`EventError` for one nobody declared."""
        known = methods()
        if method.startswith("__"):
            raise AttributeError(method)
        if method not in known:
            hint = did_you_mean(method, known) or "flowstone catalogue events lists FlowStone's"
            raise EventError(f"no declared event is called {method!r}", hint=hint)
        cls = class_of(known[method])
        return lambda **fields: self._expect(cls, fields)

    def __dir__(self) -> list[str]:
        return sorted(methods())

    def _expect(self, cls: type[Event], fields: Mapping[str, Any]) -> Told | None:
        known = cls.__struct_fields__
        for name in fields:
            if name not in known:
                hint = did_you_mean(name, known) or f"its fields: {', '.join(known)}"
                raise EventError(f"event {cls.name!r} has no field {name!r}", hint=hint)
        of_class = [happened for happened in self._events if happened.name == cls.name]
        found = [happened for happened in of_class if all(_value(happened, name) == fields[name] for name in fields)]
        if (self._exactly is None and found) or len(found) == self._exactly:
            return found[0] if found else None
        wanted = ", ".join(f"{name}={value!r}" for name, value in fields.items()) or "any fields"
        number = f"{len(found)} times, not {self._exactly}" if self._exactly is not None else "not at all"
        raise AssertionError(f"{cls.name} with {wanted} happened {number}; {_told(of_class, self._events)}")


def methods() -> dict[str, str]:
    """The names of all declared events, by the method that expects them."""
    found: dict[str, str] = {}
    ahead = [Event]
    while ahead:
        cls = ahead.pop()
        ahead += cls.__subclasses__()
        if name := cls.__dict__.get("name"):
            found[name.removeprefix(OURS).replace(".", "_")] = name
    return found


def _value(happened: Told, field: str) -> Any:
    """The value of a field; one that was left out of a record is its default."""
    if isinstance(happened, Event):
        return getattr(happened, field)
    if field in happened.payload:
        return happened.payload[field]
    return next(known.default for known in structs.fields(class_of(happened.name)) if known.name == field)


def _told(of_class: list[Told], events: list[Told]) -> str:
    if not of_class:
        return f"what happened: {', '.join(dict.fromkeys(happened.name for happened in events)) or 'nothing'}"
    return "of that name:" + "".join(f"\n  {_shown(happened)}" for happened in of_class[:SHOWN])


def _shown(happened: Told) -> str:
    fields = (
        happened.payload if isinstance(happened, EventRecord) else {f: getattr(happened, f) for f in happened.__struct_fields__}
    )
    return ", ".join(f"{name}={value!r}" for name, value in fields.items() if name != "at")
