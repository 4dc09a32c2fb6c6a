"""What is audited of approvals: made from the row of the request and, where a person spoke, from that of the vote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowstone.audit.acts import Act, inputs_digest, micro, rest_of
from flowstone.foundation.serialize import digest_of, to_json
from flowstone.stores.records import ApprovalRecord, OutputRecord, VoteRecord

REQUESTED, VOTED, REMINDED, ESCALATED = "approval.requested", "approval.voted", "approval.reminded", "approval.escalated"
APPROVED, REJECTED, EXPIRED = "approval.approved", "approval.rejected", "approval.expired"
INVALIDATED, CANCELLED = "approval.invalidated", "approval.cancelled"
REFUSED = "approval.refused"
SIGNERS_CHANGED, RULES_CHANGED = "approval.signers_changed", "approval.rules_changed"
SIGNERS, RULES = "approval_signers", "approval_rules"
"""The subjects of whose key is whose, and of who may decide by the settings."""
ENDED = {"approved": APPROVED, "rejected": REJECTED, "expired": EXPIRED, "invalidated": INVALIDATED, "cancelled": CANCELLED}
"""The act of each status a request can end with."""
MOVES = (VOTED, REMINDED, ESCALATED, *ENDED.values())
"""What can become of a request."""


def requested(asked: ApprovalRecord, candidate: OutputRecord | None = None, inputs: Iterable[tuple[str, str]] = ()) -> Act:
    """People are asked; about a *candidate*, whose row the entry tells of as that of an output that has succeeded does."""
    data, texts = {**_of(asked), **constant_of(asked), **state_of(asked)}, {"partition": asked.partition}
    if candidate is not None:
        made = candidate_of(asked.id, candidate, inputs)
        data, texts = {**data, **made.data}, {**texts, **made.texts}
    return Act(REQUESTED, of_approval(asked.id), "success", data, texts)


def candidate_of(approval: str, made: OutputRecord, inputs: Iterable[tuple[str, str]]) -> Act:
    """What the entry of a request says of the candidate."""
    data = {
        "asset": made.asset, "output": made.id, "digest": made.digest, "size": made.size, "definition": made.definition,
        "inputs_digest": inputs_digest(inputs), "candidate": rest_of(made),
    }  # fmt: skip
    texts = {"partition": made.partition, "location": made.location, "summary": made.summary}
    return Act(REQUESTED, of_approval(approval), "success", data, texts)


def moved(asked: ApprovalRecord, action: str) -> Act:
    """The request, as it is now, was reminded of or escalated."""
    return newest(asked, action)


def newest(asked: ApprovalRecord, action: str) -> Act:
    """What the newest entry of a request says of it, whatever it tells of: *action*."""
    outcome = asked.status if action in ENDED.values() else "success"
    texts = {"partition": asked.partition, **({"comment": asked.reason} if action in ENDED.values() else {})}
    return Act(action, of_approval(asked.id), outcome, {**_of(asked), **state_of(asked)}, texts)


def voted(asked: ApprovalRecord, said: VoteRecord) -> Act:
    """Somebody said yes, and more people are needed; *asked* is the request as it is now."""
    act = newest(asked, VOTED)
    return act._replace(data={**act.data, "vote": vote_of(said)}, texts={**act.texts, "comment": said.comment})


def ended(asked: ApprovalRecord, said: VoteRecord | None) -> Act:
    """The request has ended as it is now; *said* is the vote that decided, ``None`` when time or the machine did."""
    act = newest(asked, ENDED[asked.status])
    return act if said is None else act._replace(data={**act.data, "vote": vote_of(said)})


def refused(asked: ApprovalRecord, reason: str, message: str) -> Act:
    """Somebody tried to decide and may not, or came too late."""
    data = {**_of(asked), "reason": reason}
    return Act(REFUSED, f"refusal:{asked.id}", "refused", data, {"partition": asked.partition, "message": message})


def signers_changed(before: str, after: str, added: Sequence[Sequence[str]], removed: Sequence[Sequence[str]]) -> Act:
    """The keys by which people sign are others than before: digests of both files, and pairs of a name and a fingerprint."""
    data = {"before": before, "after": after, "added": len(added), "removed": len(removed)}
    changes = to_json({"added": list(added), "removed": list(removed)})
    return Act(SIGNERS_CHANGED, SIGNERS, "success", data, {"changes": changes})


def rules_changed(after: Mapping[str, Any], changes: str) -> Act:
    """Who may decide by the settings is another than before; *after* names nobody, *changes* do."""
    return Act(RULES_CHANGED, RULES, "success", {"after": dict(after)}, {"changes": changes})


# -- parts of an entry -----------------------------------------------------------------------------------------------------------


def constant_of(asked: ApprovalRecord) -> dict[str, Any]:
    """What a request says and never changes."""
    names = ("project", "pipeline", "partition", "trace_id", "materialization")
    record = digest_of([*(getattr(asked, name) for name in names), to_json(asked.facts)])
    return {
        "record": record, "requester": asked.requester, "requester_identity": asked.identity,
        "requested_at": micro(asked.requested_at),
    }  # fmt: skip


def state_of(asked: ApprovalRecord) -> dict[str, Any]:
    """What of a request changes, as it is now."""
    return {
        "status": asked.status, "decided_by": asked.decided_by, "decided_identity": asked.decided_identity,
        "deadline": micro(asked.deadline or 0), "policy": digest_of(to_json(asked.policy)), "reminders": asked.reminders,
        "next_at": micro(asked.next_at or 0), "escalated_at": micro(asked.escalated_at or 0),
        "ended_at": micro(asked.ended_at or 0), "revision": asked.version,
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
