"""What verifying the audit log asks its rows: pages of them in order, and what should not be there at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.types import NullType

from flowstone.foundation.errors import DamagedError
from flowstone.stores.audit import PAGE, last_sealed, pending
from flowstone.stores.tables import (
    audit_anchor,
    audit_disclosure,
    audit_entry,
    audit_head,
    audit_log,
    audit_prune,
    audit_redaction,
    audit_seal,
)


def _raw(column: Column[Any]) -> Any:
    """The column as the driver gives it: SQLite holds any type in any column, and it must be read to be found wrong."""
    return type_coerce(column, NullType())


_NAMES = ("project", "subject", "version", "action", "actor", "run_id", "asset", "at", "leaf")
_COLUMNS = [_raw(audit_entry.c[name]) for name in _NAMES]
_BEFORE_ALL = -(2**63)


@contextmanager
def telling_damage() -> Iterator[None]:
    """Raise :class:`DamagedError` where the database says that it is damaged; any other error is itself."""
    try:
        yield
    except Exception as error:
        raised = getattr(error, "orig", error)  # rows are fetched from the driver, past the one that wraps its errors
        name, state = str(getattr(raised, "sqlite_errorname", "")), str(getattr(raised, "sqlstate", None) or "")
        if not name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) and not state.startswith("XX"):
            raise
        raise DamagedError(f"the database cannot be read to its end: {raised}") from error


def strange_values(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """What is of another type than its column: SQLite takes any type anywhere, PostgreSQL does not."""
    if connection.dialect.name != "sqlite":
        return []
    found = []
    for table in tables:
        is_any = or_(*(func.typeof(column).not_in(_types_of(column)) for column in table.columns))
        if not connection.execute(select(literal(1)).select_from(table).where(is_any).limit(1)).first():
            continue
        strange = [func.coalesce(func.sum(func.typeof(column).not_in(_types_of(column))), 0) for column in table.columns]
        counts = connection.execute(select(*strange).select_from(table)).one()
        found += [f"{table.name}.{column.name}" for column, count in zip(table.columns, counts, strict=True) if count]
    return found


def _types_of(column: Column[Any]) -> list[ColumnElement[str]]:
    """As literals: what is bound is compared more slowly, and this is asked of every value."""
    own = "blob" if isinstance(column.type, LargeBinary) else "integer" if isinstance(column.type, Integer) else "text"
    return [literal_column(f"'{name}'") for name in ([own, "null"] if column.nullable else [own])]


AUDIT = (audit_log, audit_entry, audit_seal, audit_head, audit_disclosure, audit_redaction, audit_prune, audit_anchor)
"""The tables of the log."""


class Stored(NamedTuple):
    """An entry as its row has it, and its place; what is of the entry is ``None`` where that is gone.

    Nothing is of the type it should be before that has been looked at.
    """

    seq: Any
    entry: Any
    leaf_hash: Any
    project: Any
    subject: Any
    version: Any
    action: Any
    actor: Any
    run_id: Any
    asset: Any
    at: Any
    leaf: Any


class Beside(NamedTuple):
    """What lies beside entries, by their numbers: disclosed fields with key and value, and fields that were redacted."""

    disclosed: dict[int, dict[str, tuple[Any, Any]]]
    redacted: dict[int, set[str]]


Row = tuple[Any, ...]
"""The values of a :class:`Stored` as the driver gives them: a log has many."""


def sealed(connection: Connection) -> Iterator[tuple[list[Row], Beside]]:
    """The places in their order, each with its entry, a page at a time."""
    joined = audit_seal.outerjoin(audit_entry, audit_entry.c.id == audit_seal.c.entry)
    query = select(audit_seal.c.seq, audit_seal.c.entry, _raw(audit_seal.c.leaf_hash), *_COLUMNS).select_from(joined)
    yield from _pages(connection, query, audit_seal.c.seq, 0)


def unsealed(connection: Connection) -> Iterator[tuple[list[Row], Beside]]:
    """The entries that have no place yet, in the order of their numbers, a page at a time."""
    query = select(null(), audit_entry.c.id, null(), *_COLUMNS)
    query = query.where(~exists().where(audit_seal.c.entry == audit_entry.c.id))
    yield from _pages(connection, query, audit_entry.c.id, 1)


def _pages(connection: Connection, query: Select[Any], key: Column[Any], at: int) -> Iterator[tuple[list[Row], Beside]]:
    """The pages of *query* in the order of *key*, which is its column *at*."""
    last = _BEFORE_ALL
    while True:
        result = connection.execute(query.where(key > last).order_by(key).limit(PAGE))
        page = list(result.cursor.fetchall())
        result.close()
        if not page:
            return
        yield page, _beside(connection, page)
        last = page[-1][at]


def _beside(connection: Connection, page: list[Row]) -> Beside:
    """Ask by the span of the page's numbers, which lie close together: what is of no entry of the page is asked for in vain."""
    beside = Beside({}, {})
    numbers = [row[1] for row in page]
    first, last = min(numbers), max(numbers)
    for entry, field, salt, value in connection.execute(_within(audit_disclosure, first, last)):
        beside.disclosed.setdefault(entry, {})[field] = (salt, value)
    for entry, field, _ in connection.execute(_within(audit_redaction, first, last)):
        beside.redacted.setdefault(entry, set()).add(field)
    return beside


