"""Transactions: the state change, its recorders' evidence, and then, after commit, the observers."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from types import TracebackType
from typing import Any, Protocol

from sqlalchemy import Connection as Connection  # noqa: PLC0414 - rooms above name it from here
from sqlalchemy.schema import CreateIndex, CreateTable

from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event
from flowstone.foundation.clock import Clock
from flowstone.foundation.errors import AuditUnavailableError, DatabaseError, FlowStoneError, NotFoundError, SchemaError
from flowstone.foundation.texts import harmless
from flowstone.stores import dialects, migrations
from flowstone.stores.interrupts import interrupt_in, told
from flowstone.stores.statements import Builder, Inserting, Prepared, build
from flowstone.stores.tables import SCHEMA_VERSION, metadata

_logger = logging.getLogger("flowstone.stores")


class Transaction:
    """One atomic change. Events emitted in it reach recorders at once and observers after commit."""

    __slots__ = ("_cursor", "_held", "_last", "_later", "_stores")

    def __init__(self, stores: Database, cursor: Any) -> None:
        self._stores, self._cursor = stores, cursor
        self._held: list[Event] = []
        self._last: list[tuple[str, Callable[[Transaction], object]]] = []
        self._later: dict[Inserting, tuple[Prepared, list[tuple[Any, ...]]]] = {}

    def execute(self, builder: Builder, values: Mapping[str, Any]) -> Any:
        """Run *builder*'s statement now and return the driver's cursor (``rowcount``, ``fetchall``)."""
        prepared = self._stores.prepared.get(builder) or self._stores.prepare(builder)
        try:
            return self._cursor.execute(prepared.sql, prepared.bind(values))
        except UnicodeEncodeError:  # a strange text must not undo a record
            return self._cursor.execute(prepared.sql, prepared.bind(harmless(values)))

    def insert(self, builder: Builder, values: Mapping[str, Any]) -> int | None:
        """Run *builder*'s insert (see :func:`numbering`); return the new row's number, ``None`` when its key was taken."""
        return self._stores.backend.inserted(self.execute(builder, values))

    def compete(self, builder: Builder, values: Mapping[str, Any]) -> bool:
        """Run a change of one row that may hit a unique key; return whether it was made. The transaction goes on either way."""
        prepared = self._stores.prepare(builder)
        return self._stores.backend.compete(self._cursor, prepared.sql, prepared.bind(values)) == 1

    @property
    def dialect(self) -> str:
        """The name of the database's language: ``sqlite`` or ``postgresql``."""
        return self._stores.backend.engine.dialect.name

    def lock(self, name: str) -> None:
        """Keep everybody else who locks *name* waiting until this transaction has ended."""
        self._stores.backend.lock_name(self._cursor, name)

    def add_row(self, builder: Inserting, *row: Any) -> None:
        """Insert *row*, one value for each of *builder*'s columns in order, before commit."""
        later = self._later.get(builder)
        if later is None:
            later = self._later[builder] = (self._stores.prepare(builder), [])
        later[1].append(row)

    def emit(self, cls: type[Event], /, **fields: Any) -> Event:
        """Build an event, let recorders add its evidence to this transaction, and show it to observers after commit."""
        happened = self._stores.dispatcher.build(cls, fields)
        self.tell(happened)
        return happened

    def tell(self, happened: Event) -> None:
        """Record an event that is already built and show it to observers after commit."""
        self.record(happened)
        self._held.append(happened)

    def record(self, happened: Event) -> None:
        """Let recorders record an event that observers have already seen."""
        for recorder in self._stores.recorders:
            recorder.record(happened, self)

    def before_commit(self, key: str, change: Callable[[Transaction], object]) -> None:
        """Have *change* made at the end, in the order of the keys: rows that many change are locked last, and in one order."""
        self._last.append((key, change))

    def flush(self) -> None:
        """Make the changes that were kept for the end, and write what :meth:`add_row` collected."""
        if self._last:
            for _, change in sorted(self._last, key=itemgetter(0)):
                change(self)
        for builder, (prepared, rows) in self._later.items():
            try:
                self._cursor.executemany(prepared.sql, prepared.bind_rows(builder.names, rows))
            except Exception as error:
                clear = self.explained(error) if builder.failure is not None else None
                if clear is None or builder.failure is None:
                    raise
                raise builder.failure(clear) from error
        self._later = {}

    def explained(self, error: Exception) -> FlowStoneError | None:
        """The clear error for what the driver raised; ``None`` for any other error."""
        return self._stores.backend.explain(error)

    def committed(self) -> list[Event]:
        """The events to show once the transaction is committed."""
        return self._held


class _Open:
    """The context manager of one transaction."""

    __slots__ = ("_cursor", "_handled", "_power", "_stores", "_tx")

    def __init__(self, stores: Database, *, power: bool) -> None:
        self._stores, self._power, self._handled = stores, power, sys.exception()

    def __enter__(self) -> Transaction:
        stores = self._stores
        if getattr(stores.inside, "value", False):
            raise DatabaseError("a transaction is already open in this thread", hint="pass the open one down")
        try:
            self._cursor = stores.backend.begin(power=self._power)
        except BaseException as error:
            clear = stores.clear(error, self._handled)
            if clear is error:
                raise
            raise clear from told(error, clear)
        stores.inside.value = True
        self._tx = Transaction(stores, self._cursor)
        return self._tx

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stores, tx, refused = self._stores, self._tx, error
        try:
            if error is None:
                tx.flush()
                stores.backend.commit(self._cursor)
        except BaseException as failure:  # noqa: BLE001 - raised again below, once everything is let go
            refused = failure
        finally:
            self._let_go(undo=refused is not None)
        if refused is not None:
            stores.unaudited += isinstance(refused, AuditUnavailableError)
            clear = stores.clear(refused, self._handled)
            if clear is not refused:
                raise clear from told(refused, clear)
            if refused is not error:
                raise refused
            return  # the block's own exception goes on
        for happened in tx.committed():
            stores.dispatcher.deliver(happened)

    def _let_go(self, *, undo: bool) -> None:
        stores = self._stores
        try:
            if undo:
                stores.backend.rollback(self._cursor)
        finally:
            stores.inside.value = False
            stores.backend.end(self._cursor)


