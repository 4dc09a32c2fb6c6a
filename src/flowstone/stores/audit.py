"""The audit log's rows: append, seal, read on. What they mean, and whether they hold together, is judged in ``audit``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Delete, Select, bindparam, column, delete, func, insert, select, table

from flowstone.foundation.errors import AuditUnavailableError, FlowStoneError
from flowstone.stores.asking import Asked, ask
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.records import AuditHeadRecord
from flowstone.stores.statements import Inserting, PerDialect, inserting_once, numbering
from flowstone.stores.tables import audit_anchor, audit_disclosure, audit_entry, audit_head, audit_log, audit_seal

PAGE = 5_000

pending = table("audit_pending", column("entry", BigInteger))
"""PostgreSQL only: see ``append_only``."""


def unavailable(error: FlowStoneError) -> AuditUnavailableError:
    """The error of a change whose entry was refused with *error*."""
    said = f"the audit entry of the change could not be written, so nothing was changed: {error.message}"
    made = AuditUnavailableError(said, hint=error.hint or "flowstone audit verify")
    made.retryable = error.retryable
    return made


_insert_entry = Inserting(audit_entry, "id", failure=unavailable)
_entry_row = itemgetter(*_insert_entry.names)
_insert_numbered = numbering(audit_entry)
_insert_disclosure = Inserting(audit_disclosure, failure=unavailable)
_insert_seal = Inserting(audit_seal)
_insert_head = Inserting(audit_head)
_insert_log = Inserting(audit_log)
_insert_anchor = inserting_once(audit_anchor)  # two sealers may hear of the same head
_HEAD = AuditHeadRecord.__struct_fields__


@contextmanager
def _telling(tx: Transaction) -> Iterator[None]:
    """Raise :class:`AuditUnavailableError` for what the database refuses."""
    try:
        yield
    except Exception as error:
        clear = tx.explained(error)
        if clear is None:
            raise
        raise unavailable(clear) from error


# -- appending -------------------------------------------------------------------------------------------------------------------


def add(tx: Transaction, values: dict[str, Any]) -> None:
    """Append an entry with the transaction's other rows; *values* by column."""
    tx.add_row(_insert_entry, *_entry_row(values))


def add_now(tx: Transaction, values: dict[str, Any], disclosures: Iterable[tuple[str, bytes, str]]) -> None:
    """Append an entry at once, and what it commits to: field, salt, value."""
    with _telling(tx):
        number = tx.insert(_insert_numbered, values)
    for field, salt, value in disclosures:
        tx.add_row(_insert_disclosure, number, field, salt, value)


def add_within(connection: Connection, values: dict[str, Any], disclosures: Iterable[tuple[str, bytes, str]]) -> None:
    """Append an entry, and what it commits to, on a connection that changes."""
    number = connection.execute(insert(audit_entry).values(values).returning(audit_entry.c.id)).scalar_one()
    for field, salt, value in disclosures:
        connection.execute(insert(audit_disclosure).values(entry=number, field=field, salt=salt, value=value))


def _last_version() -> Select[Any]:
    own = (audit_entry.c.project == bindparam("p"), audit_entry.c.subject == bindparam("s"))
    return select(func.coalesce(func.max(audit_entry.c.version), 0)).where(*own)


def next_version(tx: Transaction, project: str, subject: str) -> int:
    """The version after the subject's newest entry; nobody else takes it before the transaction has ended."""
    tx.lock(f"audit/{project}/{subject}")
    with _telling(tx):
        return last_version(tx, project, subject) + 1


def last_version(place: Asked, project: str, subject: str) -> int:
    """The version of the subject's newest entry, 0 when it has none."""
    return int(ask(place, _last_version, {"p": project, "s": subject})[0][0])


def _last_action() -> Select[Any]:
    own = (audit_entry.c.project == bindparam("p"), audit_entry.c.subject == bindparam("s"))
    wanted = audit_entry.c.action.in_((bindparam("a"), bindparam("b")))
    return select(audit_entry.c.action).where(*own, wanted).order_by(audit_entry.c.version.desc()).limit(1)


def last_action(place: Asked, project: str, subject: str, either: tuple[str, str]) -> str | None:
    """Which of two acts the subject's newest entry of them tells of; ``None`` when there is no such entry."""
    rows = ask(place, _last_action, {"p": project, "s": subject, "a": either[0], "b": either[1]})
    return str(rows[0][0]) if rows else None


def _newest_leaf() -> Select[Any]:
    own = (audit_entry.c.project == bindparam("p"), audit_entry.c.subject == bindparam("s"))
    return select(audit_entry.c.leaf).where(*own).order_by(audit_entry.c.version.desc()).limit(1)


def newest_leaf(place: Asked, project: str, subject: str) -> bytes | None:
    """The bytes of the subject's newest entry; ``None`` when it has none."""
    rows = ask(place, _newest_leaf, {"p": project, "s": subject})
    return bytes(rows[0][0]) if rows else None


# -- whose log it is -------------------------------------------------------------------------------------------------------------


def _incarnations() -> Select[Any]:
    return select(audit_log.c.incarnation, audit_log.c.origin, audit_log.c.reason, audit_log.c.at).order_by(
        audit_log.c.incarnation
    )


