"""What the events of one subject share: the run, the asset, the attempt or the move of a value they belong to."""

from __future__ import annotations

from flowstone.events.event import Attribute, Count, Event, Label, Text


class OfRun(Event, frozen=True, kw_only=True):
    """Concerns a run."""

    pipeline: Label
    run_id: Attribute


class OfAsset(Event, frozen=True, kw_only=True):
    """Concerns an asset's partition in a run."""

    asset: Label
    partition: Text
    run_id: Attribute


class OfAttempt(OfAsset, frozen=True, kw_only=True):
    """Concerns one attempt."""

    attempt: Count


class OfIo(OfAttempt, frozen=True, kw_only=True):
    """Concerns a value that is loaded or stored."""

    manager: Label
    subject: Label
    """The asset whose value is moved: an upstream for a load, the asset itself for a store."""
