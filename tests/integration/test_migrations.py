"""Upgrades of the schema: what was recorded stays, both ways to a schema give the same one, and no half of one is ever seen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from flowstone import FlowStone, Pipeline, asset
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import SchemaError
from flowstone.stores import append_only, dialects, migrations
from flowstone.stores.database import Database
from flowstone.stores.tables import SCHEMA_VERSION
from flowstone.testing import isolated_settings

NEW = (
    "approval", "approval_vote",
    "audit_anchor", "audit_disclosure", "audit_entry", "audit_head", "audit_log", "audit_prune", "audit_redaction", "audit_seal",
    "error_group", "fold", "hold", "notification", "overdue", "series", "slot", "tick",
)  # fmt: skip
"""The tables that came after schema 0001; PostgreSQL has one more, the queue of the sealer."""

ROWS = {
    "process": [{"id": "proc_1", "host": "here", "pid": 1, "started_at": 1, "attempts_before": 0, "heartbeat_at": 1}],
    "run": [
        {
            "id": f"run_{number}", "project": project, "pipeline": "p", "definition": "", "status": "running", "request": "{}",
            "plan": "[]", "actor": "", "identity": "", "trace_id": "", "provenance": "{}", "process": "proc_1", "outcome": "{}",
            "requested_at": number,
        }
        for number, project in ((1, "north"), (2, "north"), (3, "south"))
    ],
    "materialization": [
        {
            "id": number, "run_id": f"run_{run}", "asset": asset, "partition": "", "status": status, "attempts": 1, "later": 0,
            "reason": "", "message": "", "output": "out_1" if status == "success" else "",
        }
        for number, (run, asset, status) in enumerate(
            [(1, "orders", "running"), (1, "rates", "success"), (2, "orders", "running"), (3, "orders", "running")], 1
        )
    ],
    "attempt": [
        {"id": id, "materialization": id, "number": 1, "process": "proc_1", "status": "running", "started_at": 1, "error": ""}
        for id in (1, 2, 3, 4)
    ],
    "output": [
        {
            "id": "out_1", "project": "north", "asset": "rates", "partition": "", "version": 1, "run_id": "run_1", "attempt": 1,
            "manager": "files", "location": "a/b", "format": "json", "digest": "d", "size": 1, "definition": "", "config": "",
            "inputs": "", "source_version": "", "summary": "", "created_at": 1,
        }
    ],
    "current_output": [{"project": "north", "asset": "rates", "partition": "", "output": "out_1"}],
    "event": [
        {"id": number, "project": "north", "at": number, "name": "flowstone.run.start", "run_id": "run_1", "payload": '{"at":1}'}
        for number in (1, 2)
    ],
}  # fmt: skip
"""What a FlowStone of schema 0001 left behind when it was killed: two runs hold the same place, which 0002 does not allow."""


@pytest.fixture
def old(database_url):
    """The backend of a database that schema 0001 made and filled."""
    backend = dialects.connect(database_url)
    with backend.changing() as connection:
        migrations._run_scripts(connection, "0001")
        for table, rows in ROWS.items():
            for row in rows:
                columns, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
                connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)
    yield backend
    backend.close()


def open_(url, **options):
    return Database(url, Dispatcher(), SystemClock(), **options)


def schema(engine: Engine):
    """Every table by name: columns, keys and indexes as the database tells them, what only SQLite's own text tells, triggers."""
    with engine.connect() as connection:
        seen = inspect(connection)
        found = {
            table: (
                sorted((c["name"], repr(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(table)),
                seen.get_pk_constraint(table)["constrained_columns"],
                sorted(
                    (k["constrained_columns"], k["referred_table"], k["referred_columns"]) for k in seen.get_foreign_keys(table)
                ),
                sorted(key["column_names"] for key in seen.get_unique_constraints(table)),
                sorted((i["name"], i["column_names"], i["unique"], where_of(i)) for i in seen.get_indexes(table)),
            )
            for table in seen.get_table_names()
        }
        if engine.dialect.name == "sqlite":
            for name, sql in connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")):
                if name in found:
                    found[name] += ("AUTOINCREMENT" in sql, "WITHOUT ROWID" in sql)
        for table, *trigger in connection.execute(text(TRIGGERS[engine.dialect.name])):
            found[table] += (tuple(trigger),)
    return found


TRIGGERS = {
    "sqlite": "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "postgresql": "SELECT c.relname, pg_get_triggerdef(t.oid), t.tgenabled::text, pg_get_functiondef(t.tgfoid) FROM pg_trigger t "
    "JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal ORDER BY t.tgname",
}
"""The table of each trigger, and all that the database knows of it."""


def where_of(index):
    """An index's condition, without what one database writes around it."""
    condition = next((str(value) for name, value in index["dialect_options"].items() if name.endswith("_where")), "")
    return re.sub(r"[()]|::text|materialization\.", "", condition)


def contents(engine: Engine):
    """Every row of the tables of schema 0001, with the columns it had."""
    with engine.connect() as connection:
        return {
            table: [
                tuple(row)
                for row in connection.execute(text(f"SELECT {', '.join(map(quoted, rows[0]))} FROM {table} ORDER BY 1"))
            ]
            for table, rows in ROWS.items()
        }


def quoted(name):
    return f'"{name}"'


def test_the_upgrade_ends_at_the_schema_that_is_created(old, tmp_path, request):
    """A database that went through every upgrade and a new one have the same tables, columns, keys and indexes; both open."""
    migrations.upgrade(old)
    new = f"sqlite:///{tmp_path / 'new.db'}" if old.path else request.getfixturevalue("new_postgres_url")()
    created = open_(new)

    assert schema(old.engine) == schema(created.backend.engine)
    for backend in (old, created.backend):
        with backend.reading() as connection:
            assert append_only.differences(connection) == []
    created.close()


def test_the_scripts_alone_make_a_database(database_url):
    """An upgrade of a database without tables runs every script: nothing was there, nothing is copied, and it opens."""
    backend = dialects.connect(database_url)

    assert migrations.upgrade(backend) == (None, SCHEMA_VERSION, None)
    backend.close()
    opened = open_(database_url, create=False)
    assert opened.schema_version() == SCHEMA_VERSION
    opened.close()


def test_an_upgrade_keeps_what_was_recorded(old):
    """Rows are as they were, but for what is new: each materialization's project, and one claim on each place."""
    before = contents(old.engine)
    upgraded = migrations.upgrade(old)
    after = contents(old.engine)
    with old.engine.connect() as connection:
        claims = connection.execute(text("SELECT id, project, status FROM materialization ORDER BY id")).all()

    assert upgraded[:2] == ("0001", SCHEMA_VERSION)
    assert claims == [(1, "north", "retrying"), (2, "north", "success"), (3, "north", "running"), (4, "south", "running")]
    assert {table: rows for table, rows in after.items() if table != "materialization"} == {
        table: rows for table, rows in before.items() if table != "materialization"
    }
    assert migrations.upgrade(old) == (SCHEMA_VERSION, SCHEMA_VERSION, None)


def test_a_newer_schema_is_not_upgraded(old):
    """The database of a newer FlowStone is refused with both versions, and left alone."""
    with old.changing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(SchemaError, match=f"schema 9999, this FlowStone has {SCHEMA_VERSION}"):
        migrations.upgrade(old)
    with old.reading() as connection:
        assert migrations.version(connection) == "9999"


@asset
def one():
    return 1


def test_who_changes_the_schema_of_an_older_database(old, database_url, tmp_path, caplog):
    """Reading verbs never do and say what does. A writing one does on SQLite, with a copy beside it; on PostgreSQL it refuses."""
    settings = isolated_settings(tmp_path, database_url=database_url)
    with FlowStone(settings=settings) as reader, pytest.raises(SchemaError, match="schema 0001") as refused:
        reader.runs()
    assert refused.value.hint == "flowstone db upgrade"

    copy = tmp_path / "flowstone.db.0001.bak"
    with FlowStone(Pipeline("p", [one]), settings=settings) as writer:
        if old.path:
            assert writer.run().ok
            (said,) = [record.getMessage() for record in caplog.records if record.name == "flowstone.stores"]
            assert said == f"schema upgraded from 0001 to {SCHEMA_VERSION}; the database as it was: {copy}"
            backup = dialects.connect(f"sqlite:///{copy}")
            assert contents(backup.engine)["materialization"][0][4] == "running"
            backup.close()
        else:
            with pytest.raises(SchemaError, match="schema 0001") as refused:
                writer.run()
            assert refused.value.hint == "flowstone db upgrade"
            assert caplog.records == []


def test_two_that_upgrade_at_once_upgrade_once(old, database_url):
    """Of two processes that find an older schema one changes it; the other waits and finds it done."""
    start, found = threading.Barrier(2), []

    def upgrade():
        backend = dialects.connect(database_url)
        start.wait()
        found.append(migrations.upgrade(backend))
        backend.close()

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted((upgraded.before, upgraded.copy is not None) for upgraded in found) == [
        ("0001", bool(old.path)),
        (SCHEMA_VERSION, False),
    ]


KILLED = """
import json, os, signal, sys
from sqlalchemy import event
from flowstone.stores import dialects, migrations
import alembic.command, alembic.config, psycopg

url, every, seen = sys.argv[1], int(sys.argv[2]), []

def upgrade_until(moment):
    backend, count = dialects.connect(url), [0]
    def die(*_):
        count[0] += 1
        if count[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    for name in ("before_cursor_execute", "commit"):
        event.listen(backend.engine, name, die)
    migrations.upgrade(backend)
    os._exit(0)

def version():
    backend = dialects.connect(url)
    with backend.reading() as connection:
        found = migrations.version(connection)
    backend.close()
    return found

while True:
    child = os.fork()
    if child == 0:
        upgrade_until((len(seen) + 1) * every)
    ended = os.waitpid(child, 0)[1]
    seen.append(version())
    if not os.WIFSIGNALED(ended):
        break
print(json.dumps(seen))
sys.exit(os.WEXITSTATUS(ended))
"""


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.prove)])
def test_an_upgrade_killed_at_any_statement_leaves_the_old_schema(old, database_url, tmp_path, every):
    """Killed before any of its statements or its commit, an upgrade has changed nothing; once it has committed, everything."""
    before, rows = schema(old.engine), contents(old.engine)
    old.close()
    done = subprocess.run([sys.executable, "-c", KILLED, database_url, str(every)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    versions = json.loads(done.stdout)

    first = versions.index(SCHEMA_VERSION)
    assert first > 30 // every
    assert set(versions[:first]) == {"0001"}
    assert set(versions[first:]) == {SCHEMA_VERSION}
    assert sorted(schema(old.engine)) == sorted({*before, *NEW, *(() if old.path else ("audit_pending",))})
    assert contents(old.engine)["event"] == rows["event"]
    assert [path.name for path in Path(tmp_path).glob("*.part")] == []
