"""How requests for approval are said to people: the same words in every verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowstone.approvals.policy import Policy, policy_of
from flowstone.cli.lines import iso, moment, place, plain_of, who
from flowstone.cli.words import counted
from flowstone.execution.verdicts import CLOCK
from flowstone.stores.records import ApprovalRecord, VoteRecord

_DONE = {"approved": "approved", "rejected": "rejected", "cancelled": "cancelled", "invalidated": "void"}
_WHY = {
    "four_eyes": "you requested this run, so you may not approve it (four eyes)",
    "author": "you wrote the commit that was run, so you may not approve it",
    "not_approver": "you are not asked",
    "asserted": "anybody could say that of themselves, so you may not decide",
    "voted": "you have voted already",
    "same_key": "your key has voted already, as somebody else",
    "machine": "you are no person here (approvals.machines)",
}  # fmt: skip
"""Why somebody may not decide, in words to themselves."""


def about(asked: ApprovalRecord) -> str:
    """What is asked about: ``orders 2026-11-23``, ``computing orders``, ``a weaker gate of orders``."""
    name = place(asked.asset, asked.partition)
    return {"before": f"computing {name}", "weakening": f"a weaker gate of {name}"}.get(asked.kind, name)


def waits(asked: ApprovalRecord) -> str:
    """``for group reviewers, until 30 Nov 10:02 CET``."""
    until = f", until {moment(asked.deadline)}" if asked.deadline else ""
    return f"for {policy_of(asked.policy).asked}{until}"


def ended(asked: ApprovalRecord, votes: Sequence[VoteRecord] = ()) -> str:
    """How a request has ended, and through whom: ``approved by ann (OS user), 23 Nov 10:44 CET``.

    With the *votes* on it somebody who signed is said to be proven by that.
    """
    at = f", {moment(asked.ended_at)}" if asked.ended_at else ""
    if asked.status == "expired":
        return f"expired: nobody decided in time{at}"
    if asked.decided_by == CLOCK:
        silent = " because nobody decided in time" if asked.status == "approved" else ""
        return f"{_DONE[asked.status]}{silent}{at}"
    signed = any(vote.key and vote.voter == asked.decided_by for vote in votes)
    return f"{_DONE[asked.status]} by {who(asked.decided_by, 'signed' if signed else asked.decided_identity)}{at}"


def state(asked: ApprovalRecord) -> str:
    """How it stands with a request, in a few words."""
    return f"waiting {waits(asked)}" if asked.status == "pending" else ended(asked)


def said(vote: VoteRecord) -> str:
    """What one person said: ``yes  ann (signed), 23 Nov 10:44 CET, key SHA256:...: "fine"``."""
    verdict = {"approve": "yes", "reject": "no"}.get(vote.verdict, vote.verdict)
    signed = f", key {vote.key}" if vote.key else ""
    comment = f': "{vote.comment}"' if vote.comment else ""
    return f"{verdict:<4} {voter(vote)}, {moment(vote.at)}{signed}{comment}"


def voter(vote: VoteRecord) -> str:
    """Who voted, and how they are known: ``ann (signed)``."""
    return who(vote.voter, "signed" if vote.key else vote.identity)


def rules(policy: Policy, needed: int) -> str:
    """Who may say yes, beside being asked: ``2 votes, not the requester``."""
    apart = [*(["not the requester"] if policy.four_eyes else []), *(["not the author"] if policy.not_author else [])]
    proven = {"asserted": [], "os": []}.get(policy.assurance, [policy.assurance])
    return ", ".join([counted(needed, "vote"), *apart, *proven])


def refused(name: str, identity: str, reason: str, message: str, hint: str | None) -> str:
    """``You are dev (OS user): you requested this run, so you may not approve it (four eyes). Ask: group reviewers.``"""
    why = _WHY.get(reason) or (f"you are {message.partition(') is ')[2]}" if reason == "assurance" else message)
    told = f" {hint[0].upper()}{hint[1:]}." if hint else ""
    return f"You are {who(name, identity)}: {why}.{told}"


def plain_request(asked: ApprovalRecord) -> dict[str, Any]:
    """A request as plain values."""
    return {**plain_of(asked), "deadline": iso(asked.deadline) if asked.deadline else None}
