"""The only file that knows which database it is: how to connect, begin and name what went wrong."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool, StaticPool

from flowstone.foundation.errors import DatabaseError, FlowStoneError, SettingsError

BUSY_SECONDS = 30.0


class SqliteBackend:
    """SQLite in WAL mode: one writer behind a process lock, readers beside it; in memory everything is one connection."""

    def __init__(self, path: str, *, power: bool = False) -> None:
        self.path = path
        self._synchronous = "FULL" if power else "NORMAL"
        self.in_memory = path in ("", ":memory:")
        pool = StaticPool if self.in_memory else NullPool
        self.engine: Engine = create_engine(f"sqlite:///{path}", poolclass=pool, connect_args={"check_same_thread": False})
        event.listen(self.engine, "connect", self._configure)
        self.lock = threading.RLock()
        self._writer: Any = None
        self.describe = "sqlite (in memory)" if self.in_memory else f"sqlite {path}"

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
        """Whether the database is there; asking creates nothing."""
        return self.in_memory or Path(self.path).exists()

    def make_folder(self) -> None:
        """Make the folder the database file goes to."""
        if self.in_memory:
            return
        folder = Path(self.path).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"cannot write to {folder}: {error.strerror}", hint="make it writable, or set FLOWSTONE_HOME"
            ) from error

    def begin(self) -> Any:
        """Take the writer and return its cursor inside ``BEGIN IMMEDIATE``."""
        if self._writer is None:
            self._writer = self.engine.raw_connection()
        cursor = self._writer.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        return cursor

    @staticmethod
    def commit(cursor: Any) -> None:
        """Commit the transaction of *cursor*."""
        cursor.execute("COMMIT")

    def rollback(self, cursor: Any) -> None:
        """Undo the transaction of *cursor*, if SQLite has not done so itself."""
        if self._writer.driver_connection.in_transaction:
            cursor.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one consistent state."""
        if self.in_memory:
            with self.lock, self.engine.connect() as connection:
                yield connection
            return
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    def close(self) -> None:
        """Close every connection."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.engine.dispose()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to WAL; SQLite refuses at once, without its busy timeout, while another process is switching a new database."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.005)


def connect(url: str, *, power: bool = False) -> SqliteBackend:
    """Return the backend for a database *url* such as ``sqlite:///path/flowstone.db`` or ``sqlite://`` (in memory).

    With *power*, what is committed survives losing power; without, it survives ``kill -9``.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError(
            f"database.url {url!r} is no database URL", hint="for example sqlite:///.flowstone/flowstone.db"
        ) from error
    if parsed.get_backend_name() != "sqlite":
        raise SettingsError(f"database.url names {parsed.get_backend_name()!r}; this version stores its facts in sqlite only")
    return SqliteBackend(parsed.database or "", power=power)


def lock_folder(url: str) -> Path | None:
    """Where the processes of this machine that share the database keep their locks; ``None`` when it is in memory."""
    path = make_url(url).database if url.startswith("sqlite") else None
    return Path(path).absolute().parent / "processes" if path and path != ":memory:" else None


def explain(error: BaseException, describe: str) -> FlowStoneError | None:
    """The clear error for a driver's *error*, or ``None`` when it is not the driver's."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if not isinstance(error, sqlite3.Error):
        return None
    text = str(error)
    hints = {
        "locked": f"another process has been writing for {BUSY_SECONDS:.0f} s; see `flowstone doctor`",
        "readonly": "make the database file and its folder writable for this user",
        "unable to open": "check that the folder exists and is writable, or set FLOWSTONE_HOME",
        "disk is full": "free space on that disk and run again; what was committed is safe",
        "malformed": "keep the file, restore a backup",
        "not a database": "the file is something else; move it away or set FLOWSTONE_HOME",
    }
    hint = next((advice for part, advice in hints.items() if part in text), None)
    failure = DatabaseError(f"{describe}: {text}", hint=hint)
    failure.retryable = "locked" in text or "full" in text
    return failure
