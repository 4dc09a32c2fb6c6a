"""The outbox: messages written with their cause, claimed, delivered, and tried again by whoever comes first."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Delete, Select, Update, bindparam, delete, func, or_, select, update

from flowstone.foundation.serialize import from_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import NotificationRecord
from flowstone.stores.statements import inserting_once
from flowstone.stores.tables import materialization, notification, run

_insert = inserting_once(notification)


def _claim() -> Update:
    seen = (
        notification.c.id == bindparam("row"), notification.c.status == "pending",
        notification.c.tries == bindparam("seen"), notification.c.process == bindparam("by"),
    )  # fmt: skip
    claimed = {"process": bindparam("me"), "tries": notification.c.tries + 1, "not_before": bindparam("until")}
    return update(notification).where(*seen).values(claimed)


def _settle() -> Update:
    mine = (
        notification.c.id == bindparam("row"), notification.c.status == "pending",
        notification.c.tries == bindparam("seen"), notification.c.process == bindparam("me"),
    )  # fmt: skip
    ended = {"status": bindparam("new"), "ended_at": bindparam("end"), "message": bindparam("text"), "process": ""}
    return update(notification).where(*mine).values(not_before=bindparam("later"), **ended)


def _delete_ended() -> Delete:
    old = (notification.c.project == bindparam("p"), notification.c.ended_at < bindparam("before"))
    some = select(notification.c.id).where(*old).order_by(notification.c.ended_at).limit(bindparam("most"))
    return delete(notification).where(notification.c.id.in_(some))


def _failed() -> Select[Any]:
    key = (materialization.c.run_id == bindparam("run_id"), materialization.c.status == "failed")
    return select(materialization.c.asset, materialization.c.partition).where(*key).order_by(materialization.c.id)


def _before() -> Select[Any]:
    ended = (run.c.project == bindparam("p"), run.c.pipeline == bindparam("name"), run.c.id != bindparam("run_id"))
    told = or_(*(run.c.status == status for status in ("success", "partial", "failed")))
    newest = select(run.c.status, run.c.ended_at).where(*ended, told).order_by(run.c.requested_at.desc()).limit(50).subquery()
    return select(newest.c.status).order_by(newest.c.ended_at.desc()).limit(1)


def add(tx: Transaction, values: dict[str, Any]) -> bool:
    """Add a message to be delivered; return ``False`` when there is one about the same cause and subject for that channel."""
    fresh = {"status": "pending", "tries": 0, "ended_at": None, "process": "", "message": "", "not_before": values["at"]}
    return bool(tx.execute(_insert, {**fresh, **values}).rowcount == 1)


def failed_in(tx: Transaction, run_id: str) -> list[tuple[str, str]]:
    """The assets and partitions that failed in a run, in order."""
    return [(row[0], row[1]) for row in tx.execute(_failed, {"run_id": run_id}).fetchall()]


def ended_before(tx: Transaction, project: str, pipeline: str, run_id: str) -> str:
    """How the pipeline's run that ended last, not counting *run_id* and cancelled ones, has ended; empty when there is none."""
    row = tx.execute(_before, {"p": project, "name": pipeline, "run_id": run_id}).fetchone()
    return str(row[0]) if row else ""


def claim(tx: Transaction, record: NotificationRecord, process: str, until: int) -> bool:
    """Take the message to deliver it, as it was when *record* was read; nobody else may before *until* unless *process* dies."""
    seen = {"row": record.id, "seen": record.tries, "by": record.process}
    return bool(tx.execute(_claim, {**seen, "me": process, "until": until}).rowcount == 1)


def settle(
    tx: Transaction, record: NotificationRecord, process: str, *, status: str, now: int, text: str = "", later: int | None = None
) -> bool:
    """Say how the delivery that *process* had claimed after *record* was read has ended; ``False`` when it was taken away.

    *status* is ``delivered``, ``failed`` or, to be tried again *later*, ``pending``.
    """
    values = {
        "row": record.id, "seen": record.tries + 1, "me": process, "new": status, "text": text,
        "end": None if status == "pending" else now, "later": later,
    }  # fmt: skip
    return bool(tx.execute(_settle, values).rowcount == 1)


def pending(connection: Connection, project: str, limit: int) -> list[NotificationRecord]:
    """The first *limit* messages that are not delivered, those due first; who has claimed some of them is in the record."""
    key = (notification.c.project == project, notification.c.status == "pending")
    query = select(notification).where(*key).order_by(notification.c.not_before, notification.c.id).limit(limit)
    return [_record(row) for row in connection.execute(query).mappings()]


def read(connection: Connection, project: str, *, status: str | None = None, limit: int = 50) -> list[NotificationRecord]:
    """The newest messages first."""
    query = select(notification).where(notification.c.project == project)
    if status is not None:
        query = query.where(notification.c.status == status)
    rows = connection.execute(query.order_by(notification.c.at.desc(), notification.c.id).limit(limit)).mappings()
    return [_record(row) for row in rows]


def counts(connection: Connection, project: str) -> dict[str, int]:
    """How many messages have which status."""
    key = notification.c.project == project
    rows = connection.execute(select(notification.c.status, func.count()).where(key).group_by(notification.c.status))
    return {row[0]: row[1] for row in rows}


def ended(connection: Connection, project: str, before: int) -> int:
    """How many messages were delivered or given up before that moment."""
    old = (notification.c.project == project, notification.c.ended_at < before)
    return int(connection.execute(select(func.count()).select_from(notification).where(*old)).scalar_one())


def delete_ended(tx: Transaction, project: str, before: int, most: int) -> int:
    """Delete at most so many of them, the oldest; return how many."""
    return int(tx.execute(_delete_ended, {"p": project, "before": before, "most": most}).rowcount)


def _record(row: Any) -> NotificationRecord:
    return NotificationRecord.of(row, payload=from_json(row["payload"]))
