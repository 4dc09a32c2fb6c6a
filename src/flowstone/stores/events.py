"""The event log: append only, read by cursor."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from flowstone.foundation.serialize import from_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import EventRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import event

_insert = Inserting(event, "id")


def add(tx: Transaction, project: str, at: int, name: str, run_id: str | None, payload: str) -> None:
    """Append the event with the transaction's other events, in order."""
    tx.add_row(_insert, project, at, name, run_id, payload)


def read(
    connection: Connection,
    project: str,
    *,
    after: int = 0,
    limit: int = 1000,
    run_id: str | None = None,
    names: tuple[str, ...] = (),
    asset: str | None = None,
) -> list[EventRecord]:
    """At most *limit* events after the cursor, in order; *names* may end in ``*``."""
    query = select(event).where(event.c.project == project, event.c.id > after)
    if run_id is not None:
        query = query.where(event.c.run_id == run_id)
    if names:
        patterns = [event.c.name.startswith(n[:-1], autoescape=True) if n.endswith("*") else event.c.name == n for n in names]
        query = query.where(_any(patterns))
    if asset is not None:
        query = query.where(func.json_extract(event.c.payload, "$.asset") == asset)
    rows = connection.execute(query.order_by(event.c.id).limit(limit)).mappings()
    return [EventRecord.of(row, payload=from_json(row["payload"])) for row in rows]


def _any(conditions: list[Any]) -> Any:
    first, *rest = conditions
    for condition in rest:
        first = first | condition
    return first


def count(connection: Connection, run_id: str) -> int:
    """How many events a run has."""
    return int(connection.execute(select(func.count()).where(event.c.run_id == run_id)).scalar_one())
