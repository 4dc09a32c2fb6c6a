"""The gates in force, and what has passed them by: told from the store alone, no code of the pipeline is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from flowstone.app.wiring import Deployment
from flowstone.approvals.eligibility import GROUP, STRENGTH, Rules, is_author
from flowstone.approvals.policy import Policy, policy_of
from flowstone.execution.asking import binding
from flowstone.execution.decision import Facts
from flowstone.execution.verdicts import CLOCK
from flowstone.stores import approvals, outputs, pipelines
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, OutputRecord, VoteRecord

ALWAYS = ("after", "before")
"""Gates that ask about every value."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """An asset's gate in the newest stored definition; *people* are those it names, groups resolved, none where anybody may."""

    pipeline: str
    asset: str
    policy: Policy
    people: list[str]
    pending: int


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the gate in force would not have let pass: of which *kind*, where, and in which words."""

    kind: str
    asset: str
    partition: str = ""
    approval: str = ""
    output: str = ""
    message: str


def gates(deployment: Deployment) -> list[Gate]:
    """Every gate in force, in order of declaration."""
    with deployment.reading().reading() as connection:
        return _gates(connection, deployment.settings.project, deployment.people())


def violations(deployment: Deployment) -> list[Violation]:
    """What breaks the gates in force: gates that nobody keeps, decisions they would refuse, current values nobody approved."""
    project, rules = deployment.settings.project, deployment.people()
    with deployment.reading().reading() as connection:
        found = _gates(connection, project, rules)
        gated = {gate.asset: gate for gate in found}
        decided = [
            asked
            for name in gated
            for asked in approvals.listed(connection, project, status="approved", asset=name, limit=None)
            if asked.kind != "weakening"
        ]
        votes = approvals.votes(connection, [asked.id for asked in decided])
        bypassed = _bypassed(connection, project, gated)
    told = [one for gate in found for one in _of_gate(gate, rules)]
    told += [one for asked in decided for one in _of_decision(asked, gated[asked.asset].policy, votes[asked.id])]
    return [*told, *bypassed]


def without_approval(connection: Connection, project: str, found: Iterable[OutputRecord]) -> list[OutputRecord]:
    """Those of the outputs that became current, and nobody had approved them."""
    versions = list(found)
    names = {version.asset for version in versions}
    asked_about, allowed = approvals.asked_about(connection, project, names), approvals.allowed(connection, project, names)
    current = {record.id for record in outputs.current_of(connection, project, names).values()}
    kept = []
    for version in versions:
        made_of = Facts(version.definition, version.config, version.inputs, version.source_version)
        status = asked_about.get(version.id)
        was_current = status is None or (status != "approved" and version.id in current)
        if was_current and (version.asset, version.partition, binding(made_of)) not in allowed:
            kept.append(version)
    return kept


def _gates(connection: Connection, project: str, rules: Rules) -> list[Gate]:
    pending: dict[str, int] = {}
    for asked in approvals.listed(connection, project, limit=None):
        pending[asked.asset] = pending.get(asked.asset, 0) + 1
    return [
        Gate(
            pipeline=one.name, asset=item["name"], policy=(policy := policy_of(item["approval"])),
            people=[name for name in rules.people_of(policy.approvers) if not rules.is_machine(name)],
            pending=pending.get(item["name"], 0),
        )
        for one in pipelines.newest(connection, project)
        for item in one.definition["assets"]
        if item.get("approval")
    ]  # fmt: skip


def _of_gate(gate: Gate, rules: Rules) -> Iterator[Violation]:
    policy = gate.policy
    if not policy.approvers:
        yield Violation(kind="no_approvers", asset=gate.asset, message="the gate names no approvers: anybody may decide")
    for name in (*policy.approvers, *policy.escalate_to):
        if name.startswith(GROUP) and not rules.people_of([name]):
            text = f"nobody is in the group {name.removeprefix(GROUP)}: approvals.groups"
            yield Violation(kind="unknown_group", asset=gate.asset, message=text)
    if policy.approvers and len(gate.people) < policy.quorum:
        text = f"{policy.quorum} people must agree, and only {len(gate.people)} may"
        yield Violation(kind="quorum_unreachable", asset=gate.asset, message=text)
    if policy.on_timeout == "approve":
        yield Violation(kind="silence", asset=gate.asset, message="silence is taken for a yes: on_timeout = approve")


def _of_decision(asked: ApprovalRecord, policy: Policy, votes: list[VoteRecord]) -> Iterator[Violation]:
    """What the gate that is in force now would have refused of a decision."""
    agreed = [vote for vote in votes if vote.verdict == "approve"]
    where = {"asset": asked.asset, "partition": asked.partition, "approval": asked.id, "output": asked.output}
    if not agreed:
        by = "because nobody decided in time" if asked.decided_by == CLOCK else f"by {asked.decided_by}, and no vote is there"
        yield Violation(kind="by_timeout" if asked.decided_by == CLOCK else "no_votes", message=f"approved {by}", **where)
    elif len({vote.voter for vote in agreed}) < policy.quorum:
        text = f"approved by {len(agreed)}, and {policy.quorum} must agree"
        yield Violation(kind="quorum", message=text, **where)
    for vote in agreed:
        if policy.four_eyes and vote.voter == asked.requester:
            yield Violation(kind="four_eyes", message=f"{vote.voter} requested the run and approved it", **where)
        author = str(asked.facts.get("author", ""))
        if author and is_author(vote.voter, author):
            text = f"{vote.voter} wrote the commit ({author}) and approved what it made"
            yield Violation(kind="author", message=text, **where)
        strength = STRENGTH["signed"] if vote.key else STRENGTH.get(vote.identity, 0)
        if strength == 0 and policy.assurance != "asserted":
            yield Violation(kind="asserted", message=f"{vote.voter} only said who they are", **where)
        elif strength < STRENGTH[policy.assurance]:
            text = f"{vote.voter} was known by {vote.identity}, and {policy.assurance} is needed"
            yield Violation(kind="assurance", message=text, **where)


def _bypassed(connection: Connection, project: str, gated: dict[str, Gate]) -> list[Violation]:
    """The current values of assets whose gate asks about every value, and that nobody had approved."""
    always = [name for name, gate in gated.items() if gate.policy.when in ALWAYS]
    current = list(outputs.current_of(connection, project, always).values())
    return [
        Violation(
            kind="ungated", asset=one.asset, partition=one.partition, output=one.id,
            message=f"version {one.version} of {one.run_id} is current, and nobody had approved it",
        )
        for one in without_approval(connection, project, current)
    ]  # fmt: skip
