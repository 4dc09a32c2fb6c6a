"""PostgreSQL where it differs from a file: lost connections, commits whose answer is lost, servers that refuse, clocks."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy.engine import make_url

from flowstone import FlowStone, Pipeline, asset
from flowstone.events.catalogue import AssetInvalidated
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import DatabaseError, NotFoundError, SchemaError, SettingsError
from flowstone.ledger.event_log import EventLog
from flowstone.stores import dialects, postgres
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION
from flowstone.testing import MovableClock, isolated_settings
from flowstone.testing.store_samples import at_once, note, noted, say


@pytest.fixture
def opened():
    """A function from a URL to an open database with an event log; all are closed at the end."""
    made = []

    def open_(url, clock=None, **options):
        database = Database(url, Dispatcher(), clock or SystemClock(), **options)
        database.recorders = (EventLog("test"),)
        made.append(database)
        return database

    yield open_
    for database in made:
        database.close()


# -- creation --------------------------------------------------------------------------------------------------------------


def test_reading_verbs_create_nothing(opened, postgres_url):
    """A database without tables is not found, as a file that is not there is not, and still has none."""
    with pytest.raises(NotFoundError, match="no database yet at postgresql") as refused:
        opened(postgres_url, create=False)
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert "flowstone run" in refused.value.hint
    assert tables == (0,)


def test_many_that_create_a_database_create_it_once(opened, postgres_url):
    """Processes that start on the same new database at the same moment all open it, and it has its tables once."""
    made = []
    at_once(lambda _: made.append(opened(postgres_url)), range(4))
    for number, database in enumerate(made):
        note(database, f"{number}")

    assert sorted(noted(made[0])) == ["0", "1", "2", "3"]
    assert {database.schema_version() for database in made} == {SCHEMA_VERSION}


def test_a_schema_of_its_own_keeps_other_applications_apart(opened, postgres_url):
    """With ``search_path`` in the URL the tables are in that schema, beside another application's of the same names."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE run (somebody text)")
        connection.execute("CREATE SCHEMA flow")
    with pytest.raises(DatabaseError) as refused:
        opened(postgres_url)
    assert "of its own" in refused.value.hint

    database = opened(f"{postgres_url}&options=-csearch_path%3Dflow")
    note(database, "here")
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT count(*) FROM flow.event").fetchone()
    assert found == (1,)


