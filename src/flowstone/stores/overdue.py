"""Values that were late: one row for each asset and partition, and when the value arrived after all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Update, bindparam, case, func, select, tuple_, update

from flowstone.stores.database import Transaction
from flowstone.stores.records import OverdueRecord
from flowstone.stores.statements import inserting_once
from flowstone.stores.tables import attempt, current_output, materialization, output, overdue, run

LOOKED = 20  # of the newest materializations that ended well: which of them is the last one is told by their times
_CHUNK = 200

_insert = inserting_once(overdue)


def _again() -> Update:
    key = (overdue.c.project == bindparam("p"), overdue.c.asset == bindparam("a"), overdue.c.partition == bindparam("k"))
    spell = case((overdue.c.met_at.is_(None), overdue.c.at), else_=bindparam("now"))  # since when it has been late on end
    moved: dict[str, Any] = {"due_at": bindparam("due"), "at": spell, "met_at": None}
    return update(overdue).where(*key, overdue.c.due_at < bindparam("due")).values(moved)


def _meet() -> Update:
    key = (overdue.c.project == bindparam("p"), overdue.c.asset == bindparam("a"), overdue.c.partition == bindparam("k"))
    late = (overdue.c.due_at == bindparam("due"), overdue.c.met_at.is_(None))
    return update(overdue).where(*key, *late).values(met_at=bindparam("now"))


def add(tx: Transaction, project: str, asset: str, partition: str, due_at: int, now: int, *, again: bool = False) -> bool:
    """Say that the value is late; return whether nobody had said so. With *again* it can be late once for each due time."""
    row = {"project": project, "asset": asset, "partition": partition, "due_at": due_at, "at": now, "met_at": None}
    if tx.execute(_insert, row).rowcount == 1:
        return True
    moved = {"p": project, "a": asset, "k": partition, "due": due_at, "now": now}
    return again and bool(tx.execute(_again, moved).rowcount == 1)


def meet(tx: Transaction, project: str, late: OverdueRecord, now: int) -> bool:
    """Say that the value is there, or not waited for any more; return whether nobody had said so."""
    values = {"p": project, "a": late.asset, "k": late.partition, "due": late.due_at, "now": now}
    return bool(tx.execute(_meet, values).rowcount == 1)


def unmet(connection: Connection, project: str) -> list[OverdueRecord]:
    """What is late now, longest first."""
    query = select(overdue).where(overdue.c.project == project, overdue.c.met_at.is_(None))
    rows = connection.execute(query.order_by(overdue.c.due_at, overdue.c.asset, overdue.c.partition)).mappings()
    return [OverdueRecord.of(row) for row in rows]


def told(connection: Connection, project: str, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], OverdueRecord]:
    """What was ever said of these assets and partitions."""
    wanted, found = list(places), []
    query, place = select(overdue).where(overdue.c.project == project), tuple_(overdue.c.asset, overdue.c.partition)
    for i in range(0, len(wanted), _CHUNK):
        rows = connection.execute(query.where(place.in_(wanted[i : i + _CHUNK]))).mappings()
        found += [OverdueRecord.of(row) for row in rows]
    return {(record.asset, record.partition): record for record in found}


def made_at(connection: Connection, project: str, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """When the current output of each of these assets and partitions was made; without those that have none."""
    found: dict[tuple[str, str], int] = {}
    wanted, place = list(places), tuple_(current_output.c.asset, current_output.c.partition)
    query = select(current_output.c.asset, current_output.c.partition, output.c.created_at)
    query = query.join(output, output.c.id == current_output.c.output).where(current_output.c.project == project)
    for i in range(0, len(wanted), _CHUNK):
        found |= {(row[0], row[1]): row[2] for row in connection.execute(query.where(place.in_(wanted[i : i + _CHUNK])))}
    return found


def confirmed_at(connection: Connection, project: str, asset: str, partition: str) -> int | None:
    """When a run last computed the value or found it up to date; ``None`` when none did. Reused counts from the run's request."""
    good = materialization.c.status.in_(("success", "reused"))
    key = (materialization.c.project == project, materialization.c.asset == asset, materialization.c.partition == partition)
    newest = select(materialization.c.id, materialization.c.run_id).where(*key, good)
    rows = newest.order_by(materialization.c.id.desc()).limit(LOOKED).subquery()
    ended = func.coalesce(attempt.c.ended_at, run.c.requested_at)
    won = (attempt.c.materialization == rows.c.id) & (attempt.c.status == "success")
    query = select(func.max(ended)).select_from(rows).join(run, run.c.id == rows.c.run_id).outerjoin(attempt, won)
    found = connection.execute(query).scalar()
    return None if found is None else int(found)
