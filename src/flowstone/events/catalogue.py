"""Every event FlowStone emits, declared once. Docs, schemas, log texts and metrics are derived from here.

Spans have ``start`` and exactly one of ``stop`` and ``exception``. Durations are integer nanoseconds of the monotonic clock.
"""

from __future__ import annotations

from flowstone.events.event import Attribute, Bytes, Count, Event, Label, Nanoseconds, Text, event
from flowstone.events.spans import SpanKind


class _OfRun(Event, frozen=True, kw_only=True):
    pipeline: Label
    run_id: Attribute


class _OfAsset(Event, frozen=True, kw_only=True):
    asset: Label
    partition: Text
    run_id: Attribute


class _OfAttempt(_OfAsset, frozen=True, kw_only=True):
    attempt: Count


class _OfIo(_OfAttempt, frozen=True, kw_only=True):
    manager: Label
    subject: Label
    """The asset whose value is moved: an upstream for a load, the asset itself for a store."""


# -- runs --------------------------------------------------------------------------------------------------------------


@event("flowstone.run.start")
class RunStart(_OfRun, frozen=True, kw_only=True):
    """A run began."""

    steps: Count
    partition: Text
    actor: Text
    identity: Label
    definition: Attribute


@event("flowstone.run.suspended")
class RunSuspended(_OfRun, frozen=True, kw_only=True):
    """A run stopped before its end and can be resumed."""

    reason: Label


@event("flowstone.run.resumed")
class RunResumed(_OfRun, frozen=True, kw_only=True):
    """A suspended or lost run goes on."""

    actor: Text
    identity: Label


@event("flowstone.run.stop")
class RunStop(_OfRun, frozen=True, kw_only=True):
    """A run reached its end."""

    outcome: Label
    duration_ns: Nanoseconds
    success: Count
    reused: Count
    failed: Count
    skipped: Count


# -- materializations, one start and one ending per attempt -------------------------------------------------------------


@event("flowstone.materialization.start")
class MaterializationStart(_OfAttempt, frozen=True, kw_only=True):
    """An attempt at computing an asset began."""

    because: Text = ""
    """Why the current output was not reused."""


@event("flowstone.materialization.progress", recorded=False)
class MaterializationProgress(_OfAttempt, frozen=True, kw_only=True):
    """User code said how far it is."""

    done: Count
    total: Count
    unit: Label


@event("flowstone.materialization.stop")
class MaterializationStop(_OfAttempt, frozen=True, kw_only=True):
    """An attempt ended without an error."""

    outcome: Label
    duration_ns: Nanoseconds
    size_bytes: Bytes = 0
    rows: Count = 0
    output: Attribute = ""
    digest: Attribute = ""
    reason: Label = ""
    summary: Text = ""
    """The line user code gave with ``ctx.summary``, or the reason it gave with ``ctx.skip``."""


@event("flowstone.materialization.exception")
class MaterializationException(_OfAttempt, frozen=True, kw_only=True):
    """An attempt ended without a value."""

    kind: Label
    """``error``; ``postponed`` (``RetryLater``) and ``cancelled``, which are no errors; ``worker_lost``: its process died."""
    final: bool
    duration_ns: Nanoseconds
    type: Label
    message: Text
    error: Attribute = ""
    retry_in_ns: Nanoseconds = 0


@event("flowstone.materialization.reused")
class MaterializationReused(_OfAsset, frozen=True, kw_only=True):
    """The current output is up to date and was taken as it is."""

    output: Attribute
    because: Text


@event("flowstone.materialization.skipped")
class MaterializationSkipped(_OfAsset, frozen=True, kw_only=True):
    """A materialization did not run."""

    reason: Label
    message: Text


@event("flowstone.asset.observed")
class AssetObserved(_OfAsset, frozen=True, kw_only=True):
    """An observed source has a version that was not seen before."""

    output: Attribute
    version: Text


@event("flowstone.asset.invalidated")
class AssetInvalidated(Event, frozen=True, kw_only=True):
    """A current output was withdrawn; its bytes stay."""

    asset: Label
    partition: Text
    output: Attribute
    actor: Text
    identity: Label


# -- storage -------------------------------------------------------------------------------------------------------------


@event("flowstone.io.load.start")
class IoLoadStart(_OfIo, frozen=True, kw_only=True):
    """Loading an input began."""


@event("flowstone.io.load.stop")
class IoLoadStop(_OfIo, frozen=True, kw_only=True):
    """An input was loaded."""

    duration_ns: Nanoseconds
    size_bytes: Bytes


@event("flowstone.io.load.exception")
class IoLoadException(_OfIo, frozen=True, kw_only=True):
    """An input could not be loaded."""

    duration_ns: Nanoseconds
    type: Label
    message: Text


@event("flowstone.io.store.start")
class IoStoreStart(_OfIo, frozen=True, kw_only=True):
    """Storing a value began."""


@event("flowstone.io.store.stop")
class IoStoreStop(_OfIo, frozen=True, kw_only=True):
    """A value was stored."""

    duration_ns: Nanoseconds
    size_bytes: Bytes


@event("flowstone.io.store.exception")
class IoStoreException(_OfIo, frozen=True, kw_only=True):
    """A value could not be stored."""

    duration_ns: Nanoseconds
    type: Label
    message: Text


# -- errors and telemetry about telemetry ---------------------------------------------------------------------------------


@event("flowstone.error")
class ErrorRecorded(_OfAttempt, frozen=True, kw_only=True):
    """An error was recorded: once, by the settlement of its attempt."""

    type: Label
    retryable: bool
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


IO_LOAD = SpanKind(IoLoadStart, IoLoadStop, IoLoadException)
IO_STORE = SpanKind(IoStoreStart, IoStoreStop, IoStoreException)


def _declared() -> dict[str, type[Event]]:
    found = [value for value in globals().values() if isinstance(value, type) and issubclass(value, Event) and value.name]
    return {cls.name: cls for cls in found}


CATALOGUE: dict[str, type[Event]] = _declared()
"""Every declared event class by name, in order of declaration."""
