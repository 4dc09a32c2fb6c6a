"""Materializations and their attempts: claims and settlements are compare-and-set, the loser sees rowcount 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Delete, Select, Update, bindparam, delete, func, or_, select, tuple_, update

from flowstone.stores.database import Transaction
from flowstone.stores.records import AttemptRecord, MaterializationRecord, OutputRecord
from flowstone.stores.statements import numbering
from flowstone.stores.tables import attempt, materialization
from flowstone.stores.tables import process as processes

_insert = numbering(materialization, once=True)
_insert_attempt = numbering(attempt)


def _retry() -> Update:
    return (
        update(materialization)
        .where(materialization.c.id == bindparam("row"), materialization.c.status == "retrying")
        .values(status="running", attempts=materialization.c.attempts + 1, not_before=None)
    )


def _forget() -> Delete:
    return delete(materialization).where(materialization.c.id == bindparam("row"))


def _put_back() -> Update:
    return (
        update(materialization)
        .where(materialization.c.id == bindparam("row"))
        .values(status="retrying", attempts=materialization.c.attempts - 1)
    )


def _settle() -> Update:
    return (
        update(materialization)
        .where(materialization.c.id == bindparam("row"), materialization.c.status == "running")
        .values(
            status=bindparam("new"),
            reason=bindparam("why"),
            message=bindparam("text"),
            output=bindparam("made"),
            not_before=bindparam("until"),
            later=materialization.c.later + bindparam("postponed"),
        )
    )


def _settle_attempt() -> Update:
    return (
        update(attempt)
        .where(attempt.c.id == bindparam("row"), attempt.c.process == bindparam("holder"), attempt.c.status == "running")
        .values(status=bindparam("new"), ended_at=bindparam("end"), duration_ns=bindparam("took"), error=bindparam("failure"))
    )


def _conclude() -> Update:
    place = (
        materialization.c.run_id == bindparam("r"),
        materialization.c.asset == bindparam("a"),
        materialization.c.partition == bindparam("k"),
    )
    changes: dict[str, Any] = {
        "status": bindparam("new"),
        "reason": bindparam("why"),
        "message": bindparam("text"),
        "output": bindparam("made"),
    }
    return update(materialization).where(*place, materialization.c.status == "retrying").values(**changes, not_before=None)


def _decide() -> Update:
    changes: dict[str, Any] = {
        "status": bindparam("new"),
        "reason": bindparam("why"),
        "message": bindparam("text"),
        "output": bindparam("made"),
        "not_before": bindparam("until"),
    }
    waiting = (materialization.c.id == bindparam("row"), materialization.c.status == "waiting")
    return update(materialization).where(*waiting).values(**changes)


def _waiting_at() -> Select[Any]:
    place = (
        materialization.c.project == bindparam("p"),
        materialization.c.asset == bindparam("a"),
        materialization.c.partition == bindparam("k"),
        materialization.c.status == "waiting",
    )
    columns = (materialization.c.id, materialization.c.run_id, materialization.c.reason)
    return select(*columns).where(*place).order_by(materialization.c.id)


def _cancel() -> Update:
    status = materialization.c.status
    unended = (materialization.c.run_id == bindparam("r"), or_(status == "running", status == "retrying", status == "waiting"))
    changes: dict[str, Any] = {
        "status": "cancelled",
        "reason": bindparam("why"),
        "message": bindparam("text"),
        "not_before": None,
    }
    return update(materialization).where(*unended).values(**changes)


def _open() -> Select[Any]:
    status = materialization.c.status
    unended = (materialization.c.run_id == bindparam("r"), or_(status == "running", status == "retrying", status == "waiting"))
    return select(materialization.c.asset, materialization.c.partition).where(*unended).order_by(materialization.c.id)


def _number() -> Select[Any]:
    row = materialization.c
    return select(row.id).where(row.run_id == bindparam("r"), row.asset == bindparam("a"), row.partition == bindparam("k"))


def _later_of() -> Select[Any]:
    return select(materialization.c.later).where(materialization.c.id == bindparam("row"))


_ENDING = ("id", "status", "attempts", "later", "reason", "output")


def _endings() -> Select[Any]:
    return select(*(materialization.c[name] for name in _ENDING)).where(materialization.c.run_id == bindparam("r"))


def _counts() -> Select[Any]:
    of_run = select(materialization.c.status, func.count()).where(materialization.c.run_id == bindparam("r"))
    return of_run.group_by(materialization.c.status)


def claim_new(tx: Transaction, project: str, run_id: str, asset: str, partition: str) -> int | None:
    """Add the running materialization; return its row, or ``None`` when another claim won."""
    return tx.insert(_insert, _row(project, run_id, asset, partition, "running", attempts=1))


def claim_again(tx: Transaction, row: int) -> bool:
    """Move a retrying materialization to running; return whether this claim won, over those of other runs too."""
    return tx.compete(_retry, {"row": row})


def unclaim(tx: Transaction, row: int, *, new: bool) -> None:
    """Undo a claim of this transaction, for which no attempt has begun; *new*: which added the row."""
    tx.execute(_forget if new else _put_back, {"row": row})


def begin_attempt(tx: Transaction, row: int, number: int, process: str, at: int) -> int:
    """Add the attempt's row and return it."""
    values = {"materialization": row, "number": number, "process": process, "status": "running", "started_at": at}
    made = tx.insert(_insert_attempt, {**values, "ended_at": None, "duration_ns": None, "error": ""})
    assert made is not None  # a plain insert makes a row or raises
    return made


