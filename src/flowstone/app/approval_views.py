"""Everything that somebody who decides must know of a request: what was stored with it and, beside that, how things stand."""

from __future__ import annotations

from typing import Any

import msgspec

from flowstone.app.approval_outlook import Outlook, You, outlook, you
from flowstone.app.approval_preview import Preview
from flowstone.app.outdated import reasons
from flowstone.app.wiring import Deployment
from flowstone.approvals.eligibility import Person, needed
from flowstone.approvals.policy import Policy, policy_of
from flowstone.execution import custody
from flowstone.execution.asking import config_changed
from flowstone.execution.changes import Changes, lines
from flowstone.foundation.errors import StorageError
from flowstone.stores import approvals, outputs, pipelines, runs
from flowstone.stores import lineage as edges
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, OutputRecord, RunRecord, VoteRecord


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One value the candidate was made from, or would be, and what that was made from."""

    parameter: str
    output: OutputRecord
    upstreams: list[OutputRecord]


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """Which code made it, where: as far as it is known."""

    definition: str
    config: str
    provenance: dict[str, Any]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed since the version that was current when people were asked, and the request that had approved that one."""

    lines: list[str]
    base: OutputRecord | None
    approval: ApprovalRecord | None


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """How things stand now; nothing of it was known when people were asked."""

    at: int
    bytes: str
    """``match``: hashed again, and the same; ``changed``, ``gone``, ``unreachable``, or why they could not be read."""
    newer: list[str]
    """What has changed since people were asked: code, configuration, inputs."""
    overtaken_by: OutputRecord | None
    """A newer version that is current."""
    run: str
    """The status of the run that asked."""
    outlook: Outlook | None
    """What becomes of it; ``None`` where it is decided."""
    you: You | None


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    """A request and everything to decide upon; without ``now`` only what was stored when people were asked and decided."""

    request: ApprovalRecord
    policy: Policy
    needed: int
    """How many people must say yes."""
    votes: list[VoteRecord]
    candidate: OutputRecord | None
    inputs: list[Input]
    code: Code | None
    compared: Compared | None
    last: ApprovalRecord | None
    """The newest request about the asset, whatever its partition, that was approved before this one was made."""
    now: Present | None = None
    preview: Preview | None = None


def view(deployment: Deployment, id: str, person: Person | None) -> ApprovalView:
    """What is known of the request *id*; with a *person*, also how things stand now, and whether they may decide."""
    project = deployment.settings.project
    with deployment.reading().reading() as connection:
        asked = approvals.find(connection, project, id)
        policy, votes = policy_of(asked.policy), approvals.votes(connection, [asked.id])[asked.id]
        candidate = outputs.find(connection, [asked.output])[asked.output] if asked.output else None
        run = runs.find(connection, project, asked.run_id)
        found = ApprovalView(
            request=asked, policy=policy, needed=needed(asked, policy), votes=votes,
            candidate=msgspec.structs.replace(candidate, gone="", gone_at=None) if candidate else None,
            inputs=_inputs(connection, asked, candidate), code=_code(asked, candidate, run),
            compared=_compared(connection, asked), last=_last(connection, asked),
        )  # fmt: skip
        if person is None:
            return found
        now = _present(deployment, connection, found, candidate, run, person)
    return msgspec.structs.replace(found, candidate=candidate, now=now)


def newer(deployment: Deployment, connection: Connection, asked: ApprovalRecord, candidate: OutputRecord | None) -> list[str]:
    """What has changed since people were asked, in words: the code, the configuration, the inputs."""
    project = deployment.settings.project
    defined = {item["name"]: item["digest"] for one in pipelines.newest(connection, project) for item in one.definition["assets"]}
    told = list(reasons(connection, [candidate], defined)[candidate.id]) if candidate is not None else []
    then = asked.facts.get("made_of", {}).get("definition", "")
    if then and defined.get(asked.asset, then) != then:
        told.append(f"definition {then[:8]}.. -> {defined[asked.asset][:8]}..")
    if config_changed(asked.facts, deployment.settings.config):
        told.append("the configuration of the asset, as it is here, is another one")
    return told


def _present(
    deployment: Deployment,
    connection: Connection,
    found: ApprovalView,
    candidate: OutputRecord | None,
    run: RunRecord,
    person: Person,
) -> Present:
    asked = found.request
    current = outputs.current(connection, asked.project, *asked.place)
    overtaken = current if candidate is not None and current is not None and current.version > candidate.version else None
    pending = asked.status == "pending"
    return Present(
        at=deployment.reading().now(),
        bytes=_bytes(deployment, asked, candidate),
        newer=newer(deployment, connection, asked, candidate),
        overtaken_by=overtaken,
        run=run.status,
        outlook=outlook(connection, asked) if pending else None,
        you=you(asked, found.policy, person, found.votes, deployment.people()) if pending else None,
    )


def _bytes(deployment: Deployment, asked: ApprovalRecord, candidate: OutputRecord | None) -> str:
    if candidate is None:
        return ""
    if candidate.digest != asked.digest:
        return "changed"
    if candidate.gone:
        return "gone"
    try:
        return custody.check(deployment.io, candidate, str(asked.facts.get("host", "")))
    except StorageError as error:
        return f"unreadable: {error.message}"


def _inputs(connection: Connection, asked: ApprovalRecord, candidate: OutputRecord | None) -> list[Input]:
    if candidate is not None:
        made_from = [(edge.parameter, edge.upstream) for edge in edges.edges_into(connection, [candidate.id])]
    else:
        made_from = [(parameter, output) for parameter, _, _, output, _ in asked.facts.get("inputs", ())]
    behind = edges.edges_into(connection, [id for _, id in made_from])
    known = outputs.find(connection, {id for _, id in made_from} | {edge.upstream for edge in behind})
    upstreams: dict[str, list[OutputRecord]] = {}
    for edge in behind:
        if edge.upstream in known:
            upstreams.setdefault(edge.downstream, []).append(known[edge.upstream])
    return [
        Input(parameter=parameter, output=known[id], upstreams=upstreams.get(id, []))
        for parameter, id in made_from
        if id in known
    ]


def _code(asked: ApprovalRecord, candidate: OutputRecord | None, run: RunRecord) -> Code | None:
    made_of = asked.facts.get("made_of", {})
    if candidate is not None:
        return Code(definition=candidate.definition, config=candidate.config, provenance=run.provenance)
    if made_of:
        return Code(definition=made_of["definition"], config=made_of["config"], provenance=run.provenance)
    return None


def _compared(connection: Connection, asked: ApprovalRecord) -> Compared | None:
    """What the request says of the difference to the version that was current when it was made."""
    told = asked.facts.get("changes") or {}
    base_id = str(asked.facts.get("base", ""))
    if asked.kind != "after" or not base_id:
        return None
    base = outputs.find(connection, [base_id]).get(base_id)
    approved = approvals.listed(
        connection, asked.project, status="approved", asset=asked.asset, partition=asked.partition, output=base_id, limit=1
    )
    return Compared(lines=_lines(told), base=base, approval=next(iter(approved), None))


def _lines(told: dict[str, Any]) -> list[str]:
    if "same" in told:
        return lines(msgspec.convert(told, Changes))
    return [f"? note     {told['note']}"] if "note" in told else []


def _last(connection: Connection, asked: ApprovalRecord) -> ApprovalRecord | None:
    before = approvals.listed(
        connection, asked.project, status="approved", asset=asked.asset, kind=asked.kind, until=asked.requested_at, limit=1
    )
    return next(iter(before), None)