def incarnations(place: Asked) -> list[tuple[int, str, str, int]]:
    """The log's incarnations, oldest first: number, origin, why it began, when. Empty before the log begins."""
    return [(int(number), str(origin), str(why), int(at)) for number, origin, why, at in ask(place, _incarnations, {})]


def begin_incarnation(tx: Transaction, incarnation: int, origin: str, reason: str, at: int) -> None:
    """Say whose log this is from here on."""
    tx.execute(_insert_log, {"incarnation": incarnation, "origin": origin, "reason": reason, "at": at})


# -- sealing ---------------------------------------------------------------------------------------------------------------------


def _last_head() -> Select[Any]:
    return select(*(audit_head.c[name] for name in _HEAD)).order_by(audit_head.c.size.desc()).limit(1)


def last_head(place: Asked) -> AuditHeadRecord | None:
    """The newest tree head."""
    rows = list(ask(place, _last_head, {}))
    return _head(rows[0]) if rows else None


def _head(row: Any) -> AuditHeadRecord:
    found = dict(zip(_HEAD, row, strict=True))
    return AuditHeadRecord(**{**found, "root": bytes(found["root"]), "peaks": bytes(found["peaks"])})


def _signed() -> Select[Any]:
    return select(audit_head.c.size).where(audit_head.c.note.contains("\n\n")).limit(1)


def is_signed(tx: Transaction) -> bool:
    """Whether any head of the log is signed."""
    return tx.execute(_signed, {}).fetchone() is not None


def _unsealed(dialect: str) -> Select[Any]:
    columns = select(audit_entry.c.id, audit_entry.c.leaf)
    if dialect == "postgresql":
        columns = columns.join(pending, pending.c.entry == audit_entry.c.id)
    else:  # writers follow one another: what is not sealed has greater numbers than what is
        columns = columns.where(audit_entry.c.id > last_sealed())
    return columns.order_by(audit_entry.c.id).limit(PAGE)


def last_sealed() -> Any:
    """The entry that was sealed last, as an expression."""
    newest = select(audit_seal.c.entry).order_by(audit_seal.c.seq.desc()).limit(1).scalar_subquery()
    return func.coalesce(newest, 0)


_unsealed_by_dialect = PerDialect(_unsealed)


def unsealed(tx: Transaction) -> list[tuple[int, bytes]]:
    """At most a page of the entries that have no place yet, in the order in which they get one: number and leaf."""
    return [(int(row[0]), bytes(row[1])) for row in tx.execute(_unsealed_by_dialect, {}).fetchall()]


def _forget() -> Delete:
    return delete(pending).where(pending.c.entry == func.any(bindparam("entries")))


def add_seals(tx: Transaction, seals: list[tuple[int, int, bytes]]) -> None:
    """Give entries their places: place, entry, leaf hash."""
    for seal in seals:
        tx.add_row(_insert_seal, *seal)
    if tx.dialect == "postgresql":
        tx.execute(_forget, {"entries": [entry for _, entry, _ in seals]})


def add_head(tx: Transaction, record: AuditHeadRecord) -> None:
    """Add a tree head."""
    tx.execute(_insert_head, {name: getattr(record, name) for name in _HEAD})


def _head_of_size() -> Select[Any]:
    return select(*(audit_head.c[name] for name in _HEAD)).where(audit_head.c.size == bindparam("n"))


def head_of_size(tx: Transaction, size: int) -> AuditHeadRecord | None:
    """The head of that size; ``None`` when there is none."""
    row = tx.execute(_head_of_size, {"n": size}).fetchone()
    return _head(row) if row else None


def _sealed_leaves() -> Select[Any]:
    columns = select(audit_entry.c.leaf, audit_seal.c.leaf_hash)
    joined = columns.select_from(audit_seal).outerjoin(audit_entry, audit_entry.c.id == audit_seal.c.entry)
    return joined.where(audit_seal.c.seq >= bindparam("low"), audit_seal.c.seq < bindparam("high")).order_by(audit_seal.c.seq)


def sealed_leaves(tx: Transaction, begin: int, end: int) -> Iterator[tuple[bytes | None, bytes]]:
    """The bytes and the hashes of the entries from place *begin* to (without) *end*; ``None`` where the bytes were pruned."""
    for low in range(begin, end, PAGE):
        for leaf, leaf_hash in tx.execute(_sealed_leaves, {"low": low, "high": min(low + PAGE, end)}).fetchall():
            yield None if leaf is None else bytes(leaf), bytes(leaf_hash)


def _anchored() -> Select[Any]:
    own = (audit_anchor.c.size == bindparam("size"), audit_anchor.c.sink == bindparam("sink"))
    return select(audit_anchor.c.size).where(*own)


def add_anchor(tx: Transaction, size: int, sink: str, receipt: str, at: int) -> None:
    """Note that a sink has accepted the head of that size, unless somebody else has noted it."""
    if tx.execute(_anchored, {"size": size, "sink": sink}).fetchone() is None:
        tx.compete(_insert_anchor, {"size": size, "sink": sink, "receipt": receipt, "at": at})
