"""Questions to the audit log's rows: one entry, pages of them, what they disclose, hashes, heads, receipts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, select

from flowstone.stores import audit
from flowstone.stores.database import Connection
from flowstone.stores.records import AuditHeadRecord
from flowstone.stores.tables import (
    audit_anchor,
    audit_disclosure,
    audit_entry,
    audit_head,
    audit_prune,
    audit_redaction,
    audit_seal,
)

HASHES = 65_536
"""Leaf hashes that are read at once."""
IDS = 500
"""Numbers in one question: SQLite allows 999."""


class AuditRow(NamedTuple):
    """An entry as it is stored: its place (``None``: not sealed yet), the columns beside its bytes, and the bytes.

    Columns and bytes are ``None`` where the entry was pruned.
    """

    seq: int | None
    id: int
    leaf_hash: bytes | None
    leaf: bytes | None
    project: str | None
    subject: str | None
    version: int | None
    action: str | None
    actor: str | None
    asset: str | None
    run_id: str | None
    at: int | None


class Wanted(NamedTuple):
    """Which entries are asked for; an empty text stands for any. *action* may end in ``*``; times are in nanoseconds."""

    project: str = ""
    actor: str = ""
    action: str = ""
    subject: str = ""
    asset: str = ""
    run_id: str = ""
    since: int | None = None
    until: int | None = None

    def __str__(self) -> str:
        said = [f"{name}={value}" for name, value in zip(self._fields, self, strict=True) if value not in ("", None)]
        return ", ".join(said) or "every entry"


_COLUMNS = [
    audit_seal.c.seq, audit_entry.c.id, audit_seal.c.leaf_hash, audit_entry.c.leaf, audit_entry.c.project, audit_entry.c.subject,
    audit_entry.c.version, audit_entry.c.action, audit_entry.c.actor, audit_entry.c.asset, audit_entry.c.run_id, audit_entry.c.at,
]  # fmt: skip


def matching(connection: Connection, wanted: Wanted, *, begin: int, limit: int) -> list[AuditRow]:
    """Sealed entries from place *begin* on that are as *wanted*, in order."""
    query = select(*_COLUMNS).join(audit_entry, audit_entry.c.id == audit_seal.c.entry).where(audit_seal.c.seq >= begin)
    return _rows(connection, query.where(*_conditions(wanted)).order_by(audit_seal.c.seq).limit(limit))


def newest(connection: Connection, wanted: Wanted, *, below: int | None, limit: int) -> list[AuditRow]:
    """Entries that are as *wanted*, newest first: those not sealed yet, then sealed ones; with *below* sealed ones before it."""
    sealed = select(*_COLUMNS).join(audit_entry, audit_entry.c.id == audit_seal.c.entry).where(*_conditions(wanted))
    if below is not None:
        return _rows(connection, sealed.where(audit_seal.c.seq < below).order_by(audit_seal.c.seq.desc()).limit(limit))
    unsealed = select(*_COLUMNS).outerjoin(audit_seal, audit_entry.c.id == audit_seal.c.entry).where(audit_seal.c.seq.is_(None))
    unsealed = unsealed.where(audit_entry.c.id > _sealed_before(connection), *_conditions(wanted))
    found = _rows(connection, unsealed.order_by(audit_entry.c.id.desc()).limit(limit))
    rest = limit - len(found)
    return found + (_rows(connection, sealed.order_by(audit_seal.c.seq.desc()).limit(rest)) if rest else [])


def _sealed_before(connection: Connection) -> int:
    """A number that no unsealed entry is below, unless its transaction was open while the last 10,000 were sealed."""
    recent = select(func.max(audit_seal.c.seq) - 10_000).scalar_subquery()
    first = select(func.min(audit_seal.c.entry)).where(audit_seal.c.seq > recent)
    return int(connection.execute(first).scalar() or 0) - 1


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    for name in ("project", "actor", "subject", "asset", "run_id"):
        value = getattr(wanted, name)
        if value:
            yield audit_entry.c[name] == value
    if wanted.action.endswith("*"):
        yield audit_entry.c.action.startswith(wanted.action[:-1], autoescape=True)
    elif wanted.action:
        yield audit_entry.c.action == wanted.action
    if wanted.since is not None:
        yield audit_entry.c.at >= wanted.since
    if wanted.until is not None:
        yield audit_entry.c.at < wanted.until


def _rows(connection: Connection, query: Select[Any]) -> list[AuditRow]:
    return [AuditRow._make(row) for row in connection.execute(query)]


def at(connection: Connection, seq: int) -> AuditRow | None:
    """The entry at that place; without columns and bytes when it was pruned."""
    query = select(*_COLUMNS).outerjoin(audit_entry, audit_entry.c.id == audit_seal.c.entry).where(audit_seal.c.seq == seq)
    rows = _rows(connection, query)
    return rows[0] if rows else None


def page(connection: Connection, begin: int, end: int, limit: int) -> list[AuditRow]:
    """At most *limit* places from *begin* to (without) *end*, each with its entry, which has no bytes where it was pruned."""
    query = select(*_COLUMNS).outerjoin(audit_entry, audit_entry.c.id == audit_seal.c.entry)
    query = query.where(audit_seal.c.seq >= begin, audit_seal.c.seq < end)
    return _rows(connection, query.order_by(audit_seal.c.seq).limit(limit))


def disclosed(connection: Connection, rows: Sequence[AuditRow]) -> dict[int, dict[str, tuple[bytes, str]]]:
    """What these entries disclose: field to random key and value, by the entry's number."""
    found: dict[int, dict[str, tuple[bytes, str]]] = {}
    ids = [row.id for row in rows if row.leaf is not None]
    for begin in range(0, len(ids), IDS):
        query = select(audit_disclosure).where(audit_disclosure.c.entry.in_(ids[begin : begin + IDS]))
        for entry, field, salt, value in connection.execute(query.order_by(audit_disclosure.c.entry, audit_disclosure.c.field)):
            found.setdefault(entry, {})[field] = (bytes(salt), value)
    return found


