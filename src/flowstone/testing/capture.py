"""Events, caught for a test to look at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from flowstone.events.event import Event, attributes_of
from flowstone.foundation.errors import EventError, HandlerError, did_you_mean

E = TypeVar("E", bound=Event)
SHOWN = 20
_numbers = itertools.count(1)


class Observable(Protocol):
    """What events can be caught of: a FlowStone, or a dispatcher."""

    def attach(self, id: str, events: str | type[Event] | Iterable[str | type[Event]], handler: Callable[[Event], Any]) -> None:
        """Call *handler* with every event of *events*; *id* is not in use."""
        ...

    def detach(self, id: str) -> None:
        """Stop calling the handler *id*."""
        ...


class CapturedEvents(list[Event]):
    """The events caught, in order of emission: a list that can be asked."""

    def names(self) -> list[str]:
        """The events' names, in order."""
        return [happened.name for happened in self]

    def of(self, cls: type[E]) -> list[E]:
        """The events of class *cls*, in order."""
        return [happened for happened in self if isinstance(happened, cls)]

    def assert_emitted(self, cls: type[E], **fields: Any) -> E:
        """Return the first event of *cls* whose *fields* have these values; raises ``AssertionError`` that says what there was.

        Raises :class:`EventError` for a field the event does not have.
        """
        known = cls.__struct_fields__
        for name in fields:
            if name not in known:
                hint = did_you_mean(name, known) or f"its fields: {', '.join(known)}"
                raise EventError(f"event {cls.name!r} has no field {name!r}", hint=hint)
        same_class = self.of(cls)
        for happened in same_class:
            if all(getattr(happened, name) == value for name, value in fields.items()):
                return happened
        wanted = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        raise AssertionError(f"no event {cls.name!r} with {wanted or 'any fields'}; {_told(cls, same_class, self.names())}")


def _told(cls: type[Event], same_class: list[Any], names: list[str]) -> str:
    if not same_class:
        return f"emitted: {', '.join(dict.fromkeys(names)) or 'nothing'}"
    lines = [", ".join(f"{name}={value!r}" for name, value in attributes_of(happened).items()) for happened in same_class[:SHOWN]]
    return f"{len(same_class)} of that name:" + "".join(f"\n  {cls.name}: {line}" for line in lines)


@contextmanager
def capture_events(flow: Observable, *patterns: str | type[Event]) -> Iterator[CapturedEvents]:
    """Catch every event of *flow* while the block runs: those of *patterns* (classes, names, prefixes ending in ``*``), or all.

    >>> with capture_events(flow, "flowstone.run.*") as events:
    ...     flow.run()
    >>> events.assert_emitted(RunStop, outcome="success")
    """
    caught = CapturedEvents()
    id = f"flowstone.testing.capture_{next(_numbers)}"
    flow.attach(id, patterns or "*", caught.append)
    try:
        yield caught
    finally:
        with suppress(HandlerError):  # the block may have closed the flow, which detaches everybody
            flow.detach(id)
