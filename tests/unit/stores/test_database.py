"""Opening a SQLite database: one schema, and clear words for what goes wrong. What holds of an open one is its contract."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from flowstone import FlowStone, Pipeline, asset
from flowstone.events.catalogue import RunCancelRequested
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation import settings
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import DatabaseError, NotFoundError, SchemaError, SettingsError
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION

CANCEL = {"pipeline": "p", "run_id": "run_1", "actor": "ann", "identity": "os", "reason": ""}


@pytest.fixture
def opened():
    """A function from a path to an open database; all are closed at the end."""
    made = []

    def open_(path, **options):
        database = Database(f"sqlite:///{path}", Dispatcher(), SystemClock(), **options)
        made.append(database)
        return database

    yield open_
    for database in made:
        database.close()


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
    """A zero-byte file, as a creation that was broken off leaves it, becomes a database when one may be created, else is none."""
    (tmp_path / "facts.db").touch()

    with pytest.raises(NotFoundError, match="no database yet"):
        opened(tmp_path / "facts.db", create=False)
    assert opened(tmp_path / "facts.db").schema_version() == SCHEMA_VERSION


def test_an_interrupted_driver_does_not_hide_the_interrupt(opened, tmp_path, monkeypatch):
    """What a driver raises because it was interrupted is the interrupt; what it raises while one is handled is its own error."""
    database = opened(tmp_path / "facts.db")

    def refuse(*_, **__):
        raise sqlite3.OperationalError("left in the middle")

    def interrupted(*_, **__):
        try:
            raise KeyboardInterrupt
        finally:
            refuse()

    def ask():
        with database.reading():
            pass

    def change():
        with database.transaction():
            pass

    for act, part in ((ask, "reading"), (change, "begin")):
        monkeypatch.setattr(database.backend, part, interrupted)
        with pytest.raises(KeyboardInterrupt):
            act()
        monkeypatch.setattr(database.backend, part, refuse)
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with pytest.raises(DatabaseError, match="left in the middle"):
                act()


def test_closing_waits_for_the_transaction_of_another_thread(opened, tmp_path):
    """A database that is closed while another thread changes it lets that change end first."""
    database, order = opened(tmp_path / "facts.db"), []

    def close():
        database.close()
        order.append("closed")

    with database.transaction() as tx:
        closing = threading.Thread(target=close)
        closing.start()
        closing.join(0.1)  # it waits
        tx._cursor.execute("SELECT 1")
        order.append("changed")
    closing.join()

    assert order == ["changed", "closed"]


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


def test_changes_kept_for_the_end_are_made_last_and_in_one_order(opened, tmp_path):
    """What is kept for the end of a transaction is made in the order of its keys, events of it included; undone, not at all."""
    database, made = opened(tmp_path / "facts.db"), []
    with database.transaction() as tx:
        for key in ("b", "a", "c"):
            tx.before_commit(key, lambda tx, key=key: made.append((key, tx.emit(RunCancelRequested, **CANCEL).name)))
        made.append("first")
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:  # noqa: PT012 - what raises is the commit
        tx.before_commit("d", lambda _: made.append("never"))
        tx.before_commit("a", lambda _: 1 / 0)

    assert made == ["first", *((key, "flowstone.run.cancel_requested") for key in "abc")]
