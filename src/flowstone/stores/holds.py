"""Holds: what must not be collected, erased or pruned until somebody releases it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.stores.asking import Asked, ask
from flowstone.stores.database import Transaction
from flowstone.stores.records import HoldRecord
from flowstone.stores.statements import Inserting, beginning
from flowstone.stores.tables import hold

_insert = Inserting(hold)
_FIELDS = HoldRecord.__struct_fields__
_columns = [hold.c[name] for name in _FIELDS]


def _release() -> Update:
    key = (hold.c.project == bindparam("p"), hold.c.id == bindparam("hold_id"), hold.c.released_at.is_(None))
    return update(hold).where(*key).values(released_at=bindparam("at"), released_by=bindparam("by"))


def _active() -> Select[Any]:
    return select(*_columns).where(hold.c.project == bindparam("p"), hold.c.released_at.is_(None)).order_by(hold.c.at)


def guard(tx: Transaction, project: str) -> None:
    """Let nobody else of *project* add a hold or make bytes go until this transaction has ended."""
    tx.lock(f"{project}/keeping")


def add(tx: Transaction, project: str, record: HoldRecord) -> None:
    """Add a hold."""
    tx.execute(_insert, {"project": project, **{name: getattr(record, name) for name in _FIELDS}})


def release(tx: Transaction, project: str, id: str, by: str, at: int) -> bool:
    """End a hold; return ``False`` when it is not there or has been released before."""
    return bool(tx.execute(_release, {"p": project, "hold_id": id, "by": by, "at": at}).rowcount == 1)


def active(place: Asked, project: str) -> list[HoldRecord]:
    """The holds in force, oldest first."""
    return [HoldRecord(**dict(zip(_FIELDS, row, strict=True))) for row in ask(place, _active, {"p": project})]


def every(connection: Connection, project: str) -> list[HoldRecord]:
    """Every hold there is or was, oldest first."""
    rows = connection.execute(select(*_columns).where(hold.c.project == project).order_by(hold.c.at, hold.c.id)).mappings()
    return [HoldRecord.of(row) for row in rows]


def find(connection: Connection, project: str, id: str) -> HoldRecord:
    """The hold with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    query = select(*_columns).where(beginning(hold, project, id))
    rows = list(connection.execute(query.order_by(hold.c.id).limit(2)).mappings())
    if not rows or (len(rows) > 1 and rows[0]["id"] != id):
        raise NotFoundError(f"there is {'more than one' if rows else 'no'} hold {id!r}", hint="flowstone hold list lists them")
    return HoldRecord.of(rows[0])
