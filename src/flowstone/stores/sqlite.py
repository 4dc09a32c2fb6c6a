"""SQLite: one file in WAL mode, or one connection in memory."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from flowstone.foundation.errors import DatabaseError, FlowStoneError
from flowstone.stores import append_only

BUSY_SECONDS = 30.0


class SqliteBackend:
    """SQLite in WAL mode: one writer behind a process lock, readers beside it; in memory everything is one connection."""

    upgrades_itself = True

    def __init__(self, path: str, *, power: bool = False) -> None:
        self.path = path
        self._synchronous = "FULL" if power else "NORMAL"
        self._raised = False  # whether the writer's last transaction was to survive losing power, unlike others
        self.in_memory = path in ("", ":memory:")
        pool = StaticPool if self.in_memory else NullPool
        self.engine: Engine = create_engine(f"sqlite:///{path}", poolclass=pool, connect_args={"check_same_thread": False})
        event.listen(self.engine, "connect", self._configure)
        self.lock = threading.RLock()
        self._writer: Any = None
        self.describe = "sqlite (in memory)" if self.in_memory else f"sqlite {path}"
        self._watched = None if self.in_memory else _Watched()

    def _configure(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        if not self.in_memory:
            _use_wal(cursor)
        cursor.execute(f"PRAGMA synchronous = {self._synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    def exists(self) -> bool:
        """Whether the database is there; one without a table is being created, or its creation was broken off."""
        if self.in_memory:
            return True
        if not Path(self.path).exists():
            return False
        with self.engine.connect() as connection:
            return connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first() is not None

    def prepare_to_create(self) -> None:
        """Make the folder the database file goes to; raises :class:`DatabaseError` for another program's file."""
        if self.in_memory:
            return
        folder = Path(self.path).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"cannot write to {folder}: {error.strerror}", hint="make it writable, or set FLOWSTONE_HOME"
            ) from error
        if self.exists():
            with closing(sqlite3.connect(self.path)) as connection:
                if _is_somebody_elses(connection.cursor()):
                    raise DatabaseError(
                        f"{self.describe} has tables, and none of FlowStone's tables", hint="point database.url at another file"
                    )

    def begin(self, *, power: bool = False) -> Any:
        """Take the writer and return its cursor inside ``BEGIN IMMEDIATE``; :meth:`end` gives it back."""
        self.lock.acquire()
        try:
            self._require_files()
            if self._writer is None:
                self._writer = self.engine.raw_connection()
            cursor = self._writer.driver_connection.cursor()
            if power or self._raised:
                cursor.execute(f"PRAGMA synchronous = {'FULL' if power else self._synchronous}")
                self._raised = power
            cursor.execute("BEGIN IMMEDIATE")
        except BaseException:
            self.lock.release()
            raise
        return cursor

    @staticmethod
    def commit(cursor: Any) -> None:
        """Commit the transaction of *cursor*."""
        cursor.execute("COMMIT")

    def rollback(self, cursor: Any) -> None:
        """Undo the transaction of *cursor*, if SQLite has not done so itself."""
        if self._writer.driver_connection.in_transaction:
            cursor.execute("ROLLBACK")

    def end(self, cursor: Any) -> None:
        """Let the writer go."""
        try:
            cursor.close()
        finally:
            self.lock.release()

    @staticmethod
    def compete(cursor: Any, sql: str, values: Any) -> int:
        """Run a statement that may hit a unique key: SQLite undoes no more than the statement, and no row has changed."""
        try:
            cursor.execute(sql, values)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname not in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
                raise
            return 0
        return int(cursor.rowcount)

    @staticmethod
    def lock_name(_cursor: Any, _name: str) -> None:
        """Lock nothing: whoever changes anything has locked the database."""

    @staticmethod
    def inserted(cursor: Any) -> int | None:
        """The number of the row that *cursor* inserted, ``None`` when it inserted none."""
        return int(cursor.lastrowid) if cursor.rowcount == 1 else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one consistent state."""
        if self.in_memory:
            with self.lock, self.engine.connect() as connection:
                yield connection
            return
        self._require_files()
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """A connection in the one transaction of a change of schema; an exception, or death, undoes all of it."""
        with self.lock, self.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # a table that is replaced is not emptied first
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise DatabaseError(f"{self.describe}: a row of {broken[0]} refers to nothing", hint="restore a backup")
                connection.exec_driver_sql("COMMIT")
            finally:
                driver = connection.connection.driver_connection
                if driver is not None and driver.in_transaction:
                    driver.execute("ROLLBACK")
                connection.exec_driver_sql("PRAGMA foreign_keys = ON")

    def adopt(self) -> None:
        """Change nothing: a file is the same wherever it lies."""

    def keep_copy(self, version: str) -> Path | None:
        """Copy the database beside itself, as ``….0001.bak`` for *version* 0001, whole or not at all; return the copy's path."""
        if self.in_memory:
            return None
        path = Path(f"{self.path}.{version}.bak")
        unfinished = path.with_name(f"{path.name}.part")
        unfinished.unlink(missing_ok=True)
        source, copy = sqlite3.connect(self.path), sqlite3.connect(unfinished)
        try:
            source.backup(copy)
        finally:
            copy.close()
            source.close()
        return unfinished.replace(path)

    @staticmethod
    def additions() -> Sequence[str]:
        """The statements that complete a new schema: what keeps the audit log append-only."""
        return tuple(append_only.sqlite())

    @staticmethod
    def clock_offset() -> int:
        """Nanoseconds to add to the clock: none, SQLite runs in this process."""
        return 0

    def size(self) -> int:
        """Bytes of the database's files."""
        if self.in_memory:
            return 0
        path = Path(self.path)
        files = (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    @staticmethod
    def integrity(connection: Connection) -> str:
        """What SQLite's own quick check says: ``ok``, or the first fault."""
        return str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())

    def explain(self, error: BaseException) -> FlowStoneError | None:
        """The clear error for the driver's *error*, or ``None`` when it is not the driver's."""
        if isinstance(error, DBAPIError) and error.orig is not None:
            error = error.orig
        if not isinstance(error, sqlite3.Error):
            return None
        text = str(error)
        hint = next((advice for part, advice in _HINTS.items() if part in text), None)
        failure = DatabaseError(f"{self.describe}: {text}", hint=hint)
        failure.retryable = "locked" in text or "full" in text
        return failure

    def _require_files(self) -> None:
        """Raise when this process's files were closed by somebody's code.

        SQLite would wait for locks it can never have, or write into whatever file has the number now.
        """
        if self._watched is not None and not self._watched.is_open():
            raise DatabaseError(
                f"{self.describe}: code in this process has closed files that were not its own, nothing more can be recorded",
                hint='let that asset run apart: @asset(executor="process")',
            )

    def close(self) -> None:
        """Close every connection, once nobody writes; none, where they would close other people's files."""
        if self._watched is not None and not self._watched.is_open():
            return
        if self._watched is not None:
            self._watched.close()
            self._watched = None
        with self.lock:  # closed under another thread, the connection takes the process with it
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self.engine.dispose()


