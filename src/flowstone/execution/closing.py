"""Ends a run that waited for people when their answer leaves nothing to compute: what depends on a refusal is skipped."""

from __future__ import annotations

from msgspec import structs

from flowstone.audit.recorder import Who
from flowstone.events.catalogue import MaterializationSkipped
from flowstone.execution import ending
from flowstone.execution import plan as plans
from flowstone.execution.ending import End
from flowstone.execution.plan import Place, Plan
from flowstone.execution.schedule import Ending, Schedule, counts_of, status_of
from flowstone.execution.services import Services
from flowstone.foundation.serialize import to_json
from flowstone.stores import materializations, runs
from flowstone.stores.records import MaterializationRecord, RunRecord

OPEN = frozenset({"running", "retrying", "waiting"})
Blocked = list[tuple[str, str, str, str]]
"""Asset, partition, reason and message of steps that cannot run."""


def close(services: Services, run_id: str) -> str:
    """End the run if nobody works on it and nothing of it is left to do; return its status. No user code is needed.

    The status is empty when the run moved meanwhile.
    """
    with services.database.reading() as connection:
        run = runs.find(connection, services.project, run_id)
        if run.status != "waiting":
            return run.status
        plan = plans.decode(to_json(runs.plan_of(connection, run_id)).encode())
        rows = materializations.of_run(connection, run_id)
    schedule, blocked = _settled(plan, rows)
    return _end(services, run, plan, schedule, blocked) if schedule.has_ended() else "waiting"


def outlook(plan: Plan, rows: list[MaterializationRecord], place: Place, status: str) -> tuple[str, int]:
    """How the run would end if the step ended as *status*, empty while others are open; and how many steps that would skip."""
    ended = [structs.replace(row, status=status, output="") if (row.asset, row.partition) == place else row for row in rows]
    schedule, blocked = _settled(plan, ended)
    others = len(_settled(plan, rows)[1])
    return status_of([schedule.endings[one] for one in plan.targets]) if schedule.has_ended() else "", len(blocked) - others


def _settled(plan: Plan, rows: list[MaterializationRecord]) -> tuple[Schedule, Blocked]:
    """The plan with everything that has ended, and what that blocks."""
    schedule, blocked = Schedule(plan), []
    for row in rows:
        if row.status not in OPEN:
            schedule.end((row.asset, row.partition), Ending(row.status, row.output, "", row.reason, row.message))
        else:
            schedule.wait((row.asset, row.partition))
    while (step := schedule.next(0)) is not None:
        found = schedule.blocked(step)
        if found is not None:
            blocked.append((*step.place, *found))
            schedule.end(step.place, Ending("skipped", reason=found[0], message=found[1]))
    return schedule, blocked


def _end(services: Services, run: RunRecord, plan: Plan, schedule: Schedule, blocked: Blocked) -> str:
    endings, now = schedule.endings, services.database.now()
    status = status_of([endings[place] for place in plan.targets])
    counts = counts_of(endings.values())
    with services.database.transaction() as tx:
        if not runs.move(tx, run.id, "waiting", status, outcome=counts, ended_at=now):
            return ""  # somebody went on with it, or was faster
        for asset, partition, reason, message in blocked:
            materializations.conclude(tx, services.project, run.id, asset, partition, "skipped", reason=reason, message=message)
            where = {"asset": asset, "partition": partition, "run_id": run.id, "trace_id": run.trace_id}
            tx.emit(MaterializationSkipped, at=now, reason=reason, message=message, **where)
        end = End(run.id, run.pipeline, run.trace_id, status, counts, run.requested_at, now)
        ending.tell(tx, services, end, Who(run.actor, run.identity))
    return status
