"""The last tick of each project: when the duties were last done, by whom, and what was done. One row a project."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import TickRecord
from flowstone.stores.statements import upserting
from flowstone.stores.tables import tick

_put = upserting(tick, "project")


def _one() -> Select[Any]:
    return select(*(tick.c[name] for name in ("at", "process", "host", "did"))).where(tick.c.project == bindparam("p"))


def _record(row: Any) -> TickRecord:
    return TickRecord(at=row[0], process=row[1], host=row[2], did=from_json(row[3]))


def put(tx: Transaction, project: str, record: TickRecord) -> None:
    """Store *record* as the project's tick."""
    values = {"at": record.at, "process": record.process, "host": record.host, "did": to_json(record.did)}
    tx.execute(_put, {"project": project, **values})


def locked(tx: Transaction, project: str) -> TickRecord | None:
    """The project's tick; nobody else reads it this way before this transaction has ended."""
    tx.lock(f"{project}/tick")
    row = tx.execute(_one, {"p": project}).fetchone()
    return _record(row) if row else None


def last(connection: Connection, project: str) -> TickRecord | None:
    """The project's tick, ``None`` when there was none yet; ``at`` is 0 when the first one has not ended."""
    row = connection.execute(_one(), {"p": project}).first()
    return _record(row) if row else None
