"""What may be deleted of the audit log, after an entry has told of it: disclosures that are redacted, bytes that are pruned."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Delete, bindparam, delete, exists, or_, select

from flowstone.stores.database import Transaction
from flowstone.stores.statements import Inserting, inserting_once
from flowstone.stores.tables import audit_disclosure, audit_entry, audit_prune, audit_redaction, audit_seal

FOREVER = "materialization:"
"""Subjects of one version, whose newest entry is no more than any other."""

_insert_redaction = inserting_once(audit_redaction)
_insert_prune = Inserting(audit_prune)


def _delete_disclosure() -> Delete:
    return delete(audit_disclosure).where(audit_disclosure.c.entry == bindparam("e"), audit_disclosure.c.field == bindparam("f"))


def redact(tx: Transaction, entry: int, field: str, at: int) -> bool:
    """Delete what an entry discloses as *field*; return whether it was there."""
    tx.execute(_insert_redaction, {"entry": entry, "field": field, "at": at})
    return bool(tx.execute(_delete_disclosure, {"e": entry, "f": field}).rowcount == 1)


def begin_prune(tx: Transaction, below: int, archive: str, digest: str, at: int) -> None:
    """Say that the entries below that place are in an archive: from now on their bytes may be deleted."""
    tx.execute(_insert_prune, {"below": below, "archive": archive, "digest": digest, "at": at})


def _goes() -> ColumnElement[bool]:
    """Whether an entry of the page is not the newest of a subject that has versions."""
    own, later = audit_entry.c, audit_entry.alias().c
    newer = exists().where(later.project == own.project, later.subject == own.subject, later.version > own.version)
    return or_(own.subject.startswith(FOREVER), newer)


def _page() -> ColumnElement[bool]:
    places = select(audit_seal.c.entry).where(audit_seal.c.seq >= bindparam("a"), audit_seal.c.seq < bindparam("b"))
    return audit_entry.c.id.in_(places)


def _delete_disclosures() -> Delete:
    gone = select(audit_entry.c.id).where(_page(), _goes())
    return delete(audit_disclosure).where(audit_disclosure.c.entry.in_(gone))


def _delete_entries() -> Delete:
    return delete(audit_entry).where(_page(), _goes())


def delete_pruned(tx: Transaction, begin: int, end: int) -> int:
    """Delete the entries at places *begin* to (without) *end* that may go, and what they disclose; return how many went."""
    span = {"a": begin, "b": end}
    tx.execute(_delete_disclosures, span)
    return int(tx.execute(_delete_entries, span).rowcount)
