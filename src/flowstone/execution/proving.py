"""Whether the signature that comes with a decision is of that decision: it will be checked again by whoever verifies the log."""

from __future__ import annotations

from flowstone.approvals.eligibility import Refusal
from flowstone.approvals.transitions import Ballot
from flowstone.audit.acts import micro
from flowstone.audit.signatures import check_ballot
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.statement import Statement
from flowstone.stores.records import ApprovalRecord

SKEW = 300 * NANOSECONDS
"""How far the clock of who signs may be from that of the store."""


def statement_of(asked: ApprovalRecord, ballot: Ballot, now: int) -> Statement:
    """What is signed to decide so about what is asked."""
    return Statement(
        approval=asked.id, project=asked.project, asset=asked.asset, partition=asked.partition, verdict=ballot.verdict,
        digest=asked.digest, comment=ballot.comment, actor=ballot.person.id, at=micro(ballot.at or now),
    )  # fmt: skip


def unproven(asked: ApprovalRecord, ballot: Ballot, now: int) -> Refusal | None:
    """Why the decision is not the one that was signed; ``None`` when it is, or is not signed at all."""
    if not (ballot.signature or ballot.person.key):
        return None
    try:
        check_ballot(statement_of(asked, ballot, now), ballot.signature, ballot.person.key)
    except SignatureError as error:
        return Refusal("signature", error.message, error.hint or "sign what is asked about now")
    at = ballot.at or now
    if not asked.requested_at - SKEW <= at <= now + SKEW:
        return Refusal("signature", "the decision was signed at another time than it is given", "set the clock, and sign again")
    return None
