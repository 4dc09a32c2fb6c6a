"""Users' log lines and prints, kept per attempt."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from flowstone.foundation.serialize import from_json
from flowstone.foundation.texts import storable
from flowstone.stores.database import Transaction
from flowstone.stores.records import LogRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import log

_insert = Inserting(log, "id")


def add(tx: Transaction, values: dict[str, Any]) -> None:
    """Add a line with the transaction's other lines."""
    values = {**values, "logger": storable(values["logger"]), "message": storable(values["message"])}
    tx.add_row(_insert, *(values[name] for name in _insert.names))


def read(
    connection: Connection,
    run_id: str,
    *,
    asset: str | None = None,
    attempt: int | None = None,
    after: int = 0,
    limit: int = 10_000,
) -> list[LogRecord]:
    """The lines of a run after the one with that id, in order."""
    query = select(log).where(log.c.run_id == run_id, log.c.id > after)
    if asset is not None:
        query = query.where(log.c.asset == asset)
    if attempt is not None:
        query = query.where(log.c.attempt == attempt)
    rows = connection.execute(query.order_by(log.c.id).limit(limit)).mappings()
    return [LogRecord.of(row, fields=from_json(row["fields"]) if row["fields"] else {}) for row in rows]