def test_texts_are_sorted_by_code_point_whatever_the_databases_language(opened, postgres_url):
    """Every column of text says so itself: the order is SQLite's, and the beginning of an id is found by its index."""
    opened(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        texts = "information_schema.columns WHERE table_schema = 'public' AND data_type = 'text'"
        found = connection.execute(f"SELECT collation_name, count(*) FROM {texts} GROUP BY 1").fetchall()

    assert [name for name, _ in found] == ["C"]
    assert found[0][1] > 50


def test_a_database_that_cannot_hold_every_text_is_refused(opened, postgres_url, postgres_server):
    """An encoding other than UTF-8 is refused before anything is created, with the statement that makes another one."""
    name = f"{make_url(postgres_url).database}_latin"
    postgres_server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(DatabaseError, match="LATIN1") as refused:
            opened(make_url(postgres_url).set(database=name).render_as_string(hide_password=False))
    finally:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert "UTF8" in refused.value.hint


# -- connections that are lost ---------------------------------------------------------------------------------------------


def cut(connection, *, but):
    """End every connection of the database but *but*."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> %s AND datname = current_database()", (but,)
    )


def test_a_connection_lost_between_transactions_is_replaced(opened, postgres_url):
    """A server that was restarted, or an idle connection that was cut, is not noticed by the next change or question."""
    database = opened(postgres_url)
    note(database, "before")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        cut(connection, but=connection.info.backend_pid)
    note(database, "after")

    assert noted(database) == ["before", "after"]


def test_a_connection_lost_inside_a_transaction_undoes_it(opened, postgres_url):
    """One clear error that says the same can be tried again; nothing of the transaction is there, and the next one works."""
    database = opened(postgres_url)

    def lose():
        with database.transaction() as tx:
            say(tx, "lost")
            tx.flush()
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                cut(connection, but=connection.info.backend_pid)
            tx.lock("anything")

    with pytest.raises(DatabaseError) as refused:
        lose()
    assert refused.value.retryable
    assert "what was committed is safe" in refused.value.hint
    note(database, "kept")
    assert noted(database) == ["kept"]


class Proxy:
    """A socket in front of the server's that loses the next COMMIT, or the answer to it, with the connection or for good."""

    def __init__(self, server: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fsx-"))
        self._server, self.lose, self.lost = server, "", 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX) as server:  # either end may be gone
            server.connect(self._server)
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for source in ready:
                    data = source.recv(65_536)
                    if not data:
                        return
                    if source is client and b"COMMIT" in data and self.lose:
                        losing, self.lose, self.lost = self.lose, "", self.lost + 1
                        if losing == "everything":
                            self._listener.close()
                            (self.folder / ".s.PGSQL.5432").unlink()
                        if losing != "question":
                            server.sendall(data)
                            server.recv(65_536)
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        self._listener.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def proxy(postgres_url):
    """A proxy in front of the test's server, and the URL of the test's database behind it."""
    url = make_url(postgres_url)
    if not str(url.query.get("host", "")).startswith("/"):
        pytest.fail("this test cuts a Unix socket: leave FLOWSTONE_TEST_DATABASE_URL out, or name a socket's folder in it")
    made = Proxy(f"{url.query['host']}/.s.PGSQL.{url.query['port']}")
    made.url = url.set(query={"host": str(made.folder), "port": "5432"}).render_as_string(hide_password=False)
    yield made
    made.close()


def test_a_commit_whose_answer_is_lost_is_a_commit(opened, proxy):
    """The connection dies when the server has committed and before it could say so: no error, its observers hear of it, once."""
    database = opened(proxy.url)
    seen = []
    database.dispatcher.attach("seen", AssetInvalidated, lambda happened: seen.append(happened.output))
    note(database, "first")
    proxy.lose = "answer"
    note(database, "second")
    note(database, "third")

    assert proxy.lose == ""
    assert noted(database) == seen == ["first", "second", "third"]


def test_a_commit_that_never_arrived_is_none(opened, proxy):
    """The connection dies before the server hears of the commit: an error that can be retried, and nothing is recorded."""
    database = opened(proxy.url)
    note(database, "first")
    proxy.lose = "question"
    with pytest.raises(DatabaseError) as refused:
        note(database, "second")
    note(database, "third")

    assert refused.value.retryable
    assert noted(database) == ["first", "third"]


def test_a_commit_nobody_can_ask_about_is_no_success(opened, proxy, monkeypatch):
    """The server is gone with the answer: after patience has ended the error says that the outcome is not known."""
    monkeypatch.setattr(postgres, "PATIENCE", 0.0)
    database = opened(proxy.url)
    proxy.lose = "everything"

    with pytest.raises(DatabaseError, match="the outcome cannot be found out"):
        note(database, "second")


@asset
def one():
    return 1


def test_a_run_whose_commits_lose_their_answers_succeeds(proxy, tmp_path):
    """The engine above does not notice: the run succeeds, each attempt has one ending, and records and evidence agree."""
    settings = isolated_settings(tmp_path, database_url=proxy.url)
    with FlowStone(Pipeline("p", [one, asset(name="two", deps={"one": "one"})(lambda one: one + 1)]), settings=settings) as flow:

        def lose(happened):
            proxy.lose = "answer"

        flow.attach("lose", "flowstone.*", lose)
        result = flow.run()
        flow.detach("lose")
        proxy.lose = ""
        view = flow.show(result.run_id)
        faults = [finding for finding in flow.doctor() if finding.level == "fail"]

    assert result.ok
    assert proxy.lost >= 3
    assert [attempt.status for attempt in view.attempts] == ["success", "success"]
    assert faults == []


# -- servers that refuse ---------------------------------------------------------------------------------------------------


def test_without_its_extra_the_setting_is_named(monkeypatch):
    """Where the driver is not installed, the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(SettingsError, match="extra 'postgres'") as refused:
        dialects.connect("postgresql://somebody@localhost/shop")
    assert refused.value.hint == "pip install 'flowstone[postgres]'"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_is_taken_and_no_password_is_shown(scheme):
    """The URL as hosting services give it opens the same; what is said of the database has no password."""
    backend = dialects.connect(f"{scheme}://somebody:hunter2secret@db.example:5433/shop?sslmode=require")

    assert backend.describe == "postgresql somebody@db.example:5433/shop"


def with_parts(url, **changes):
    return make_url(url).set(**changes).render_as_string(hide_password=False)


def test_a_server_that_is_not_there(opened, tmp_path):
    """Nobody listens: the place is named, and that it may help to start the server; it can be retried."""
    with pytest.raises(DatabaseError, match=str(tmp_path)) as refused:
        opened(f"postgresql://somebody:hunter2secret@/shop?host={tmp_path}")

    assert refused.value.hint == "start the server, or check host and port of database.url"
    assert refused.value.retryable
    assert "hunter2secret" not in str(refused.value)


def test_a_database_that_is_not_there(opened, postgres_url):
    """The server has no such database: it is named, with the statement that makes it."""
    with pytest.raises(DatabaseError, match="no_such_shop") as refused:
        opened(with_parts(postgres_url, database="no_such_shop"))

    assert "CREATE DATABASE" in refused.value.hint
    assert not refused.value.retryable


def test_a_database_that_only_reads(opened, postgres_url, postgres_server):
    """A standby, or a database set to read only, can be asked and refuses changes in one clear error."""
    opened(postgres_url)
    postgres_server.execute(f"ALTER DATABASE {make_url(postgres_url).database} SET default_transaction_read_only = on")
    database = opened(postgres_url, create=False)

    with pytest.raises(DatabaseError, match="read-only") as refused:
        note(database, "refused")
    assert "primary" in refused.value.hint
    assert noted(database) == []


@pytest.fixture
def guest(postgres_url, postgres_server):
    """The URL of the test's database for a user who may have one connection and no rights."""
    name = f"guest_{make_url(postgres_url).database}"
    postgres_server.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 1")
    yield with_parts(postgres_url, username=name)
    postgres_server.execute(f"DROP ROLE {name}")


def test_a_user_without_rights(opened, guest):
    """A user who may not create tables is told what is missing."""
    with pytest.raises(DatabaseError, match="permission denied") as refused:
        opened(guest)
    assert "GRANT" in refused.value.hint


def test_a_server_without_free_connections(opened, guest):
    """Every connection is taken: an error that can be retried."""
    with psycopg.connect(guest), pytest.raises(DatabaseError, match="too many connections") as refused:
        opened(guest)
    assert refused.value.retryable


@pytest.mark.parametrize(
    ("error", "hint", "retryable"),
    [
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), "free space", True),
        (psycopg.errors.DeadlockDetected("deadlock detected"), "the same command can succeed", True),
        (psycopg.errors.AdminShutdown("terminating connection due to administrator command"), "run again", True),
        (psycopg.errors.CannotConnectNow("the database system is starting up"), "try again in a moment", True),
        (psycopg.OperationalError('connection failed: FATAL: password authentication failed for user "x"'), "password of", False),
        (psycopg.OperationalError("consuming input failed: server closed the connection unexpectedly"), "run again", True),
        (psycopg.OperationalError("connection failed: FATAL: sorry, too many clients already"), "max_connections", True),
    ],
)
def test_what_the_server_says_becomes_one_clear_error(error, hint, retryable):
    """Each refusal has its hint, says whether to try again, and never shows the password, even where the driver does."""
    backend = dialects.connect("postgresql://somebody:hunter2secret@localhost/shop")
    error.args = (f"{error.args[0]} (password=hunter2secret)",)
    clear = backend.explain(error)

    assert hint in clear.hint
    assert clear.retryable is retryable
    assert clear.message.startswith("postgresql somebody@localhost/shop: ")
    assert "hunter2secret" not in str(clear)


