"""Where a reader of the event log stands: an opaque text, from which it goes on without missing or repeating an event.

On SQLite writers follow one another, and an event's number is its place. On PostgreSQL they write beside each other: an
event may become visible after others with greater numbers have been read. There the place is the transaction and then the
number, and a reader that goes on from a cursor is shown no event that one of a transaction still open could precede.
"""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, tuple_

from flowstone.foundation.errors import UsageError
from flowstone.stores.tables import event

START = "0"
"""The cursor before the first event."""


class Places(Protocol):
    """How the events seen by one connection are ordered."""

    order: tuple[ColumnElement[Any], ...]

    def after(self, cursor: str) -> ColumnElement[bool]:
        """The condition of the events behind *cursor*; raises :class:`UsageError` for a text that is none."""
        ...

    def upto(self, cursor: str) -> ColumnElement[bool]:
        """The condition of the events before *cursor*."""
        ...

    def settled(self) -> ColumnElement[bool] | None:
        """The condition of the events that no other can precede any more; ``None`` when that holds for all."""
        ...

    def cursor(self, row: Any) -> str:
        """The cursor from which to go on when *row* and all before it have been read."""
        ...

    def end(self) -> str:
        """The cursor before what is recorded from now on."""
        ...

    def bounds(self, end: str) -> dict[str, int]:
        """What no event before *end* exceeds: the number ``last``, or else the transaction is before ``open``."""
        ...


class Numbers:
    """Events in the order of their numbers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.order: tuple[ColumnElement[Any], ...] = (event.c.id,)

    def after(self, cursor: str) -> ColumnElement[bool]:
        if not cursor.isdecimal():
            raise _unknown(cursor)
        return event.c.id > int(cursor)

    def upto(self, cursor: str) -> ColumnElement[bool]:
        return ~self.after(cursor)

    def settled(self) -> None:
        return None

    @staticmethod
    def cursor(row: Any) -> str:
        return str(row["id"])

    def end(self) -> str:
        return str(self._connection.execute(select(func.coalesce(func.max(event.c.id), 0))).scalar_one())

    def bounds(self, end: str) -> dict[str, int]:
        return {"last": int(end)}


class Transactions:
    """Events in the order of their transactions; those of transactions that came after one still open are not settled."""

    def __init__(self, connection: Connection) -> None:
        self._first_open = int(
            connection.execute(select(literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))).scalar_one()
        )
        self.order: tuple[ColumnElement[Any], ...] = (event.c.xid, event.c.id)

    def after(self, cursor: str) -> ColumnElement[bool]:
        return tuple_(event.c.xid, event.c.id) > tuple_(*place_of(cursor))

    def upto(self, cursor: str) -> ColumnElement[bool]:
        return tuple_(event.c.xid, event.c.id) <= tuple_(*place_of(cursor))

    def settled(self) -> ColumnElement[bool]:
        return event.c.xid < self._first_open

    def cursor(self, row: Any) -> str:
        settled = row["xid"] < self._first_open
        return f"{row['xid']}-{row['id']}" if settled else self.end()

    def end(self) -> str:
        return f"{self._first_open}-{START}"

    def bounds(self, end: str) -> dict[str, int]:
        return {"open": place_of(end)[0]}


def places(connection: Connection) -> Places:
    """How the events that *connection* sees are ordered."""
    return Transactions(connection) if connection.dialect.name == "postgresql" else Numbers(connection)


def place_of(cursor: str) -> tuple[int, int]:
    """The transaction and the number a cursor of :class:`Transactions` stands for."""
    transaction, _, number = cursor.partition("-")
    if not transaction.isdecimal() or not (number or START).isdecimal():
        raise _unknown(cursor)
    return int(transaction), int(number or START)


def _unknown(cursor: str) -> UsageError:
    return UsageError(f"{cursor!r} is no cursor of this event log", hint="give the text before an event; 0 is the beginning")
