"""Errors, one row per failed attempt; a fingerprint groups what fails alike."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Update, bindparam, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.serialize import from_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import ErrorRecord
from flowstone.stores.statements import Inserting, beginning
from flowstone.stores.tables import error

_insert = Inserting(error)


def _cure() -> Update:
    key = (
        error.c.run_id == bindparam("r"),
        error.c.asset == bindparam("a"),
        error.c.partition == bindparam("k"),
        error.c.cured == 0,
    )
    return update(error).where(*key).values(cured=bindparam("by"))


def add(tx: Transaction, values: dict[str, Any]) -> None:
    """Add an error; ``context`` is JSON text."""
    tx.execute(_insert, {"definition": "", **values, "cured": 0})


def cure(tx: Transaction, run_id: str, asset: str, partition: str, attempt: int) -> None:
    """Note that the errors of earlier attempts were cured by *attempt*."""
    tx.execute(_cure, {"r": run_id, "a": asset, "k": partition, "by": attempt})


def read(
    connection: Connection,
    project: str,
    *,
    run_id: str | None = None,
    asset: str | None = None,
    partition: str | None = None,
    limit: int = 50,
) -> list[ErrorRecord]:
    """The newest errors first."""
    query = select(error).where(error.c.project == project)
    for column, wanted in ((error.c.run_id, run_id), (error.c.asset, asset), (error.c.partition, partition)):
        if wanted is not None:
            query = query.where(column == wanted)
    rows = connection.execute(query.order_by(error.c.at.desc(), error.c.id).limit(limit)).mappings()
    return [_record(row) for row in rows]


def find(connection: Connection, project: str, id: str) -> ErrorRecord:
    """The error with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    query = select(error).where(beginning(error, project, id))
    rows = list(connection.execute(query.order_by(error.c.id).limit(2)).mappings())
    if not rows or (len(rows) > 1 and rows[0]["id"] != id):
        raise NotFoundError(f"there is {'more than one' if rows else 'no'} error {id!r}", hint="flowstone errors lists them")
    return _record(rows[0])


def _record(row: Any) -> ErrorRecord:
    return ErrorRecord.of(row, context=from_json(row["context"]), retryable=bool(row["retryable"]))
