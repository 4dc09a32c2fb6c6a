"""Whose a run is: who works on the same things, and how a run is taken away or let go of."""

from __future__ import annotations

from flowstone.events.catalogue import RunSuspended
from flowstone.execution import asking, cancel
from flowstone.execution import plan as plans
from flowstone.execution.plan import Plan
from flowstone.execution.services import Services
from flowstone.foundation.errors import RecordError
from flowstone.stores import approvals, runs
from flowstone.stores.database import Transaction
from flowstone.stores.records import RunRecord


def taken(run_id: str) -> RecordError:
    """The error of a process that finds its run taken from it."""
    return RecordError(f"{run_id} is no longer this process's: it was taken for dead", hint=f"flowstone show {run_id}")


def working_on(tx: Transaction, project: str, plan: Plan) -> str | None:
    """A run that is being worked on and has a target of *plan* in its own; nobody else asks before this transaction has ended."""
    tx.lock(f"{project}/runs")
    wanted = set(plan.targets)
    for run_id, text in runs.running(tx, project):
        if any(step.place in wanted for step in plans.decode(text.encode()).steps):
            return run_id
    return None


def release(tx: Transaction, services: Services, run: RunRecord, reason: str, *, held: str) -> str:
    """Let go of a run that *held*, this or a dead process, worked on; return what it is now, or nothing when it moved meanwhile.

    It waits to be resumed, for *reason*, unless somebody asked for its end: then it ends.
    """
    places = [asked.place for asked in approvals.locked_of_run(tx, run.id)]
    asking.lock_waiting(tx, services.project, places, run.id)  # requests, then runs: the order of whoever decides
    if runs.is_cancel_requested(tx, run.id):
        return "cancelled" if cancel.conclude(tx, services, run, held=held) else ""
    if not runs.move(tx, run.id, "running", "waiting", held=held, outcome={"reason": reason}):
        return ""
    tx.emit(RunSuspended, pipeline=run.pipeline, run_id=run.id, trace_id=run.trace_id, reason=reason)
    return "waiting"
