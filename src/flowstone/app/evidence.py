"""Evidence of one run: its records, and the entries of the audit log that prove them, in one signed file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from flowstone.app import listings
from flowstone.app.wiring import Deployment
from flowstone.audit.acts import of_materialization, of_output, of_pipeline
from flowstone.audit.bundles import FORMAT
from flowstone.audit.export import proofs_of
from flowstone.audit.lines import Disclosed, EntryLine
from flowstone.audit.tlog_proof import encoded
from flowstone.stores import audit_questions, logs, materializations, outputs, pipelines
from flowstone.stores import lineage as edges
from flowstone.stores.audit_questions import AuditRow
from flowstone.stores.database import Connection
from flowstone.stores.records import OutputRecord, RunRecord

LINES = 5_000


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
    yield from _lines(connection, view.run.id)
    yield from _entries(connection, project, view.run, stored)
    yield {"part": "head", "note": proofs.note}


def _lines(connection: Connection, run_id: str) -> Iterator[dict[str, Any]]:
    after = 0
    while page := logs.read(connection, run_id, after=after, limit=LINES):
        yield from (_part("line", line) for line in page)
        after = page[-1].id


def _entries(connection: Connection, project: str, run: RunRecord, stored: Iterable[OutputRecord]) -> Iterator[dict[str, Any]]:
    """The run's entries, and those of what it used: how each output was made and what became of it, and the definition."""
    proofs = proofs_of(connection)
    subjects = [of_materialization(id) for id in materializations.makers(connection, stored)]
    subjects += [of_output(output.id) for output in stored] + [of_pipeline(run.pipeline)]
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
