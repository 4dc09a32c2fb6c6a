"""Settles what a dead process left behind: its attempts end once, as ``worker_lost``; its runs wait to be resumed."""

from __future__ import annotations

from collections.abc import Callable

from flowstone.audit import acts
from flowstone.audit.recorder import ONLY, Who
from flowstone.events.catalogue import MaterializationException
from flowstone.execution import ownership
from flowstone.execution.services import Services
from flowstone.execution.settlement import LOST_LIMIT
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import WorkerLostError
from flowstone.ledger import failures
from flowstone.stores import materializations, pipelines, processes, runs, slots
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.liveness import DEAD_SECONDS, ProcessLocks, hostname_of
from flowstone.stores.records import AttemptRecord, ProcessRecord, RunRecord

Definitions = dict[str, dict[str, str]]


def reap(services: Services, locks: ProcessLocks, clean: Callable[[str], object] = str) -> list[str]:
    """Settle the attempts and runs of dead processes; return the runs that can be resumed now.

    *clean* removes what else a process left behind, given its id.
    """
    with services.database.reading() as connection:
        others = [process for process in processes.not_ended(connection) if process.id != services.process]
    freed: list[str] = []
    for process in others:
        if is_alive(process, locks, services.database.now()):
            continue
        freed += _settle(services, process)
        clean(process.id)
        if locks.shares(process.host):
            locks.forget(process.id)
    locks.sweep()
    return freed


def is_alive(process: ProcessRecord, locks: ProcessLocks, now: int) -> bool:
    """Whether the process lives: where it shares our locks that is a fact, elsewhere it is judged by its heartbeat."""
    if locks.shares(process.host):
        return locks.is_held(process.id)
    return now - process.heartbeat_at <= DEAD_SECONDS * NANOSECONDS


def _settle(services: Services, process: ProcessRecord) -> list[str]:
    with services.database.reading() as connection:
        everybodys = materializations.running_attempts(connection, process.id)
        held = [run for run in runs.held_by(connection, process.id) if run.project == services.project]
        own = {run_id: runs.project_of(connection, run_id) == services.project for run_id in {a.run_id for a in everybodys}}
        running = [attempt for attempt in everybodys if own[attempt.run_id]]
        done = len(running) == len(everybodys) and len(held) == len(runs.held_by(connection, process.id))
        losses = {attempt.id: materializations.lost_before(connection, attempt) for attempt in running}
        asked = {id: runs.find(connection, services.project, id) for id in {attempt.run_id for attempt in running}}
        digests = _definitions(connection, running)
    now = services.database.now()
    with services.database.transaction() as tx:
        # what it left in another project of this store is that project's to settle
        if not processes.bury(tx, process, now if done else None):
            return []  # it lives after all, or somebody else was faster
        for attempt in running:
            where = f"process {process.pid} on {hostname_of(process.host)}"
            why = f"{where} died while it ran attempt {attempt.number} of {attempt.asset!r}"
            _end(tx, services, attempt, losses[attempt.id], why, asked[attempt.run_id], digests)
        return [run.id for run in held if ownership.release(tx, services, run, "lost", held=process.id) == "waiting"]


def settle_orphans(services: Services, run: RunRecord) -> None:
    """Settle the attempts of a run that was just resumed: nobody works on them, their process could not record their ending."""
    with services.database.reading() as connection:
        running = [attempt for attempt in materializations.attempts_of_run(connection, run.id) if attempt.status == "running"]
        losses = {attempt.id: materializations.lost_before(connection, attempt) for attempt in running}
        digests = _definitions(connection, running)
    if running:
        with services.database.transaction() as tx:
            for attempt in running:
                why = f"how attempt {attempt.number} of {attempt.asset!r} ended could not be recorded: it counts as lost"
                _end(tx, services, attempt, losses[attempt.id], why, run, digests)


def _definitions(connection: Connection, running: list[AttemptRecord]) -> Definitions:
    """The digests of the assets' definitions in each run that has an attempt in *running*."""
    found = pipelines.of_runs(connection, {attempt.run_id for attempt in running})
    return {run_id: {asset.name: asset.digest for asset in assets} for run_id, assets in found.items()}


def _end(
    tx: Transaction, services: Services, attempt: AttemptRecord, losses: int, why: str, run: RunRecord, digests: Definitions
) -> None:
    redactor = services.dispatcher.redactor
    failure = failures.describe(WorkerLostError(why), redactor, retryable=True, asset=attempt.asset)
    id, now = services.ids.new("err"), services.database.now()
    if not materializations.settle_attempt(tx, attempt.id, attempt.process, "lost", now, None, id):
        return
    slots.free(tx, attempt.id)
    final = losses + 1 >= LOST_LIMIT
    status = "failed" if final else "retrying"
    message = f"its process died {LOST_LIMIT} times" if final else ""
    ends = materializations.settle(
        tx,
        attempt.materialization,
        status,
        reason="worker_lost" if final else "",
        message=message,
        not_before=None if final else now,
    )
    if final and ends:
        row, later = attempt.materialization, materializations.later_of(tx, attempt.materialization)
        act = acts.failed(row, attempt.asset, attempt.partition, "worker_lost", message, attempt.number, later)
        who = Who(run.actor, run.identity)
        services.audit.tell(tx, act, who, now, version=ONLY, run_id=run.id, trace_id=run.trace_id)
    where = _where(attempt, run.trace_id)
    tx.emit(
        MaterializationException,
        at=now,
        kind="worker_lost",
        final=final and ends,  # it may have ended before, with a run that was cancelled
        duration_ns=max(0, now - attempt.started_at),
        type=failure.type,
        message=failure.message,
        error=id,
        **where,
    )
    definition = digests.get(attempt.run_id, {}).get(attempt.asset, "")
    failures.record(tx, redactor, failure, id, services.project, now, where, definition)


def _where(attempt: AttemptRecord, trace_id: str) -> dict[str, object]:
    return {
        "asset": attempt.asset,
        "partition": attempt.partition,
        "run_id": attempt.run_id,
        "attempt": attempt.number,
        "trace_id": trace_id,
    }
