"""Settings become real things here and nowhere else."""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flowstone.app import beginning, identity
from flowstone.app.accounts import Accounts
from flowstone.app.heartbeat import Heartbeat
from flowstone.app.messages import Courier, channels_of, is_alive, outbox_of
from flowstone.app.pipelines import reference_of
from flowstone.app.runtime import Runtime
from flowstone.app.sealing import Sealing
from flowstone.app.telemetry import Telemetry
from flowstone.approvals.eligibility import Rules
from flowstone.assets.pipeline import Pipeline
from flowstone.audit.recorder import Recorder, Who
from flowstone.execution import lost
from flowstone.execution.children import Children
from flowstone.execution.parcel import Hello
from flowstone.execution.resources import OpenResources
from flowstone.execution.run import Actor
from flowstone.execution.services import Services
from flowstone.execution.stopping import Stopping
from flowstone.foundation.clock import Clock
from flowstone.foundation.errors import DatabaseError, NotFoundError, UsageError
from flowstone.foundation.ids import Ids
from flowstone.foundation.settings import Settings
from flowstone.ledger.event_log import EventLog
from flowstone.notifications.delivery import Delivery
from flowstone.notifications.message import CAUSING
from flowstone.observability.logs.capture import to_real_stdout
from flowstone.observability.logs.shape import log_events
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.metrics.definitions import Metric
from flowstone.stores import materializations, processes, runs
from flowstone.stores.database import Database
from flowstone.stores.dialects import lock_folder
from flowstone.stores.liveness import ProcessLocks

CHILD = "flowstone.app.child"
"""The module a child process of the process executor begins with."""


