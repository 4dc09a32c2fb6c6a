"""What is kept: outputs, holds, the database."""

from __future__ import annotations

from flowstone.events.event import Attribute, Bytes, Count, Event, Label, Text, event


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
    """``events``, ``logs``, ``errors``, ``messages``, ``processes`` or ``files``."""
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
