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


@event("flowstone.run.cancel_requested")
class RunCancelRequested(_OfRun, frozen=True, kw_only=True):
    """Somebody asked for the end of a run; the process that works on it ends it."""

    actor: Text
    identity: Label
    reason: Text


@event("flowstone.run.stop")
class RunStop(_OfRun, frozen=True, kw_only=True):
    """A run reached its end."""

    outcome: Label
    duration_ns: Nanoseconds
    success: Count
    reused: Count
    failed: Count
    skipped: Count
    cancelled: Count = 0
    """The steps that had not ended when the run was cancelled, those that had not begun included."""


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
    """``error``, ``timeout``, ``worker_lost``: its process died; ``postponed`` (``RetryLater``), ``cancelled``: no errors."""
    final: bool
    duration_ns: Nanoseconds
    type: Label
    message: Text
    error: Attribute = ""
    retry_in_ns: Nanoseconds = 0


@event("flowstone.materialization.delayed")
class MaterializationDelayed(_OfAsset, frozen=True, kw_only=True):
    """A step that is ready waits: another run computes the same asset and partition, or a limited resource has no place left."""

    reason: Label
    """``claimed`` or ``resource``."""
    holder: Attribute
    """The other run, or the resource."""


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


# -- what is kept ---------------------------------------------------------------------------------------------------------


@event("flowstone.output.collected")
class OutputsCollected(Event, frozen=True, kw_only=True):
    """The bytes of superseded versions of one partition were given up; their records stay."""

    asset: Label
    partition: Text
    versions: Attribute
    """The versions as ranges, for example ``1-7,9``; at most 500 of them."""
    outputs: Count
    size_bytes: Bytes


@event("flowstone.output.erased")
class OutputErased(Event, frozen=True, kw_only=True):
    """The bytes of an output were erased on purpose; its record and digest stay."""

    asset: Label
    partition: Text
    output: Attribute
    digest: Attribute
    size_bytes: Bytes
    was_current: bool
    reason: Text
    actor: Text
    identity: Label


class _OfHold(Event, frozen=True, kw_only=True):
    hold: Attribute
    asset: Label = ""
    partition: Text = ""
    output: Attribute = ""
    held_run: Attribute = ""
    reason: Text
    actor: Text
    identity: Label


@event("flowstone.hold.added")
class HoldAdded(_OfHold, frozen=True, kw_only=True):
    """Something is held: it is not collected, erased or pruned."""


@event("flowstone.hold.released")
class HoldReleased(_OfHold, frozen=True, kw_only=True):
    """A hold was released; ``reason`` says why it is not needed any more."""


@event("flowstone.db.pruned")
class DbPruned(Event, frozen=True, kw_only=True):
    """Old records, or files nothing refers to, were removed: one event for each transaction or batch."""

    kind: Label
    """``events``, ``logs``, ``errors``, ``processes`` or ``files``."""
    removed: Count
    size_bytes: Bytes = 0
    before: int = 0
    """What ended before this instant went; nanoseconds since the epoch, UTC."""
    actor: Text
    identity: Label


@event("flowstone.db.restored")
class DbRestored(Event, frozen=True, kw_only=True):
    """The database was filled from a backup."""

    file: Text
    rows: Count
    actor: Text
    identity: Label


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