def settle_attempt(
    tx: Transaction, row: int, process: str, status: str, at: int, duration_ns: int | None, error: str = ""
) -> bool:
    """End a running attempt of *process*; return ``False`` when it is not running or not its own."""
    values = {"row": row, "holder": process, "new": status, "end": at, "took": duration_ns, "failure": error}
    return bool(tx.execute(_settle_attempt, values).rowcount == 1)


def settle(
    tx: Transaction,
    row: int,
    status: str,
    *,
    reason: str = "",
    message: str = "",
    output: str = "",
    not_before: int | None = None,
    postponed: bool = False,
) -> bool:
    """Move a running materialization on; *postponed* counts a try that spent no attempt."""
    values = {"row": row, "new": status, "why": reason, "text": message, "made": output, "until": not_before}
    return bool(tx.execute(_settle, {**values, "postponed": int(postponed)}).rowcount == 1)


def conclude(  # noqa: PLR0913 - a row's key and how it ended
    tx: Transaction,
    project: str,
    run_id: str,
    asset: str,
    partition: str,
    status: str,
    *,
    reason: str = "",
    message: str = "",
    output: str = "",
) -> int | None:
    """End a materialization without an attempt, reused or skipped: a new one, or one that was to be tried again.

    Return its row, ``None`` when it had ended.
    """
    row = _row(project, run_id, asset, partition, status, reason=reason, message=message, output=output)
    made = tx.insert(_insert, row)
    if made is not None:
        return made
    place = {"r": run_id, "a": asset, "k": partition}
    if tx.execute(_conclude, {**place, "new": status, "why": reason, "text": message, "made": output}).rowcount == 0:
        return None
    return int(tx.execute(_number, place).fetchone()[0])


def decide(
    tx: Transaction,
    row: int,
    status: str,
    *,
    reason: str = "",
    message: str = "",
    output: str = "",
    not_before: int | None = None,
) -> bool:
    """Move a waiting materialization on, because what it waits for was decided; ``False`` when it does not wait."""
    values = {"row": row, "new": status, "why": reason, "text": message, "made": output, "until": not_before}
    return bool(tx.execute(_decide, values).rowcount == 1)


def waiting_at(tx: Transaction, project: str, asset: str, partition: str) -> list[tuple[int, str, str]]:
    """The materializations that wait for a decision about an asset's partition, the runs they belong to, and why they wait."""
    return [(row[0], row[1], row[2]) for row in tx.execute(_waiting_at, {"p": project, "a": asset, "k": partition}).fetchall()]


def cancel(tx: Transaction, run_id: str, reason: str, message: str) -> list[tuple[str, str]]:
    """End what a run has begun and not ended; return the assets and partitions that were."""
    open_ = [(row[0], row[1]) for row in tx.execute(_open, {"r": run_id}).fetchall()]
    tx.execute(_cancel, {"r": run_id, "why": reason, "text": message})
    return open_


