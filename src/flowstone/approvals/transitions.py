"""The moves of a request: asked, voted on, reminded, escalated, and ended once. Each is a compare-and-set with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flowstone.approvals.eligibility import Person, needed
from flowstone.approvals.policy import policy_of
from flowstone.events.catalogue import (
    CheckpointApproved,
    CheckpointCancelled,
    CheckpointEscalated,
    CheckpointInvalidated,
    CheckpointRejected,
    CheckpointReminded,
    CheckpointRequested,
    CheckpointTimeout,
    CheckpointVoted,
)
from flowstone.foundation.serialize import to_json
from flowstone.stores import approvals
from flowstone.stores.database import Transaction
from flowstone.stores.records import ApprovalRecord, VoteRecord

EDGES = {
    "pending": frozenset({"pending", "approved", "rejected", "expired", "invalidated", "cancelled"}),
    **{ending: frozenset() for ending in ("approved", "rejected", "expired", "invalidated", "cancelled")},
}
"""What a request may become: an ending is for good."""


class Question(NamedTuple):
    """What people are asked about, by whom."""

    kind: str
    pipeline: str
    asset: str
    partition: str
    run_id: str
    trace_id: str
    materialization: int
    output: str
    digest: str
    facts: Mapping[str, Any]
    requester: str
    identity: str


class Ballot(NamedTuple):
    """What one person says: *decision* is theirs to choose, and the same one again is the same vote."""

    decision: str
    verdict: str
    comment: str
    person: Person
    seen: Mapping[str, Any]
    signature: str = ""
    at: int = 0


def ask(tx: Transaction, project: str, id: str, question: Question, policy: Mapping[str, Any], now: int) -> ApprovalRecord | None:
    """Ask; ``None`` when an open request about the same asset and partition is there."""
    told, deadline = policy_of(policy), now + policy_of(policy).timeout_ns
    row: dict[str, Any] = {
        **question._asdict(), "id": id, "project": project, "status": "pending", "policy": dict(policy),
        "requested_at": now, "deadline": deadline, "next_at": _halfway(now, deadline), "reminders": 0,
        "escalated_at": None, "ended_at": None, "decided_by": "", "decided_identity": "", "reason": "", "version": 1,
    }  # fmt: skip
    asked = ApprovalRecord(**row)
    if not approvals.add(tx, {**row, "policy": to_json(row["policy"]), "facts": to_json(row["facts"])}):
        return None
    tx.emit(
        CheckpointRequested, at=now, **_of(asked), message=str(question.facts.get("message", "")), output=asked.output,
        digest=asked.digest, approvers=told.asked, quorum=needed(asked, told), deadline=deadline, actor=asked.requester,
        identity=asked.identity,
    )  # fmt: skip
    return asked


def _halfway(since: int, deadline: int) -> int:
    """When people are reminded of a deadline."""
    return (since + deadline) // 2


def vote(tx: Transaction, asked: ApprovalRecord, ballot: Ballot, now: int) -> VoteRecord | None:
    """Add the vote; ``None`` when that person has voted already."""
    key, person = ballot.person.key, ballot.person
    row: dict[str, Any] = {
        "approval": asked.id, "decision": ballot.decision, "verdict": ballot.verdict, "voter": person.id,
        "identity": person.identity, "comment": ballot.comment, "digest": asked.digest, "at": ballot.at or now,
        "seen": to_json(ballot.seen), "signature": ballot.signature, "key": key,
    }  # fmt: skip
    number = approvals.add_vote(tx, row)
    return VoteRecord(**{**row, "id": number, "seen": dict(ballot.seen)}) if number is not None else None


def counted(tx: Transaction, asked: ApprovalRecord, said: VoteRecord, votes: int, now: int) -> bool:
    """Note a yes that is not enough yet; ``False`` when the request moved meanwhile."""
    if not approvals.move(tx, asked, {}):
        return False
    quorum = needed(asked, policy_of(asked.policy))
    by = {"actor": said.voter, "identity": said.identity, "reason": said.comment}
    tx.emit(CheckpointVoted, at=now, **_of(asked), votes=votes, quorum=quorum, **by)
    return True


def end(
    tx: Transaction, asked: ApprovalRecord, status: str, by: Person, reason: str, now: int, *, votes: Sequence[VoteRecord] = ()
) -> bool:
    """End the request as *status*; ``False`` when it moved meanwhile."""
    assert status in EDGES[asked.status]
    changes = {
        "status": status, "next_at": None, "ended_at": now, "decided_by": by.id, "decided_identity": by.identity,
        "reason": reason,
    }  # fmt: skip
    if not approvals.move(tx, asked, changes):
        return False
    told: dict[str, Any] = {
        "at": now, **_of(asked), "waited_ns": max(0, now - asked.requested_at), "actor": by.id, "identity": by.identity,
        "reason": reason,
    }  # fmt: skip
    match status:
        case "approved":
            tx.emit(CheckpointApproved, output=asked.output, digest=asked.digest, votes=len(votes), by_timeout=not votes, **told)
        case "rejected":
            tx.emit(CheckpointRejected, digest=asked.digest, **told)
        case "expired":
            tx.emit(CheckpointTimeout, deadline=asked.deadline or now, **told)
        case "invalidated":
            tx.emit(CheckpointInvalidated, **told)
        case "cancelled":
            tx.emit(CheckpointCancelled, **told)
    return True


def remind(tx: Transaction, asked: ApprovalRecord, now: int) -> bool:
    """Remind people of the deadline; where they are reminded again and again, it is another timeout away once it is reached."""
    policy, deadline = policy_of(asked.policy), asked.deadline or now
    changes: dict[str, Any] = {"reminders": asked.reminders + 1, "next_at": deadline}
    if policy.on_timeout == "remind" and now >= deadline:
        deadline = now + policy.timeout_ns
        changes |= {"deadline": deadline, "next_at": deadline}
    if not approvals.move(tx, asked, changes):
        return False
    tx.emit(CheckpointReminded, at=now, **_of(asked), reminders=asked.reminders + 1, approvers=policy.asked, deadline=deadline)
    return True


def escalate(tx: Transaction, asked: ApprovalRecord, now: int) -> bool:
    """Ask others as well, for as long again; they can decide like those who were asked first, who may be everybody."""
    policy = policy_of(asked.policy)
    wider = sorted({*policy.approvers, *policy.escalate_to}) if policy.approvers else []
    deadline = now + policy.timeout_ns
    changes = {
        "policy": to_json({**asked.policy, "approvers": wider}), "escalated_at": now, "deadline": deadline,
        "next_at": _halfway(now, deadline),
    }  # fmt: skip
    if not approvals.move(tx, asked, changes):
        return False
    names = policy_of({**asked.policy, "approvers": sorted(policy.escalate_to)}).asked
    tx.emit(CheckpointEscalated, at=now, **_of(asked), approvers=names, deadline=deadline)
    return True


def _of(asked: ApprovalRecord) -> dict[str, Any]:
    return {
        "approval": asked.id, "kind": asked.kind, "asset": asked.asset, "partition": asked.partition, "run_id": asked.run_id,
        "trace_id": asked.trace_id,
    }  # fmt: skip
