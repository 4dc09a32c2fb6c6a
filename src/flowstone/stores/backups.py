"""A backup is one SQLite file with FlowStone's tables, whichever database it came from, so it can be restored into another kind.

Nothing here knows of bytes: where outputs are stored is told, and copied elsewhere.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from sqlalchemy import BigInteger, Connection, Integer, Table, create_engine, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import DatabaseError, SchemaError, UsageError
from flowstone.stores import append_only, migrations
from flowstone.stores.database import Database
from flowstone.stores.dialects import Backend
from flowstone.stores.moving import CHUNK, Renumbered, move_into_transaction
from flowstone.stores.sqlite import SqliteBackend
from flowstone.stores.tables import current_output, event, metadata, output, process

_LEFT_OUT = {"event": "xid"}  # transactions of the server that wrote them; another one numbers its own

Counts = dict[str, int]


class StoredOutput(NamedTuple):
    """Where an output's bytes are, and what they must be."""

    id: str
    asset: str
    manager: str
    location: str
    digest: str
    size: int
    project: str
    current: bool


def write(database: Database, path: Path) -> Counts:
    """Copy *database*, as it is at one moment, into a new file at *path*; return how many rows each table has."""
    with database.reading() as connection:
        if connection.dialect.name == "sqlite":
            counts = rows(connection)
            driver: Any = connection.connection.driver_connection
            with closing(sqlite3.connect(path)) as copy:
                driver.backup(copy)
        else:
            Database(f"sqlite:///{path}", database.dispatcher, SystemClock()).close()  # the tables
            with closing(SqliteBackend(str(path))) as backend, backend.changing() as target:
                numbered = Renumbered(connection)
                counts = {table.name: _copy(table, connection, target, numbered) for table in metadata.sorted_tables}
                numbered.move_cursors(target)
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, not three
    return counts


@contextmanager
def opened(path: Path) -> Iterator[Connection]:
    """A connection to the backup at *path*, which is only read.

    Raises :class:`UsageError` when there is none, :class:`SchemaError` when it is not FlowStone's, or newer, and
    :class:`DatabaseError` when it is damaged.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="flowstone db backup FILE writes one")
    place = f"file:{quote(str(path.absolute()))}?mode=ro"
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(place, uri=True), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            version = migrations.version(connection)
            if version is None:
                raise SchemaError(f"{path} has none of FlowStone's tables", hint="is it a file that flowstone db backup wrote?")
            migrations.check(str(path), version)
            yield connection
    except (sqlite3.Error, DBAPIError) as error:
        raise SqliteBackend(str(path)).explain(error) or error from error
    finally:
        engine.dispose()


def fill(
    backend: Backend, source: Connection, *, replace: bool, note: dict[str, Any], then: Callable[[Connection], object] = id
) -> Counts:
    """Copy every row of *source* into the tables of *backend*, add the event *note* and call *then*, all in one transaction.

    Raises :class:`UsageError` when there are rows already and *replace* is not set. Processes that had not ended count as dead
    there: what they worked on is settled as lost by the next one.
    """
    with backend.changing() as connection:
        taken = {name: count for name, count in rows(connection).items() if count}
        if taken and not replace:
            told = ", ".join(f"{name} {count:,}" for name, count in taken.items())
            raise UsageError(f"{backend.describe} is not empty: {told}", hint="restore into a new database, or give --replace")
        _run(connection, append_only.lifted)
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
        counts = {table.name: _copy(table, source, connection) for table in metadata.sorted_tables}
        _run(connection, append_only.put_back)
        if rows(connection) != counts:
            raise DatabaseError(f"{backend.describe} has other rows than the backup", hint="nothing was restored; try again")
        connection.execute(update(process).where(process.c.ended_at.is_(None)).values(heartbeat_at=0))
        _go_on_numbering(connection)
        if connection.dialect.name == "postgresql":
            move_into_transaction(connection)
        connection.execute(insert(event).values(note))
        then(connection)
    return counts


def _run(connection: Connection, statements: Callable[[str], Sequence[str]]) -> None:
    for statement in statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def rows(connection: Connection) -> Counts:
    """How many rows each table has."""
    counted = {table.name: select(func.count()).select_from(table) for table in metadata.sorted_tables}
    return {name: int(connection.execute(query).scalar_one()) for name, query in counted.items()}


def faults(connection: Connection) -> list[str]:
    """What is wrong with the database itself: its own check, and rows that refer to rows that are not there."""
    if connection.dialect.name == "sqlite":
        whole = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
        if whole != "ok":
            return [whole]
    found = []
    for table in metadata.sorted_tables:
        for key in table.foreign_keys:
            there = key.column.table.alias("there")
            joined = table.outerjoin(there, there.c[key.column.name] == key.parent)
            lost = (there.c[key.column.name].is_(None), key.parent.is_not(None))
            count = int(connection.execute(select(func.count()).select_from(joined).where(*lost)).scalar_one())
            if count:
                found.append(f"{count:,} rows of {table.name} refer to a row of {key.column.table.name} that is not there")
    return found


def stored(connection: Connection, *, current_only: bool = False) -> Iterator[StoredOutput]:
    """The outputs of every project whose bytes are kept, each and whether it is current."""
    pointer = current_output.c.output
    columns = [output.c[name] for name in StoredOutput._fields if name != "current"]
    query = select(*columns, pointer.is_not(None)).select_from(output).outerjoin(current_output, pointer == output.c.id)
    query = query.where(output.c.gone == "", pointer.is_not(None) if current_only else text("1 = 1"))
    for row in connection.execute(query.order_by(output.c.id).execution_options(yield_per=CHUNK)):
        yield StoredOutput._make(row)


def mark_gone(path: Path, facts: dict[str, tuple[str, int]]) -> None:
    """Say in the backup at *path* that the bytes of these outputs are gone: why and when, by their ids."""
    with closing(sqlite3.connect(path)) as copy, copy:
        copy.executemany(
            "UPDATE output SET gone = ?, gone_at = ? WHERE id = ?", [(why, at, id) for id, (why, at) in facts.items()]
        )


def _copy(table: Table, source: Connection, target: Connection, numbered: Renumbered | None = None) -> int:
    count = 0
    for part in _batched(numbered.events() if numbered is not None and table is event else _rows(table, source)):
        target.execute(insert(table), part)
        count += len(part)
    return count


def _rows(table: Table, source: Connection) -> Iterator[dict[str, Any]]:
    columns = [column for column in table.columns if column.name != _LEFT_OUT.get(table.name)]
    query = select(*columns).order_by(*table.primary_key.columns).execution_options(yield_per=CHUNK)
    return map(dict, source.execute(query).mappings())


def _batched(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while part := list(islice(rows, CHUNK)):
        yield part


def _go_on_numbering(connection: Connection) -> None:
    """Let new rows be numbered after the copied ones; SQLite sees to that itself."""
    if connection.dialect.name == "sqlite":
        return
    for table in metadata.sorted_tables:
        key = list(table.primary_key.columns)
        if len(key) == 1 and isinstance(key[0].type, BigInteger | Integer):
            newest = connection.execute(select(func.max(key[0]))).scalar()
            if newest is not None:
                place = {"table": table.name, "column": key[0].name, "newest": newest}
                connection.execute(text("SELECT setval(pg_get_serial_sequence(:table, :column), :newest)"), place)
