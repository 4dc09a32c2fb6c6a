"""Storage: loads and stores, and the resources that assets use."""

from __future__ import annotations

from flowstone.events.catalogue.shapes import OfIo
from flowstone.events.event import Bytes, Event, Label, Nanoseconds, Text, event
from flowstone.events.spans import SpanKind


@event("flowstone.io.load.start")
class IoLoadStart(OfIo, frozen=True, kw_only=True):
    """Loading an input began."""


@event("flowstone.io.load.stop")
class IoLoadStop(OfIo, frozen=True, kw_only=True):
    """An input was loaded."""

    duration_ns: Nanoseconds
    size_bytes: Bytes


@event("flowstone.io.load.exception")
class IoLoadException(OfIo, frozen=True, kw_only=True):
    """An input could not be loaded."""

    duration_ns: Nanoseconds
    type: Label
    message: Text


@event("flowstone.io.store.start")
class IoStoreStart(OfIo, frozen=True, kw_only=True):
    """Storing a value began."""


@event("flowstone.io.store.stop")
class IoStoreStop(OfIo, frozen=True, kw_only=True):
    """A value was stored."""

    duration_ns: Nanoseconds
    size_bytes: Bytes


@event("flowstone.io.store.exception")
class IoStoreException(OfIo, frozen=True, kw_only=True):
    """A value could not be stored."""

    duration_ns: Nanoseconds
    type: Label
    message: Text


IO_LOAD = SpanKind(IoLoadStart, IoLoadStop, IoLoadException)
IO_STORE = SpanKind(IoStoreStart, IoStoreStop, IoStoreException)


# -- resources: what happens to them is no record of an attempt; an attempt that fails for one has its error -------------


@event("flowstone.resource.opened", recorded=False)
class ResourceOpened(Event, frozen=True, kw_only=True):
    """A resource was opened for the first attempt that needs it, or again."""

    resource: Label
    scope: Label
    duration_ns: Nanoseconds


@event("flowstone.resource.closed", recorded=False)
class ResourceClosed(Event, frozen=True, kw_only=True):
    """A resource was closed."""

    resource: Label
    because: Label
    """``unhealthy``, ``run ended`` or ``closed`` (with its FlowStone)."""


@event("flowstone.resource.failed", recorded=False)
class ResourceFailed(Event, frozen=True, kw_only=True):
    """A resource raised while it was opened, checked or closed."""

    resource: Label
    during: Label
    """``open``, ``health`` or ``close``."""
    type: Label
    message: Text
