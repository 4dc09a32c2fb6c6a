"""Errors, and telemetry about telemetry."""

from __future__ import annotations

from flowstone.events.catalogue.shapes import OfAttempt
from flowstone.events.event import Attribute, Count, Event, Flag, Label, Nanoseconds, Text, event


@event("flowstone.error")
class ErrorRecorded(OfAttempt, frozen=True, kw_only=True):
    """An error was recorded: once, by the settlement of its attempt."""

    type: Label
    retryable: Flag
    error: Attribute
    fingerprint: Attribute
    message: Text


@event("flowstone.handler.failure", recorded=False)
class HandlerFailed(Event, frozen=True, kw_only=True):
    """An observer raised or was slow and is in quarantine."""

    handler: Label
    event: Label
    kind: Label
    duration_ns: Nanoseconds
    quarantine_ns: Nanoseconds
    type: Label
    message: Text


@event("flowstone.telemetry.lost")
class TelemetryLost(Event, frozen=True, kw_only=True):
    """Observers did not see everything: recorded when a process notices, with how much since the last time."""

    sink: Label
    """The handler, queue or exporter."""
    reason: Label
    """``dropped``, ``quarantined``, ``failed``, ``too_deep`` or ``refused``."""
    lost: Count
    process: Attribute