class _Watched:
    """A descriptor nobody needs: once it is gone, or is another file's, code has closed what was not its own."""

    def __init__(self) -> None:
        self._number, other = os.pipe()
        os.close(other)
        self._file = os.fstat(self._number).st_ino

    def is_open(self) -> bool:
        """Whether it is what it was."""
        try:
            return os.fstat(self._number).st_ino == self._file
        except OSError:
            return False

    def close(self) -> None:
        """Give it back."""
        os.close(self._number)


_HINTS = {
    "locked": f"another process has been writing for {BUSY_SECONDS:.0f} s; see `flowstone doctor`",
    "readonly": "make the database file and its folder writable for this user",
    "unable to open": "check that the folder exists and is writable, or set FLOWSTONE_HOME",
    "disk I/O error": "the disk may be full or failing: free space on it and run again; what was committed is safe",
    "disk is full": "free space on that disk and run again; what was committed is safe",
    "malformed": "keep the file, restore a backup",
    "not a database": "the file is something else; move it away or set FLOWSTONE_HOME",
}


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to WAL; SQLite refuses at once, without its busy timeout, while another process is switching a new database."""
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal" or _is_somebody_elses(cursor):
        return
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.005)


def _is_somebody_elses(cursor: sqlite3.Cursor) -> bool:
    """Whether the database has tables and none of ours: it will be refused, and must not be changed before."""
    names = {name for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}
    return bool(names) and "materialization" not in names
