"""Deletes old events, lines and errors of ended runs, and processes that ended: bounded windows, one transaction each.

Nothing of a run that has not ended or is held goes, nor the newest event. The events of a run go in order, its first one first:
a run whose first event is there has all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Delete, Table, and_, bindparam, delete, exists, func, or_, select

from flowstone.stores.database import Transaction
from flowstone.stores.statements import Builder
from flowstone.stores.tables import error, event, hold, log, process, run

WINDOW = 5_000  # ids of one transaction
ALL = 2**63 - 1


class Amount(NamedTuple):
    """How many rows, and about how many bytes of text are in them."""

    rows: int
    bytes: int


def _free(table: Table) -> ColumnElement[bool]:
    """Whether the row's run ended before the cutoff and nobody holds it."""
    held = exists().where(hold.c.project == bindparam("p"), hold.c.run_id == run.c.id, hold.c.released_at.is_(None))
    ended = (run.c.id == table.c.run_id, run.c.project == bindparam("p"), run.c.ended_at < bindparam("cutoff"), ~held)
    return exists().where(*ended)


def _old_event() -> ColumnElement[bool]:
    newest = select(func.max(event.c.id)).scalar_subquery()
    age = (event.c.project == bindparam("p"), event.c.at < bindparam("cutoff"), event.c.id < newest)
    folded = (event.c.id <= bindparam("last"), func.coalesce(event.c.xid, 0) < bindparam("open"))
    return and_(*age, *folded, or_(event.c.run_id.is_(None), _free(event)))


def _old_line() -> ColumnElement[bool]:
    return and_(log.c.at < bindparam("cutoff"), _free(log))


def _within(table: Table) -> ColumnElement[bool]:
    return and_(table.c.id >= bindparam("low"), table.c.id < bindparam("high"))


def _delete_events() -> Delete:
    return delete(event).where(_within(event), _old_event())


def _delete_lines() -> Delete:
    return delete(log).where(_within(log), _old_line())


class Kind(NamedTuple):
    """One numbered table of what happened: which rows are old, what they weigh, how they go."""

    name: str
    table: Table
    is_old: ColumnElement[bool]
    weight: ColumnElement[int]
    deleting: Builder


EVENTS = Kind("events", event, _old_event(), func.length(event.c.payload) + 100, _delete_events)
LINES = Kind("logs", log, _old_line(), func.length(log.c.message) + 100, _delete_lines)


def windows(connection: Connection, kind: Kind, cutoff: int) -> list[tuple[int, int]]:
    """The id ranges that may hold rows older than *cutoff*."""
    begin, end = span_before(connection, kind.table, cutoff)
    return [(start, min(start + WINDOW, end)) for start in range(begin, end, WINDOW)]


def span_before(connection: Connection, table: Table, cutoff: int) -> tuple[int, int]:
    """The first id, and the first one that is not older than *cutoff*: ids grow with time, so it is found by halving."""
    begin = connection.execute(select(func.min(table.c.id))).scalar()
    if begin is None:
        return 0, 0
    first, last = int(begin), int(connection.execute(select(func.max(table.c.id))).scalar_one()) + 1
    while first < last:
        middle = (first + last) // 2
        at = connection.execute(select(table.c.at).where(table.c.id >= middle).order_by(table.c.id).limit(1)).scalar()
        if at is not None and at < cutoff:
            first = middle + 1
        else:
            last = middle
    return int(begin), first


class Limits(NamedTuple):
    """What may go: rows older than ``cutoff``, and events up to the number ``last`` of transactions before ``open``."""

    cutoff: int
    last: int = ALL
    open: int = ALL


def old(connection: Connection, kind: Kind, project: str, limits: Limits, window: tuple[int, int]) -> Amount:
    """What of one window would go."""
    amount = select(func.count(), func.coalesce(func.sum(kind.weight), 0)).where(_within(kind.table), kind.is_old)
    return Amount(*map(int, connection.execute(amount, _values(project, limits, window)).one()))


def delete_old(tx: Transaction, kind: Kind, project: str, limits: Limits, window: tuple[int, int]) -> int:
    """Delete the old rows of one window; return how many there were."""
    return int(tx.execute(kind.deleting, _values(project, limits, window)).rowcount)


def _values(project: str, limits: Limits, window: tuple[int, int]) -> dict[str, Any]:
    return {"p": project, "low": window[0], "high": window[1], **limits._asdict()}


def runs_with_errors(connection: Connection, project: str, cutoff: int) -> list[tuple[str, Amount]]:
    """The runs whose errors are old, each with what they weigh: errors of one run go together."""
    weight = func.length(error.c.traceback) + func.length(error.c.message) + func.length(error.c.context) + 200
    query = select(error.c.run_id, func.count(), func.sum(weight)).where(error.c.project == bindparam("p"), _free(error))
    rows = connection.execute(query.group_by(error.c.run_id).order_by(error.c.run_id), {"p": project, "cutoff": cutoff})
    return [(run_id, Amount(int(count), int(size))) for run_id, count, size in rows]


def _delete_errors() -> Delete:
    return delete(error).where(error.c.project == bindparam("p"), error.c.run_id == bindparam("r"), _free(error))


def delete_errors(tx: Transaction, project: str, run_id: str, cutoff: int) -> int:
    """Delete the errors of one run, unless it is held."""
    return int(tx.execute(_delete_errors, {"p": project, "r": run_id, "cutoff": cutoff}).rowcount)


def _delete_process() -> Delete:
    return delete(process).where(process.c.id == bindparam("gone"))


def ended_processes(connection: Connection, cutoff: int) -> list[str]:
    """The processes that ended before *cutoff*: a process ends only when nothing of it is open."""
    return list(connection.execute(select(process.c.id).where(process.c.ended_at < cutoff)).scalars())


def delete_process(tx: Transaction, id: str) -> bool:
    """Delete the row of a process that has ended."""
    return bool(tx.execute(_delete_process, {"gone": id}).rowcount == 1)
