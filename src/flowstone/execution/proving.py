"""Whether the signature that comes with a decision is of that decision: it will be checked again by whoever verifies the log."""

from __future__ import annotations

from flowstone.approvals.eligibility import Refusal
from flowstone.approvals.transitions import Ballot
from flowstone.audit.acts import micro
from flowstone.audit.signatures import check_ballot
from flowstone.foundation.clock import NANOSECONDS, as_datetime
from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.statement import Statement
from flowstone.stores.records import ApprovalRecord

SKEW = 300 * NANOSECONDS
"""How far the clock of who signs may be from that of the store: as much as Kerberos allows (RFC 4120, section 8.2)."""


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
    told = untimely(asked, ballot.at or now, now)
    return Refusal("signature", told, "set the clock, and sign again") if told else None


def untimely(asked: ApprovalRecord, at: int, now: int) -> str:
    """Why nobody can have signed a decision about what is asked at that time; empty where they can. All in nanoseconds."""
    if asked.requested_at - SKEW <= at <= now + SKEW:
        return ""
    said = as_datetime(at).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"it was signed for {said}, which is not between the request and now"
