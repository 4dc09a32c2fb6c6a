"""What the event log was folded into: how far each metric has come, and its figures. One transaction changes both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Update, bindparam, case, delete, select, update

from flowstone.stores.cursors import places
from flowstone.stores.database import Transaction
from flowstone.stores.statements import inserting_once, upserting
from flowstone.stores.tables import event, fold, series

PAGE = 2_000


class Reached(NamedTuple):
    """How far one metric has come, by which definition."""

    digest: str
    cursor: str


class Row(NamedTuple):
    """The figures of one set of label values; ``labels``, ``buckets`` and ``exemplars`` are JSON, or empty."""

    metric: str
    labels: str
    taken: int
    total: float
    buckets: str
    exemplars: str
    at: int


class Happened(NamedTuple):
    """A recorded event as a fold needs it; without a payload when no metric asks for one."""

    name: str
    payload: str | None


_begin = inserting_once(fold, keys=("project", "metric"))
_put = upserting(series, "project", "metric", "labels")


def _advance() -> Update:
    expected = (fold.c.digest == bindparam("before_digest"), fold.c.cursor == bindparam("before_cursor"))
    key = (fold.c.project == bindparam("p"), fold.c.metric == bindparam("m"))
    return update(fold).where(*key, *expected).values(digest=bindparam("d"), cursor=bindparam("c"), at=bindparam("now"))


def _forget() -> Delete:
    return delete(series).where(series.c.project == bindparam("p"), series.c.metric == bindparam("m"))


def reached(connection: Connection, project: str) -> dict[str, Reached]:
    """How far each metric of *project* has come."""
    query = select(fold.c.metric, fold.c.digest, fold.c.cursor).where(fold.c.project == project)
    return {metric: Reached(digest, cursor) for metric, digest, cursor in connection.execute(query)}


def rows(connection: Connection, project: str) -> Iterable[Row]:
    """Every figure of *project*, by metric and labels."""
    columns = (
        series.c.metric, series.c.labels, series.c.count, series.c.total, series.c.buckets, series.c.exemplars, series.c.at,
    )  # fmt: skip
    query = select(*columns).where(series.c.project == project)
    return map(Row._make, connection.execute(query.order_by(series.c.metric, series.c.labels)))


def end(connection: Connection) -> str:
    """The cursor before what is recorded from now on: all events before it are there, whatever is still being written."""
    return places(connection).end()


def page(connection: Connection, project: str, after: str, until: str, names: Iterable[str]) -> tuple[list[Happened], str | None]:
    """The events of *project* among the next :data:`PAGE` events of the store, and the cursor behind all that was looked at.

    The cursor is ``None`` when there is nothing between *after* and *until*. Payloads are given for *names* alone.
    """
    where = places(connection)
    payload = case((event.c.name.in_(list(names)), event.c.payload))
    query = select(event.c.id, event.c.xid, event.c.project, event.c.name, payload.label("payload"))
    query = query.where(where.after(after), where.upto(until)).order_by(*where.order).limit(PAGE)
    found = connection.execute(query).mappings().all()
    if not found:
        return [], None
    behind = where.cursor(found[-1]) if len(found) == PAGE else until
    return [Happened(row["name"], row["payload"]) for row in found if row["project"] == project], behind


def advance(tx: Transaction, project: str, metric: str, before: Reached | None, now: Reached, at: int) -> bool:
    """Move a metric on from *before*; ``False`` when somebody else did, and nothing of this transaction may stay then."""
    if before is None:
        values = {"project": project, "metric": metric, "digest": now.digest, "cursor": now.cursor, "at": at}
        return bool(tx.execute(_begin, values).rowcount == 1)
    values = {"p": project, "m": metric, "before_digest": before.digest, "before_cursor": before.cursor}
    won = tx.execute(_advance, {**values, "d": now.digest, "c": now.cursor, "now": at}).rowcount == 1
    if won and before.digest != now.digest:
        tx.execute(_forget, {"p": project, "m": metric})
    return bool(won)


def put(tx: Transaction, project: str, row: Row) -> None:
    """Write the figures of one set of label values in the place of what was there."""
    values: dict[str, Any] = {"project": project, **row._asdict()}
    tx.execute(_put, {**values, "count": row.taken})
