"""Materializations: one start and one ending per attempt; and what becomes of an asset."""

from __future__ import annotations

from flowstone.events.catalogue.shapes import OfAsset, OfAttempt
from flowstone.events.event import Attribute, Bytes, Count, Event, Label, Nanoseconds, Text, event


@event("flowstone.materialization.start")
class MaterializationStart(OfAttempt, frozen=True, kw_only=True):
    """An attempt at computing an asset began."""

    because: Text = ""
    """Why the current output was not reused."""


@event("flowstone.materialization.progress", recorded=False)
class MaterializationProgress(OfAttempt, frozen=True, kw_only=True):
    """User code said how far it is."""

    done: Count
    total: Count
    unit: Label


@event("flowstone.materialization.stop")
class MaterializationStop(OfAttempt, frozen=True, kw_only=True):
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
    cured: Count = 0
    """How many errors of earlier attempts this success cured."""


@event("flowstone.materialization.exception")
class MaterializationException(OfAttempt, frozen=True, kw_only=True):
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
class MaterializationDelayed(OfAsset, frozen=True, kw_only=True):
    """A step that is ready waits: another run computes the same asset and partition, or a limited resource has no place left."""

    reason: Label
    """``claimed`` or ``resource``."""
    holder: Attribute
    """The other run, or the resource."""


@event("flowstone.materialization.reused")
class MaterializationReused(OfAsset, frozen=True, kw_only=True):
    """The current output is up to date and was taken as it is."""

    output: Attribute
    because: Text


@event("flowstone.materialization.skipped")
class MaterializationSkipped(OfAsset, frozen=True, kw_only=True):
    """A materialization did not run."""

    reason: Label
    message: Text


@event("flowstone.materialization.decided")
class MaterializationDecided(OfAsset, frozen=True, kw_only=True):
    """A materialization that waited for people has ended as they, or time, decided."""

    approval: Attribute
    outcome: Label
    """``success``: its candidate is the current output; ``rejected`` or ``expired``: it never becomes current."""
    output: Attribute = ""


@event("flowstone.materialization.cancelled")
class MaterializationCancelled(OfAsset, frozen=True, kw_only=True):
    """A materialization that was to be tried again, or waited for people, was cancelled; what had not begun has no record."""

    message: Text


@event("flowstone.asset.observed")
class AssetObserved(OfAsset, frozen=True, kw_only=True):
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
