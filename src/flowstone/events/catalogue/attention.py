"""What somebody should look at: groups of errors, values that are late, and the messages that say so."""

from __future__ import annotations

from flowstone.events.event import Attribute, Count, Event, Label, Nanoseconds, Text, event


class _OfGroup(Event, frozen=True, kw_only=True):
    fingerprint: Attribute
    type: Label
    asset: Label
    """The asset of the group's newest error."""


class _Decided(_OfGroup, frozen=True, kw_only=True):
    actor: Text
    identity: Label
    reason: Text = ""


@event("flowstone.error_group.opened")
class ErrorGroupOpened(_OfGroup, frozen=True, kw_only=True):
    """An error was recorded that resembles none seen before."""

    error: Attribute
    message: Text


@event("flowstone.error_group.regressed")
class ErrorGroupRegressed(_OfGroup, frozen=True, kw_only=True):
    """An error came back after its group had been resolved; the group is open again."""

    error: Attribute
    message: Text
    resolved_at: int
    """When it had been resolved; nanoseconds since the epoch, UTC."""


@event("flowstone.error_group.resolved")
class ErrorGroupResolved(_Decided, frozen=True, kw_only=True):
    """Somebody says the cause of a group of errors is gone."""


@event("flowstone.error_group.muted")
class ErrorGroupMuted(_Decided, frozen=True, kw_only=True):
    """Somebody wants to hear no more of a group of errors."""


@event("flowstone.error_group.reopened")
class ErrorGroupReopened(_Decided, frozen=True, kw_only=True):
    """Somebody opened a resolved or muted group of errors again."""


@event("flowstone.asset.overdue")
class AssetOverdue(Event, frozen=True, kw_only=True):
    """A value was not there by its due time; said once for each asset and partition."""

    asset: Label
    pipeline: Label
    partition: Text
    due_at: int
    """Nanoseconds since the epoch, UTC."""
    owners: Text = ""


class _OfNotification(Event, frozen=True, kw_only=True):
    notification: Attribute
    channel: Label
    cause: Label
    """What it is about, as in the setting ``on``: ``run.failed``, ``asset.overdue`` and so on."""
    tries: Count


@event("flowstone.notification.delivered")
class NotificationDelivered(_OfNotification, frozen=True, kw_only=True):
    """A channel took a message."""

    duration_ns: Nanoseconds


@event("flowstone.notification.failed")
class NotificationFailed(_OfNotification, frozen=True, kw_only=True):
    """A channel did not take a message."""

    final: bool
    """Whether it is given up; else it is tried again."""
    type: Label
    message: Text
