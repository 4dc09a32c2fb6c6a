"""What becomes of a request that is open: if people say yes, if one says no, if nobody does; and who may decide."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from flowstone.approvals.eligibility import Person, Refusal, Rules, refusal
from flowstone.approvals.policy import Policy
from flowstone.execution import closing
from flowstone.execution import plan as plans
from flowstone.foundation.serialize import to_json
from flowstone.stores import materializations, runs
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, VoteRecord


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a decision, as far as it is known now."""

    behind: list[str]
    """Assets of the run that go on after a yes; the first ones by name."""
    behind_count: int
    skipped: int
    """Steps that a no leaves out."""
    ends: str
    """How the run ends after a no; empty where other steps of it are still to be done."""


class You(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and whether they may decide."""

    name: str
    identity: str
    may: bool
    must_sign: bool = False
    """Whether only a signed decision counts."""
    reason: str = ""
    message: str = ""
    hint: str = ""


def outlook(connection: Connection, asked: ApprovalRecord) -> Outlook:
    """What follows from a decision about what is *asked*."""
    plan = plans.decode(to_json(runs.plan_of(connection, asked.run_id)).encode())
    rows = materializations.of_run(connection, asked.run_id)
    ends, skipped = closing.outlook(plan, rows, asked.place, "rejected")
    facts = asked.facts
    return Outlook(behind=facts["dependants"], behind_count=facts["dependants_count"], skipped=skipped, ends=ends)


def you(asked: ApprovalRecord, policy: Policy, person: Person, votes: Sequence[VoteRecord], rules: Rules) -> You:
    """Whether *person* may decide: by the rules of the transaction that decides."""
    found = refusal(asked, policy, person, votes, rules)
    if found is not None and found.reason == "assurance" and policy.assurance == "signed":
        signed = refusal(asked, policy, person._replace(key="to be given"), votes, rules)
        if signed is None:
            return You(name=person.id, identity=person.identity, may=True, must_sign=True)
        found = signed
    if found is None:
        return You(name=person.id, identity=person.identity, may=True)
    return _refused(person, found)


def _refused(person: Person, found: Refusal) -> You:
    return You(name=person.id, identity=person.identity, may=False, reason=found.reason, message=found.message, hint=found.hint)
