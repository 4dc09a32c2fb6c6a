"""The audit log's rows as people and programs are shown them."""

from __future__ import annotations

from typing import Any

import msgspec

from flowstone.audit import leaf as leaves
from flowstone.audit.note import parse
from flowstone.audit.proofs import Proofs
from flowstone.foundation.errors import LeafError
from flowstone.stores import audit_questions
from flowstone.stores.audit_questions import AuditRow
from flowstone.stores.database import Connection


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: who did what to which version of which subject, and how it ended. ``seq`` is ``None`` until it is sealed.

    *fault* says why its bytes are no entry; ``flowstone audit verify`` then has more to say.
    """

    seq: int | None
    at: int | None
    action: str
    subject: str
    version: int
    outcome: str
    actor: str
    identity: str
    project: str
    asset: str
    run_id: str
    trace_id: str
    data: dict[str, Any]
    disclosed: dict[str, str]
    redacted: list[str]
    leaf_hash: str
    pruned: bool = False
    fault: str = ""


class AnchorView(msgspec.Struct, frozen=True, kw_only=True):
    """A sink of tree heads, and the newest one it has accepted."""

    sink: str
    size: int = 0
    at: int | None = None


class HeadView(msgspec.Struct, frozen=True, kw_only=True):
    """A tree head, and how things stand with the log."""

    origin: str
    size: int
    root: str
    at: int
    note: str
    signers: list[str]
    unsealed: int
    pruned_below: int
    anchors: list[AnchorView]


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written."""

    path: str
    bytes: int
    digest: str


def views(connection: Connection, rows: list[AuditRow]) -> list[EntryView]:
    """The rows, read: what is signed is shown, the columns beside it only where it cannot be read."""
    disclosed, redacted = audit_questions.disclosed(connection, rows), audit_questions.redacted(connection, rows)
    values = {id: {name: value for name, (_, value) in fields.items()} for id, fields in disclosed.items()}
    return [_view(row, values.get(row.id, {}), redacted.get(row.id, [])) for row in rows]


def _view(row: AuditRow, disclosed: dict[str, str], redacted: list[str]) -> EntryView:
    fields, fault = _fields(row)
    return EntryView(
        seq=row.seq, at=fields["at"], action=fields["action"], subject=fields["subject"], version=fields["version"],
        outcome=fields["outcome"], actor=fields["actor"], identity=fields["identity"], project=fields["project"],
        asset=str(fields["data"].get("asset", "")), run_id=fields.get("run", ""), trace_id=fields.get("trace", ""),
        data=fields["data"], disclosed=disclosed, redacted=redacted, leaf_hash=bytes(row.leaf_hash or b"").hex(),
        pruned=row.leaf is None, fault=fault,
    )  # fmt: skip


def _fields(row: AuditRow) -> tuple[dict[str, Any], str]:
    """The entry's fields with its time in nanoseconds; those of the columns, and why, when its bytes cannot be read."""
    if row.leaf is not None:
        try:
            fields = leaves.read(bytes(row.leaf))
            return {**fields, "at": fields["at"] * 1_000}, ""
        except LeafError as error:
            fault = error.message
    else:
        fault = ""
    columns = {"subject": row.subject, "action": row.action, "actor": row.actor, "project": row.project, "run": row.run_id}
    texts = {name: str(value or "") for name, value in columns.items()}
    return {**texts, "version": row.version or 0, "at": row.at, "outcome": "", "identity": "", "data": {}}, fault


def head_view(connection: Connection, proofs: Proofs, sinks: list[str]) -> HeadView:
    """The head that *proofs* are against."""
    record, receipts = audit_questions.head(connection, proofs.head.size), audit_questions.receipts(connection)
    assert record is not None
    signed = parse(proofs.note).signatures if "\n\n" in proofs.note else ()
    anchors = [
        AnchorView(sink=name, size=receipts[name].size, at=receipts[name].at) if name in receipts else AnchorView(sink=name)
        for name in dict.fromkeys([*sinks, *receipts])
    ]
    return HeadView(
        origin=proofs.head.origin, size=proofs.head.size, root=proofs.head.root.hex(), at=record.at, note=proofs.note,
        signers=[f"{name}+{id.hex()}" for name, id, _ in signed], unsealed=audit_questions.count_unsealed(connection),
        pruned_below=max((prune.below for prune in audit_questions.prunes(connection)), default=0), anchors=anchors,
    )  # fmt: skip
