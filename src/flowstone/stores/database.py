"""Transactions: the state change, its recorders' evidence, and then, after commit, the observers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from sqlalchemy import Connection as Connection  # noqa: PLC0414 - rooms above name it from here
from sqlalchemy import inspect
from sqlalchemy.schema import CreateIndex, CreateTable

from flowstone.events.dispatcher import Dispatcher
from flowstone.events.event import Event
from flowstone.foundation.clock import Clock
from flowstone.foundation.errors import DatabaseError, NotFoundError, SchemaError
from flowstone.stores import dialects
from flowstone.stores.statements import Builder, Inserting, Prepared
from flowstone.stores.tables import SCHEMA_VERSION, metadata


class Transaction:
    """One atomic change. Events emitted in it reach recorders at once and observers after commit."""

    __slots__ = ("_cursor", "_held", "_later", "_stores")

    def __init__(self, stores: Database, cursor: Any) -> None:
        self._stores, self._cursor = stores, cursor
        self._held: list[Event] = []
        self._later: dict[Inserting, tuple[Prepared, list[tuple[Any, ...]]]] = {}

    def execute(self, builder: Builder, values: Mapping[str, Any]) -> Any:
        """Run *builder*'s statement now and return the driver's cursor (``rowcount``, ``lastrowid``, ``fetchall``)."""
        prepared = self._stores.prepared.get(builder) or self._stores.prepare(builder)
        return self._cursor.execute(prepared.sql, prepared.bind(values))

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

    def flush(self) -> None:
        """Write what :meth:`add_row` collected."""
        for builder, (prepared, rows) in self._later.items():
            self._cursor.executemany(prepared.sql, prepared.bind_rows(builder.names, rows))
        self._later = {}

    def committed(self) -> list[Event]:
        """The events to show once the transaction is committed."""
        return self._held


class _Open:
    """The context manager of one transaction."""

    __slots__ = ("_cursor", "_stores", "_tx")

    def __init__(self, stores: Database) -> None:
        self._stores = stores

    def __enter__(self) -> Transaction:
        stores = self._stores
        if getattr(stores.inside, "value", False):
            raise DatabaseError("a transaction is already open in this thread", hint="pass the open one down")
        stores.backend.lock.acquire()
        try:
            self._cursor = stores.backend.begin()
        except BaseException as error:
            stores.backend.lock.release()
            clear = stores.clear(error)
            if clear is error:
                raise
            raise clear from error
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
            clear = stores.clear(refused)
            if clear is not refused:
                raise clear from refused
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
            self._cursor.close()
        finally:
            stores.inside.value = False
            stores.backend.lock.release()


class Recorder(Protocol):
    """Adds evidence of an event inside the transaction of the change; never decides; what it raises undoes the change."""

    def record(self, happened: Event, tx: Transaction) -> None:
        """Add the evidence of *happened*."""
        ...


class Database:
    """The facts: one database, its transactions and its clock."""

    def __init__(self, url: str, dispatcher: Dispatcher, clock: Clock, *, create: bool = True, power: bool = False) -> None:
        self.backend = dialects.connect(url, power=power)
        self.dispatcher = dispatcher
        self.recorders: tuple[Recorder, ...] = ()
        self.now = clock.now_ns  # SQLite runs in this process: its clock is the machine's
        self.prepared: dict[Builder, Prepared] = {}
        self._dialect = self.backend.engine.dialect
        self.inside = threading.local()
        if not create and not self.backend.exists():
            raise NotFoundError(f"there is no database yet at {self.backend.describe}", hint="flowstone run creates it")
        try:
            with self._speaking():
                if create:
                    self.backend.make_folder()
                    self._create()
                self._check_schema()
        except BaseException:
            self.close()
            raise

    def prepare(self, builder: Builder) -> Prepared:
        """Return *builder*'s statement, compiled once."""
        found = self.prepared.get(builder)
        if found is None:
            found = self.prepared[builder] = Prepared(builder(), self._dialect)
        return found

    def transaction(self) -> _Open:
        """One atomic change, as a context manager; an exception undoes it, commit is followed by the observers."""
        return _Open(self)

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
            if not inspect(connection).has_table("alembic_version"):
                return None
            version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return str(version) if version else None

    def close(self) -> None:
        """Close every connection."""
        self.backend.close()

    def _create(self) -> None:
        """Create the tables of a new database, stamped with their version; an existing one is left as it is."""
        with self.backend.lock:
            cursor = self.backend.begin()
            try:
                cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'")
                if not cursor.fetchone()[0]:
                    for table in metadata.sorted_tables:
                        cursor.execute(str(CreateTable(table).compile(dialect=self._dialect)))
                        for index in sorted(table.indexes, key=lambda index: str(index.name)):
                            cursor.execute(str(CreateIndex(index).compile(dialect=self._dialect)))
                    cursor.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
                    cursor.execute(f"INSERT INTO alembic_version VALUES ('{SCHEMA_VERSION}')")
                self.backend.commit(cursor)
            except BaseException:
                self.backend.rollback(cursor)
                raise

    def _check_schema(self) -> None:
        version = self.schema_version()
        if version == SCHEMA_VERSION:
            return
        if version is None:
            raise SchemaError(
                f"{self.backend.describe} has none of FlowStone's tables", hint="point database.url at another file"
            )
        newer = version > SCHEMA_VERSION
        raise SchemaError(
            f"{self.backend.describe} has schema {version}, this FlowStone has {SCHEMA_VERSION}",
            hint="install a newer FlowStone" if newer else "flowstone db upgrade",
        )

    def clear(self, error: BaseException) -> BaseException:
        """The one clear error for what the driver raised; any other error is itself."""
        return dialects.explain(error, self.backend.describe) or error

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turn what the driver raises into one clear error."""
        try:
            yield
        except Exception as error:
            clear = self.clear(error)
            if clear is error:
                raise
            raise clear from error
