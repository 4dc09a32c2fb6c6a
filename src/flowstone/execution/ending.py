"""Telling of the end of a run: its entry in the audit log, and its event."""

from __future__ import annotations

from typing import NamedTuple

from flowstone.audit import acts
from flowstone.audit.recorder import Who
from flowstone.events.catalogue import RunStop
from flowstone.execution.services import Services
from flowstone.foundation.serialize import to_json
from flowstone.stores import materializations
from flowstone.stores.database import Transaction


class End(NamedTuple):
    """How a run has ended, when it had been requested and when it ended; ``counts`` are its outcome."""

    run_id: str
    pipeline: str
    trace_id: str
    status: str
    counts: dict[str, int]
    requested_at: int
    at: int


def tell(tx: Transaction, services: Services, end: End, who: Who, reason: str = "") -> None:
    """Tell of the end of a run, after the change itself; *reason* is what *who* said that ended it."""
    if services.audit.is_on:
        steps = materializations.endings(tx, end.run_id)
        act = acts.run_ended(end.run_id, end.status, end.at, to_json(end.counts), steps)._replace(texts={"reason": reason})
        services.audit.tell(tx, act, who, end.at, run_id=end.run_id, trace_id=end.trace_id)
    tx.emit(
        RunStop,
        at=end.at,
        pipeline=end.pipeline,
        run_id=end.run_id,
        trace_id=end.trace_id,
        outcome=end.status,
        duration_ns=max(0, end.at - end.requested_at),
        **end.counts,
    )
