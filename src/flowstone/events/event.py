"""An event is a frozen, typed struct, declared once.

Each field is a *measurement* (a number with a unit), a *label* (few distinct values; may label a metric), an *attribute*
(an identifier or code we made ourselves) or *text* (anything people or programs wrote; redacted when the event is built). A
field without a role is text when it is a string and an attribute otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import msgspec

from flowstone.foundation.errors import EventError


class Role(msgspec.Struct, frozen=True):
    """What a field is for: ``label``, ``attribute``, ``text`` or ``measurement`` with its *unit*."""

    kind: str
    unit: str = ""


def measurement(unit: str = "1") -> Role:
    """A number that can be counted, summed or distributed; *unit* as in UCUM: ``ns``, ``By``, ``1``."""
    return Role("measurement", unit)


Label = Annotated[str, Role("label")]
Flag = Annotated[bool, Role("label")]
Attribute = Annotated[str, Role("attribute")]
Text = Annotated[str, Role("text")]
Nanoseconds = Annotated[int, measurement("ns")]
Bytes = Annotated[int, measurement("By")]
Count = Annotated[int, measurement("1")]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened."""

    name: ClassVar[str] = ""
    recorded: ClassVar[bool] = True
    fields: ClassVar[dict[str, Role]] = {}
    texts: ClassVar[tuple[str, ...]] = ()

    at: int
    """Wall time in nanoseconds since the epoch, UTC; set when the event is built."""
    trace_id: Attribute = ""
    """W3C trace id of the run, 32 hexadecimal digits; empty outside runs."""
    run_id: Attribute = ""
    """The run it belongs to; empty outside runs."""


E = TypeVar("E", bound=type[Event])
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_BASE = frozenset({"at", "trace_id"})
_OF_THE_CLASS = frozenset({"name", "recorded", "fields", "texts"})


def event(name: str, *, recorded: bool = True) -> Callable[[E], E]:
    """Declare the decorated :class:`Event` subclass under *name*, for example ``acme.order.shipped``.

    *recorded* events are kept in the event log; others only reach handlers. Raises :class:`EventError` for a malformed
    name, a class that is no event, a missing docstring or a label that is not text.
    """
    if not _NAME.fullmatch(name):
        raise EventError(f"event name {name!r}: use lower-case words joined by dots", hint="for example 'acme.order.shipped'")

    def declare(cls: E) -> E:
        if not (isinstance(cls, type) and issubclass(cls, Event)):
            raise EventError(f"event {name!r}: {cls!r} is not a subclass of Event")
        if not cls.__doc__ or cls.__doc__ == Event.__doc__:
            raise EventError(f"event {name!r}: {cls.__name__} has no docstring", hint="its first line is its documentation")
        taken = _OF_THE_CLASS & set(cls.__struct_fields__)
        if taken:
            raise EventError(f"event {name!r}: a field cannot be called {', '.join(sorted(taken))}", hint="rename it")
        roles = {field: _role(name, field, hint) for field, hint in _hints(cls).items() if field not in _BASE}
        cls.name = name
        cls.recorded = recorded
        cls.fields = roles
        cls.texts = tuple(field for field, role in roles.items() if role.kind == "text")
        return cls

    return declare


def _hints(cls: type[Event]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field: hints[field] for field in cls.__struct_fields__}


def _role(name: str, field: str, hint: Any) -> Role:
    role = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Role)), None)
    kind = getattr(hint, "__origin__", hint)
    if role is None:
        return Role("text" if kind is not bool and kind is not int and kind is not float else "attribute")
    if role.kind == "label" and kind not in (str, bool, int):
        raise EventError(f"event {name!r}: label {field!r} is {kind}", hint="labels are str, bool or int")
    if role.kind == "measurement" and kind not in (int, float):
        raise EventError(f"event {name!r}: measurement {field!r} is {kind}", hint="measurements are int or float")
    return role


def attributes_of(happened: Event) -> dict[str, Any]:
    """Every field of the event but its time, by name."""
    values = {field: getattr(happened, field) for field in happened.__struct_fields__}
    del values["at"]
    return values


def class_of(name: str) -> type[Event]:
    """The class declared under *name*, the newest where there are several; raises :class:`EventError` for an unknown name."""
    found, ahead = None, [Event]
    while ahead:
        cls = ahead.pop(0)
        ahead += cls.__subclasses__()
        if cls.__dict__.get("name") == name:
            found = cls
    if found is None:
        raise EventError(f"no event is declared under {name!r}", hint="declare it where the pipeline is defined")
    return found
