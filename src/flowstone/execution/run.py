"""The run command: request, resume, suspend, finish. Every transition is a compare-and-set with its events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flowstone.assets.pipeline import Pipeline
from flowstone.events.catalogue import RunResumed, RunStart, RunStop, RunSuspended
from flowstone.execution import lost
from flowstone.execution import plan as plans
from flowstone.execution.inline import Inline
from flowstone.execution.plan import Plan
from flowstone.execution.result import RunResult, StepResult, result_of
from flowstone.execution.schedule import Ending
from flowstone.execution.services import Services
from flowstone.execution.session import Session
from flowstone.execution.settlement import Try
from flowstone.foundation.errors import RecordError, UsageError
from flowstone.foundation.serialize import to_json
from flowstone.stores import materializations, outputs, pipelines, runs
from flowstone.stores.database import Transaction
from flowstone.stores.records import RunRecord

GOOD = ("success", "reused")


class Actor:
    """Who asks: an opaque id and where it comes from (``os``, ``asserted`` or ``authenticated``)."""

    __slots__ = ("id", "source")

    def __init__(self, id: str, source: str) -> None:
        self.id, self.source = id, source


class Runs:
    """Starts, resumes and ends runs of one pipeline."""

    def __init__(self, services: Services, pipeline: Pipeline, actor: Actor, provenance: Mapping[str, Any]) -> None:
        self._services, self._pipeline, self._actor, self._provenance = services, pipeline, actor, provenance

    def start(self, plan: Plan, request: dict[str, Any], *, force: bool = False) -> RunResult:
        """Request the run and work on it until it ends; raises what stopped it, the run then waits to be resumed."""
        services, pipeline = self._services, self._pipeline
        run_id, trace_id = services.ids.new("run"), services.ids.trace_id()
        now = services.database.now()
        digest = pipeline.digest()
        with self._suspending(run_id, trace_id), services.database.transaction() as tx:
            pipelines.remember(tx, services.project, pipeline.name, digest, pipeline.definition(), now)
            runs.insert(tx, {
                "id": run_id, "project": services.project, "pipeline": pipeline.name, "definition": digest, "status": "running",
                "request": to_json(request), "plan": plans.encode(plan).decode(),
                "actor": self._actor.id, "identity": self._actor.source,
                "trace_id": trace_id, "provenance": to_json(self._provenance), "process": services.process, "requested_at": now,
            })  # fmt: skip
            tx.emit(
                RunStart,
                at=now,
                pipeline=pipeline.name,
                run_id=run_id,
                trace_id=trace_id,
                steps=len(plan.steps),
                partition=shared_partition(plan),
                actor=self._actor.id,
                identity=self._actor.source,
                definition=digest,
            )
        forced = frozenset(plan.targets) if force else frozenset()
        session = Session(services, pipeline, run_id, trace_id, plan, force=forced)
        return self._work(session, trace_id, now)

    def resume(self, run: RunRecord) -> RunResult:
        """Go on with a run that waits: what has ended is kept, the rest is worked on."""
        services = self._services
        if run.status != "waiting":
            hint = (
                "it is being worked on"
                if run.status == "running"
                else "flowstone run starts a new one; what is up to date is reused"
            )
            raise UsageError(f"{run.id} is {run.status}: only a waiting run can be resumed", hint=hint)
        if run.definition != self._pipeline.digest():
            raise UsageError(
                f"{run.id} was requested with another definition of pipeline {run.pipeline!r} "
                f"({run.definition[:8]}.., now {self._pipeline.digest()[:8]}..)",
                hint="flowstone run starts a new one; what is up to date is reused",
            )
        with services.database.reading() as connection:
            plan = plans.decode(to_json(runs.plan_of(connection, run.id)).encode())
        with self._suspending(run.id, run.trace_id), services.database.transaction() as tx:
            if not runs.move(tx, run.id, "waiting", "running", process=services.process):
                raise UsageError(f"{run.id} was resumed by somebody else just now", hint=f"flowstone show {run.id}")
            tx.emit(
                RunResumed,
                pipeline=run.pipeline,
                run_id=run.id,
                trace_id=run.trace_id,
                actor=self._actor.id,
                identity=self._actor.source,
            )
        lost.settle_orphans(services, run)
        with services.database.reading() as connection:
            rows = materializations.of_run(connection, run.id)
            made = outputs.find(connection, [row.output for row in rows if row.output])
        force = frozenset(plan.targets) if run.request.get("force") else frozenset()
        session = Session(services, self._pipeline, run.id, run.trace_id, plan, force=force)
        for row in rows:
            place = (row.asset, row.partition)
            if row.status == "retrying":
                session.steps.tries[place] = Try(row.id, row.attempts, row.later)
                session.schedule.not_before[place] = row.not_before or 0
            else:
                output = made.get(row.output)
                session.ended(
                    place, Ending(row.status, row.output, output.digest if output else "", row.reason, row.message), output
                )
        return self._work(session, run.trace_id, run.requested_at)

    def _work(self, session: Session, trace_id: str, started: int) -> RunResult:
        with self._suspending(session.run_id, trace_id):
            session.prepare()
            Inline(session).run()
        return self._finish(session, trace_id, started)

    @contextmanager
    def _suspending(self, run_id: str, trace_id: str) -> Iterator[None]:
        """Whatever stops the work, if it is still this process's, leaves the run waiting to be resumed."""
        try:
            yield
        except BaseException as error:
            self._suspend(run_id, trace_id, "interrupted" if isinstance(error, KeyboardInterrupt) else "error", error)
            raise

    def _suspend(self, run_id: str, trace_id: str, reason: str, error: BaseException) -> None:
        try:
            with self._services.database.transaction() as tx:
                if runs.move(tx, run_id, "running", "waiting", held=self._services.process, outcome={"reason": reason}):
                    tx.emit(RunSuspended, pipeline=self._pipeline.name, run_id=run_id, trace_id=trace_id, reason=reason)
                    error.__dict__["run_id"] = run_id
        except Exception as refused:  # noqa: BLE001 - the first error is the one to raise
            error.add_note(f"and the run could not be marked as waiting: {refused}")
            error.__dict__["run_id"] = run_id

    def _finish(self, session: Session, trace_id: str, started: int) -> RunResult:
        endings = session.schedule.endings
        steps = [StepResult(*place, e.status, e.reason, e.message, e.output) for place, e in endings.items()]
        status = status_of([endings[place] for place in session.plan.targets])
        result = result_of(session.run_id, status, steps)
        with self._services.database.transaction() as tx:
            self._end(tx, result, trace_id, started)
        return result

    def _end(self, tx: Transaction, result: RunResult, trace_id: str, started: int) -> None:
        now = self._services.database.now()
        counts = {
            "success": len(result.materialized),
            "reused": len(result.reused),
            "failed": len(result.failed),
            "skipped": len(result.skipped),
        }
        if not runs.move(tx, result.run_id, "running", result.status, held=self._services.process, outcome=counts, ended_at=now):
            raise RecordError(
                f"{result.run_id} is no longer this process's: it was taken for dead", hint=f"flowstone show {result.run_id}"
            )
        tx.emit(
            RunStop,
            at=now,
            pipeline=self._pipeline.name,
            run_id=result.run_id,
            trace_id=trace_id,
            outcome=result.status,
            duration_ns=max(0, now - started),
            **counts,
        )


def shared_partition(plan: Plan) -> str:
    """The encoded partition all partitioned targets have, or nothing when they differ or have none."""
    partitions = {partition for _, partition in plan.targets if partition}
    return partitions.pop() if len(partitions) == 1 else ""


def status_of(targets: list[Ending]) -> str:
    """``success`` when every target is there or chose to skip itself, ``failed`` when none is there, else ``partial``."""
    there = [e for e in targets if e.status in GOOD]
    missing = [e for e in targets if e.status not in GOOD and not (e.status == "skipped" and e.reason == "by_code")]
    if not missing:
        return "success"
    return "partial" if there else "failed"
