"""Ends runs because somebody asked for it: at once when nobody works on them, else by asking the process that does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flowstone.approvals.eligibility import Person
from flowstone.audit import acts
from flowstone.audit.recorder import Who
from flowstone.events.catalogue import MaterializationCancelled, RunCancelRequested
from flowstone.execution import asking, ending
from flowstone.execution import plan as plans
from flowstone.execution.ending import End
from flowstone.execution.services import Services
from flowstone.foundation.errors import UsageError
from flowstone.stores import approvals, events, materializations, runs
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.records import RunRecord


class Asked(NamedTuple):
    """Who asked for the end of a run, and why."""

    actor: str
    identity: str
    reason: str = ""

    @property
    def message(self) -> str:
        """One line about what was cancelled by it."""
        return f"cancelled by {self.actor}" + (f": {self.reason}" if self.reason else "")


def message(connection: Connection, project: str, run_id: str) -> str:
    """One line about who asked for the end of the run, as recorded."""
    found = events.read(connection, project, run_id=run_id, names=(RunCancelRequested.name,), limit=1)
    return _parse(found[0].payload).message if found else ""


def request(services: Services, run: RunRecord, who: Asked) -> None:
    """Cancel a waiting run; ask the process that works on a running one to end it. Raises :class:`UsageError` for others."""
    while not _requested(services, run, who):
        with services.database.reading() as connection:  # it moved since it was read
            run = runs.find(connection, services.project, run.id)


def _requested(services: Services, run: RunRecord, who: Asked) -> bool:
    match run.status:
        case "waiting":
            with services.database.transaction() as tx:
                return conclude(tx, services, run, who)
        case "running" if run.cancel_requested_at is None:
            now = services.database.now()
            with services.database.transaction() as tx:
                won = runs.request_cancel(tx, run.id, now)
                if won:
                    act = acts.run_cancel_requested(run.id, services.dispatcher.redactor.text(who.reason), now)
                    services.audit.tell(tx, act, Who(who.actor, who.identity), now, run_id=run.id, trace_id=run.trace_id)
                    _tell(tx, run, who)
                return won
        case "running":
            return True  # it was asked before; who asked first is named
    raise UsageError(f"{run.id} ended {run.status}: there is nothing to cancel", hint=f"flowstone show {run.id}")


def conclude(tx: Transaction, services: Services, run: RunRecord, who: Asked | None = None, *, held: str = "") -> bool:
    """End a run that *held* works on, or nobody, and all it has not ended; without *who* as it was asked for before.

    ``False`` when the run moved meanwhile.
    """
    now = services.database.now()
    asked = approvals.locked_of_run(tx, run.id)
    asking.lock_waiting(tx, services.project, [request.place for request in asked], run.id)
    counts = materializations.counts(tx, run.id)
    ended = {name: counts.get(name, 0) for name in ("success", "reused", "failed", "skipped")}
    ended["failed"] += counts.get("rejected", 0) + counts.get("expired", 0)
    ended["cancelled"] = len(plans.decode(runs.plan_in(tx, run.id).encode()).steps) - sum(ended.values())
    if not runs.move(tx, run.id, "running" if held else "waiting", "cancelled", held=held, outcome=ended, ended_at=now):
        return False
    if who is None:
        who = _asked(tx, run.id)
    else:
        _tell(tx, run, who)
    told = services.dispatcher.redactor.text(who.message)
    for asset, partition in materializations.cancel(tx, run.id, "cancelled", told):
        where = {"asset": asset, "partition": partition, "run_id": run.id, "trace_id": run.trace_id}
        tx.emit(MaterializationCancelled, at=now, message=told, **where)
    for request in asked:
        asking.end(tx, services, request, "cancelled", Person(who.actor, who.identity), told, now)
    end = End(run.id, run.pipeline, run.trace_id, "cancelled", ended, run.requested_at, now)
    by = Who(who.actor, who.identity) if who.actor else Who(run.actor, run.identity)
    ending.tell(tx, services, end, by, services.dispatcher.redactor.text(who.reason))
    return True


def _asked(tx: Transaction, run_id: str) -> Asked:
    return _parse(events.first(tx, run_id, RunCancelRequested.name))


def _parse(payload: Mapping[str, Any]) -> Asked:
    return Asked(*(str(payload.get(name, "")) for name in Asked._fields))


def _tell(tx: Transaction, run: RunRecord, who: Asked) -> None:
    tx.emit(
        RunCancelRequested,
        pipeline=run.pipeline,
        run_id=run.id,
        trace_id=run.trace_id,
        actor=who.actor,
        identity=who.identity,
        reason=who.reason,
    )
