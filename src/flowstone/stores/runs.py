"""Runs: requested, running, waiting, and one of the ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, func, or_, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import RunRecord
from flowstone.stores.statements import Inserting, beginning
from flowstone.stores.tables import run

APPROVAL, DECIDED, LOST = "approval", "decided", "lost"
"""Why a run waits: for people; since they have decided, for somebody to go on with it; because its process died."""

_insert = Inserting(run)


def _move() -> Update:
    return (
        update(run)
        .where(run.c.id == bindparam("run_id"), run.c.status == bindparam("expected"), run.c.process == bindparam("held"))
        .values(status=bindparam("new"), process=bindparam("holder"), outcome=bindparam("result"), ended_at=bindparam("end"))
    )


def _decided() -> Update:
    reasons = or_(*(run.c.outcome == to_json({"reason": reason}) for reason in (APPROVAL, LOST)))
    suspended = (run.c.id == bindparam("run_id"), run.c.status == "waiting", reasons)
    return update(run).where(*suspended).values(outcome=to_json({"reason": DECIDED}))


def _request_cancel() -> Update:
    running = (run.c.id == bindparam("run_id"), run.c.status == "running", run.c.cancel_requested_at.is_(None))
    return update(run).where(*running).values(cancel_requested_at=bindparam("at"))


def _running() -> Select[Any]:
    return select(run.c.id, run.c.plan).where(run.c.project == bindparam("namespace"), run.c.status == "running")


def _requested() -> Select[Any]:
    return select(run.c.cancel_requested_at, run.c.trace_id).where(run.c.id == bindparam("run_id")).with_for_update()


def _plan() -> Select[Any]:
    return select(run.c.plan).where(run.c.id == bindparam("run_id"))


def insert(tx: Transaction, values: dict[str, Any]) -> None:
    """Add a run that begins now; ``request``, ``plan`` and ``provenance`` are JSON text."""
    tx.execute(_insert, {**values, "outcome": "{}", "ended_at": None, "cancel_requested_at": None})


def move(
    tx: Transaction,
    run_id: str,
    expected: str,
    new: str,
    *,
    held: str = "",
    process: str = "",
    outcome: dict[str, Any] | None = None,
    ended_at: int | None = None,
) -> bool:
    """Move the run from *expected*, *held* by a process or by nobody, to *new* and *process*; return whether this caller won."""
    values = {
        "expected": expected,
        "held": held,
        "new": new,
        "holder": process,
        "result": to_json(outcome or {}),
        "end": ended_at,
    }
    return bool(tx.execute(_move, {"run_id": run_id, **values}).rowcount == 1)


def decided(tx: Transaction, run_id: str) -> bool:
    """Note that a run that was put aside for people, or died with its process, may go on; ``False`` for any other one."""
    return bool(tx.execute(_decided, {"run_id": run_id}).rowcount == 1)


def request_cancel(tx: Transaction, run_id: str, at: int) -> bool:
    """Ask for the end of a running run; ``False`` when it does not run, or was asked already."""
    return bool(tx.execute(_request_cancel, {"run_id": run_id, "at": at}).rowcount == 1)


def is_cancel_requested(tx: Transaction, run_id: str) -> bool:
    """Whether the end of the run was asked for; nobody asks before this transaction has ended."""
    row = tx.execute(_requested, {"run_id": run_id}).fetchone()
    return row is not None and row[0] is not None


def lock(tx: Transaction, run_id: str) -> str:
    """Keep the run as it is until the transaction ends; return its trace id."""
    return str(tx.execute(_requested, {"run_id": run_id}).fetchone()[1])


def plan_in(tx: Transaction, run_id: str) -> str:
    """The stored plan of a run, as text."""
    return str(tx.execute(_plan, {"run_id": run_id}).fetchone()[0])


def running(tx: Transaction, project: str) -> list[tuple[str, str]]:
    """Every run somebody works on, and its plan as text."""
    return [(row[0], row[1]) for row in tx.execute(_running, {"namespace": project}).fetchall()]


def _record(row: Any) -> RunRecord:
    parsed = {name: from_json(row[name]) for name in ("request", "provenance", "outcome")}
    return RunRecord.of(row, **parsed)


_shown = [column for column in run.columns if column.name != "plan"]


def recent(connection: Connection, project: str, *, limit: int = 20, status: str | None = None) -> list[RunRecord]:
    """The newest runs first."""
    query = select(*_shown).where(run.c.project == project)
    if status:
        query = query.where(run.c.status == status)
    rows = connection.execute(query.order_by(run.c.requested_at.desc(), run.c.id).limit(limit))
    return [_record(row) for row in rows.mappings()]


def to_go_on(connection: Connection, project: str) -> list[RunRecord]:
    """The runs that wait, and may go on since people have decided; the oldest first."""
    waiting = (run.c.project == project, run.c.status == "waiting", run.c.outcome == to_json({"reason": DECIDED}))
    rows = connection.execute(select(*_shown).where(*waiting).order_by(run.c.requested_at, run.c.id))
    return [_record(row) for row in rows.mappings()]


def left(connection: Connection, project: str, limit: int) -> list[RunRecord]:
    """The newest runs that wait for somebody to resume them, and not for people to approve."""
    mine = (run.c.project == project, run.c.status == "waiting", run.c.outcome != to_json({"reason": APPROVAL}))
    rows = connection.execute(select(*_shown).where(*mine).order_by(run.c.requested_at.desc(), run.c.id.desc()).limit(limit))
    return [_record(row) for row in rows.mappings()]


def find(connection: Connection, project: str, run_id: str) -> RunRecord:
    """The run with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    rows = connection.execute(select(*_shown).where(beginning(run, project, run_id)).order_by(run.c.id).limit(6))
    found = [_record(row) for row in rows.mappings()]
    exact = [record for record in found if record.id == run_id]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise NotFoundError(
            f"run {run_id!r} is ambiguous: {', '.join(record.id for record in found[:5])}", hint="give more of the id"
        )
    raise NotFoundError(f"there is no run {run_id!r} in project {project!r}", hint="flowstone runs lists them")


