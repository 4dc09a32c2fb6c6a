"""The event cursor on PostgreSQL: in whatever order transactions begin, write and end, no event is missed or repeated."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.clock import SystemClock
from flowstone.stores import events
from flowstone.stores.database import Database

INSERT = "INSERT INTO event (project, at, name, payload) VALUES (%s, 1, 'tests.cursor', %s)"
PATIENCE = 30.0
projects = (f"project_{number}" for number in itertools.count())


@pytest.fixture
def database(postgres_url):
    """An open database on PostgreSQL."""
    opened = Database(postgres_url, Dispatcher(), SystemClock())
    yield opened
    opened.close()


class Reader:
    """Reads one project's events by cursor, page by page, and remembers them."""

    def __init__(self, database, project, page=3):
        self.database, self.project, self.page = database, project, page
        self.cursor, self.seen = "0", []

    def read(self):
        """Read one page."""
        with self.database.reading() as connection:
            found = events.read(connection, self.project, after=self.cursor, limit=self.page)
        self.seen += [record.payload["n"] for record in found]
        self.cursor = found[-1].cursor if found else self.cursor

    def read_until(self, count):
        """Read until *count* events were seen: others of the same server may hold transactions open for a moment."""
        until = time.monotonic() + PATIENCE
        while len(self.seen) < count and time.monotonic() < until:
            self.read()


def everything(database, project):
    with database.reading() as connection:
        return [record.payload["n"] for record in events.read(connection, project)]


def test_a_late_commit_is_delivered_once(database, postgres_url):
    """A transaction that wrote first and commits last: its event, of a lower number, is read after the others were; once."""
    reader = Reader(database, "late")
    with psycopg.connect(postgres_url) as slow, psycopg.connect(postgres_url) as quick:
        slow.execute(INSERT, ("late", '{"n":1}'))
        quick.execute(INSERT, ("late", '{"n":2}'))
        quick.commit()
        reader.read()
        complete_so_far, delivered = everything(database, "late"), list(reader.seen)
        slow.commit()
    reader.read_until(2)
    reader.read()

    assert complete_so_far == [2]
    assert delivered == []
    assert reader.seen == everything(database, "late") == [1, 2]


def test_going_on_from_a_view_of_everything_misses_nothing(database, postgres_url):
    """The cursors of a view that shows unsettled events lead to them again rather than past what may come before them."""
    with psycopg.connect(postgres_url) as slow, psycopg.connect(postgres_url) as quick:
        quick.execute(INSERT, ("view", '{"n":0}'))
        quick.commit()
        Reader(database, "view").read_until(1)
        slow.execute(INSERT, ("view", '{"n":1}'))
        quick.execute(INSERT, ("view", '{"n":2}'))
        quick.commit()
        with database.reading() as connection:
            shown = events.read(connection, "view")
        slow.commit()
    reader = Reader(database, "view")
    reader.cursor = shown[-1].cursor
    reader.read_until(2)

    assert [record.payload["n"] for record in shown] == [0, 2]
    assert reader.seen == [1, 2]


writers = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("write"), writers),
    st.tuples(st.just("commit"), writers),
    st.tuples(st.just("roll back"), writers),
    st.tuples(st.just("read"), st.just(0)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=25))
def test_any_interleaving_is_delivered_once_and_in_order(database, postgres_url, plan):
    """Three writers that write, commit and roll back in any order: a reader sees what was committed, once, in the log's order."""
    project, number = next(projects), 0
    reader, open_, committed = Reader(database, project), {0: 0, 1: 0, 2: 0}, 0
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(postgres_url)) for _ in range(3)]
        for step, writer in [*plan, ("commit", 0), ("commit", 1), ("commit", 2)]:
            match step:
                case "write":
                    number += 1
                    connections[writer].execute(INSERT, (project, f'{{"n":{number}}}'))
                    open_[writer] += 1
                case "commit":
                    connections[writer].commit()
                    committed, open_[writer] = committed + open_[writer], 0
                case "roll back":
                    connections[writer].rollback()
                    open_[writer] = 0
                case "read":
                    reader.read()
    reader.read_until(committed)
    reader.read()

    assert reader.seen == everything(database, project)
    assert len(reader.seen) == committed


def test_a_follower_is_not_shown_the_same_end_twice(database, postgres_url):
    """Reading on with a filter that nothing passes moves the cursor behind all that was looked at, and no further."""
    with psycopg.connect(postgres_url) as writer:
        writer.execute(INSERT, ("end", '{"n":1}'))
        writer.commit()
        Reader(database, "end").read_until(1)
        with database.reading() as connection:
            none, cursor = events.read_on(connection, "end", after="0", names=("other",))
        writer.execute(INSERT, ("end", '{"n":2}'))
        writer.commit()
    reader = Reader(database, "end")
    reader.cursor = cursor
    reader.read_until(1)

    assert none == []
    assert reader.seen == [2]
