"""The event log: append only, read by cursor."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, or_, select

from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.cursors import Places, places
from flowstone.stores.database import Transaction
from flowstone.stores.records import EventRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import event

PAGE = 1000

_insert = Inserting(event, "id", "xid")


def add(tx: Transaction, project: str, at: int, name: str, run_id: str | None, payload: str) -> None:
    """Append the event with the transaction's other events, in order."""
    tx.add_row(_insert, project, at, name, run_id, payload)


def read(
    connection: Connection,
    project: str,
    *,
    after: str | None = None,
    limit: int = PAGE,
    run_id: str | None = None,
    names: tuple[str, ...] = (),
    asset: str | None = None,
) -> list[EventRecord]:
    """At most *limit* events in order; *names* may end in ``*``.

    Without *after* from the first, and all that are recorded. After a cursor, none is missed and none comes twice: events
    that others of a transaction still open could precede are left for later. Raises :class:`UsageError` for a text that is no
    cursor.
    """
    where = places(connection)
    query = select(event).where(event.c.project == project)
    if run_id is not None:
        query = query.where(event.c.run_id == run_id)
    if names:
        query = query.where(or_(*(_named(name) for name in names)))
    if asset is not None:  # a payload that holds it anywhere; where exactly is seen below
        query = query.where(event.c.payload.contains(f'"asset":{to_json(asset)}', autoescape=True))
    if after is not None:
        query = query.where(where.after(after))
        settled = where.settled()
        query = query if settled is None else query.where(settled)
    return _page(connection, query.order_by(*where.order), where, limit, asset)


def read_on(
    connection: Connection,
    project: str,
    *,
    after: str | None,
    run_id: str | None = None,
    names: tuple[str, ...] = (),
    asset: str | None = None,
) -> tuple[list[EventRecord], str]:
    """A page of the events after the cursor, and the cursor behind all that was looked at; ``None`` begins at the end."""
    if after is None:
        return [], places(connection).end()
    found = read(connection, project, after=after, run_id=run_id, names=names, asset=asset)
    return found, found[-1].cursor if len(found) == PAGE else places(connection).end()


def newest_outside_runs(connection: Connection, project: str, name: str, asset: str, partition: str) -> EventRecord | None:
    """The newest event of that name that concerns one asset's partition and belongs to no run."""
    query = select(event).where(event.c.project == project, event.c.run_id.is_(None), event.c.name == name)
    where = places(connection)
    for row in connection.execute(query.order_by(event.c.id.desc())).mappings():
        payload = from_json(row["payload"])
        if (payload.get("asset"), payload.get("partition", "")) == (asset, partition):
            return EventRecord.of(row, payload=payload, cursor=where.cursor(row))
    return None


def newest(connection: Connection, project: str, name: str) -> EventRecord | None:
    """The newest event of that name that belongs to no run."""
    where = places(connection)
    query = select(event).where(event.c.project == project, event.c.run_id.is_(None), event.c.name == name)
    row = connection.execute(query.order_by(event.c.id.desc()).limit(1)).mappings().first()
    return EventRecord.of(row, payload=from_json(row["payload"]), cursor=where.cursor(row)) if row else None


def _page(connection: Connection, query: Select[Any], where: Places, limit: int, asset: str | None) -> list[EventRecord]:
    found: list[EventRecord] = []
    query = query.limit(limit) if asset is None else query.execution_options(yield_per=PAGE)
    with connection.execute(query) as result:
        for row in result.mappings():
            payload = from_json(row["payload"])
            if asset is None or payload.get("asset") == asset:
                found.append(EventRecord.of(row, payload=payload, cursor=where.cursor(row)))
                if len(found) == limit:
                    break
    return found


def _named(name: str) -> ColumnElement[bool]:
    return event.c.name.startswith(name[:-1], autoescape=True) if name.endswith("*") else event.c.name == name


def _first() -> Select[Any]:
    return select(event.c.payload).where(event.c.run_id == bindparam("r"), event.c.name == bindparam("n")).order_by(event.c.id)


def first(tx: Transaction, run_id: str, name: str) -> dict[str, Any]:
    """The payload of a run's first event of that name; empty when it has none."""
    row = tx.execute(_first, {"r": run_id, "n": name}).fetchone()
    return dict(from_json(row[0])) if row is not None else {}


def count(connection: Connection, run_id: str) -> int:
    """How many events a run has."""
    return int(connection.execute(select(func.count()).where(event.c.run_id == run_id)).scalar_one())