class Deployment:
    """One set of real things: made for reading, and made able to run when the first run asks."""

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline | None = None,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        echo: Callable[[str], None] | None = None,
        resources: Mapping[str, Any] = MappingProxyType({}),
        actor: Actor | None = None,
    ) -> None:
        self.settings, self._pipeline, self._actor = settings, pipeline, actor
        self.ids = ids or Ids()
        self._process = self.ids.new("proc")
        self.echo = echo or to_real_stdout
        self.runtime = Runtime(settings, owner=self._process, clock=clock, echo=lambda text: self.echo(text))
        self.clock, self.redactor, self.dispatcher, self.io = (
            self.runtime.clock, self.runtime.redactor, self.runtime.dispatcher, self.runtime.io,
        )  # fmt: skip
        self.dispatcher.attach("flowstone.logs", "*", log_events(self._place()), patient=True)
        self.accounts = Accounts(self.dispatcher, self._process)
        self.telemetry = Telemetry(settings, self.runtime, self._process)
        self.locks = ProcessLocks(lock_folder(settings.database_url, settings.home))
        self.stopping = Stopping(self.clock)
        self.resources = OpenResources(
            pipeline.resources if pipeline is not None else {},
            self.dispatcher,
            settings.config,
            self.runtime.resolve_secret,
            resources,
        )
        self._children: Children | None = None
        self._database: Database | None = None
        self._empty: Database | None = None
        self._lock = threading.Lock()
        self._services: Services | None = None
        self._heartbeat: Heartbeat | None = None
        self.sealing: Sealing | None = None
        self._outbox = outbox_of(settings, self.ids)
        self._courier: Courier | None = None
        self.freed: list[str] = []
        """The runs whose dead process was noticed here: they wait to be resumed."""

    def _place(self) -> dict[str, str]:
        """Where facts are kept and by which settings, as the log line of a run's start says it: without a password."""
        found = {"state": str(self.settings.home or "memory"), "environment": self.settings.environment or ""}
        return {**found, "database": self.redactor.text(self.settings.database_url)}

    def about(self) -> dict[str, str]:
        """What is the same in every log line of this process."""
        name = self._pipeline.name if self._pipeline is not None else ""
        host = {"host": socket.gethostname(), "worker": self._process}
        return {"pipeline": name, "environment": self.settings.environment or "", **host}

    def tell(self) -> None:
        """Record what observers lost since the last time, and how they fare; for the end of a run."""
        if self._services is not None:
            self.accounts.tell(self._services.database)

    def reading(self) -> Database:
        """The database for questions: never created, never migrated."""
        if self._database is None:
            with self._lock:  # who scrapes metrics asks in threads of its own
                self._database = self._database or self._open(create=self.settings.home is None)
        return self._database

    @property
    def who(self) -> Who:
        """Who acts."""
        return (self._actor or identity.actor()).who

    def seal(self, *, last: bool = False) -> None:
        """Seal what was told of, where this process does that; *last*: and give the tree head to all anchors."""
        if self.sealing is not None:
            self.sealing.seal(last=last)

    def unaudited(self) -> int:
        """How many changes of this process were undone because they could not be audited."""
        return self._database.unaudited if self._database is not None else 0

    def is_new(self) -> bool:
        """Whether there is no database yet: the first run creates it."""
        try:
            self.reading()
        except NotFoundError:
            return True
        except DatabaseError:  # it is there; what is wrong with it is told, or mended, when it is opened to be written to
            return False
        return False

    def existing(self) -> Services:
        """What :meth:`services` gives, for what is about something recorded: raises :class:`NotFoundError` where nothing is."""
        if self.is_new():
            self.reading()
        return self.services()

    def planning(self) -> Database:
        """The database for plans: an empty one in memory while there is none."""
        try:
            return self.reading()
        except NotFoundError:
            if self._empty is None:
                self._empty = Database("sqlite://", self.dispatcher, self.clock)
            return self._empty

    def services(self) -> Services:
        """Everything a run needs; creates the database, registers this process, and settles what dead ones left behind."""
        with self._lock:  # runs may begin in several threads
            if self._services is None:
                self._services = self._begin()
        self._reap()
        return self._services

    def _begin(self) -> Services:
        self._make_folder()
        if self._database is None:
            self._database = self._open(create=True)
        self._database.backend.adopt()
        self.locks.hold(self._process)
        now = self._database.now()
        with self._database.transaction() as tx:
            processes.register(tx, self._process, self.locks.host(), os.getpid(), now)
        own = self._pipeline.metrics if self._pipeline is not None else ()
        self.telemetry.attach(self._database, (*METRICS, *(Metric.of(metric.described()) for metric in own)))
        recorder = beginning.begin(self.settings, self._database, self.who)
        services = self._assemble(self._database, self._process, recorder)
        self.sealing = sealing = Sealing(self.settings, self._database, recorder, self.who)
        sealing.check()
        if not self._database.backend.in_memory:  # nobody else can ask or judge
            judged = not self._database.backend.path  # whoever opens a file by its path shares the locks beside it
            self._heartbeat = Heartbeat(services, judged=judged, told=self.accounts.beat, again=lambda: sealing.seal(wait=False))
            self._heartbeat.start()
        return services

    def previewing(self) -> Services:
        """What a preview needs: nothing is created, registered or settled."""
        return self._assemble(self.planning(), "", Recorder())

    def _assemble(self, database: Database, process: str, recorder: Recorder) -> Services:
        runtime = self.runtime
        return Services(
            self.settings.project, database, self.dispatcher, self.io, self.ids, self.clock, runtime.capture, process,
            random.random, self.stopping, self._reap, self._lane, self.resources, self._end_run, self.settings.config,
            runtime.resolve_secret, self.telemetry.tracing, recorder, self.people(),
        )  # fmt: skip

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline, where its code was loaded."""
        return self._pipeline

    def people(self) -> Rules:
        """Who may decide about what waits for approval; on a build server its own user is no person, unless it is set who is."""
        chosen, own, unset = self.settings.approvals, self.who, "approvals.machines" not in self.settings.sources
        building = bool(os.environ.get("CI")) and own.identity == "os" and unset
        machines = (*chosen.machines, own.actor) if building else chosen.machines
        return Rules(chosen.allow_asserted, chosen.groups, machines, self.settings.audit.require_approval_for_weakening)

    def _reap(self) -> None:
        """Settle what dead processes left behind."""
        if self._services is not None:
            self.freed += lost.reap(self._services, self.locks, lambda process: self.runtime.files.sweep(0, owner=process))

    def deliver_beside(self) -> None:
        """Deliver messages as they come from here on, beside whatever is done."""
        if self._outbox is not None and self._courier is None:
            self._courier = Courier(lambda: self.delivery(self._services or self.services()), self._outbox)
            self.dispatcher.attach("flowstone.notifications", CAUSING, self._courier.wake)

    def delivery(self, services: Services) -> Delivery:
        """What delivers the messages of this project, in the name of this process."""
        database, channels = services.database, channels_of(self.settings, self.runtime.resolve_secret, self.clock)
        return Delivery(services.project, database, channels, services.process, lambda id: is_alive(database, self.locks, id))

    def _end_run(self, run_id: str) -> None:
        """Close what was opened for the run, here and in children."""
        self.resources.end_run(run_id)
        if self._children is not None:
            self._children.end_run(run_id)

    def _lane(self) -> Children:
        """The child processes of this deployment; raises :class:`UsageError` when they could not find the pipeline."""
        with self._lock:
            if self._children is None:
                found = reference_of(self._pipeline) if self._pipeline is not None else None
                if self._pipeline is None or found is None:
                    raise UsageError(
                        "the process executor cannot find the pipeline again: it is no variable of a module that can be imported",
                        hint='assign it at the top level of a file, or use executor="thread"',
                    )
                name, digest, settings = self._pipeline.name, self._pipeline.digest(), self.settings
                traced = self.telemetry.tracing is not None
                self._children = Children(
                    CHILD,
                    lambda owner: Hello(found.text, found.base, name, digest, settings, list(sys.path), owner, traced),
                    self.dispatcher,
                    self.runtime.capture,
                    lambda owner: self.runtime.files.sweep(0, owner=owner),
                    self._process,
                    self.telemetry.accept,
                )
            return self._children

    def close(self) -> None:
        """Say that this process has ended in good order, and let everything go."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        try:
            if self._children is not None:
                self._children.close()
            self.resources.close()
            self.runtime.close()  # before the accounts are: queues are emptied as far as they go
            self.telemetry.close()
            self.tell()
            if self._courier is not None:
                self._courier.close()
            self.seal(last=True)
            if self._services is not None and self._database is not None:
                _sign_off(self._database, self._services.process)
        finally:
            self._services = self.sealing = None
            for database in (self._database, self._empty):
                if database is not None:
                    database.close()
            self._database = self._empty = None
            self.locks.release()

    def _make_folder(self) -> None:
        home = self.settings.home
        if home is None:
            return
        try:
            home.mkdir(parents=True, exist_ok=True)
            ignore = home / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise DatabaseError(
                f"cannot write to {home}: {error.strerror}", hint="make it writable, or set FLOWSTONE_HOME"
            ) from error

    def _open(self, *, create: bool) -> Database:
        power = self.settings.outputs.durability == "power"
        database = Database(self.settings.database_url, self.dispatcher, self.clock, create=create, power=power)
        database.recorders = (EventLog(self.settings.project), *([self._outbox] if self._outbox is not None else []))
        return database


def _sign_off(database: Database, process: str) -> None:
    """End this process's row; a process that leaves something unsettled counts as dead, and the next one settles it."""
    with database.reading() as connection:
        left = runs.held_by(connection, process) or materializations.running_attempts(connection, process)
    if not left:
        with database.transaction() as tx:
            processes.end(tx, process, database.now())
