"""Events that move to another database: what was folded of them stays folded, whatever order they were written in."""

from __future__ import annotations

from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, insert, select

from flowstone.stores.cursors import place_of
from flowstone.stores.moving import Renumbered, number_anew
from flowstone.stores.tables import event, fold, metadata

engine = create_engine("sqlite://")
metadata.create_all(engine, [event, fold])

places = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), unique_by=lambda place: place[1], max_size=9)
cursors = st.lists(st.builds(lambda xid, id: f"{xid}-{id}", st.integers(0, 10), st.integers(0, 10)), unique=True, max_size=4)


def filled(connection, happened, reached):
    """Events at these places, each payload saying where it was, and metrics that have come to these cursors."""
    for table in (event, fold):
        connection.execute(delete(table))
    for xid, id in happened:
        row = {"id": id, "xid": xid, "project": "p", "at": 1, "name": "tests.moved", "payload": f"{xid}-{id}"}
        connection.execute(insert(event).values(row))
    for cursor in reached:
        row = {"project": "p", "metric": f"m {cursor}", "digest": "d", "cursor": cursor, "at": 1}
        connection.execute(insert(fold).values(row))


def ahead(happened, cursor):
    """Which events a metric at *cursor* has not seen."""
    return {f"{xid}-{id}" for xid, id in happened if (xid, id) > place_of(cursor)}


def reached_by(connection):
    return {row.metric.removeprefix("m "): row.cursor for row in connection.execute(select(fold))}


@given(places, cursors)
def test_numbers_alone_say_what_is_folded(happened, reached):
    """In a file, where events have no transactions, each metric has the same events behind it as before."""
    with closing(engine.connect()) as connection:
        filled(connection, happened, reached)
        numbered = Renumbered(connection)
        moved = {row["payload"]: row["id"] for row in numbered.events()}
        numbered.move_cursors(connection)
        now = reached_by(connection)

    assert sorted(moved) == sorted(f"{xid}-{id}" for xid, id in happened)
    assert len(set(moved.values())) == len(moved)
    for cursor in reached:
        assert {was for was, id in moved.items() if id > int(now[cursor])} == ahead(happened, cursor)


@given(places, cursors)
def test_adopted_transactions_say_what_is_folded(happened, reached):
    """Where another server's transactions are numbered anew, each metric has the same events before it, all of small numbers."""
    with closing(engine.connect()) as connection:
        filled(connection, happened, reached)
        number_anew(connection)
        rows = [(row.payload, (row.xid, row.id)) for row in connection.execute(select(event))]
        now = reached_by(connection)

    assert all(xid <= len(reached) for _, (xid, _) in rows)
    for cursor in reached:
        assert {was for was, place in rows if place > place_of(now[cursor])} == ahead(happened, cursor)


def test_events_in_order_keep_their_numbers():
    """A backup of a quiet server renumbers nothing."""
    happened = [(5, 1), (6, 2), (8, 7)]
    with closing(engine.connect()) as connection:
        filled(connection, happened, ["6-2"])

        assert [row["id"] for row in Renumbered(connection).events()] == [1, 2, 7]
