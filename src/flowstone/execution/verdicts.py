"""The end of a request inside the transaction that decides it: its entry, its events, and what it means for outputs and runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from flowstone.approvals.eligibility import Person
from flowstone.audit import acts
from flowstone.audit.recorder import ONLY, Who
from flowstone.execution import asking, closing
from flowstone.execution.candidates import Candidate
from flowstone.execution.services import Services
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import DatabaseError
from flowstone.stores import approvals, outputs
from flowstone.stores.database import Transaction
from flowstone.stores.records import ApprovalRecord, VoteRecord

CLOCK = "flowstone"
"""Who acts when time does."""
TRIES = 3
T = TypeVar("T")


class Decided(NamedTuple):
    """A request as it is after a vote, the vote, and the runs that may go on."""

    approval: ApprovalRecord
    vote: VoteRecord | None
    runs: tuple[str, ...] = ()
    again: bool = False
    """Whether the same decision was there already: nothing changed."""


class Verdicts:
    """Ends requests of one project, in transactions that have locked them."""

    def __init__(self, services: Services) -> None:
        self._services, self._project = services, services.project

    def approve(
        self,
        tx: Transaction,
        row: ApprovalRecord,
        by: Person,
        reason: str,
        now: int,
        candidate: Candidate | None,
        votes: Sequence[VoteRecord] = (),
    ) -> Decided:
        """The candidate becomes current, with the entry of the decision and that of its materialization."""
        decided = self.end(tx, row, "approved", by, reason, now, votes=votes)
        if candidate is not None:
            made, output = candidate.made, candidate.output
            outputs.point(tx, self._project, output.asset, output.partition, output.id)
            act = acts.succeeded(made.id, output, candidate.edges, made.attempts, made.later)
            who = Who(row.requester, row.identity)
            self._services.audit.tell(tx, act, who, now, version=ONLY, run_id=row.run_id, trace_id=row.trace_id)
        return decided

    def end(
        self,
        tx: Transaction,
        row: ApprovalRecord,
        status: str,
        by: Person,
        reason: str,
        now: int,
        *,
        votes: Sequence[VoteRecord] = (),
    ) -> Decided:
        """End the locked request as *status*; the last of *votes* has decided it."""
        ended, freed = asking.end(tx, self._services, row, status, by, reason, now, votes)
        return Decided(ended, votes[-1] if votes else None, tuple(freed))

    def void(self, tx: Transaction, row: ApprovalRecord, by: Person, why: str, now: int) -> Decided:
        """End the locked request, whose subject is not what people were asked about."""
        return self.end(tx, row, "invalidated", by, why, now)

    def tell(self, tx: Transaction, act: acts.Act, row: ApprovalRecord, who: Who, now: int) -> None:
        """Audit a change of the request."""
        self._services.audit.tell(tx, act, who, now, run_id=row.run_id, trace_id=row.trace_id)


def known(tx: Transaction, id: str) -> ApprovalRecord:
    """The request, locked: requests are never deleted while they are referred to."""
    row = approvals.locked(tx, id)
    assert row is not None
    return row


def close(services: Services, decided: Decided) -> None:
    """End the runs that a decision leaves nothing to do for."""
    for run_id in decided.runs:
        closing.close(services, run_id)


def insisting(do: Callable[[], T]) -> T:
    """What *do* gives; it is done again where transactions have blocked each other or the connection was lost.

    It must be harmless when it was done although its answer was lost.
    """
    for _ in range(TRIES - 1):
        try:
            return do()
        except DatabaseError as error:
            if not error.retryable:
                raise
    return do()


def late(row: ApprovalRecord) -> str:
    """How a request has ended, for somebody who comes too late."""
    when = _shown(as_datetime(row.ended_at or 0))
    by = f"{row.decided_by} " if row.decided_by != CLOCK else ""
    verb = {"approved": "approved it", "rejected": "rejected it", "cancelled": "cancelled it"}.get(row.status) if by else None
    told = f"{by}{verb} {when}" if verb else f"it {'has ' if row.status == 'expired' else 'was '}{row.status} {when}"
    return f"Already decided: {told}. Nothing changed"


def _shown(at: datetime) -> str:
    return at.strftime("%d %b %Y %H:%M UTC")
