"""Which database it is: what each of them must do, and the one that a URL names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flowstone.foundation.errors import FlowStoneError, SettingsError
from flowstone.stores.postgres import PostgresBackend
from flowstone.stores.sqlite import SqliteBackend


class Backend(Protocol):
    """A database: what differs between one and another, and nothing else."""

    engine: Engine
    describe: str
    """Which database it is, for people; without a password."""
    in_memory: bool
    path: str
    """The file, where there is one."""
    upgrades_itself: bool
    """Whether a writing command may change the schema unasked: the database is one user's, and a copy is kept."""

    def exists(self) -> bool:
        """Whether the database is there; asking creates nothing."""
        ...

    def prepare_to_create(self) -> None:
        """Make ready what the tables need, or refuse."""
        ...

    def begin(self, *, power: bool = False) -> Any:
        """Begin a transaction, at most one in a thread, and return the driver's cursor in it; :meth:`end` is owed.

        With *power*, what it commits survives losing power whatever was chosen for others.
        """
        ...

    def commit(self, cursor: Any) -> None:
        """Commit: returns when it is committed, raises when it is not."""
        ...

    def rollback(self, cursor: Any) -> None:
        """Undo the transaction, if it has not been undone; a lost connection is no error."""
        ...

    def end(self, cursor: Any) -> None:
        """Let everything go that :meth:`begin` took."""
        ...

    def compete(self, cursor: Any, sql: str, values: Any) -> int:
        """Run a statement and return how many rows it changed: 0 when a unique key was taken, and the transaction goes on."""
        ...

    def lock_name(self, cursor: Any, name: str) -> None:
        """Keep everybody else who locks *name* waiting until the transaction of *cursor* has ended."""
        ...

    def inserted(self, cursor: Any) -> int | None:
        """The number of the row that *cursor* inserted, ``None`` when it inserted none."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one consistent state."""
        ...

    def changing(self) -> AbstractContextManager[Connection]:
        """A connection in the one transaction of a change of schema, which nobody else makes at the same time."""
        ...

    def adopt(self) -> None:
        """Make what another server wrote this one's own."""
        ...

    def keep_copy(self, version: str) -> Path | None:
        """Copy the database before its schema *version* is changed; ``None`` where copies are not ours to make."""
        ...

    def additions(self) -> Sequence[str]:
        """The statements that complete a new schema on this database."""
        ...

    def clock_offset(self) -> int:
        """Nanoseconds the database's clock is ahead of the machine's; 0 when the difference cannot be told from none."""
        ...

    def size(self) -> int:
        """Bytes of the database."""
        ...

    def integrity(self, connection: Connection) -> str:
        """``ok``, or the first fault the database itself knows of."""
        ...

    def explain(self, error: BaseException) -> FlowStoneError | None:
        """The clear error for what the driver raised, or ``None`` when it is not the driver's."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


def connect(url: str, *, power: bool = False) -> Backend:
    """Return the backend for a *url*: ``sqlite:///path/flowstone.db``, ``sqlite://`` (in memory) or ``postgresql://…``.

    With *power*, what SQLite has committed survives losing power; without, it survives ``kill -9``. PostgreSQL decides that
    for itself. Nothing is connected yet. Raises :class:`SettingsError`.
    """
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            "database.url is no database URL", hint="for example sqlite:////srv/shop/flowstone.db or postgresql://user@host/shop"
        ) from error
    if kind == "sqlite":
        return SqliteBackend(parsed.database or "", power=power)
    if kind in ("postgresql", "postgres"):
        return PostgresBackend(parsed)
    raise SettingsError(f"database.url names {kind!r}", hint="facts are stored in sqlite or postgresql")


def lock_folder(url: str, home: Path | None) -> Path | None:
    """Where the processes of this machine that share the database keep their locks; ``None`` when it is in memory.

    They are beside a SQLite file, and in the *home* folder where the database is on a server.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return home / "processes" if home else None
    path = parsed.database
    return Path(path).absolute().parent / "processes" if path and path != ":memory:" else None
