"""FlowStone: the one object users hold. Every method is a thin call of the room that does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack

from flowstone.app import cancel, identity, listings
from flowstone.app.apart import apart, awaited, interrupt_thread
from flowstone.app.keeping import Keeping
from flowstone.app.telemetry import requested_parent
from flowstone.app.wiring import Deployment
from flowstone.assets.options import EXECUTORS
from flowstone.assets.pipeline import Pipeline
from flowstone.audit import acts
from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.event import Event
from flowstone.events.handlers import HandlerInfo
from flowstone.events.spans import Span, SpanKind
from flowstone.events.trace import Trace
from flowstone.execution.cancel import Asked
from flowstone.execution.plan import Plan
from flowstone.execution.planner import Planner
from flowstone.execution.preview import Preview, preview
from flowstone.execution.result import RunResult
from flowstone.execution.run import How, IfRunning, Runs
from flowstone.execution.session import Session
from flowstone.foundation import settings as settings_
from flowstone.foundation.clock import Clock, as_datetime
from flowstone.foundation.errors import UsageError
from flowstone.foundation.ids import Ids
from flowstone.foundation.settings import Settings
from flowstone.stores import outputs, runs
from flowstone.stores.records import RunRecord

IN_MEMORY = "sqlite://"
Executor = Literal["inline", "thread", "process"]


class RunOptions(TypedDict, total=False):
    """The options of :meth:`FlowStone.run`."""

    partition: Any
    force: bool
    deps: bool
    executor: Executor | None
    jobs: int | None
    if_running: IfRunning
    wait: float
    traceparent: str | None
    tracestate: str | None


class FlowStone(Keeping):
    """A pipeline, its project and everything FlowStone keeps of them; a context manager.

    Without *settings* they are found as the command line finds them; *home* is the folder to keep things in
    (``":memory:"`` keeps nothing), *project* the namespace of all keys, *actor* an asserted identity. *echo* receives what
    assets print (default: the real standard output). *resources* are values to hand out instead of opening the resource of that
    name. Without a *pipeline* only questions can be asked.
    """

    def __init__(  # noqa: PLR0913 - all but the first are keyword-only options with defaults
        self,
        pipeline: Pipeline | None = None,
        *,
        home: str | Path | None = None,
        project: str | None = None,
        environment: str | None = None,
        actor: str | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        echo: Callable[[str], None] | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        if pipeline is not None and not isinstance(pipeline, Pipeline):
            raise UsageError(f"FlowStone({pipeline!r}): a Pipeline is needed", hint='FlowStone(Pipeline("name", [assets]))')
        arguments = {"home": str(home) if home is not None else None, "project": project}
        found = settings or settings_.load(environment=environment, arguments=arguments)
        if pipeline is not None:
            listings.check_config(pipeline, found.config)
        doer = identity.actor(actor)
        made = Deployment(found, pipeline, clock=clock, ids=ids, echo=echo, resources=resources or {}, actor=doer)
        super().__init__(made, pipeline, doer)

    # -- working --------------------------------------------------------------------------------------------------------

    def preview(
        self, targets: str | Iterable[str] | None = None, *, partition: Any = None, force: bool = False, deps: bool = True
    ) -> list[Preview]:
        """Return what :meth:`run` would do with each step and why; sources are asked, nothing is computed or recorded."""
        plan = self._plan(targets, partition, deps=deps)
        forced = frozenset(plan.targets) if force else frozenset()
        session = Session(self._deployment.previewing(), self._needed(), "", Trace("", ""), plan, force=forced)
        return apart(lambda: preview(session), lambda: None)

    def run(  # noqa: PLR0913 - all but the first are keyword-only options with defaults
        self,
        targets: str | Iterable[str] | None = None,
        *,
        partition: Any = None,
        force: bool = False,
        deps: bool = True,
        executor: Executor | None = None,
        jobs: int | None = None,
        if_running: IfRunning = "wait",
        wait: float = 0.0,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> RunResult:
        """Materialize *targets* (default: every asset) for *partition* (a key, its text, or ``"latest"``) and what they need.

        What is up to date is reused unless *force* (targets only). *deps=False* takes inputs as they are now. Bodies run in
        *executor* (``inline``, ``thread``, ``process``; default: the setting ``run.executor``), at most *jobs* at once.
        *if_running*: when another run has one of the targets in its plan, ``wait`` for it step by step, ``skip`` this run, or
        ``fail``. When all that is left waits for people to approve, the run is put aside after *wait* seconds: ``waiting``, to be
        resumed. Failures are in the result; what stops the run itself is raised, and the run can be resumed. Inside an event
        loop the work is done in a thread, while the loop stands still: there, await :meth:`arun`.

        *traceparent* (with its *tracestate*) is the W3C header of the span that asks for the run, which becomes part of its
        trace; default: the OpenTelemetry span around this call, else the environment variables ``TRACEPARENT`` and
        ``TRACESTATE``, else a new trace.
        """
        options = RunOptions(
            partition=partition, force=force, deps=deps, executor=executor, jobs=jobs, if_running=if_running, wait=wait,
            traceparent=traceparent, tracestate=tracestate,
        )  # fmt: skip
        run_id, stopping = self._deployment.ids.new("run"), self._deployment.stopping
        return apart(lambda: self._run(run_id, targets, **options), lambda: stopping.suspend(run_id, interrupt_thread))

    async def arun(self, targets: str | Iterable[str] | None = None, **options: Unpack[RunOptions]) -> RunResult:
        """Do what :meth:`run` does in a thread, and await it; a cancelled task leaves the run waiting to be resumed."""
        run_id, stopping = self._deployment.ids.new("run"), self._deployment.stopping
        return await awaited(lambda: self._run(run_id, targets, **options), lambda: stopping.suspend(run_id))

    def _run(  # noqa: PLR0913 - the options of run
        self,
        run_id: str,
        targets: str | Iterable[str] | None,
        *,
        partition: Any = None,
        force: bool = False,
        deps: bool = True,
        executor: Executor | None = None,
        jobs: int | None = None,
        if_running: IfRunning = "wait",
        wait: float = 0.0,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> RunResult:
        how, parent = self._how(executor, jobs, wait), requested_parent(traceparent, tracestate)
        if self._deployment.is_new():
            self._plan(targets, partition, deps=deps)  # what cannot be planned makes no database
        self._deployment.deliver_beside()
        services = self._deployment.services()
        self._require_log()
        request = {
            "targets": listings.names(targets), "partition": listings.text_of(partition), "force": force, "deps": deps,
            "executor": how.executor, "jobs": how.jobs,
        }  # fmt: skip
        work = Runs(services, self._needed(), self._actor, self._provenance(), how)
        plan = work.plan(lambda: self._plan(targets, partition, deps=deps), request, run_id, parent)
        result = work.start(plan, request, force=force, if_running=if_running, run_id=run_id, parent=parent)
        return self._collected(services, result)

    def resume(self, run_id: str, *, executor: Executor | None = None, jobs: int | None = None, wait: float = 0.0) -> RunResult:
        """Go on with a run that waited for people, was interrupted, or whose process died; what it has finished is kept."""
        self._deployment.deliver_beside()
        services = self._deployment.existing()
        self._require_log()
        with services.database.reading() as connection:
            found = runs.find(connection, self.settings.project, run_id)
        how = self._how(executor or found.request.get("executor"), jobs or found.request.get("jobs"), wait)
        work, stopping = Runs(services, self._needed(), self._actor, self._provenance(), how), self._deployment.stopping
        return self._collected(services, apart(lambda: work.resume(found), lambda: stopping.suspend(found.id, interrupt_thread)))

    def cancel(self, run_id: str, *, reason: str = "", wait: float = 0.0) -> RunRecord:
        """End a run for good: at once when nobody works on it, else within about a second by the process that does.

        *run_id* may be the beginning of an id. Returns the run as it is at its end, or after *wait* seconds; raises
        :class:`UsageError` for a run that has ended before it could be cancelled.
        """
        return cancel.cancel(self._deployment, run_id, Asked(self._actor.id, self._actor.source, reason), wait)

    def stop(self, grace: float = 0.0) -> None:
        """Begin nothing more with this object, for good; what runs may finish for *grace* seconds. May be called in any thread.

        Its runs then wait to be resumed: their ``run`` returns with status ``waiting``.
        """
        self._deployment.stopping.drain(grace)

    def invalidate(self, asset: str, *, partition: Any = None) -> bool:
        """Withdraw the current output: the pointer goes, the bytes stay, dependants become outdated. False when there is none."""
        if self._deployment.is_new():
            self._found.partition(asset, partition)  # an unknown one is refused
            return False
        services = self._deployment.services()
        encoded = self._found.partition(asset, partition)
        with services.database.reading() as connection:
            current = outputs.current(connection, self.settings.project, asset, encoded)
        if current is None:
            return False
        with services.database.transaction() as tx:
            won = outputs.withdraw(tx, self.settings.project, asset, encoded, current.id)
            if won:
                services.audit.tell(tx, acts.invalidated(asset, encoded, current.id), self._actor.who, services.database.now())
                tx.emit(
                    AssetInvalidated,
                    asset=asset,
                    partition=encoded,
                    output=current.id,
                    actor=self._actor.id,
                    identity=self._actor.source,
                )
        return won

    # -- events ---------------------------------------------------------------------------------------------------------

    def attach(
        self,
        id: str,
        events: str | type[Event] | Iterable[str | type[Event]],
        handler: Callable[[Event], Any],
        *,
        queued: bool = False,
    ) -> None:
        """Call *handler* with every event of *events* (classes, names, prefixes ending in ``*``); *queued*: in its own thread."""
        self._deployment.dispatcher.attach(id, events, handler, queued=queued)

    def detach(self, id: str) -> None:
        """Stop calling the handler *id*."""
        self._deployment.dispatcher.detach(id)

    def list_handlers(self, prefix: str = "") -> list[HandlerInfo]:
        """The attached handlers that listen to any event whose name starts with *prefix*, with their figures."""
        return self._deployment.dispatcher.list_handlers(prefix)

    def emit(self, cls: type[Event], /, **fields: Any) -> None:
        """Emit an event of your own: recorded in the event log when its declaration says so, then shown to observers."""
        if not cls.recorded:
            self._deployment.dispatcher.emit(cls, **fields)
            return
        with self._deployment.services().database.transaction() as tx:
            tx.emit(cls, **fields)

    def on_print(self, echo: Callable[[str], None]) -> None:
        """Send what assets print to *echo* from now on; it is kept with their attempts all the same."""
        self._deployment.echo = echo

    def monotonic_ns(self) -> int:
        """Return a monotonic reading in nanoseconds."""
        return self._deployment.clock.monotonic_ns()

    def span(self, kind: SpanKind, /, **fields: Any) -> Span:
        """A context manager that emits *kind*'s start and exactly one of its stop and exception."""
        tracing = self._deployment.telemetry.tracing
        return Span(self, kind, fields, tracing.span(kind.name, fields, kind.stop.texts) if tracing is not None else None)

    def close(self) -> None:
        """Let the database and the handlers go."""
        self._deployment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except Exception as again:
            if error is None:  # else what went wrong first is what to tell
                raise
            error.add_note(f"and closing failed: {again}")

    def _plan(self, targets: str | Iterable[str] | None, partition: Any, *, deps: bool) -> Plan:
        database = self._deployment.planning()
        now = as_datetime(self._deployment.clock.now_ns())
        return Planner(self._needed(), self.settings.project, database, now).plan(listings.names(targets), partition, deps=deps)

    def _how(self, executor: str | None, jobs: int | None, wait: float) -> How:
        """Where bodies run and how many at once, as asked for here, else as it is set."""
        chosen = executor or self.settings.run.executor
        if chosen not in EXECUTORS:
            raise UsageError(f"executor {chosen!r} is not known", hint=f"one of {', '.join(EXECUTORS)}")
        wanted = self.settings.run.jobs if jobs is None else jobs
        if wanted is not None and (type(wanted) is not int or wanted < 1):
            raise UsageError(f"jobs={wanted!r}: a whole number of at least 1 is needed")
        if not wait >= 0:
            raise UsageError(f"wait={wait!r}: a number of seconds is needed")
        return How(chosen, wanted, wait)

    def _require_log(self) -> None:
        """Refuse to run where the audit log was set back, if that is wanted."""
        if self._deployment.sealing is not None:
            self._deployment.sealing.require()

    def _provenance(self) -> dict[str, Any]:
        kept = self.settings.database_url != IN_MEMORY
        return identity.provenance(self.pipeline if kept else None)
