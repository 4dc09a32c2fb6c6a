"""The database: one atomic change at a time, one schema, and clear words for what goes wrong."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from flowstone import Attribute, Event, FlowStone, Pipeline, asset, event
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation import settings
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import DatabaseError, NotFoundError, SchemaError, SettingsError
from flowstone.ledger.event_log import EventLog
from flowstone.stores import events, processes
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION


@event("tests.database.noted")
class Noted(Event, frozen=True, kw_only=True):
    """Something was noted."""

    what: Attribute


@pytest.fixture
def opened():
    """A function from a path (or nothing: in memory) to an open database with an event log; all are closed at the end."""
    made = []

    def open_(path="", **options):
        database = Database(f"sqlite:///{path}" if path else "sqlite://", Dispatcher(), SystemClock(), **options)
        database.recorders = (EventLog("test"),)
        made.append(database)
        return database

    yield open_
    for database in made:
        database.close()


@pytest.fixture(params=["file", "memory"])
def database(request, opened, tmp_path):
    """A database in a file, and one in memory."""
    return opened(tmp_path / "facts.db" if request.param == "file" else "")


def noted(database, **options):
    with database.reading() as connection:
        return [record.payload["what"] for record in events.read(connection, "test", **options)]


def test_a_transaction_that_fails_leaves_nothing(database):
    """Its rows, its events and what observers would have seen are gone; the next transaction is not disturbed."""
    seen = []
    database.dispatcher.attach("seen", Noted, lambda happened: seen.append(happened.what))

    def fail():
        with database.transaction() as tx:
            processes.register(tx, "proc_1", "here", 1, 0)
            tx.emit(Noted, what="lost")
            tx.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.transaction() as tx:
        tx.emit(Noted, what="kept")

    with database.reading() as connection:
        assert processes.not_ended(connection) == []
    assert noted(database) == seen == ["kept"]


def test_observers_run_when_the_transaction_is_over(database):
    """An observer may change the store itself: it is called after commit, outside the transaction."""

    def answer(happened):
        if happened.what == "question":
            known = noted(database)
            with database.transaction() as tx:
                tx.emit(Noted, what=f"answer to {known}")

    database.dispatcher.attach("answer", Noted, answer)
    with database.transaction() as tx:
        tx.emit(Noted, what="question")

    assert noted(database) == ["question", "answer to ['question']"]


def test_a_transaction_inside_a_transaction_is_refused(database):
    """Nesting in one thread is an error that says so, and so is a question that would not see the open change."""
    with database.transaction() as tx:
        with pytest.raises(DatabaseError, match="already open"), database.transaction():
            pass
        with pytest.raises(DatabaseError, match="a transaction is open"), database.reading():
            pass
        tx.emit(Noted, what="outer")

    assert noted(database) == ["outer"]


def test_threads_that_contend_lose_nothing(database):
    """Four threads with 200 transactions each: every change is there, each thread's in its order."""
    start = threading.Barrier(4)

    def work(name):
        start.wait()
        for number in range(200):
            with database.transaction() as tx:
                tx.emit(Noted, what=f"{name} {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = noted(database)

    assert len(found) == 800
    for name in "abcd":
        assert [what for what in found if what[0] == name] == [f"{name} {number}" for number in range(200)]


def test_the_event_cursor_pages_without_gaps(database):
    """Pages of any size, joined, are the whole log once, also when others write between two pages."""
    expected = []
    for number in range(25):
        with database.transaction() as tx:
            for part in "xy":
                expected.append(f"{number}{part}")
                tx.emit(Noted, what=expected[-1])
    paged, cursor = [], "0"
    while True:
        with database.reading() as connection:
            page = events.read(connection, "test", after=cursor, limit=7)
        if not page:
            break
        paged += [record.payload["what"] for record in page]
        cursor = page[-1].cursor
        if len(paged) == 14:
            with database.transaction() as tx:
                tx.emit(Noted, what="late")

    assert paged == [*expected, "late"]
    assert noted(database, names=("tests.*",), limit=3) == expected[:3]
    assert noted(database, names=("tests.database",)) == []


# -- opening ---------------------------------------------------------------------------------------------------------------


def test_reading_verbs_create_nothing(opened, tmp_path):
    """A database that is not there is not found, and still is not there."""
    with pytest.raises(NotFoundError, match="no database yet") as refused:
        opened(tmp_path / "none.db", create=False)

    assert "flowstone run" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused_with_both_versions(opened, tmp_path):
    """The database of a newer FlowStone is not touched; the error names its version, ours and what to do."""
    opened(tmp_path / "facts.db").close()
    with sqlite3.connect(tmp_path / "facts.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    for create in (True, False):
        with pytest.raises(SchemaError, match=f"schema 9999, this FlowStone has {SCHEMA_VERSION}") as refused:
            opened(tmp_path / "facts.db", create=create)
        assert refused.value.hint == "install a newer FlowStone"


def test_the_tables_of_another_application_are_refused(opened, tmp_path):
    """A database whose schema another application keeps with Alembic is not touched; the error says what is wrong."""
    opened(tmp_path / "facts.db").close()
    with sqlite3.connect(tmp_path / "facts.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '1a2b3c4d'")
    connection.close()

    for create in (True, False):
        with pytest.raises(SchemaError, match="another application") as refused:
            opened(tmp_path / "facts.db", create=create)
        assert refused.value.hint == "give FlowStone a database of its own"


def test_a_file_that_is_no_database_is_left_alone(opened, tmp_path):
    """Something else under the database's name is named, with a hint, and keeps its bytes."""
    path = tmp_path / "facts.db"
    path.write_bytes(b"dear diary, " * 500)

    for create in (True, False):
        with pytest.raises(DatabaseError, match="not a database") as refused:
            opened(path, create=create)
        assert str(path) in refused.value.message
        assert "move it away" in refused.value.hint
    assert path.read_bytes() == b"dear diary, " * 500


def test_a_folder_that_cannot_be_written_is_named(flow, tmp_path):
    """A home that cannot be made (a file is in its place) is one clear error for every verb that writes."""
    (tmp_path / "home").write_text("a file")
    made = flow(Pipeline("p", [asset(name="one")(lambda: 1)]), home=tmp_path / "home")

    with pytest.raises(DatabaseError, match="cannot write to") as refused:
        made.run()
    assert str(tmp_path / "home") in refused.value.message
    assert refused.value.hint


def test_an_empty_database_file_is_filled_or_refused(opened, tmp_path):
    """A zero-byte file becomes a database when one may be created, and has none of our tables when not."""
    (tmp_path / "facts.db").touch()

    with pytest.raises(SchemaError, match="none of FlowStone's tables"):
        opened(tmp_path / "facts.db", create=False)
    assert opened(tmp_path / "facts.db").schema_version() == SCHEMA_VERSION


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "postgresql://host:port/db"])
def test_a_url_that_cannot_be_opened_is_a_settings_error(url):
    """What is no URL, and a database FlowStone does not speak, are refused by the setting's name."""
    with pytest.raises(SettingsError, match=r"database\.url"):
        Database(url, Dispatcher(), SystemClock())


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_records_last_as_long_as_outputs(tmp_path, durability, level):
    """With ``outputs.durability = "power"`` commits are synced as well (``synchronous`` FULL), not only the files."""
    (tmp_path / "flowstone.toml").write_text(f'[outputs]\ndurability = "{durability}"\n')
    with FlowStone(settings=settings.load(start=tmp_path)) as flow:
        backend = flow._deployment.services().database.backend
        cursor = backend.begin()
        backend.commit(cursor)
        assert cursor.execute("PRAGMA synchronous").fetchone() == (level,)
        cursor.close()
