"""Errors, one row per failed attempt; a fingerprint groups what fails alike."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, func, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.serialize import from_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import ErrorRecord
from flowstone.stores.statements import Inserting, beginning
from flowstone.stores.tables import error

_insert = Inserting(error)


_uncured = (
    error.c.run_id == bindparam("r"),
    error.c.asset == bindparam("a"),
    error.c.partition == bindparam("k"),
    error.c.cured == 0,
)


def _to_cure() -> Select[Any]:
    return select(error.c.fingerprint, func.count()).where(*_uncured).group_by(error.c.fingerprint)


def _cure() -> Update:
    return update(error).where(*_uncured).values(cured=bindparam("by"))


def add(tx: Transaction, values: dict[str, Any]) -> None:
    """Add an error; ``context`` is JSON text."""
    tx.execute(_insert, {**values, "cured": 0})


def cure(tx: Transaction, run_id: str, asset: str, partition: str, attempt: int) -> dict[str, int]:
    """Note that the errors of earlier attempts were cured by *attempt*; return how many of each fingerprint there were."""
    place = {"r": run_id, "a": asset, "k": partition}
    found = {row[0]: int(row[1]) for row in tx.execute(_to_cure, place).fetchall()}
    if found:
        tx.execute(_cure, {**place, "by": attempt})
    return found


def read(
    connection: Connection,
    project: str,
    *,
    run_id: str | None = None,
    asset: str | None = None,
    partition: str | None = None,
    fingerprint: str | None = None,
    limit: int = 50,
) -> list[ErrorRecord]:
    """The newest errors first."""
    query = select(error).where(error.c.project == project)
    given = {"run_id": run_id, "asset": asset, "partition": partition, "fingerprint": fingerprint}
    for column, wanted in ((error.c[name], value) for name, value in given.items()):
        if wanted is not None:
            query = query.where(column == wanted)
    rows = connection.execute(query.order_by(error.c.at.desc(), error.c.id).limit(limit)).mappings()
    return [_record(row) for row in rows]


def find(connection: Connection, project: str, id: str) -> ErrorRecord:
    """The error with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    query = select(error).where(beginning(error, project, id))
    rows = list(connection.execute(query.order_by(error.c.id).limit(2)).mappings())
    if not rows or (len(rows) > 1 and rows[0]["id"] != id):
        what = "more than one" if rows else "no"
        raise NotFoundError(f"there is {what} error {id!r}", hint="flowstone errors --each lists them")
    return _record(rows[0])


def _record(row: Any) -> ErrorRecord:
    return ErrorRecord.of(row, context=from_json(row["context"]), retryable=bool(row["retryable"]))