def _within(table: Table, first: int, last: int) -> Select[Any]:
    return select(*map(_raw, table.columns)).where(table.c.entry.between(first, last))


class HeadRow(NamedTuple):
    """A tree head as its row has it."""

    size: Any
    prev_size: Any
    root: Any
    peaks: Any
    note: Any


def heads(connection: Connection) -> Iterator[HeadRow]:
    """Every tree head, the smallest first."""
    query = select(*(_raw(audit_head.c[name]) for name in HeadRow._fields)).order_by(audit_head.c.size).limit(PAGE)
    after: Any = _BEFORE_ALL
    while page := connection.execute(query.where(audit_head.c.size > after)).all():
        yield from map(HeadRow._make, page)
        after = page[-1][0]


def last_sealed_entry(connection: Connection) -> int:
    """The number of the entry that was sealed last; 0 before the first."""
    found = connection.execute(select(last_sealed())).scalar_one()
    return found if type(found) is int else 0


def wrongly_pending(connection: Connection) -> list[tuple[int, bool]]:
    """PostgreSQL: what waits for the sealer, and is sealed or not there: its number, and whether there is such an entry."""
    there = exists().where(audit_entry.c.id == pending.c.entry)
    sealed = exists().where(audit_seal.c.entry == pending.c.entry)
    wrong = select(pending.c.entry, there).where(or_(~there, sealed)).order_by(pending.c.entry).limit(PAGE)
    return [(int(row[0]), bool(row[1])) for row in connection.execute(wrong)]


def waits(connection: Connection, entries: list[int]) -> set[int]:
    """PostgreSQL: those of *entries* that wait for the sealer."""
    return set(connection.execute(select(pending.c.entry).where(pending.c.entry.in_(entries))).scalars())


def prunes(connection: Connection) -> list[tuple[Any, Any]]:
    """Below which places entries are said to be in an archive, and the archive's digest."""
    return [(row[0], row[1]) for row in connection.execute(select(audit_prune.c.below, audit_prune.c.digest))]


def strays(connection: Connection) -> Iterator[tuple[str, Any, Any]]:
    """Disclosures and redactions of entries that are neither there nor sealed: what, entry, field."""
    for word, table in (("disclosure", audit_disclosure), ("redaction", audit_redaction)):
        there = exists().where(audit_entry.c.id == table.c.entry)
        sealed = exists().where(audit_seal.c.entry == table.c.entry)
        for entry, field in connection.execute(select(table.c.entry, table.c.field).where(~there, ~sealed).limit(PAGE)):
            yield word, entry, field


class Versions(NamedTuple):
    """The versions of one subject."""

    project: Any
    subject: Any
    entries: int
    first: Any
    last: Any

    @property
    def are_without_gap(self) -> bool:
        """Whether they are numbers that follow each other."""
        return type(self.first) is type(self.last) is int and self.last - self.first + 1 == self.entries


def sequences(connection: Connection) -> tuple[int, list[Versions]]:
    """How many subjects have entries, and those whose versions are not 1, 2, 3 and so on; the first ones of a page."""
    e, first, last = audit_entry.c, func.min(audit_entry.c.version), func.max(audit_entry.c.version)
    is_broken = or_(first != 1, last - first + 1 != func.count())
    subjects = select(case((is_broken, 1), else_=0).label("broken")).group_by(e.project, e.subject).subquery()
    count, broken = connection.execute(select(func.count(), func.sum(subjects.c.broken)).select_from(subjects)).one()
    if not broken:
        return int(count), []
    query = select(e.project, e.subject, func.count(), first, last).group_by(e.project, e.subject)
    query = query.having(is_broken).order_by(e.project, e.subject).limit(PAGE)
    return int(count), list(map(Versions._make, connection.execute(query)))


def misplaced(connection: Connection) -> list[tuple[Any, Any, Any, Any]]:
    """Versions that were sealed before the version they follow: subject, version, its place, the place of the one before."""
    before, place, place_before = audit_entry.alias("before"), audit_seal, audit_seal.alias("place_before")
    same = and_(
        before.c.project == audit_entry.c.project,
        before.c.subject == audit_entry.c.subject,
        before.c.version == audit_entry.c.version - 1,
    )
    query = select(audit_entry.c.subject, audit_entry.c.version, place.c.seq, place_before.c.seq).join(before, same)
    query = query.join(place, place.c.entry == audit_entry.c.id).join(place_before, place_before.c.entry == before.c.id)
    rows = connection.execute(query.where(audit_entry.c.version > 1, place_before.c.seq > place.c.seq).limit(PAGE))
    return [(row[0], row[1], row[2], row[3]) for row in rows]
