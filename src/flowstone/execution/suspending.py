"""Letting go of a run that has not ended: it was asked to stop, something stopped it, or all that is left waits for people."""

from __future__ import annotations

from flowstone.approvals.policy import policy_of
from flowstone.execution import lost, ownership, stopped
from flowstone.execution.plan import Place
from flowstone.execution.result import RunResult, StepResult, result_of
from flowstone.execution.services import Services
from flowstone.execution.session import Session
from flowstone.execution.stopping import Kind
from flowstone.foundation.errors import NotFoundError, RecordError
from flowstone.stores import approvals, materializations, runs
from flowstone.stores.records import RunRecord


def stop(services: Services, session: Session, kind: Kind) -> RunResult:
    """What becomes of a run whose work was asked to stop."""
    run = _found(services, session.run_id)
    if kind == "cancel":
        lost.settle_orphans(services, run)
    reason = "lost" if kind == "lost" else runs.APPROVAL if session.waits_for_people() else "stopped"
    with services.database.transaction() as tx:
        status = ownership.release(tx, services, run, reason, held=services.process)
    if not status:
        raise ownership.taken(run.id)
    if kind == "lost":
        error = RecordError(f"the store could not be reached for too long: the work on {run.id} was stopped", run_id=run.id)
        error.hint = f"flowstone run --resume {run.id}"
        raise error
    return result_as(session, status)


def put_aside(services: Services, session: Session) -> RunResult | None:
    """Let go of a run of which all that is left waits for people; ``None`` when they have just decided: it goes on."""
    run = _found(services, session.run_id)
    with services.database.transaction() as tx:
        approvals.locked_of_run(tx, run.id)  # requests, then runs: the order of whoever decides
        runs.lock(tx, run.id)
        if materializations.counts(tx, run.id).get("waiting", 0) < len(session.schedule.waiting):
            return None
        status = ownership.release(tx, services, run, runs.APPROVAL, held=services.process)
    if not status:
        raise ownership.taken(run.id)
    return result_as(session, status)


def suspend(services: Services, run_id: str, reason: str, error: BaseException) -> None:
    """Leave a run, if it is still this process's, waiting to be resumed; the *error* that stopped it is told which run."""
    try:
        run = _found(services, run_id)
        with services.database.transaction() as tx:
            waits = ownership.release(tx, services, run, reason, held=services.process) == "waiting"
            if waits and isinstance(error, Exception):
                stopped.record(tx, services, run_id, run.trace_id, error)
    except NotFoundError:
        return  # it was not even requested
    except Exception as refused:  # noqa: BLE001 - the first error is the one to raise
        error.add_note(f"and the run could not be marked as waiting: {refused}")
        waits = True
    if waits:
        error.__dict__["run_id"] = run_id


def result_as(session: Session, status: str) -> RunResult:
    """The result of a run that ended or stopped as *status*; so did the steps that have not ended."""
    endings, people = session.schedule.endings, session.schedule.waiting
    steps = [StepResult(*place, e.status, e.reason, e.message, e.output) for place, e in endings.items()]
    asked = _asked(session.services, people)
    steps += [
        StepResult(*step.place, status, runs.APPROVAL if step.place in people else "", asked.get(step.place, ""))
        for step in session.plan.steps
        if step.place not in endings
    ]
    return result_of(session.run_id, status, steps)


def _asked(services: Services, places: set[Place]) -> dict[Place, str]:
    """Whom each of the *places* waits for, and the request."""
    found = {}
    with services.database.reading() as connection:
        for place in places:
            asked = approvals.open_at(connection, services.project, *place)
            if asked is not None:
                found[place] = f"waits for {policy_of(asked.policy).asked} ({asked.id})"
    return found


def _found(services: Services, run_id: str) -> RunRecord:
    with services.database.reading() as connection:
        return runs.find(connection, services.project, run_id)
