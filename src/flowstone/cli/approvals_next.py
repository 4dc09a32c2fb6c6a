"""What happens next to a request, for whoever reads it: by a yes, by a no, by nobody, and whether the reader may decide."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from flowstone.app.approval_outlook import Outlook, You
from flowstone.app.approval_views import ApprovalView, Present
from flowstone.cli.approval_words import refused
from flowstone.cli.lines import moment, place, who
from flowstone.cli.words import counted
from flowstone.foundation.durations import show_duration
from flowstone.stores.records import ApprovalRecord

Field = tuple[str, str]
"""A name and what is said of it; empty where there is nothing to say."""


def following(view: ApprovalView, now: Present) -> Iterator[Field]:
    """What a yes, a no and silence lead to, and whether this person may decide."""
    asked, candidate = view.request, view.candidate
    if candidate is not None and view.preview is None:
        size = counted(candidate.rows, "row") if candidate.rows is not None else counted(candidate.size, "byte")
        look = f"flowstone approvals show {asked.id} --preview"
        yield "Preview", f"{look}     ({size}; may contain data, so not shown by default)"
    if now.outlook is not None:
        yield "If you approve", _approved(view, now.outlook)
        yield "If you reject", _rejected(asked, now, now.outlook)
    yield "If nobody decides", _undecided(view)
    if now.you is not None:
        yield "You are", _you(now.you)


def _approved(view: ApprovalView, outlook: Outlook) -> str:
    asked = view.request
    more = view.needed - 1 - sum(vote.verdict == "approve" for vote in view.votes)
    first = {
        "before": "it is computed", "weakening": "the weaker gate holds from then on", "after": "these bytes become current",
    }[asked.kind]  # fmt: skip
    if more > 0:
        first = f"{counted(more, 'more vote')} needed, then {first}"
    if not outlook.behind_count:
        return first
    names = ", ".join(outlook.behind[:3]) + (", ..." if outlook.behind_count > 3 else "")
    return f"{first}; {names} {'is' if outlook.behind_count == 1 else 'are'} next ({counted(outlook.behind_count, 'asset')})"


def _rejected(asked: ApprovalRecord, now: Present, outlook: Outlook) -> str:
    parts = [f"{place(asked.asset, asked.partition)} ends rejected"]
    if outlook.skipped:
        parts.append(f"{counted(outlook.skipped, 'dependant')} {'is' if outlook.skipped == 1 else 'are'} skipped")
    ends = f"ends {outlook.ends}" if outlook.ends else "goes on with the rest"
    return "; ".join([*parts, f"{asked.run_id} {ends}" if now.run in ("waiting", "running") else f"{asked.run_id} is {now.run}"])


def _undecided(view: ApprovalView) -> str:
    asked, policy = view.request, view.policy
    deadline = moment(asked.deadline or 0)
    soon = asked.next_at is not None and asked.next_at < (asked.deadline or 0)
    first = f"reminder {moment(asked.next_at or 0)}, " if soon else ""
    match policy.on_timeout:
        case "remind":
            return f"{first}a reminder {deadline} and every {show_duration(policy.timeout_ns)} after that; it waits on"
        case "approve":
            return f"{first}it is APPROVED unseen {deadline}"
        case "escalate" if asked.escalated_at is None:
            others = msgspec.structs.replace(policy, approvers=policy.escalate_to).asked
            return f"{first}{others} may decide as well from {deadline}, for as long again; then as rejected"
    return f"{first}expires {deadline}, then as rejected"


def _you(you: You) -> str:
    if you.may:
        return f"{who(you.name, you.identity)}   you may decide{', signed: --sign KEY' if you.must_sign else ''}"
    return refused(you.name, you.identity, you.reason, you.message, you.hint).removeprefix("You are ")
