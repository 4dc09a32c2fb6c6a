"""Events that move to another database keep their order, and what was folded of them stays folded.

On PostgreSQL the place of an event is its transaction and its number; another server numbers transactions of its own, and a
file has none. There an event's number alone must say whether a cursor of the fold is behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, literal, literal_column, select, tuple_, update

from flowstone.stores.cursors import place_of
from flowstone.stores.tables import event, fold

CHUNK = 2_000  # rows in memory
_LAST = 2**63 - 1


class Ranks:
    """How many cursors of the fold are before an event: what is equal in this is folded alike."""

    def __init__(self, connection: Connection) -> None:
        cursors = connection.execute(select(fold.c.cursor).distinct()).scalars()
        self.cursors = sorted(cursors, key=place_of)

    def of(self, xid: ColumnElement[Any], number: ColumnElement[Any]) -> ColumnElement[int]:
        """The rank of the event with this place."""
        behind = [(tuple_(xid, number) > tuple_(*place_of(cursor)), rank) for rank, cursor in enumerate(self.cursors, 1)]
        return case(*reversed(behind), else_=literal(0)) if behind else literal(0)


class Renumbered:
    """Gives events numbers that alone say their order; those that follow one another already keep theirs."""

    def __init__(self, connection: Connection) -> None:
        self._ranks, self._connection = Ranks(connection), connection
        self._reached: dict[str, str] = {}

    def events(self) -> Iterator[dict[str, Any]]:
        """Every event without its transaction, in the order of the fold."""
        rank = self._ranks.of(event.c.xid, event.c.id).label("rank")
        columns = [column for column in event.columns if column.name != "xid"]
        query = select(*columns, rank).order_by(rank, event.c.id).execution_options(yield_per=CHUNK)
        behind = last = 0
        for found in self._connection.execute(query).mappings():
            row = dict(found)
            passed = row.pop("rank")
            self._reached |= dict.fromkeys(self._ranks.cursors[behind:passed], str(last))
            behind = passed
            row["id"] = last = max(row["id"], last + 1)
            yield row
        self._reached |= dict.fromkeys(self._ranks.cursors[behind:], str(last))

    def move_cursors(self, target: Connection) -> None:
        """Let the cursors in *target*, where all of these events are now, be of their new numbers."""
        _replace(target, self._reached)


def move_into_transaction(connection: Connection) -> None:
    """Let cursors of numbers be cursors of the one transaction that has written all events: this one."""
    own: str = connection.execute(select(literal_column("pg_current_xact_id()::text"))).scalar_one()
    cursors = connection.execute(select(fold.c.cursor).distinct()).scalars()
    _replace(connection, {cursor: f"{own}-{cursor}" for cursor in cursors})


def number_anew(connection: Connection) -> None:
    """Number the transactions of all events anew, below those of this server, and the cursors with them."""
    ranks = Ranks(connection)
    connection.execute(update(event).values(xid=ranks.of(event.c.xid, event.c.id)))
    _replace(connection, {cursor: f"{rank}-{_LAST}" for rank, cursor in enumerate(ranks.cursors)})


def _replace(connection: Connection, cursors: Mapping[str, str]) -> None:
    if cursors:
        connection.execute(update(fold).values(cursor=case(cursors, value=fold.c.cursor, else_=fold.c.cursor)))
