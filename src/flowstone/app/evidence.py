"""Evidence of one run: its records, and the entries of the audit log that prove them, in one signed file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from flowstone.app import listings
from flowstone.app.wiring import Deployment
from flowstone.audit import approval_acts
from flowstone.audit.acts import of_materialization, of_output, of_pipeline
from flowstone.audit.bundles import FORMAT
from flowstone.audit.export import proofs_of
from flowstone.audit.lines import Disclosed, EntryLine
from flowstone.audit.tlog_proof import encoded
from flowstone.foundation.serialize import to_json
from flowstone.stores import approvals, audit_questions, logs, materializations, outputs, pipelines
from flowstone.stores import lineage as edges
from flowstone.stores.audit_questions import AuditRow
from flowstone.stores.database import Connection
from flowstone.stores.records import ApprovalRecord, MaterializationRecord, OutputRecord, RunRecord

LINES = 5_000
ANSWERED = {"waiting": "pending", "rejected": "rejected", "expired": "expired"}
"""What the request is about which a step is as it is."""


def parts(deployment: Deployment, connection: Connection, run_id: str) -> Iterator[dict[str, Any]]:
    """The parts of a run's bundle, in an order that does not change."""
    project, view = deployment.settings.project, listings.run_view(deployment, connection, run_id)
    proofs = proofs_of(connection)
    yield {"part": "bundle", "format": FORMAT, "project": project, "run": view.run.id}
    yield _part("run", view.run)
    definition = pipelines.version(connection, project, view.run.pipeline, view.run.definition)
    if definition is not None:
        yield _part("definition", definition)
    lineage = edges.edges_into(connection, [output.id for output in view.outputs])
    upstream = outputs.find(connection, {edge.upstream for edge in lineage}.union(output.id for output in view.outputs))
    stored = [upstream[id] for id in sorted(upstream)]
    for kind, records in (
        ("materialization", sorted(view.materializations, key=lambda row: row.id)),
        ("attempt", view.attempts), ("output", stored),
        ("edge", sorted(lineage, key=lambda edge: (edge.downstream, edge.parameter, edge.upstream))), ("error", view.errors),
    ):  # fmt: skip
        yield from (_part(kind, record) for record in records)
    asked = _requests(connection, project, view.run, view.materializations, stored)
    for request in asked:
        texts = {name: to_json(getattr(request, name)) for name in ("policy", "facts")}  # as digests of them are taken
        yield {**_part("approval", request), **texts}
    for said in approvals.votes(connection, [request.id for request in asked]).values():
        yield from ({**_part("vote", vote), "seen": to_json(vote.seen)} for vote in said)
    yield from _lines(connection, view.run.id)
    yield from _entries(connection, project, view.run, stored, asked)
    yield {"part": "head", "note": proofs.note}


def _requests(
    connection: Connection, project: str, run: RunRecord, steps: Iterable[MaterializationRecord], stored: Iterable[OutputRecord]
) -> list[ApprovalRecord]:
    """What people were asked by the run, about what it used, and about what steps of it waited for that others had asked."""
    found = approvals.listed(connection, project, status=None, run_id=run.id, limit=None)
    for output in stored:
        found += approvals.listed(connection, project, status=None, output=output.id, limit=None)
    for step in steps:
        status = ANSWERED.get(step.status)
        if status is not None:
            found += approvals.listed(connection, project, status=status, asset=step.asset, partition=step.partition, limit=1)
    return sorted({request.id: request for request in found}.values(), key=lambda request: request.id)


def _lines(connection: Connection, run_id: str) -> Iterator[dict[str, Any]]:
    after = 0
    while page := logs.read(connection, run_id, after=after, limit=LINES):
        yield from (_part("line", line) for line in page)
        after = page[-1].id


def _entries(
    connection: Connection, project: str, run: RunRecord, stored: Iterable[OutputRecord], asked: Iterable[ApprovalRecord]
) -> Iterator[dict[str, Any]]:
    """The run's entries, and those of what it used: how outputs were made and what became of them, who agreed, definitions."""
    proofs = proofs_of(connection)
    subjects = [of_materialization(id) for id in materializations.makers(connection, stored)]
    subjects += [of_output(output.id) for output in stored] + [of_pipeline(run.pipeline)]
    subjects += [approval_acts.of_approval(request.id) for request in asked]
    subjects += [approval_acts.SIGNERS, approval_acts.RULES]
    rows = [row for row in audit_questions.about(connection, project, run.id, subjects) if _is_proven(row, proofs.head.size)]
    disclosed = audit_questions.disclosed(connection, rows)
    for row in rows:
        assert row.seq is not None
        assert row.leaf is not None
        leaf_hash = bytes(row.leaf_hash or b"")
        given = {name: Disclosed(salt=encoded(salt), value=value) for name, (salt, value) in disclosed.get(row.id, {}).items()}
        proof = [encoded(one) for one in proofs.inclusion(row.seq, leaf_hash)]
        line = EntryLine(seq=row.seq, leaf=encoded(bytes(row.leaf)), leaf_hash=encoded(leaf_hash), disclosures=given, proof=proof)
        yield {"part": "entry", **msgspec.to_builtins(line)}


def _is_proven(row: AuditRow, size: int) -> bool:
    return row.leaf is not None and row.seq is not None and row.seq < size


def _part(kind: str, record: msgspec.Struct) -> dict[str, Any]:
    return {"part": kind, **msgspec.structs.asdict(record)}