def redacted(connection: Connection, rows: Sequence[AuditRow]) -> dict[int, list[str]]:
    """The fields of these entries that were redacted, by the entry's number."""
    found: dict[int, list[str]] = {}
    ids = [row.id for row in rows if row.leaf is not None]
    for begin in range(0, len(ids), IDS):
        query = select(audit_redaction.c.entry, audit_redaction.c.field)
        query = query.where(audit_redaction.c.entry.in_(ids[begin : begin + IDS]))
        for entry, field in connection.execute(query.order_by(audit_redaction.c.entry, audit_redaction.c.field)):
            found.setdefault(entry, []).append(field)
    return found


def hashes(connection: Connection, begin: int, end: int) -> Iterator[list[bytes]]:
    """The leaf hashes of places *begin* to (without) *end*, in pages."""
    place = audit_seal.c.seq
    while begin < end:
        query = select(audit_seal.c.leaf_hash).where(place >= begin, place < min(end, begin + HASHES)).order_by(place)
        yield [bytes(row[0]) for row in connection.execute(query)]
        begin += HASHES


def head(connection: Connection, size: int | None = None) -> AuditHeadRecord | None:
    """The newest tree head, or with *size* the smallest one that has at least so many entries."""
    query = select(audit_head).order_by(audit_head.c.size.desc())
    if size is not None:
        query = select(audit_head).where(audit_head.c.size >= size).order_by(audit_head.c.size)
    row = connection.execute(query.limit(1)).mappings().first()
    return AuditHeadRecord.of(row) if row else None


class Receipt(NamedTuple):
    """A sink has accepted the tree head of that size."""

    sink: str
    size: int
    at: int
    receipt: str


def receipts(connection: Connection) -> dict[str, Receipt]:
    """The newest receipt of each sink."""
    sizes = select(audit_anchor.c.sink, func.max(audit_anchor.c.size).label("size")).group_by(audit_anchor.c.sink).subquery()
    query = select(audit_anchor.c.sink, audit_anchor.c.size, audit_anchor.c.at, audit_anchor.c.receipt).join(
        sizes, (audit_anchor.c.sink == sizes.c.sink) & (audit_anchor.c.size == sizes.c.size)
    )
    return {row[0]: Receipt._make(row) for row in connection.execute(query)}


class PruneRow(NamedTuple):
    """Entries below that place are in an archive with that digest."""

    below: int
    archive: str
    digest: str
    at: int


def prunes(connection: Connection) -> list[PruneRow]:
    """Every prune, oldest first."""
    columns = [audit_prune.c[name] for name in PruneRow._fields]
    return [PruneRow._make(row) for row in connection.execute(select(*columns).order_by(audit_prune.c.below))]


def first_since(connection: Connection, since: int, begin: int, end: int) -> int:
    """The first place from *begin* on whose entry is not older than *since*; *end* when there is none."""
    query = select(func.min(audit_seal.c.seq)).join(audit_entry, audit_entry.c.id == audit_seal.c.entry)
    found = connection.execute(query.where(audit_seal.c.seq >= begin, audit_seal.c.seq < end, audit_entry.c.at >= since)).scalar()
    return end if found is None else int(found)


def newest_time(connection: Connection, begin: int, end: int) -> int:
    """The newest time of the entries at places *begin* to (without) *end*."""
    query = select(func.max(audit_entry.c.at)).join(audit_seal, audit_entry.c.id == audit_seal.c.entry)
    return int(connection.execute(query.where(audit_seal.c.seq >= begin, audit_seal.c.seq < end)).scalar() or 0)


def about(connection: Connection, project: str, run_id: str, subjects: Sequence[str]) -> list[AuditRow]:
    """The sealed entries of a run, and those of these subjects, in order."""
    found: dict[int | None, AuditRow] = {}
    query = select(*_COLUMNS).join(audit_entry, audit_entry.c.id == audit_seal.c.entry).where(audit_entry.c.project == project)
    for row in _rows(connection, query.where(audit_entry.c.run_id == run_id)):
        found[row.seq] = row
    for begin in range(0, len(subjects), IDS):
        for row in _rows(connection, query.where(audit_entry.c.subject.in_(subjects[begin : begin + IDS]))):
            found[row.seq] = row
    return sorted(found.values(), key=lambda row: row.seq or 0)


def count_of_run(connection: Connection, run_id: str) -> int:
    """How many entries are about a run."""
    return int(connection.execute(select(func.count()).where(audit_entry.c.run_id == run_id)).scalar_one())


def count_unsealed(connection: Connection) -> int:
    """How many entries have no place yet."""
    query = select(func.count()).select_from(audit.pending)
    if connection.dialect.name == "sqlite":
        query = select(func.count()).where(audit_entry.c.id > audit.last_sealed())
    return int(connection.execute(query).scalar_one())
