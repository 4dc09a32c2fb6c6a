"""The run command: request, resume, suspend, finish, end when asked. Every transition is a compare-and-set with its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

from flowstone.assets.pipeline import Pipeline
from flowstone.audit import acts
from flowstone.audit.recorder import Who
from flowstone.events.catalogue import RunResumed, RunStart
from flowstone.events.trace import Trace, requested_by, run_trace
from flowstone.execution import crossing, definitions, ending, expiring, gates, lost, ownership, stopped, suspending
from flowstone.execution import plan as plans
from flowstone.execution.body import Body
from flowstone.execution.ending import End
from flowstone.execution.lanes import Lanes
from flowstone.execution.loop import Loop
from flowstone.execution.plan import Plan
from flowstone.execution.result import RunResult
from flowstone.execution.schedule import Ending, status_of
from flowstone.execution.services import Services
from flowstone.execution.session import Session
from flowstone.execution.settlement import Try
from flowstone.execution.stopping import StopRequest
from flowstone.foundation.errors import DatabaseError, FlowStoneError, UsageError
from flowstone.foundation.serialize import to_json
from flowstone.stores import materializations, outputs, processes, runs
from flowstone.stores.database import Transaction
from flowstone.stores.records import RunRecord

IfRunning = Literal["wait", "skip", "fail"]


class Actor:
    """Who asks: an opaque id and where it comes from (``os``, ``asserted`` or ``authenticated``)."""

    __slots__ = ("id", "source")

    def __init__(self, id: str, source: str) -> None:
        self.id, self.source = id, source

    @property
    def who(self) -> Who:
        """Who asks, as the audit log has it."""
        return Who(self.id, self.source)


class How(NamedTuple):
    """Where bodies run that do not say so themselves, and at most how many at once (``None``: what suits the executor)."""

    executor: str = "inline"
    jobs: int | None = None
    patience: float = 0.0
    """How many seconds to wait for people when nothing else is left to do."""


class Runs:
    """Starts, resumes and ends runs of one pipeline."""

    def __init__(
        self, services: Services, pipeline: Pipeline, actor: Actor, provenance: Mapping[str, Any], how: How | None = None
    ) -> None:
        self._services, self._pipeline, self._actor, self._provenance = services, pipeline, actor, provenance
        self._how = how or How()
        self._author = author_of(provenance)

    def plan(self, make: Callable[[], Plan], request: dict[str, Any], run_id: str, parent: Trace | None = None) -> Plan:
        """Return the plan that *make* makes; raises what it raises, and then there is a failed run with that error.

        Nothing is recorded of bad usage: what was asked for does not exist.
        """
        try:
            return make()
        except (UsageError, DatabaseError):
            raise
        except FlowStoneError as error:
            self._refuse(error, {**request, **requested_by(parent)}, run_id, parent)
            raise

    def _refuse(self, error: FlowStoneError, request: dict[str, Any], run_id: str, parent: Trace | None) -> None:
        services, now = self._services, self._services.database.now()
        trace_id = parent.trace_id if parent else services.ids.trace_id()
        try:
            with services.database.transaction() as tx:
                self._request(tx, run_id, trace_id, Plan((), ()), request, now)
                found = stopped.record(tx, services, run_id, trace_id, error)
                self._end(tx, RunResult(run_id, "failed"), trace_id, now, self._actor.who)
        except Exception as refused:  # noqa: BLE001 - the first error is the one to raise
            error.add_note(f"and it could not be recorded: {refused}")
        else:
            error.hint = "\n".join([*([error.hint] if error.hint else []), f"flowstone show {found}"])

    def start(
        self,
        plan: Plan,
        request: dict[str, Any],
        *,
        force: bool = False,
        if_running: IfRunning = "wait",
        run_id: str | None = None,
        parent: Trace | None = None,
    ) -> RunResult:
        """Request the run and work on it until it ends; raises what stopped it, the run then waits to be resumed.

        *if_running* says what to do about another run that is being worked on and has one of the targets in its plan. *parent* is
        the span that asks: the run is part of its trace, else of a new one.
        """
        if if_running not in get_args(IfRunning):
            raise UsageError(f"if_running={if_running!r} is not known", hint=f"one of {', '.join(get_args(IfRunning))}")
        services = self._services
        self._check(plan, self._actor.who, self._author)
        run_id, request = run_id or services.ids.new("run"), {**request, **requested_by(parent)}
        trace = run_trace(run_id, parent.trace_id if parent else services.ids.trace_id(), request)
        now = services.database.now()
        with self._holding(run_id):
            with services.database.transaction() as tx:
                other = None if if_running == "wait" else ownership.working_on(tx, services.project, plan)
                if other is None:
                    processes.stand(tx, services.process, now)
                    self._request(tx, run_id, trace.trace_id, plan, request, now)
            if other is not None and if_running == "fail":
                raise UsageError(
                    f"{other} is being worked on and has one of these targets in its plan",
                    hint="wait for it, flowstone cancel it, or use --if-running wait",
                )
            if other is not None:
                return RunResult(other, "skipped")
            forced = frozenset(plan.targets) if force else frozenset()
            session = Session(
                services, self._pipeline, run_id, trace, plan, force=forced, who=self._actor.who, author=self._author
            )
            return self._work(session, trace.trace_id, now)

    def _request(self, tx: Transaction, run_id: str, trace_id: str, plan: Plan, request: dict[str, Any], now: int) -> None:
        services, pipeline, digest = self._services, self._pipeline, self._pipeline.digest()
        definitions.remember(tx, services, pipeline, self._provenance, self._actor.who, now, run_id, trace_id)
        row = {
            "id": run_id, "project": services.project, "pipeline": pipeline.name, "definition": digest, "status": "running",
            "request": to_json(request), "plan": plans.encode(plan).decode(),
            "actor": self._actor.id, "identity": self._actor.source,
            "trace_id": trace_id, "provenance": to_json(self._provenance), "process": services.process, "requested_at": now,
        }  # fmt: skip
        runs.insert(tx, row)
        if services.audit.is_on:
            services.audit.tell(tx, acts.run_requested(row), self._actor.who, now, run_id=run_id, trace_id=trace_id)
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
        self._check(plan, Who(run.actor, run.identity), author_of(run.provenance))
        with self._holding(run.id):
            with services.database.transaction() as tx:
                processes.stand(tx, services.process, services.database.now())
                if not runs.move(tx, run.id, "waiting", "running", process=services.process):
                    raise UsageError(
                        f"{run.id} was resumed or cancelled by somebody else just now", hint=f"flowstone show {run.id}"
                    )
                now, who = services.database.now(), self._actor.who
                services.audit.tell(tx, acts.run_resumed(run.id), who, now, run_id=run.id, trace_id=run.trace_id)
                tx.emit(
                    RunResumed,
                    pipeline=run.pipeline,
                    run_id=run.id,
                    trace_id=run.trace_id,
                    actor=self._actor.id,
                    identity=self._actor.source,
                )
            lost.settle_orphans(services, run)
            return self._work(self._again(run, plan), run.trace_id, run.requested_at)

    def _again(self, run: RunRecord, plan: Plan) -> Session:
        """The session of a run that goes on: what has ended is known, what is to be tried again counts its tries."""
        with self._services.database.reading() as connection:
            rows = materializations.of_run(connection, run.id)
            losses = Counter(
                a.materialization for a in materializations.attempts_of_run(connection, run.id) if a.status == "lost"
            )
            made = outputs.find(connection, [row.output for row in rows if row.output])
        force = frozenset(plan.targets) if run.request.get("force") else frozenset()
        trace = run_trace(run.id, run.trace_id, run.request)
        who, author = Who(run.actor, run.identity), author_of(run.provenance)
        session = Session(self._services, self._pipeline, run.id, trace, plan, force=force, who=who, author=author)
        for row in rows:
            place = (row.asset, row.partition)
            if row.status == "waiting":
                session.steps.tries[place] = Try(row.id, row.attempts, row.later, losses[row.id])
                session.schedule.wait(place)
            elif row.status == "retrying":
                session.steps.tries[place] = Try(row.id, row.attempts, row.later, losses[row.id])
                session.schedule.not_before[place] = row.not_before or 0
            else:
                output = made.get(row.output)
                session.ended(
                    place, Ending(row.status, row.output, output.digest if output else "", row.reason, row.message), output
                )
        return session

    def _work(self, session: Session, trace_id: str, started: int) -> RunResult:
        try:
            expiring.settle_due(self._services)
            session.prepare()
            self._loop(session).run()
            while session.schedule.waiting:
                aside = suspending.put_aside(self._services, session)
                if aside is not None:
                    return aside
                self._loop(session).run()
        except StopRequest as stop:
            return suspending.stop(self._services, session, stop.kind)
        finally:
            self._services.end_run(session.run_id)
        return self._finish(session, trace_id, started)

    def _check(self, plan: Plan, requester: Who, author: str) -> None:
        """Refuse what the executor cannot do, and gates that nobody could pass, before anything begins."""
        gates.check(plan, self._pipeline, self._services, requester, author)
        if crossing.check(plan, self._pipeline, self._services.io, self._services.resources, self._how.executor):
            self._services.children()

    def _loop(self, session: Session) -> Loop:
        services, how = self._services, self._how
        jobs = how.jobs or crossing.jobs_for(session.plan, self._pipeline, how.executor)
        body = Body(
            services.dispatcher, services.io, services.capture, services.resources, services.stopping.ends_now, services.tracing
        )
        return Loop(session, Lanes(body, services.stopping, services.children, how.executor), jobs, how.patience)

    @contextmanager
    def _holding(self, run_id: str) -> Iterator[None]:
        """This process works on the run; whatever stops that, if it is still this process's, leaves it waiting to be resumed."""
        with self._services.stopping.holding(run_id):
            try:
                yield
            except BaseException as error:
                reason = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
                suspending.suspend(self._services, run_id, reason, error)
                raise
            finally:
                if self._services.tracing is not None:
                    self._services.tracing.forget(run_id)

    def _finish(self, session: Session, trace_id: str, started: int) -> RunResult:
        endings = session.schedule.endings
        result = suspending.result_as(session, status_of([endings[place] for place in session.plan.targets]))
        with self._services.database.transaction() as tx:
            self._end(tx, result, trace_id, started, session.who)
        return result

    def _end(self, tx: Transaction, result: RunResult, trace_id: str, started: int, who: Who) -> None:
        services, now = self._services, self._services.database.now()
        counts = {
            "success": len(result.materialized), "reused": len(result.reused),
            "failed": len(result.failed), "skipped": len(result.skipped),
            **({"cancelled": len(result.cancelled)} if result.cancelled else {}),
        }  # fmt: skip
        if not runs.move(tx, result.run_id, "running", result.status, held=self._services.process, outcome=counts, ended_at=now):
            raise ownership.taken(result.run_id)
        end = End(result.run_id, self._pipeline.name, trace_id, result.status, counts, started, now)
        ending.tell(tx, services, end, who)


def author_of(provenance: Mapping[str, Any]) -> str:
    """The author of the commit that is run, as far as it is known."""
    return str((provenance.get("git") or {}).get("author") or "")


def shared_partition(plan: Plan) -> str:
    """The encoded partition all partitioned targets have, or nothing when they differ or have none."""
    partitions = {partition for _, partition in plan.targets if partition}
    return partitions.pop() if len(partitions) == 1 else ""
