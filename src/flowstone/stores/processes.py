"""Processes that hold the store: who is alive is a fact, not a guess."""

from __future__ import annotations

from sqlalchemy import Connection, Select, Update, bindparam, func, select, update

from flowstone.stores.database import Transaction
from flowstone.stores.records import ProcessRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import attempt, process

_insert = Inserting(process)


def _end() -> Update:
    return update(process).where(process.c.id == bindparam("process_id")).values(ended_at=bindparam("at"))


def _bury() -> Update:
    unchanged = (process.c.id == bindparam("process_id"), process.c.heartbeat_at == bindparam("seen"))
    return update(process).where(*unchanged, process.c.ended_at.is_(None)).values(ended_at=bindparam("at"))


def _beat() -> Update:
    return (
        update(process)
        .where(process.c.id == bindparam("process_id"), process.c.ended_at.is_(None))
        .values(heartbeat_at=bindparam("now"))
    )


def _stand() -> Update:
    return update(process).where(process.c.id == bindparam("process_id")).values(heartbeat_at=bindparam("now"), ended_at=None)


def _tell() -> Update:
    return update(process).where(process.c.id == bindparam("process_id")).values(handlers=bindparam("figures"))


def _newest_attempt() -> Select[tuple[int]]:
    return select(func.coalesce(func.max(attempt.c.id), 0))


def register(tx: Transaction, id: str, host: str, pid: int, at: int) -> None:
    """Add the row of a process that begins."""
    before = int(tx.execute(_newest_attempt, {}).fetchone()[0])
    values = {"id": id, "host": host, "pid": pid, "started_at": at, "heartbeat_at": at, "ended_at": None, "handlers": ""}
    tx.execute(_insert, {**values, "attempts_before": before})


def end(tx: Transaction, id: str, at: int) -> None:
    """Say that the process has ended in good order."""
    tx.execute(_end, {"process_id": id, "at": at})


def bury(tx: Transaction, record: ProcessRecord, at: int | None) -> bool:
    """Say that the process was found dead (*at* ``None``: part of it); ``False`` when it moved since *record* was read."""
    values = {"process_id": record.id, "seen": record.heartbeat_at, "at": at}
    return bool(tx.execute(_bury, values).rowcount == 1)


def beat(tx: Transaction, id: str, at: int) -> bool:
    """Say that the process lives; ``False`` when it was taken for dead."""
    return bool(tx.execute(_beat, {"process_id": id, "now": at}).rowcount == 1)


def stand(tx: Transaction, id: str, at: int) -> None:
    """Say that the process lives, whoever took it for dead: what it held then was taken from it, and stays so."""
    tx.execute(_stand, {"process_id": id, "now": at})


def tell(tx: Transaction, id: str, figures: str) -> None:
    """Keep the figures of the process's observers, as JSON."""
    tx.execute(_tell, {"process_id": id, "figures": figures})


def recent(connection: Connection, limit: int) -> list[ProcessRecord]:
    """The processes that began last, the newest first."""
    rows = connection.execute(select(process).order_by(process.c.started_at.desc(), process.c.id.desc()).limit(limit))
    return [ProcessRecord.of(row) for row in rows.mappings()]


def not_ended(connection: Connection) -> list[ProcessRecord]:
    """The processes nobody has seen the end of."""
    rows = connection.execute(select(process).where(process.c.ended_at.is_(None)).order_by(process.c.started_at))
    return [ProcessRecord.of(row) for row in rows.mappings()]


def find(connection: Connection, id: str) -> ProcessRecord | None:
    """The process with this id."""
    row = connection.execute(select(process).where(process.c.id == id)).mappings().first()
    return ProcessRecord.of(row) if row else None
