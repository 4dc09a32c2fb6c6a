"""Exports: entries of the log as lines of JSON, with all that is needed to verify them without this database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flowstone.audit.lines import FORMAT, Disclosed, EntryLine, Header, Trailer, written
from flowstone.audit.origins import permanent
from flowstone.audit.proofs import Proofs
from flowstone.audit.tlog_proof import encoded
from flowstone.foundation.errors import AuditError, UsageError
from flowstone.stores import audit, audit_questions
from flowstone.stores.audit_questions import AuditRow, Wanted
from flowstone.stores.database import Connection

PAGE = 2_000


class Range(NamedTuple):
    """The entries *begin* to (without) *end* of a log; ``None``: all that are there and sealed."""

    begin: int | None = None
    end: int | None = None


def proofs_of(connection: Connection, size: int | None = None) -> Proofs:
    """Proofs against the log's newest tree head, or the smallest one that has *size* entries; raises :class:`AuditError`."""
    head = audit_questions.head(connection, size)
    origins = audit.incarnations(connection)
    if head is None or not origins:
        wanted = f"no tree head has {size} entries" if size and origins else "nothing is sealed yet"
        raise AuditError(f"the audit log: {wanted}", hint="flowstone audit seal")
    return Proofs(connection, origins[-1][1], head)


def export_range(connection: Connection, asked: Range, *, withheld: bool = False) -> Iterator[bytes]:
    """The lines of an export of every entry of a range; from the first one whose bytes are kept unless it says from where."""
    proofs = proofs_of(connection)
    kept = max((prune.below for prune in audit_questions.prunes(connection)), default=0)
    begin = kept if asked.begin is None else asked.begin
    end = proofs.head.size if asked.end is None else asked.end
    if not 0 <= begin < end <= proofs.head.size:
        raise UsageError(f"there are no sealed entries {begin} to {end}", hint=f"the tree head has {proofs.head.size} entries")
    before = [encoded(peak) for peak in proofs.frontier(begin).peaks]
    yield written(Header(
        format=FORMAT, origin=permanent(proofs.head.origin), begin=begin, end=end, before=before, withheld=withheld,
    ))  # fmt: skip
    for rows in _pages(connection, begin, end):
        yield from _entries(connection, rows, withheld=withheld)
    consistency = proofs.consistency(end) if end < proofs.head.size else []
    yield written(Trailer(head=proofs.note, consistency=[encoded(one) for one in consistency]))


def export_chosen(connection: Connection, wanted: Wanted, asked: Range, *, withheld: bool = False) -> Iterator[bytes]:
    """The lines of an export of the entries that are as *wanted*, each with its own proof."""
    proofs = proofs_of(connection)
    size, root = proofs.head.size, encoded(proofs.head.root)
    end = size if asked.end is None else min(asked.end, size)
    yield written(Header(
        format=FORMAT, origin=permanent(proofs.head.origin), begin=0, end=size, chosen=str(wanted), root=root, withheld=withheld,
    ))  # fmt: skip
    begin = asked.begin or 0
    while rows := audit_questions.matching(connection, wanted, begin=begin, limit=PAGE):
        rows = [row for row in rows if row.seq is not None and row.seq < end]
        yield from _entries(connection, rows, withheld=withheld, proofs=proofs)
        if not rows or rows[-1].seq is None:
            break
        begin = rows[-1].seq + 1
    yield written(Trailer(head=proofs.note))


def _pages(connection: Connection, begin: int, end: int) -> Iterator[list[AuditRow]]:
    while rows := audit_questions.page(connection, begin, end, PAGE):
        yield rows
        begin = (rows[-1].seq or 0) + 1


def _entries(connection: Connection, rows: list[AuditRow], *, withheld: bool, proofs: Proofs | None = None) -> Iterator[bytes]:
    disclosed = {} if withheld else audit_questions.disclosed(connection, rows)
    redacted = audit_questions.redacted(connection, rows)
    for row in rows:
        assert row.seq is not None
        assert row.leaf_hash is not None
        given = {name: Disclosed(salt=encoded(salt), value=value) for name, (salt, value) in disclosed.get(row.id, {}).items()}
        leaf_hash = bytes(row.leaf_hash)
        proof = [encoded(one) for one in proofs.inclusion(row.seq, leaf_hash)] if proofs else None
        yield written(EntryLine(
            seq=row.seq, leaf=encoded(bytes(row.leaf)) if row.leaf is not None else "", leaf_hash=encoded(leaf_hash),
            disclosures=given, redacted=redacted.get(row.id, []), proof=proof,
        ))  # fmt: skip
