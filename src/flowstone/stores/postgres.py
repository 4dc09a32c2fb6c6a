"""PostgreSQL, through psycopg 3: one pooled connection for each transaction, statements on the driver's own cursor."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from flowstone.foundation.errors import DatabaseError, FlowStoneError, SettingsError
from flowstone.foundation.texts import storable
from flowstone.stores import append_only
from flowstone.stores.moving import number_anew
from flowstone.stores.refusals import advice

OLDEST = 13  # pg_current_xact_id, pg_xact_status of xid8
POOL, OVERFLOW = 5, 15
PATIENCE = 30.0  # seconds to find out how a commit ended whose answer was lost
_CREATION = 0x666C6F77  # the advisory lock of whoever changes the schema
_DEFAULTS = {
    "application_name": "flowstone",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_POWER = "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
_ADDITIONS = (
    "ALTER TABLE event ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint",
    "ALTER TABLE event ALTER COLUMN xid SET NOT NULL",
    "CREATE INDEX event_by_xid ON event (xid, id)",
)


class PostgresBackend:
    """PostgreSQL: writers beside each other, each on a connection of its own; what collides is decided by unique keys."""

    in_memory = False
    path = ""
    upgrades_itself = False

    def __init__(self, url: URL) -> None:
        self.describe = f"postgresql {_shown(url)}"
        self._password = str(url.password or "")
        given = {name: value for name, value in _DEFAULTS.items() if name not in url.query}
        try:
            self.engine: Engine = create_engine(
                url.set(drivername="postgresql+psycopg"),
                connect_args=given, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_size=POOL, max_overflow=OVERFLOW,
            )  # fmt: skip
            self._texts = _harmless_texts()
        except ImportError as error:
            raise SettingsError(
                f"database.url names postgresql, which needs the extra 'postgres' ({error})",
                hint="pip install 'flowstone[postgres]'",
            ) from error
        self._driver: Any = self.engine.dialect.dbapi
        event.listen(self.engine, "connect", self._configure)
        self._own = threading.local()

    def _configure(self, connection: Any, _record: object) -> None:
        connection.adapters.register_dumper(str, self._texts)

    def exists(self) -> bool:
        """Whether the database has FlowStone's tables; asking creates nothing."""
        with self.engine.connect() as connection:
            return bool(connection.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL").scalar())

    def prepare_to_create(self) -> None:
        """Refuse a server that is too old, and a database that cannot hold every text."""
        with self.engine.connect() as connection:
            version = int(str(connection.exec_driver_sql("SHOW server_version_num").scalar()))
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
        if version < OLDEST * 10_000:
            raise DatabaseError(
                f"{self.describe} is version {version // 10_000}; {OLDEST} or newer is needed", hint="upgrade the server"
            )
        if encoding != "UTF8":
            raise DatabaseError(
                f"{self.describe} has the encoding {encoding}, which cannot hold every text",
                hint="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )

    # -- transactions ---------------------------------------------------------------------------------------------------

    def begin(self, *, power: bool = False) -> Any:
        """Take a connection of the pool and return its cursor inside a transaction; :meth:`end` gives it back."""
        connection = self.engine.raw_connection()
        try:
            driver: Any = connection.driver_connection
            driver.autocommit = True  # we say BEGIN ourselves: its answer names the transaction, in the same round trip
            cursor = driver.cursor()
            cursor.execute("BEGIN; SELECT pg_current_xact_id()::text")
            cursor.nextset()
            self._own.xid = cursor.fetchone()[0]
            if power:
                cursor.execute(_POWER)
        except BaseException:
            connection.invalidate()
            raise
        self._own.connection = connection
        return cursor

    def commit(self, cursor: Any) -> None:
        """Commit the transaction of *cursor*; when the answer is lost, find out how it ended."""
        try:
            cursor.execute("COMMIT", prepare=False)
        except self._driver.OperationalError as error:
            if not cursor.connection.broken:
                raise
            if self._ended(self._own.xid, error) != "committed":
                raise
            return
        if cursor.statusmessage != "COMMIT":
            raise DatabaseError(
                f"{self.describe}: the transaction had failed and was rolled back", hint="an error inside it was not passed on"
            )

    def _ended(self, xid: str, error: BaseException) -> str:
        """How transaction *xid* ended, asked on a new connection: ``committed``, ``aborted``, or nothing when it never was."""
        until = time.monotonic() + PATIENCE
        while True:
            found: str | None = "in progress"
            with suppress(DBAPIError), self.engine.connect() as connection:
                found = connection.exec_driver_sql("SELECT pg_xact_status(%s::text::xid8)", (xid,)).scalar()
            if found != "in progress":
                return str(found)
            if time.monotonic() > until:
                raise DatabaseError(
                    f"{self.describe}: the connection was lost while committing, and the outcome cannot be found out",
                    hint="when the database answers again: flowstone doctor",
                ) from error
            time.sleep(0.05)

    def rollback(self, cursor: Any) -> None:
        """Undo the transaction of *cursor*; a lost connection has done so itself."""
        connection = cursor.connection
        try:
            if not connection.closed:
                connection.execute("ROLLBACK")
        except self._driver.Error:
            connection.close()

    def end(self, cursor: Any) -> None:
        """Give the connection back to the pool, or throw it away when it is lost."""
        connection, self._own.connection = self._own.connection, None
        if cursor.connection.closed:
            connection.invalidate()
        else:
            cursor.close()
            connection.close()

    def compete(self, cursor: Any, sql: str, values: Any) -> int:
        """Run a statement that may hit a unique key: then it changes nothing, and the transaction goes on."""
        cursor.execute("SAVEPOINT compete")
        try:
            cursor.execute(sql, values)
        except self._driver.errors.UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT compete")
            return 0
        changed = int(cursor.rowcount)
        cursor.execute("RELEASE SAVEPOINT compete")
        return changed

    @staticmethod
    def lock_name(cursor: Any, name: str) -> None:
        """Lock *name* until the transaction ends; names share locks only when 64 bits of their digest do."""
        number = int.from_bytes(hashlib.sha256(storable(name).encode()).digest()[:8], "big", signed=True)
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (number,))

    @staticmethod
    def inserted(cursor: Any) -> int | None:
        """The number of the row that *cursor* inserted, ``None`` when it inserted none."""
        row = cursor.fetchone()
        return int(row[0]) if row else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one consistent state."""
        options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as connection:
            yield connection

    # -- the schema -----------------------------------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """A connection in the one transaction of a change of schema, alone; an exception, or death, undoes all of it."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION})")
            yield connection

    def adopt(self) -> None:
        """Number events anew where another server's transactions numbered them: they would hide this server's from the cursor."""
        strange = "SELECT EXISTS (SELECT 1 FROM event WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)"
        with self.engine.connect() as connection:
            if not connection.exec_driver_sql(strange).scalar():
                return
        with self.changing() as connection:
            if connection.exec_driver_sql(strange).scalar():  # another process may have been quicker
                number_anew(connection)

    @staticmethod
    def keep_copy(_version: str) -> Path | None:
        """Copy nothing: the server's backups are its owner's."""
        return None

    @staticmethod
    def additions() -> Sequence[str]:
        """The statements that complete a new schema: the transaction of each event, for the cursor; and the log's guards."""
        return (*_ADDITIONS, *append_only.postgres())

    # -- figures --------------------------------------------------------------------------------------------------------

    def clock_offset(self) -> int:
        """Nanoseconds the server's clock is ahead of this machine's, by the quickest of five answers; 0 when it may be none."""
        question = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        found: list[tuple[int, int]] = []
        with self.engine.connect() as connection:
            for _ in range(5):
                before = time.time_ns()
                server = int(connection.exec_driver_sql(question).scalar_one()) * 1_000
                after = time.time_ns()
                found.append((after - before, server - (before + after) // 2))
        took, offset = min(found)
        return offset if abs(offset) > took // 2 + 1_000 else 0

    def size(self) -> int:
        """Bytes of the database."""
        with self.engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())

    @staticmethod
    def integrity(connection: Connection) -> str:
        """``ok``, or what PostgreSQL knows to be damaged: pages whose checksum failed, indexes that are not valid."""
        question = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"
        failed = connection.exec_driver_sql(question).scalar()
        if failed:
            return f"{failed} pages failed their checksum"
        question = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid LIMIT 1"
        invalid = connection.exec_driver_sql(question).scalar()
        return f"the index {invalid} is not valid" if invalid else "ok"

    def explain(self, error: BaseException) -> FlowStoneError | None:
        """The clear error for the driver's *error*, or ``None`` when it is not the driver's."""
        if isinstance(error, PoolTimeoutError):
            failure = DatabaseError(f"{self.describe}: every connection of this process is in use", hint="try again later")
            failure.retryable = True
            return failure
        if isinstance(error, DBAPIError) and error.orig is not None:
            error = error.orig
        if not isinstance(error, self._driver.Error):
            return None
        text = " ".join(str(error).split())
        if self._password:
            text = text.replace(self._password, "***")
        failure = DatabaseError(f"{self.describe}: {text}")
        failure.hint, failure.retryable = advice(getattr(error, "sqlstate", None) or "", text)
        return failure

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _harmless_texts() -> Any:
    """The driver's way of sending texts, which escapes what the server refuses: a strange text must not undo a record."""
    from psycopg.types.string import StrDumperUnknown

    class Texts(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(storable(obj))

    return Texts


def _shown(url: URL) -> str:
    """The user, the place and the database of *url*, without its password."""
    host = url.host or url.query.get("host") or "localhost"
    user = f"{url.username}@" if url.username else ""
    return f"{user}{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"