def test_another_applications_versions_are_refused(opened, postgres_url):
    """Tables that another application keeps with Alembic are not taken for FlowStone's, of whatever version."""
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('1a2b3c4d')")

    for create in (True, False):
        with pytest.raises(SchemaError, match="another application"):
            opened(postgres_url, create=create)


def test_the_verbs_about_the_installation_know_it(postgres_url, tmp_path):
    """``db info``, ``db upgrade``, ``doctor`` and ``config show`` work on PostgreSQL, and none of them shows the password."""
    (tmp_path / "pipeline.py").write_text(
        "from flowstone import Pipeline, asset\n\n@asset\ndef one():\n    return 1\n\npipeline = Pipeline('p', [one])\n"
    )
    environment = {**os.environ, "FLOWSTONE_DATABASE_URL": with_parts(postgres_url, password="hunter2secret")}  # not asked for

    def flowstone(*arguments):
        command = [sys.executable, "-m", "flowstone", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert "hunter2secret" not in done.stdout
        return done.stdout

    flowstone("run")
    info = json.loads(flowstone("db", "info", "--json"))
    said = flowstone("db", "upgrade"), flowstone("doctor"), flowstone("config", "show")

    assert (info["schema"], info["rows"]["run"]) == (SCHEMA_VERSION, 1)
    assert info["size"] > 1_000_000
    assert said[0] == f"The schema is {SCHEMA_VERSION}; nothing to do.\n"
    assert "postgresql" in said[1]
    assert "fail" not in said[1]
    assert "[redacted]" in said[2]


# -- the clock -------------------------------------------------------------------------------------------------------------


def test_the_databases_clock_is_the_one_that_counts(opened, postgres_url, monkeypatch):
    """A machine whose clock is an hour slow records the server's time; when its clock is set right, asking again mends it."""
    wrong = [-3_600 * 10**9]
    monkeypatch.setattr(
        postgres, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + wrong[0], monotonic=time.monotonic, sleep=time.sleep)
    )
    clock = SimpleNamespace(now_ns=lambda: time.time_ns() + wrong[0])
    database = opened(postgres_url, clock)
    slow = abs(database.now() - time.time_ns())
    wrong[0] = 0
    database.measure_clock()

    assert slow < 10**9
    assert abs(database.now() - time.time_ns()) < 10**9


