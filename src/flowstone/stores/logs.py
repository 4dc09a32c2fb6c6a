"""Users' log lines and prints, kept per attempt."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from flowstone.foundation.texts import storable
from flowstone.stores.database import Transaction
from flowstone.stores.records import LogRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import log

_insert = Inserting(log, "id")


def add(tx: Transaction, values: dict[str, Any]) -> None:
    """Add a line with the transaction's other lines."""
    values = {"fields": "", **values, "logger": storable(values["logger"]), "message": storable(values["message"])}
    tx.add_row(_insert, *(values[name] for name in _insert.names))


def read(
    connection: Connection, run_id: str, *, asset: str | None = None, after: int = 0, limit: int = 10_000
) -> list[LogRecord]:
    """The lines of a run after the cursor, in order."""
    query = select(log).where(log.c.run_id == run_id, log.c.id > after)
    if asset is not None:
        query = query.where(log.c.asset == asset)
    return [LogRecord.of(row) for row in connection.execute(query.order_by(log.c.id).limit(limit)).mappings()]
