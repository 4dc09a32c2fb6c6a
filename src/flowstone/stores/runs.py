"""Runs: requested, running, waiting, and one of the ends."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Update, and_, bindparam, func, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import RunRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import run

_insert = Inserting(run)


def _move() -> Update:
    return (
        update(run)
        .where(run.c.id == bindparam("run_id"), run.c.status == bindparam("expected"), run.c.process == bindparam("held"))
        .values(status=bindparam("new"), process=bindparam("holder"), outcome=bindparam("result"), ended_at=bindparam("end"))
    )


def insert(tx: Transaction, values: dict[str, Any]) -> None:
    """Add a run that begins now; ``request``, ``plan`` and ``provenance`` are JSON text."""
    tx.execute(_insert, {**values, "outcome": "{}", "ended_at": None})


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


def find(connection: Connection, project: str, run_id: str) -> RunRecord:
    """The run with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    rows = connection.execute(
        select(*_shown).where(and_(run.c.project == project, run.c.id.startswith(run_id, autoescape=True))).limit(6)
    )
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


def project_of(connection: Connection, run_id: str) -> str:
    """The project a run belongs to."""
    return str(connection.execute(select(run.c.project).where(run.c.id == run_id)).scalar_one())


def held_by(connection: Connection, process: str) -> list[RunRecord]:
    """The runs a process was working on."""
    rows = connection.execute(select(*_shown).where(run.c.process == process, run.c.status == "running"))
    return [_record(row) for row in rows.mappings()]


def counts(connection: Connection, project: str) -> dict[str, int]:
    """How many runs have which status."""
    rows = connection.execute(select(run.c.status, func.count()).where(run.c.project == project).group_by(run.c.status))
    return {row[0]: row[1] for row in rows}