def test_a_clock_that_is_moved_by_a_test_is_the_time(opened, postgres_url):
    """On the machine of the server there is no difference to add: a clock that stands still stands still."""
    clock = MovableClock()

    assert opened(postgres_url, clock).now() == clock.now_ns()


# -- what only PostgreSQL can have -----------------------------------------------------------------------------------------


def test_events_that_another_server_numbered_do_not_hide_new_ones(opened, postgres_url):
    """After a dump was loaded into a new server, events with transaction numbers from the old one are read, and new ones too."""
    database = opened(postgres_url)
    note(database, "old")
    database.close()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE event SET xid = 9000000000000")
    database = opened(postgres_url)
    note(database, "new")
    deadline = time.monotonic() + 30
    while len(found := noted(database, after="0")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)

    assert found == ["old", "new"]


def test_damage_the_server_knows_of_is_a_finding(opened, postgres_url):
    """An index that is not valid, as an interrupted ``CREATE INDEX CONCURRENTLY`` leaves it, is told by name."""
    database = opened(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'run_by_time'::regclass")
    with database.reading() as connection:
        found = database.backend.integrity(connection)

    assert found == "the index run_by_time is not valid"


def test_the_error_of_a_statement_is_not_hidden_by_a_commit(opened, postgres_url):
    """Code that swallows a database error inside a transaction and goes on is told that nothing was committed."""
    database = opened(postgres_url)

    def swallow():
        with database.transaction() as tx:
            say(tx, "lost")
            tx.flush()
            with contextlib.suppress(psycopg.Error):
                tx._cursor.execute("SELECT 1/0")

    with pytest.raises(DatabaseError, match="rolled back"):
        swallow()
    assert noted(database) == []