class Recorder(Protocol):
    """Adds evidence of an event inside the transaction of the change; never decides; what it raises undoes the change."""

    def record(self, happened: Event, tx: Transaction) -> None:
        """Add the evidence of *happened*."""
        ...


class Database:
    """The facts: one database, its transactions and its clock."""

    def __init__(self, url: str, dispatcher: Dispatcher, clock: Clock, *, create: bool = True, power: bool = False) -> None:
        self.backend, self.dispatcher = dialects.connect(url, power=power), dispatcher
        self.recorders: tuple[Recorder, ...] = ()
        self._clock = clock
        self.now = clock.now_ns
        self.prepared: dict[Builder, Prepared] = {}
        self._dialect = self.backend.engine.dialect
        self.inside = threading.local()
        self.unaudited = 0
        """How many changes were undone because their entry could not be written."""
        try:
            with self._speaking():
                if not create and not self.backend.exists():
                    raise NotFoundError(f"there is no database yet at {self.backend.describe}", hint="flowstone run creates it")
                if create:
                    self.backend.prepare_to_create()
                    self._create()
                self._check_schema()
                if create:
                    self.backend.adopt()
                self.measure_clock()
        except BaseException:
            self.close()
            raise

    def measure_clock(self) -> None:
        """Compare the database's clock with this machine's: :meth:`now` is the database's from here on.

        A process that lives long asks again now and then, because either clock may be set. Without a server, or when the
        difference cannot be told from none, :meth:`now` is exactly the clock this database was given.
        """
        offset, clock = self.backend.clock_offset(), self._clock.now_ns
        self.now = clock if offset == 0 else lambda: clock() + offset

    def prepare(self, builder: Builder) -> Prepared:
        """Return *builder*'s statement, compiled once."""
        found = self.prepared.get(builder)
        if found is None:
            found = self.prepared[builder] = Prepared(build(builder, self._dialect), self._dialect)
        return found

    def transaction(self, *, power: bool = False) -> _Open:
        """One atomic change, as a context manager; an exception undoes it, commit is followed by the observers.

        With *power* it survives losing power, whatever the durability of other changes is.
        """
        return _Open(self, power=power)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries that sees one consistent state."""
        if getattr(self.inside, "value", False):
            raise DatabaseError("a transaction is open in this thread: questions do not see it", hint="ask before it begins")
        with self._speaking(), self.backend.reading() as connection:
            yield connection

    def schema_version(self) -> str | None:
        """The version the database's tables have, or ``None`` when it has none of ours."""
        with self.backend.reading() as connection:
            return migrations.version(connection)

    def close(self) -> None:
        """Close every connection."""
        self.backend.close()

    def _create(self) -> None:
        """Create the tables of a new database, or upgrade those of a database that upgrades itself."""
        before = self.schema_version()
        if before is None:
            with self.backend.changing() as connection:
                if migrations.version(connection) is None:  # another process may have been quicker
                    for statement in self._schema():
                        connection.exec_driver_sql(statement)
        elif before < SCHEMA_VERSION and self.backend.upgrades_itself:
            done = migrations.upgrade(self.backend)
            if done.copy is not None:
                _logger.warning("schema upgraded from %s to %s; the database as it was: %s", done.before, done.now, done.copy)

    def _schema(self) -> Iterator[str]:
        for table in metadata.sorted_tables:
            yield str(CreateTable(table).compile(dialect=self._dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                yield str(CreateIndex(index).compile(dialect=self._dialect))
        yield from self.backend.additions()
        yield "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
        yield f"INSERT INTO alembic_version VALUES ('{SCHEMA_VERSION}')"

    def _check_schema(self) -> None:
        version = self.schema_version()
        if version is None:
            raise SchemaError(
                f"{self.backend.describe} has none of FlowStone's tables", hint="point database.url at another database"
            )
        migrations.check(self.backend.describe, version)
        if version != SCHEMA_VERSION:
            raise SchemaError(
                f"{self.backend.describe} has schema {version}, this FlowStone has {SCHEMA_VERSION}", hint="flowstone db upgrade"
            )

    def clear(self, error: BaseException, handled: BaseException | None) -> BaseException:
        """The one clear error for what the driver raised; any other error is itself.

        A driver that is interrupted may raise while it cleans up: then it is the interrupt, unless that was being *handled*
        before the driver was asked.
        """
        return interrupt_in(error, handled) or self.backend.explain(error) or error

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn what the driver raises into one clear error."""
        handled = sys.exception()
        try:
            yield
        except Exception as error:
            clear = self.clear(error, handled)
            if clear is error:
                raise
            raise clear from told(error, clear)
