"""Settings become real things here and nowhere else."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable

from flowstone.app.identity import host
from flowstone.events.dispatcher import Dispatcher
from flowstone.execution import lost
from flowstone.execution.services import Services
from flowstone.foundation import secrets
from flowstone.foundation.clock import Clock, SystemClock
from flowstone.foundation.errors import DatabaseError, NotFoundError
from flowstone.foundation.ids import Ids
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.settings import Settings
from flowstone.io_managers import FilesIOManager, IOManagers, MemoryIOManager
from flowstone.ledger.event_log import EventLog
from flowstone.observability.capture import Capture
from flowstone.observability.logs import log_event
from flowstone.stores import materializations, processes, runs
from flowstone.stores.database import Database
from flowstone.stores.dialects import lock_folder
from flowstone.stores.liveness import ProcessLocks


class Deployment:
    """One set of real things: made for reading, and made able to run when the first run asks."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, ids: Ids | None = None, echo: Callable[[str], None] | None = None
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.ids = ids or Ids()
        self.redactor = Redactor(settings.redaction_patterns)
        self.dispatcher = Dispatcher(self.clock, self.redactor)
        self.dispatcher.attach("flowstone.logs", "*", log_event)
        self._process = self.ids.new("proc")
        durability = settings.outputs.durability
        self._files = FilesIOManager(settings.outputs.path, durability=durability, owner=self._process)  # type: ignore[arg-type]
        self.io = IOManagers({"files": self._files, "memory": MemoryIOManager()}, default=settings.outputs.manager)
        self.locks = ProcessLocks(lock_folder(settings.database_url))
        self.echo = echo or _to_stdout
        self._database: Database | None = None
        self._empty: Database | None = None
        self._lock = threading.Lock()
        self._services: Services | None = None

    def reading(self) -> Database:
        """The database for questions: never created, never migrated."""
        if self._database is None:
            self._database = self._open(create=self.settings.home is None)
        return self._database

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
        lost.reap(self._services, self.locks, host(), lambda process: self._files.sweep(0, owner=process))
        return self._services

    def _begin(self) -> Services:
        self._make_folder()
        if self._database is None:
            self._database = self._open(create=True)
        self.locks.hold(self._process)
        now = self._database.now()
        with self._database.transaction() as tx:
            processes.register(tx, self._process, host(), os.getpid(), now)
        return self._assemble(self._database, self._process)

    def previewing(self) -> Services:
        """What a preview needs: nothing is created, registered or settled."""
        return self._assemble(self.planning(), "")

    def _assemble(self, database: Database, process: str) -> Services:
        capture = Capture(self.clock, self.redactor, limit=self.settings.logs.max_lines, echo=lambda text: self.echo(text))
        return Services(
            self.settings.project, database, self.dispatcher, self.io, self.ids, self.clock, capture, process, random.random,
            self.settings.config, secrets.resolver(self.redactor.add_value),
        )  # fmt: skip

    def close(self) -> None:
        """Say that this process has ended in good order, and let everything go."""
        try:
            if self._services is not None and self._database is not None:
                self._sign_off(self._database, self._services.process)
        finally:
            self._services = None
            self.dispatcher.close()
            for database in (self._database, self._empty):
                if database is not None:
                    database.close()
            self._database = self._empty = None
            self.locks.release()

    @staticmethod
    def _sign_off(database: Database, process: str) -> None:
        """End this process's row; a process that leaves something unsettled counts as dead, and the next one settles it."""
        with database.reading() as connection:
            left = runs.held_by(connection, process) or materializations.running_attempts(connection, process)
        if not left:
            with database.transaction() as tx:
                processes.end(tx, process, database.now())

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
        database.recorders = (EventLog(self.settings.project),)
        return database


def _to_stdout(text: str) -> None:
    (sys.__stdout__ or sys.stdout).write(text)
