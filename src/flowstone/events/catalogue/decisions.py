"""Approvals: what people are asked, what they decide, and what time does meanwhile. The record calls them checkpoints."""

from __future__ import annotations

from flowstone.events.event import Attribute, Count, Event, Label, Nanoseconds, Text, event


class _OfApproval(Event, frozen=True, kw_only=True):
    approval: Attribute
    kind: Label
    """``after``, ``before`` or ``weakening``."""
    asset: Label
    partition: Text
    run_id: Attribute


class _Ended(_OfApproval, frozen=True, kw_only=True):
    waited_ns: Nanoseconds
    """From the request to this end."""
    actor: Text
    identity: Label
    reason: Text = ""


@event("flowstone.checkpoint.requested")
class CheckpointRequested(_OfApproval, frozen=True, kw_only=True):
    """People are asked to decide; what waits for them holds no worker."""

    message: Text
    output: Attribute = ""
    digest: Attribute
    approvers: Text = ""
    quorum: Count
    deadline: int
    """Nanoseconds since the epoch, UTC."""
    actor: Text
    identity: Label


@event("flowstone.checkpoint.voted")
class CheckpointVoted(_OfApproval, frozen=True, kw_only=True):
    """Somebody said yes, and more people are needed."""

    votes: Count
    quorum: Count
    actor: Text
    identity: Label
    reason: Text = ""


@event("flowstone.checkpoint.approved")
class CheckpointApproved(_Ended, frozen=True, kw_only=True):
    """People agreed: the candidate is the current output."""

    output: Attribute = ""
    digest: Attribute
    votes: Count
    by_timeout: bool = False
    """Whether nobody decided, and the policy takes that for a yes."""


@event("flowstone.checkpoint.rejected")
class CheckpointRejected(_Ended, frozen=True, kw_only=True):
    """Somebody said no: the candidate never becomes current."""

    digest: Attribute


@event("flowstone.checkpoint.timeout")
class CheckpointTimeout(_Ended, frozen=True, kw_only=True):
    """Nobody decided in time: the candidate never becomes current."""

    deadline: int
    """Nanoseconds since the epoch, UTC."""


@event("flowstone.checkpoint.invalidated")
class CheckpointInvalidated(_Ended, frozen=True, kw_only=True):
    """What was asked about is not what it was: the request is void, and the step is decided again."""


@event("flowstone.checkpoint.cancelled")
class CheckpointCancelled(_Ended, frozen=True, kw_only=True):
    """Somebody took the question back, or its run was cancelled."""


@event("flowstone.checkpoint.reminded")
class CheckpointReminded(_OfApproval, frozen=True, kw_only=True):
    """People who have not decided yet are reminded."""

    reminders: Count
    approvers: Text = ""
    deadline: int
    """Nanoseconds since the epoch, UTC."""


@event("flowstone.checkpoint.escalated")
class CheckpointEscalated(_OfApproval, frozen=True, kw_only=True):
    """Nobody decided in time: others are asked as well."""

    approvers: Text
    deadline: int
    """Nanoseconds since the epoch, UTC."""


@event("flowstone.checkpoint.refused")
class CheckpointRefused(_OfApproval, frozen=True, kw_only=True):
    """Somebody tried to decide and may not, or came too late; nothing changed."""

    reason: Label
    message: Text
    actor: Text
    identity: Label