def plan_of(connection: Connection, run_id: str) -> Any:
    """The stored plan of a run, as it was written."""
    return from_json(connection.execute(select(run.c.plan).where(run.c.id == run_id)).scalar_one())


def requested_at(connection: Connection, run_id: str) -> int | None:
    """When a run was requested; ``None`` for one that is not recorded."""
    return connection.execute(select(run.c.requested_at).where(run.c.id == run_id)).scalar()


def is_older(connection: Connection, run_id: str, than: str) -> bool:
    """Whether a run was requested before another one; of two that are, exactly one is."""
    rows = connection.execute(select(run.c.id, run.c.requested_at).where(run.c.id.in_([run_id, than])))
    at = {row[0]: (row[1], row[0]) for row in rows}
    return run_id in at and than in at and at[run_id] < at[than]


def project_of(connection: Connection, run_id: str) -> str:
    """The project a run belongs to."""
    return str(connection.execute(select(run.c.project).where(run.c.id == run_id)).scalar_one())


def trace_of(connection: Connection, run_id: str) -> str:
    """The trace a run belongs to."""
    return str(connection.execute(select(run.c.trace_id).where(run.c.id == run_id)).scalar_one())


def _held() -> Select[Any]:
    key = (run.c.id == bindparam("run_id"), run.c.process == bindparam("holder"), run.c.status == "running")
    return select(run.c.id).where(*key).with_for_update(read=True)


def is_held(tx: Transaction, run_id: str, process: str) -> bool:
    """Whether *process* works on the run; nobody takes it away before this transaction has ended."""
    return tx.execute(_held, {"run_id": run_id, "holder": process}).fetchone() is not None


def held_by(connection: Connection, process: str) -> list[RunRecord]:
    """The runs a process was working on."""
    rows = connection.execute(select(*_shown).where(run.c.process == process, run.c.status == "running"))
    return [_record(row) for row in rows.mappings()]


def cancel_requested(connection: Connection, run_ids: Iterable[str]) -> list[str]:
    """Those of *run_ids* whose end was asked for."""
    query = select(run.c.id).where(run.c.id.in_(list(run_ids)), run.c.cancel_requested_at.is_not(None))
    return list(connection.execute(query).scalars())


def counts(connection: Connection, project: str) -> dict[str, int]:
    """How many runs have which status."""
    rows = connection.execute(select(run.c.status, func.count()).where(run.c.project == project).group_by(run.c.status))
    return {row[0]: row[1] for row in rows}
