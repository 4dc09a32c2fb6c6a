"""What time does to requests: it reminds, asks others, and ends what nobody has decided. Safe on many machines at once."""

from __future__ import annotations

import logging
from functools import partial

from flowstone.approvals import transitions
from flowstone.approvals.eligibility import Person
from flowstone.approvals.policy import policy_of
from flowstone.audit import approval_acts
from flowstone.audit.recorder import Who
from flowstone.execution import candidates
from flowstone.execution.candidates import Candidate
from flowstone.execution.services import Services
from flowstone.execution.verdicts import CLOCK, Decided, Verdicts, close, insisting, known
from flowstone.foundation.errors import ApprovalError
from flowstone.stores import approvals, outputs
from flowstone.stores.database import Transaction
from flowstone.stores.records import ApprovalRecord

SILENCE = "nobody decided in time"
_clock = Person(CLOCK, "os")
_logger = logging.getLogger("flowstone.approvals")


def settle_due(services: Services, id: str | None = None) -> list[ApprovalRecord]:
    """Do what the time has come for, of one request or of all; return those that have changed, as they are now."""
    with services.database.reading() as connection:
        late = approvals.due(connection, services.project, services.database.now(), id)
    done = []
    for asked in late:
        try:
            decided = insisting(partial(_settle, services, asked))
        except ApprovalError as error:  # bytes that cannot be read hold up neither other requests nor whoever looks at the clock
            _logger.warning("%s could not be settled: %s", asked.id, error.message)
            continue
        if decided is not None:
            close(services, decided)
            done.append(decided.approval)
    return done


def _settle(services: Services, seen: ApprovalRecord) -> Decided | None:
    """Do what is due of one request; ``None`` when a person, or another clock, was faster."""
    candidate = candidates.of(services, seen)
    approving = policy_of(seen.policy).on_timeout == "approve"
    changed = candidates.changed_bytes(services, seen, candidate) if approving else ""
    with services.database.transaction(power=True) as tx:
        row, now = approvals.locked(tx, seen.id), services.database.now()
        if row is None or row.status != "pending" or row.next_at is None or now < row.next_at:
            return None
        policy, verdicts = policy_of(row.policy), Verdicts(services)
        if now < (row.deadline or 0) or policy.on_timeout == "remind":
            transitions.remind(tx, row, now)
            return _moved(tx, verdicts, row, approval_acts.REMINDED, now)
        if policy.on_timeout == "escalate" and row.escalated_at is None:
            transitions.escalate(tx, row, now)
            return _moved(tx, verdicts, row, approval_acts.ESCALATED, now)
        if not approving:
            return verdicts.end(tx, row, "expired", _clock, SILENCE, now)
        return _approve(tx, services, row, candidate, changed, now)


def _approve(
    tx: Transaction, services: Services, row: ApprovalRecord, candidate: Candidate | None, changed: str, now: int
) -> Decided:
    """Take unseen what nobody has decided about, if a person could still take it."""
    verdicts = Verdicts(services)
    if candidate is not None:
        why = changed or candidates.stale(tx, services, row, candidate)
        if why:
            return verdicts.void(tx, row, _clock, why, now)
        if outputs.is_overtaken(tx, candidate.output.id):
            return verdicts.end(tx, row, "expired", _clock, f"{SILENCE}, and a newer version is current", now)
    return verdicts.approve(tx, row, _clock, SILENCE, now, candidate)


def _moved(tx: Transaction, verdicts: Verdicts, seen: ApprovalRecord, action: str, now: int) -> Decided:
    row = known(tx, seen.id)
    verdicts.tell(tx, approval_acts.moved(row, action), row, Who(_clock.id, _clock.identity), now)
    return Decided(row, None)
