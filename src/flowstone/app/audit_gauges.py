"""How the audit log fares, as gauges: how much of it there is, is sealed, and is known to its anchors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowstone.audit.anchors import DEFAULT
from flowstone.foundation.clock import NANOSECONDS
from flowstone.observability.metrics import defaults
from flowstone.observability.metrics.families import Sample
from flowstone.stores import audit, audit_questions
from flowstone.stores.audit_questions import Receipt
from flowstone.stores.database import Connection

Told = Iterator[tuple[str, list[Sample]]]


def sealing(connection: Connection) -> Told:
    """What is looked at each time; no figures while there is no log."""
    head, begun = audit.last_head(connection), bool(audit.incarnations(connection))
    unsealed = audit_questions.count_unsealed(connection) if begun else 0
    yield defaults.AUDIT_ENTRIES.name, _one((head.size if head else 0) + unsealed, told=begun)
    yield defaults.AUDIT_UNSEALED.name, _one(unsealed, told=begun)
    yield defaults.AUDIT_LAST_SEAL.name, _one(head.at / NANOSECONDS if head else 0, told=head is not None)


def anchoring(connection: Connection, anchors: Sequence[str]) -> Told:
    """What is looked at once a minute: of *anchors*, those of the settings, and of the one in the user's state folder."""
    head, receipts = audit.last_head(connection), audit_questions.receipts(connection)
    behind = behind_of(head.size, receipts, anchors) if head else {}
    at = {sink: receipts[sink].at / NANOSECONDS for sink in behind if sink in receipts}
    yield defaults.AUDIT_LAST_ANCHOR.name, [Sample((sink,), moment) for sink, moment in at.items()]
    yield defaults.AUDIT_UNANCHORED.name, [Sample((sink,), float(entries)) for sink, entries in behind.items()]


def behind_of(size: int, receipts: dict[str, Receipt], anchors: Sequence[str]) -> dict[str, int]:
    """How many of *size* entries each anchor that there should be does not know of."""
    names = [DEFAULT, *dict.fromkeys(anchors)]
    return {name: max(0, size - (receipts[name].size if name in receipts else 0)) for name in names}


def _one(value: float, *, told: bool) -> list[Sample]:
    return [Sample((), float(value))] if told else []
