"""What is audited of approvals: made from the row of the request and, where a person spoke, from that of the vote."""

from __future__ import annotations

from typing import Any

from flowstone.audit.acts import Act, micro
from flowstone.foundation.serialize import digest_of, to_json
from flowstone.stores.records import ApprovalRecord, VoteRecord

REQUESTED, VOTED, REMINDED, ESCALATED = "approval.requested", "approval.voted", "approval.reminded", "approval.escalated"
APPROVED, REJECTED, EXPIRED = "approval.approved", "approval.rejected", "approval.expired"
INVALIDATED, CANCELLED = "approval.invalidated", "approval.cancelled"
REFUSED = "approval.refused"
ENDED = {"approved": APPROVED, "rejected": REJECTED, "expired": EXPIRED, "invalidated": INVALIDATED, "cancelled": CANCELLED}
"""The act of each status a request can end with."""


def requested(asked: ApprovalRecord) -> Act:
    """People are asked."""
    data = {**_of(asked), "record": record_of(asked), "requested_at": micro(asked.requested_at)}
    return Act(REQUESTED, of_approval(asked.id), "success", data, {"partition": asked.partition})


def moved(asked: ApprovalRecord, action: str) -> Act:
    """The request, as it is now, was reminded of or escalated."""
    return Act(action, of_approval(asked.id), "success", {**_of(asked), **state_of(asked)}, {"partition": asked.partition})


def voted(asked: ApprovalRecord, said: VoteRecord) -> Act:
    """Somebody said yes, and more people are needed; *asked* is the request as it is now."""
    data = {**_of(asked), **state_of(asked), "vote": vote_of(said)}
    return Act(VOTED, of_approval(asked.id), "success", data, {"partition": asked.partition, "comment": said.comment})


def ended(asked: ApprovalRecord, said: VoteRecord | None) -> Act:
    """The request has ended as it is now; *said* is the vote that decided, ``None`` when time or the machine did."""
    data: dict[str, Any] = {**_of(asked), **state_of(asked)}
    texts = {"partition": asked.partition, "comment": asked.reason}
    if said is not None:
        data["vote"], texts["comment"] = vote_of(said), said.comment
    return Act(ENDED[asked.status], of_approval(asked.id), asked.status, data, texts)


def refused(asked: ApprovalRecord, reason: str, message: str) -> Act:
    """Somebody tried to decide and may not, or came too late."""
    data = {**_of(asked), "reason": reason}
    return Act(REFUSED, f"refusal:{asked.id}", "refused", data, {"partition": asked.partition, "message": message})


def record_of(asked: ApprovalRecord) -> str:
    """The SHA-256 of what a request says and never changes."""
    names = ("project", "pipeline", "partition", "trace_id", "materialization", "requester", "identity", "requested_at")
    return digest_of([*(getattr(asked, name) for name in names), to_json(asked.facts)])


def state_of(asked: ApprovalRecord) -> dict[str, Any]:
    """What of a request changes, as it is now."""
    return {
        "status": asked.status, "deadline": micro(asked.deadline or 0), "policy": digest_of(to_json(asked.policy)),
        "reminders": asked.reminders, "decided_by": asked.decided_by, "ended_at": micro(asked.ended_at or 0),
    }  # fmt: skip


def vote_of(said: VoteRecord) -> dict[str, Any]:
    """What a vote says; its signature, if it has one, is of the statement that is made from this entry."""
    return {
        "decision": said.decision, "verdict": said.verdict, "voter": said.voter, "identity": said.identity, "digest": said.digest,
        "at": micro(said.at), "seen": digest_of(to_json(said.seen)), "signature": said.signature, "key": said.key,
    }  # fmt: skip


def of_approval(id: str) -> str:
    """The subject of a request."""
    return f"approval:{id}"


def _of(asked: ApprovalRecord) -> dict[str, Any]:
    return {
        "approval": asked.id, "kind": asked.kind, "asset": asked.asset, "output": asked.output, "digest": asked.digest,
    }  # fmt: skip
