"""Shows events to observers: after the change is committed, in order of emission, each observer isolated from the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from flowstone.events.event import Event
from flowstone.events.handlers import Depth, Handler, HandlerInfo, QueuedHandler
from flowstone.events.losses import Loss, Losses
from flowstone.events.spans import Span, SpanKind
from flowstone.foundation.clock import Clock, SystemClock
from flowstone.foundation.errors import EventError, HandlerError
from flowstone.foundation.forks import renew_in_children
from flowstone.foundation.redaction import Redactor

MAX_DEPTH = 8  # handlers that emit events that reach handlers that emit ...
REMEMBERED = 100  # handlers that were detached
SINK = "flowstone.dispatcher"
"""Who has lost an event that was shown to no handler."""


class Dispatcher:
    """Who listens to what. Dispatch takes no lock: attaching replaces the table."""

    def __init__(self, clock: Clock | None = None, redactor: Redactor | None = None) -> None:
        clock = clock or SystemClock()
        self.redactor = redactor or Redactor()
        self.now_ns = clock.now_ns
        self.monotonic_ns = clock.monotonic_ns
        self._handlers: dict[str, Handler] = {}
        self._table: dict[type[Event], tuple[Handler, ...]] = {}
        self._lock = threading.Lock()
        self.depth = Depth()
        self._declared: set[type[Event]] = set()
        self.too_deep = 0
        self._detached: deque[HandlerInfo] = deque(maxlen=REMEMBERED)
        self.losses = Losses(self.monotonic_ns)
        self.losses.watch(self._lost)
        renew_in_children(self)

    def attach(
        self,
        id: str,
        events: str | type[Event] | Iterable[str | type[Event]],
        handler: Callable[[Event], Any],
        *,
        queued: bool = False,
        capacity: int = 10_000,
        patient: bool = False,
        linger: float = 0.0,
    ) -> None:
        """Call *handler* with every event of *events*: classes, names, or name prefixes that end in ``*``.

        Inline handlers run in the emitting thread and may delay it; *queued* ones run in a thread of their own behind a
        queue of *capacity* events, dropping (and counting) what does not fit; one that may *linger* handles together what comes
        in so many seconds: a thread that works all the time slows down the one that emits. A *patient* one waits for nothing:
        what makes it slow is a busy machine, and it is not put in quarantine for that. Raises :class:`HandlerError` for an id
        in use.
        """
        patterns = tuple(_pattern(item) for item in ([events] if isinstance(events, (str, type)) else events))
        if not patterns:
            raise HandlerError(f"handler {id!r}: no events given", hint="name them, or use '*' for all")
        if capacity < 1:
            raise HandlerError(f"handler {id!r}: capacity {capacity!r} is less than 1 event")
        if not callable(handler):
            raise HandlerError(f"handler {id!r}: {handler!r} is not callable")
        with self._lock:
            if id in self._handlers:
                raise HandlerError(f"handler {id!r} is already attached", hint=f"detach({id!r}) first, or choose another id")
            made = (
                QueuedHandler(id, patterns, handler, self, capacity, linger) if queued else Handler(id, patterns, handler, self)
            )
            made.patient = patient
            self._handlers = {**self._handlers, id: made}
            self._table = {}

    def detach(self, id: str) -> None:
        """Stop calling the handler *id*; a queued one first handles what it has accepted (at most 5 s)."""
        with self._lock:
            if id not in self._handlers:
                raise HandlerError(f"handler {id!r} is not attached", hint=f"attached: {', '.join(self._handlers) or 'none'}")
            handler = self._handlers[id]
            self._handlers = {key: value for key, value in self._handlers.items() if key != id}
            self._table = {}
        handler.close()
        self.losses.keep(handler.losses())
        self._detached.append(handler.info())

    def list_handlers(self, prefix: str = "") -> list[HandlerInfo]:
        """The attached handlers that listen to any event whose name starts with *prefix*, in order of attachment."""
        return [handler.info() for handler in self._handlers.values() if handler.hears_prefix(prefix)]

    def figures(self) -> list[HandlerInfo]:
        """How every handler fares, and how those fared that were detached, the last hundred of them."""
        return [*self._detached, *self.list_handlers()]

    def emit(self, cls: type[Event], /, **fields: Any) -> None:
        """Build an event of *cls* and show it to observers; nothing is built when nobody listens."""
        handlers = self._table.get(cls)
        if handlers is None:
            handlers = self._resolve(cls)
        if handlers:
            self._show(handlers, self.build(cls, fields))

    def deliver(self, happened: Event) -> None:
        """Show an event that is already built."""
        cls = type(happened)
        handlers = self._table.get(cls)
        if handlers is None:
            handlers = self._resolve(cls)
        if handlers:
            self._show(handlers, happened)

    def build(self, cls: type[Event], fields: dict[str, Any]) -> Event:
        """Return the event: stamped with the time, its texts redacted. Raises :class:`EventError` for wrong fields."""
        if cls not in self._declared:
            if not cls.__dict__.get("name"):  # a subclass of a declared event is not declared: its texts are unknown
                raise EventError(f"{cls.__name__} is not declared", hint="decorate it with @event('your.name')")
            self._declared.add(cls)
        for field in cls.texts:
            if text := fields.get(field):
                fields[field] = self.redactor.value(text, field)
        if "at" not in fields:
            fields["at"] = self.now_ns()
        try:
            return cls(**fields)
        except TypeError as error:
            raise EventError(f"event {cls.name!r}: {error}", hint=f"its fields: {', '.join(cls.fields)}") from error

    def span(self, kind: SpanKind, /, **fields: Any) -> Span:
        """A context manager that emits *kind*'s start and exactly one of its stop and exception."""
        return Span(self, kind, fields)

    def renew(self) -> None:
        """Begin with an open lock after a fork."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Detach every handler; queued ones finish what they have accepted."""
        for id in list(self._handlers):
            self.detach(id)

    def _lost(self) -> list[Loss]:
        handlers = [loss for handler in self._handlers.values() for loss in handler.losses()]
        return [*handlers, Loss(SINK, "too_deep", self.too_deep)]

    def _resolve(self, cls: type[Event]) -> tuple[Handler, ...]:
        with self._lock:
            found = tuple(handler for handler in self._handlers.values() if handler.hears(cls.name))
            self._table = {**self._table, cls: found}
        return found

    def _show(self, handlers: tuple[Handler, ...], happened: Event) -> None:
        depth = self.depth.value
        if depth >= MAX_DEPTH:
            self.too_deep += 1
            self.losses.say(SINK, "too_deep", self.too_deep)
            return
        self.depth.value = depth + 1
        try:
            for handler in handlers:
                handler.handle(happened)
        finally:
            self.depth.value = depth


def _pattern(item: str | type[Event]) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, type) and issubclass(item, Event) and item.name:
        return item.name
    raise HandlerError(f"{item!r} is not an event", hint="give an event class, its name, or a prefix ending in '*'")
