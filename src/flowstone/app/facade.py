"""FlowStone: the one object users hold. Every method is a thin call of the room that does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from flowstone.app import identity, listings
from flowstone.app.conditions import Condition, Conditions
from flowstone.app.doctor import Finding, examine
from flowstone.app.explain import Explanation, explain
from flowstone.app.found import Found
from flowstone.app.wiring import Deployment
from flowstone.assets.drawing import render_dot, render_mermaid, render_text
from flowstone.assets.pipeline import Pipeline
from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.event import Event
from flowstone.events.handlers import HandlerInfo
from flowstone.events.spans import Span, SpanKind
from flowstone.execution.plan import Plan
from flowstone.execution.planner import Planner
from flowstone.execution.preview import Preview, preview
from flowstone.execution.result import RunResult
from flowstone.execution.run import Runs
from flowstone.execution.session import Session, as_output
from flowstone.execution.settlement import OBSERVED
from flowstone.foundation import settings as settings_
from flowstone.foundation.clock import Clock, as_datetime
from flowstone.foundation.errors import MissingOutputError, UsageError
from flowstone.foundation.ids import Ids
from flowstone.foundation.settings import Settings
from flowstone.ledger.lineage import Walk, walk
from flowstone.stores import errors, events, logs, outputs, runs
from flowstone.stores.records import ErrorRecord, EventRecord, LogRecord, RunRecord


class FlowStone:
    """A pipeline, its project and everything FlowStone keeps of them; a context manager.

    Without *settings* they are found as the command line finds them; *home* is the folder to keep things in
    (``":memory:"`` keeps nothing), *project* the namespace of all keys, *actor* an asserted identity. *echo* receives what
    assets print (default: the real standard output). Without a *pipeline* only questions can be asked.
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
    ) -> None:
        if pipeline is not None and not isinstance(pipeline, Pipeline):
            raise UsageError(f"FlowStone({pipeline!r}): a Pipeline is needed", hint='FlowStone(Pipeline("name", [assets]))')
        arguments = {"home": str(home) if home is not None else None, "project": project}
        self.settings = settings or settings_.load(environment=environment, arguments=arguments)
        self.pipeline = pipeline
        if pipeline is not None:
            listings.check_config(pipeline, self.settings.config)
        self._deployment = Deployment(self.settings, clock=clock, ids=ids, echo=echo)
        self._actor = identity.actor(actor)
        self._found = Found(self._deployment, pipeline)

    # -- working --------------------------------------------------------------------------------------------------------

    def preview(
        self, targets: str | Iterable[str] | None = None, *, partition: Any = None, force: bool = False, deps: bool = True
    ) -> list[Preview]:
        """Return what :meth:`run` would do with each step and why; sources are asked, nothing is computed or recorded."""
        plan = self._plan(targets, partition, deps=deps)
        session = Session(
            self._deployment.previewing(), self._needed(), "", "", plan, force=frozenset(plan.targets) if force else frozenset()
        )
        return preview(session)

    def run(
        self, targets: str | Iterable[str] | None = None, *, partition: Any = None, force: bool = False, deps: bool = True
    ) -> RunResult:
        """Materialize *targets* (default: every asset) for *partition* (a key, its text, or ``"latest"``) and what they need.

        What is up to date is reused unless *force* (targets only). *deps=False* takes inputs as they are now. Failures are in
        the result; what stops the run itself is raised, and the run can be resumed. Inside an event loop, use :meth:`arun`.
        """
        services = self._deployment.services()
        plan = self._plan(targets, partition, deps=deps)
        request = {"targets": listings.names(targets), "partition": listings.text_of(partition), "force": force, "deps": deps}
        return Runs(services, self._needed(), self._actor, identity.provenance()).start(plan, request, force=force)

    async def arun(
        self, targets: str | Iterable[str] | None = None, *, partition: Any = None, force: bool = False, deps: bool = True
    ) -> RunResult:
        """Do what :meth:`run` does in a thread, and await it."""
        return await asyncio.to_thread(self.run, targets, partition=partition, force=force, deps=deps)

    def resume(self, run_id: str) -> RunResult:
        """Go on with a run that was interrupted, or whose process died; what it has finished is kept."""
        services = self._deployment.services()
        with services.database.reading() as connection:
            found = runs.find(connection, self.settings.project, run_id)
        return Runs(services, self._needed(), self._actor, identity.provenance()).resume(found)

    def invalidate(self, asset: str, *, partition: Any = None) -> bool:
        """Withdraw the current output: the pointer goes, the bytes stay, dependants become outdated. False when there is none."""
        services = self._deployment.services()
        encoded = self._found.partition(asset, partition)
        with services.database.reading() as connection:
            current = outputs.current(connection, self.settings.project, asset, encoded)
        if current is None:
            return False
        with services.database.transaction() as tx:
            won = outputs.withdraw(tx, self.settings.project, asset, encoded, current.id)
            if won:
                tx.emit(
                    AssetInvalidated,
                    asset=asset,
                    partition=encoded,
                    output=current.id,
                    actor=self._actor.id,
                    identity=self._actor.source,
                )
        return won

    # -- values ---------------------------------------------------------------------------------------------------------

    def get(self, asset: str, *, partition: Any = None, run_id: str | None = None, as_: Any = None) -> Any:
        """Return the asset's current value, or the one *run_id* made; *as_* is a type to load it as, as in annotations.

        Raises :class:`MissingOutputError` when there is none.
        """
        return self._found.value(asset, partition, run_id=run_id, annotation=as_)

    def get_bytes(self, asset: str, *, partition: Any = None, run_id: str | None = None) -> bytes:
        """Return the stored bytes of the asset's value, checked against their digest and never interpreted."""
        record = self._found.stored(asset, partition, run_id=run_id)
        return self._deployment.io.get(record.manager).read_bytes(as_output(record))

    def exists(self, asset: str, *, partition: Any = None) -> bool:
        """Whether the asset has a current output and its bytes are there."""
        try:
            record = self._found.output(asset, partition)
        except MissingOutputError:
            return False
        return record.manager == OBSERVED or self._deployment.io.get(record.manager).exists(as_output(record))

    # -- questions ------------------------------------------------------------------------------------------------------

    def status(self) -> list[Condition]:
        """Every asset's condition: up to date, outdated and why, or without a value; newest partition first."""
        return Conditions(self._deployment, self.pipeline).all()

    def assets(self) -> list[dict[str, Any]]:
        """The pipeline's assets as they are defined now, in declaration order."""
        return list(self._needed().definition()["assets"])

    def asset_info(self, name: str) -> dict[str, Any]:
        """One asset's definition, what it cannot see, and its condition."""
        return listings.asset_info(self._needed(), name, Conditions(self._deployment, self.pipeline))

    def graph(self, form: Literal["text", "mermaid", "dot"] = "text") -> str:
        """The graph of assets as ``text``, ``mermaid`` or ``dot``."""
        forms = {"text": render_text, "mermaid": render_mermaid, "dot": render_dot}
        if form not in forms:
            raise UsageError(f"graph form {form!r} is not known", hint=f"one of {', '.join(forms)}")
        return forms[form](self._needed().graph)

    def runs(self, *, limit: int = 20, status: str | None = None) -> list[RunRecord]:
        """The newest runs first."""
        with self._deployment.reading().reading() as connection:
            return runs.recent(connection, self.settings.project, limit=limit, status=status)

    def show(self, id: str) -> listings.RunView:
        """One run with its materializations, attempts, outputs and counts of evidence; *id* may be the beginning of an id."""
        with self._deployment.reading().reading() as connection:
            return listings.run_view(connection, self.settings.project, id)

    def lineage(
        self, asset: str, *, partition: Any = None, direction: Literal["upstream", "downstream", "impact"] = "upstream"
    ) -> Walk:
        """What the current output was made from, or what was made from it; ``impact`` keeps to outputs that are current now."""
        if direction not in ("upstream", "downstream", "impact"):
            raise UsageError(f"lineage direction {direction!r} is not known", hint="one of upstream, downstream, impact")
        record = self._found.output(asset, partition)
        with self._deployment.reading().reading() as connection:
            found = walk(connection, record, down=direction != "upstream")
            current = outputs.current_of(connection, self.settings.project) if direction == "impact" else None
        return found if current is None else listings.only_current(found, {output.id for output in current.values()})

    def explain(self, asset: str, *, partition: Any = None) -> Explanation:
        """Why the asset's value is what it is, what it was made from, and whether it is outdated."""
        return explain(self._deployment, self.pipeline, self._found, asset, partition)

    def events(
        self, *, after: int = 0, limit: int = 1000, run_id: str | None = None, names: Iterable[str] = (), asset: str | None = None
    ) -> list[EventRecord]:
        """At most *limit* recorded events after the cursor *after*, in order; *names* may end in ``*``."""
        with self._deployment.reading().reading() as connection:
            run = runs.find(connection, self.settings.project, run_id).id if run_id else None
            return events.read(
                connection, self.settings.project, after=after, limit=limit, run_id=run, names=tuple(names), asset=asset
            )

    def errors(self, *, run_id: str | None = None, asset: str | None = None, limit: int = 50) -> list[ErrorRecord]:
        """The newest recorded errors first."""
        with self._deployment.reading().reading() as connection:
            run = runs.find(connection, self.settings.project, run_id).id if run_id else None
            return errors.read(connection, self.settings.project, run_id=run, asset=asset, limit=limit)

    def logs(self, run_id: str, *, asset: str | None = None) -> list[LogRecord]:
        """The captured lines of a run, in order."""
        with self._deployment.reading().reading() as connection:
            return logs.read(connection, runs.find(connection, self.settings.project, run_id).id, asset=asset)

    def doctor(self) -> list[Finding]:
        """Check that records and evidence agree and that nothing is left behind; changes nothing."""
        return examine(self._deployment)

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
        return Span(self, kind, fields)

    def close(self) -> None:
        """Let the database and the handlers go."""
        self._deployment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _plan(self, targets: str | Iterable[str] | None, partition: Any, *, deps: bool) -> Plan:
        database = self._deployment.planning()
        now = as_datetime(self._deployment.clock.now_ns())
        return Planner(self._needed(), self.settings.project, database, now).plan(listings.names(targets), partition, deps=deps)

    def _needed(self) -> Pipeline:
        if self.pipeline is None:
            raise UsageError("this needs a pipeline, and none was given", hint="FlowStone(pipeline)")
        return self.pipeline
