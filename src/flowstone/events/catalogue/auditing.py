"""The audit log: that it was verified, and what its keeper must hear of."""

from __future__ import annotations

from flowstone.events.event import Attribute, Count, Event, Label, Nanoseconds, Text, event


@event("flowstone.audit.verified")
class AuditVerified(Event, frozen=True, kw_only=True):
    """The audit log was verified."""

    verdict: Label
    """``INTACT``, ``TAMPERED`` or ``INCOMPLETE``."""
    findings: Count
    """What differed."""
    incomplete: Count
    """What could not be verified."""
    entries: Count
    duration_ns: Nanoseconds
    actor: Text
    identity: Label


@event("flowstone.audit.rollback_detected")
class AuditRollbackDetected(Event, frozen=True, kw_only=True):
    """The audit log does not go on from what was signed or anchored before: rolled back, rewritten, or restored."""

    message: Text


@event("flowstone.control.weakened")
class ControlWeakened(Event, frozen=True, kw_only=True):
    """Something that protects data or its history does so less than before."""

    control: Label
    """``sensitive`` or ``approval`` of an asset, ``audit``, ``retention``, or a setting: ``approvals.allow_asserted``."""
    asset: Label = ""
    was: Attribute
    now: Attribute
    actor: Text
    identity: Label
