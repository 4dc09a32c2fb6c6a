"""Comparing requests for approval and the votes on them with the log, both ways; and what waits for them with both."""

from __future__ import annotations

from typing import Any

from flowstone.audit import approval_acts, fold
from flowstone.audit.acts import Act
from flowstone.audit.comparison import Comparison
from flowstone.audit.told import Told, merged
from flowstone.stores import audit_records
from flowstone.stores.audit_records import AskedFor, MadeOutput
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, VoteRecord


def requests(connection: Connection, comparison: Comparison) -> int:
    """Compare every request with the entry that made it, and with the newest one about it."""
    rows = (((row.record.id,), row) for row in audit_records.requests(connection))
    count = 0
    for key, told, row in merged(comparison.tales.every(fold.ASKED), rows):
        if row is None:
            comparison.phantom("request", key, told)
            continue
        count += 1
        asked, name = row.record, f"approval {row.record.id}"
        _compare_proof(comparison, name, asked, row.unsigned)
        newest = comparison.tales.get(fold.NEWEST_OF, key[:1])
        if told is not None:
            made = approval_acts.requested(asked)._replace(data=_never_changing(asked))
            comparison.compare(name, made, told, asked.project, asked.run_id)
            comparison.compare_actor(name, asked.requester, asked.identity, told)
        else:
            ended = approval_acts.state_of(asked) if newest is None and asked.status != "pending" else None
            made = approval_acts.requested(asked)._replace(data={**_never_changing(asked), "ended": ended})
            comparison.untold[asked.project].add("request", name, made)
        if newest is not None and not _has_gone_on(comparison, row, newest):
            comparison.compare(name, approval_acts.newest(asked, newest.action), newest, asked.project, asked.run_id)
            if asked.reason and newest.action not in approval_acts.ENDED.values():
                comparison.differ(f"{name} says", f"reason = {asked.reason[:80]}, and it has not ended", newest, "")
            _compare_step(comparison, name, row, newest)
    for number, asset, status in audit_records.stray_waits(connection):
        what = f"materialization {number} of {asset} says {status}, and no request for approval is so"
        comparison.strange(what, f"materialization:{number}")
    return count


def votes(connection: Connection, comparison: Comparison) -> int:
    """Compare every vote with its entry."""
    rows = (((vote.approval, vote.decision), (project, vote)) for project, vote in audit_records.votes(connection))
    count = 0
    for key, told, row in merged(comparison.tales.every(fold.VOTE), rows):
        if row is None:
            comparison.phantom("vote on", key, told)
            continue
        count += 1
        project, vote = row
        name = f"the vote of {vote.voter} on approval {vote.approval}"
        if told is not None:
            _compare_vote(comparison, name, vote, told, project)
        elif not project:
            comparison.strange(f"{name}: there is no such request", approval_acts.of_approval(vote.approval))
        else:
            asked = comparison.tales.get(fold.ASKED, key[:1])
            if asked is None or not comparison.may_have_gone_on(asked):
                data = approval_acts.vote_of(vote)
                act = Act("", approval_acts.of_approval(vote.approval), "", data, {"comment": vote.comment})
                comparison.untold[project].add("vote", name, act)
    return count


def compare_candidate(comparison: Comparison, name: str, made: MadeOutput, asked: Told, became: Told | None) -> None:
    """Compare the row of a candidate with the request about it; one that *became* current was approved."""
    id = asked.subject.partition(":")[2]
    act = approval_acts.candidate_of(id, made.record, made.inputs)
    comparison.compare(name, act, asked, made.project, made.record.run_id)
    ended = comparison.tales.get(fold.NEWEST_OF, (id,)) or asked
    if became is not None and ended.action != approval_acts.APPROVED and not comparison.may_have_gone_on(ended):
        comparison.strange(f"{name} has become current, and nothing tells that {id} was approved", asked.subject)
    elif became is None and ended.action == approval_acts.APPROVED:
        comparison.strange(f"{name}: {id} was approved, and no entry tells that it became current", asked.subject)


def is_candidate(comparison: Comparison, output: str | None) -> bool:
    """Whether an output is a candidate that cannot have become current while auditing was switched off."""
    asked = comparison.tales.get(fold.CANDIDATE, (output,))
    return asked is not None and not comparison.may_have_gone_on(asked)


def _never_changing(asked: ApprovalRecord) -> dict[str, Any]:
    return {
        "approval": asked.id, "kind": asked.kind, "asset": asked.asset, "output": asked.output, "digest": asked.digest,
        **approval_acts.constant_of(asked),
    }  # fmt: skip


def _compare_proof(comparison: Comparison, name: str, asked: ApprovalRecord, unsigned: int) -> None:
    """Find votes without a signature where the policy wants one; the policy itself is compared with its digest."""
    if asked.policy.get("assurance") == "signed" and unsigned:
        what = f"{name} has {unsigned} votes without a signature, and its policy wants them signed"
        comparison.strange(what, approval_acts.of_approval(asked.id))


def _has_gone_on(comparison: Comparison, row: AskedFor, newest: Told) -> bool:
    """Whether a request has moved while auditing was switched off."""
    moved = newest.data.get("revision") != row.record.version
    return moved and comparison.may_have_gone_on(newest)


def _compare_step(comparison: Comparison, name: str, row: AskedFor, newest: Told) -> None:
    """Compare the step that asked with what the request says, where it waits or has ended by that; else it went on by itself."""
    asked = row.record
    expected = {
        "pending": ("waiting", "", "", asked.output), "rejected": ("rejected", "rejected", asked.reason, ""),
        "expired": ("expired", "expired", asked.reason, ""),
    }.get(asked.status)  # fmt: skip
    if expected is not None and row.step != expected and not comparison.may_have_gone_on(newest):
        comparison.differ(name, f"materialization {asked.materialization} says {row.step}; it is {asked.status}", newest)


def _compare_vote(comparison: Comparison, name: str, vote: VoteRecord, told: Told, project: str) -> None:
    signed = told.data.get("vote")
    said = signed if isinstance(signed, dict) else {}
    for field, shown in approval_acts.vote_of(vote).items():
        if shown != said.get(field):
            comparison.differ(name, f"{field} = {str(shown)[:80]}, {told.where} says {str(said.get(field))[:80]}", told)
    act = Act(told.action, approval_acts.of_approval(vote.approval), "", {}, {"comment": vote.comment})
    comparison.compare(name, act, told, project)
    comparison.compare_actor(name, vote.voter, vote.identity, told)