def counts(tx: Transaction, run_id: str) -> dict[str, int]:
    """How many materializations of a run have which status."""
    return {row[0]: int(row[1]) for row in tx.execute(_counts, {"r": run_id}).fetchall()}


def later_of(tx: Transaction, row: int) -> int:
    """How many tries of a materialization spent no attempt."""
    return int(tx.execute(_later_of, {"row": row}).fetchone()[0])


def endings(tx: Transaction, run_id: str) -> list[tuple[int, str, int, int, str, str]]:
    """How a run's materializations have ended: number, status, attempts, later, reason, output."""
    return [tuple(row) for row in tx.execute(_endings, {"r": run_id}).fetchall()]


def _row(project: str, run_id: str, asset: str, partition: str, status: str, **more: Any) -> dict[str, Any]:
    blank = {"attempts": 0, "later": 0, "not_before": None, "reason": "", "message": "", "output": ""}
    return {"project": project, "run_id": run_id, "asset": asset, "partition": partition, "status": status, **blank, **more}


def of_run(connection: Connection, run_id: str) -> list[MaterializationRecord]:
    """The materializations of a run that have begun or ended; pending ones have no row."""
    query = select(materialization).where(materialization.c.run_id == run_id).order_by(materialization.c.id)
    return [MaterializationRecord.of(row) for row in connection.execute(query).mappings()]


def find(connection: Connection, ids: Iterable[int]) -> list[MaterializationRecord]:
    """The materializations with these numbers, in order."""
    wanted, found = list(ids), []
    for begin in range(0, len(wanted), 500):
        query = select(materialization).where(materialization.c.id.in_(wanted[begin : begin + 500]))
        rows = connection.execute(query.order_by(materialization.c.id)).mappings()
        found += [MaterializationRecord.of(row) for row in rows]
    return found


def _attempts() -> Select[Any]:
    return select(attempt, materialization.c.asset, materialization.c.partition, materialization.c.run_id).join(
        materialization, attempt.c.materialization == materialization.c.id
    )


def attempts_of_run(connection: Connection, run_id: str) -> list[AttemptRecord]:
    """Every attempt of a run in order of their start."""
    query = _attempts().where(materialization.c.run_id == run_id).order_by(attempt.c.id)
    return [AttemptRecord.of(row) for row in connection.execute(query).mappings()]


def attempts_at(connection: Connection, run_id: str, asset: str, partition: str) -> list[AttemptRecord]:
    """A run's attempts at one asset's partition, in order of their start."""
    key = (materialization.c.run_id == run_id, materialization.c.asset == asset, materialization.c.partition == partition)
    return [AttemptRecord.of(row) for row in connection.execute(_attempts().where(*key).order_by(attempt.c.id)).mappings()]


def running_attempts(connection: Connection, process: str | None = None) -> list[AttemptRecord]:
    """The attempts without an ending, of one process or of all."""
    query = _attempts().where(attempt.c.status == "running")
    if process is not None:
        before = select(processes.c.attempts_before).where(processes.c.id == process).scalar_subquery()
        query = query.where(attempt.c.id > before, attempt.c.process == process)
    return [AttemptRecord.of(row) for row in connection.execute(query.order_by(attempt.c.id)).mappings()]


def lost_before(connection: Connection, record: AttemptRecord) -> int:
    """How many earlier attempts of the same materialization were lost with their process."""
    query = select(func.count()).where(attempt.c.materialization == record.materialization, attempt.c.status == "lost")
    return int(connection.execute(query).scalar_one())


def computing(connection: Connection, project: str, asset: str, partition: str) -> str | None:
    """The run that computes the asset's partition now, or ``None``."""
    key = (materialization.c.project == project, materialization.c.asset == asset, materialization.c.partition == partition)
    query = select(materialization.c.run_id).where(*key, materialization.c.status == "running")
    return connection.execute(query).scalar()


def makers(connection: Connection, outputs: Iterable[OutputRecord]) -> list[int]:
    """The materializations that made these outputs, in order."""
    made = list(outputs)
    found: list[int] = []
    for begin in range(0, len(made), 300):
        places = [(record.run_id, record.asset, record.partition) for record in made[begin : begin + 300]]
        row = materialization.c
        query = select(row.id).where(tuple_(row.run_id, row.asset, row.partition).in_(places), row.status == "success")
        found += connection.execute(query).scalars()
    return sorted(found)
