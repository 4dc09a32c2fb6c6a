"""Runs: from request to end."""

from __future__ import annotations

from flowstone.events.catalogue.shapes import OfRun
from flowstone.events.event import Attribute, Count, Label, Nanoseconds, Text, event


@event("flowstone.run.start")
class RunStart(OfRun, frozen=True, kw_only=True):
    """A run began."""

    steps: Count
    partition: Text
    actor: Text
    identity: Label
    definition: Attribute


@event("flowstone.run.suspended")
class RunSuspended(OfRun, frozen=True, kw_only=True):
    """A run stopped before its end and can be resumed."""

    reason: Label
    """``approval``: nothing went wrong, all that is left waits for people."""


@event("flowstone.run.resumed")
class RunResumed(OfRun, frozen=True, kw_only=True):
    """A suspended or lost run goes on."""

    actor: Text
    identity: Label


@event("flowstone.run.cancel_requested")
class RunCancelRequested(OfRun, frozen=True, kw_only=True):
    """Somebody asked for the end of a run; the process that works on it ends it."""

    actor: Text
    identity: Label
    reason: Text


@event("flowstone.run.stop")
class RunStop(OfRun, frozen=True, kw_only=True):
    """A run reached its end."""

    outcome: Label
    duration_ns: Nanoseconds
    success: Count
    reused: Count
    failed: Count
    skipped: Count
    cancelled: Count = 0
    """The steps that had not ended when the run was cancelled, those that had not begun included."""
