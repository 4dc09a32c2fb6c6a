"""Backups: one file from either database, restored into either, checked as a whole, never half written."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from contextlib import closing, suppress

import pytest
from sqlalchemy import create_engine

from flowstone import FlowStone, Pipeline, asset, source
from flowstone.app.backups import check, restore
from flowstone.app.wiring import Deployment
from flowstone.execution.run import Actor
from flowstone.foundation.errors import DatabaseError, RunFailedError, SchemaError, StorageError, UsageError
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.stores.tables import SCHEMA_VERSION, metadata
from flowstone.testing import isolated_settings

VALUES = {"now": 1, "fail": False}


@asset(source=True, version=lambda: str(VALUES["now"]))
def orders(ctx):
    ctx.log.info("seen")
    return [VALUES["now"], "naïve \U0001f600"]


@asset
def total(orders):
    if VALUES["fail"]:
        raise ValueError("no")
    return orders[0]


PIPELINE = Pipeline("p", [orders, total, source("rates", version=lambda: "r1")])


def flow_at(home, url, pipeline=PIPELINE, **options):
    settings = dataclasses.replace(isolated_settings(home, database_url=url), retention=RetentionSettings(outputs=2))
    return FlowStone(pipeline, settings=settings, actor="ann", **options)


@pytest.fixture
def filled(tmp_path, database_url):
    """A project with some history: versions that are gone, an error, a hold, a waiting run."""
    VALUES["fail"] = False
    with flow_at(tmp_path / "home", database_url) as flow:
        for VALUES["now"] in (1, 2, 3):
            flow.run()
        VALUES["now"], VALUES["fail"] = 4, True
        with pytest.raises(RunFailedError):
            flow.run().raise_if_failed()
        flow.hold("orders", reason="why")
        flow.audit.seal()  # what is sealed between two looks at the rows would make them differ
        yield flow
    VALUES["fail"] = False


def rows(url):
    """Every row of every table, as the database at *url* has them."""
    engine = create_engine(str(url).replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = {
            table.name: sorted(
                (tuple(row) for row in connection.execute(table.select().with_only_columns(*_columns(table)))), key=str
            )
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return found


def _columns(table):
    """What a restored copy has as it was: not when processes were last heard of, nor the server's own transactions."""
    return [column for column in table.columns if column.name not in ("xid", "heartbeat_at")]


def put_back(file, home, url, **options):
    """Restore *file* into the database at *url* and the outputs of *home*."""
    settings = isolated_settings(home, database_url=url)
    with closing(Deployment(settings)) as deployment:
        given = {"folder": None, "replace": False, "verify": False, **options}
        return restore(deployment, file, actor=Actor("bob", "asserted"), **given)


def test_a_backup_is_restored_into_either_database(filled, tmp_path, postgres_url):
    """Every row comes back, in SQLite and in PostgreSQL; values are read, runs go on, and new rows are numbered after the old."""
    file = tmp_path / "b.db"
    made = filled.backup(file, outputs=tmp_path / "bytes", verify=True)
    before = rows(filled.settings.database_url)
    assert made.ok
    assert made.verified
    assert (made.schema, made.rows["run"], made.hashed) == (SCHEMA_VERSION, 4, 2)
    assert before == rows(f"sqlite:///{file}")

    for number, url in enumerate((f"sqlite:///{tmp_path / 'copy.db'}", postgres_url)):
        if url == filled.settings.database_url:
            continue
        home = tmp_path / f"other{number}"
        done = put_back(file, home, url, folder=tmp_path / "bytes", verify=True)
        after = rows(url)
        restored = [row for row in after["event"] if "flowstone.db.restored" in row]
        told = [row for row in after["audit_entry"] if "db.restored" in row]
        named = [row for row in after["audit_disclosure"] if row[0] == told[0][0]]
        added = {"event": restored, "audit_entry": told, "audit_disclosure": named}

        assert done.ok
        assert {name: [row for row in after[name] if row not in added.get(name, [])] for name in after} == before
        assert [len(rows) for rows in added.values()] == [1, 1, 1]
        with flow_at(home, url) as copy:
            assert copy.get("orders") == [4, "naïve \U0001f600"]
            assert [v.output.version for v in copy.outputs("orders", which="all")] == [4, 3, 2, 1]
            assert [hold.reason for hold in copy.holds()] == ["why"]
            VALUES["now"], VALUES["fail"] = 5, False
            assert copy.run().ok
            assert copy.get("total") == 5
            with suppress(UsageError):  # the log goes on where nothing was sealed since the backup
                copy.audit.reincarnate(reason="restored on purpose")
            assert [f for f in copy.doctor() if f.level == "fail"] == []
            assert [e.name for e in copy.events(limit=10_000)][-1] in ("flowstone.run.stop", "flowstone.output.collected")


def test_running_work_in_a_copy_is_settled_as_lost(tmp_path, database_url):
    """A backup of a run in progress, restored, has a run nobody works on: the next process settles it, and it can be resumed."""
    file = tmp_path / "b.db"

    @asset
    def first():
        return 1

    @asset
    def second(first, ctx):
        if ctx.attempt == 1:
            other.backup(file, outputs=tmp_path / "bytes")
        return first + 1

    pipeline = Pipeline("p", [first, second])
    with flow_at(tmp_path / "home", database_url, pipeline) as flow, flow_at(tmp_path / "home", database_url, None) as other:
        id = flow.run().run_id
    home, url = tmp_path / "copy", f"sqlite:///{tmp_path / 'copy' / 'copy.db'}"
    put_back(file, home, url, folder=tmp_path / "bytes")
    with flow_at(home, url, pipeline) as copy:
        before = copy.runs()[0].status
        copy._deployment.services()
        lost = [(a.asset, a.status) for a in copy.show(id).attempts]
        waiting = copy.runs()[0].status
        done = copy.resume(id)

        assert (before, waiting, done.status) == ("running", "waiting", "success")
        assert lost == [("first", "success"), ("second", "lost")]
        assert copy.get("second") == 2
        copy.audit.reincarnate(reason="restored on purpose")
        assert [f for f in copy.doctor() if f.level == "fail"] == []


def test_a_backup_while_runs_write_is_one_moment(tmp_path, database_url):
    """Copied in the middle of run after run, every backup agrees with itself: references, events and records."""
    VALUES["fail"], stop = False, threading.Event()
    with flow_at(tmp_path / "home", database_url) as flow, flow_at(tmp_path / "home", database_url, None) as other:
        flow.run()

        def work():
            while not stop.is_set():
                VALUES["now"] += 1
                flow.run()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            for number in range(4):
                other.backup(tmp_path / f"b{number}.db")
        finally:
            stop.set()
            worker.join()
    for number in range(4):
        found = check(tmp_path / f"b{number}.db", tmp_path)
        with flow_at(tmp_path / f"h{number}", f"sqlite:///{tmp_path / f'b{number}.db'}", None) as copy:
            subjects = {f.subject for f in copy.doctor() if f.level == "fail"}

        assert found.faults == []
        assert subjects <= {"stored bytes", "every start has its ending", "records and audit"}


def test_a_file_is_not_overwritten_unless_asked(filled, tmp_path):
    """An existing file stays as it is without *overwrite*; with it, it is replaced whole. Nothing else is left in the folder."""
    file = tmp_path / "b.db"
    file.write_text("mine")
    with pytest.raises(UsageError, match=r"b.db exists"):
        filled.backup(file)
    assert file.read_text() == "mine"
    filled.backup(file, overwrite=True)

    assert check(file, filled.settings.outputs.path).ok
    assert [path.name for path in tmp_path.glob("b.db*")] == ["b.db"]
    with pytest.raises(UsageError, match="there is no folder"):
        filled.backup(tmp_path / "none" / "b.db")


def test_the_database_is_never_its_own_backup(tmp_path):
    """Asked to write over the very database, a backup refuses, forced or not."""
    with flow_at(tmp_path, f"sqlite:///{tmp_path / 'flowstone.db'}") as flow:
        flow.run("orders")
        with pytest.raises(UsageError, match="is the database itself"):
            flow.backup(tmp_path / "flowstone.db", overwrite=True)

        assert flow.get("orders")


def test_nothing_is_written_over_existing_rows(filled, tmp_path):
    """A database with rows refuses a restore and stays as it is; with *replace* its rows are the backup's."""
    file, home, url = tmp_path / "b.db", tmp_path / "other", f"sqlite:///{tmp_path / 'other.db'}"
    filled.backup(file)
    with flow_at(home, url) as other:
        mine = other.run("orders").run_id
    before = rows(url)
    with pytest.raises(UsageError, match=r"is not empty: .*event 6"):
        put_back(file, home, url)
    assert rows(url) == before
    put_back(file, home, url, replace=True)

    assert mine not in {row[0] for row in rows(url)["run"]}
    assert rows(url)["output"] == rows(f"sqlite:///{file}")["output"]


def test_a_database_that_is_in_use_is_not_replaced(filled, tmp_path):
    """While a process works with a database, a restore into it is refused and names the process."""
    file = tmp_path / "b.db"
    filled.backup(file)
    before = rows(filled.settings.database_url)
    with pytest.raises(UsageError, match=r"process \d+ uses"):
        put_back(file, tmp_path / "home", filled.settings.database_url, replace=True)

    assert rows(filled.settings.database_url) == before


def test_a_restore_that_fails_changes_nothing(filled, tmp_path, monkeypatch):
    """Broken off in the middle, a restore leaves the rows that were there."""
    file, home, url = tmp_path / "b.db", tmp_path / "other", f"sqlite:///{tmp_path / 'other.db'}"
    filled.backup(file)
    with flow_at(home, url) as other:
        other.run("orders")
    before, copy = rows(url), __import__("flowstone.stores.backups", fromlist=["_copy"])._copy

    def broken(table, *connections):
        if table.name == "lineage":
            raise OSError(28, "No space left on device")
        return copy(table, *connections)

    monkeypatch.setattr("flowstone.stores.backups._copy", broken)
    with pytest.raises(OSError, match="No space left"):
        put_back(file, home, url, replace=True)

    assert rows(url) == before


def sql(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replaced(path):
    path.unlink()
    sql(path, "CREATE TABLE x (y)")


DAMAGE = {
    "truncated": (cut_off, DatabaseError, "b.db"),
    "no database": (lambda path: path.write_text("hello " * 1000), DatabaseError, "not a database"),
    "another application's": (replaced, SchemaError, "none of FlowStone's tables"),
    "newer": (lambda path: sql(path, "UPDATE alembic_version SET version_num = '9999'"), SchemaError, "schema 9999"),
    "missing": (lambda path: path.unlink(), UsageError, "there is no file"),
    "inconsistent": (lambda path: sql(path, "DELETE FROM output"), DatabaseError, "refer to a row of output that is not there"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_backup_is_refused_before_anything_is_changed(tmp_path, kind):
    """A file that is cut off, no backup, newer or inconsistent is one clear error, and the target is not even created."""
    damage, error, part = DAMAGE[kind]
    with flow_at(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'flowstone.db'}") as flow:
        flow.run()
        flow.backup(tmp_path / "b.db")
    damage(tmp_path / "b.db")
    with pytest.raises(error, match=part):
        put_back(tmp_path / "b.db", tmp_path / "other", f"sqlite:///{tmp_path / 'other' / 'flowstone.db'}")

    assert not (tmp_path / "other").exists()


def test_bytes_are_compared_one_by_one(filled, tmp_path):
    """Verifying reads the bytes of every current output: what is missing or altered is named, and nothing else."""
    folder = tmp_path / "bytes"
    filled.backup(tmp_path / "b.db", outputs=folder)
    current = {v.output.asset: v.output for v in filled.outputs() if v.current}
    (folder / current["total"].location).unlink()
    altered = folder / current["orders"].location
    altered.chmod(0o644)
    altered.write_bytes(b"x" * current["orders"].size)
    found = check(tmp_path / "b.db", folder)

    assert not found.ok
    assert found.faults == []
    assert sorted(line.partition(" ")[0] for line in found.wrong_bytes) == ["orders", "total"]
    assert check(tmp_path / "b.db", filled.settings.outputs.path).ok


def test_copied_bytes_are_not_copied_again(filled, tmp_path):
    """A second backup into the same folder copies what is new; another file in a place that is needed is an error."""
    folder = tmp_path / "bytes"
    filled.backup(tmp_path / "b.db", outputs=folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    VALUES["now"], VALUES["fail"] = 7, False
    filled.run()
    filled.backup(tmp_path / "c.db", outputs=folder)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}

    assert before.items() < after.items()
    first = next(iter(before))
    first.chmod(0o644)
    first.write_text("something else entirely, and longer")
    with pytest.raises(StorageError, match="is another file"):
        filled.backup(tmp_path / "d.db", outputs=folder)
    assert not (tmp_path / "d.db").exists()


def test_what_went_while_the_backup_ran_is_gone_in_it(filled, tmp_path, monkeypatch):
    """A superseded output that is erased between the copy of the rows and that of its bytes is recorded as gone in the backup."""
    old = next(v.output for v in filled.outputs("total") if not v.current)
    import flowstone.stores.backups as stores

    write = stores.write

    def late(database, path):
        counts = write(database, path)
        filled.erase("total", output=old.id, reason="x")
        return counts

    monkeypatch.setattr("flowstone.app.backups.backups.write", late)
    filled.backup(tmp_path / "b.db", outputs=tmp_path / "bytes")
    with closing(sqlite3.connect(tmp_path / "b.db")) as connection:
        (gone,) = connection.execute("SELECT gone FROM output WHERE id = ?", [old.id]).fetchone()

    assert gone == "erased"
    assert not (tmp_path / "bytes" / old.location).exists()
    assert check(tmp_path / "b.db", tmp_path / "bytes").ok


def test_an_older_backup_is_upgraded_in_a_copy(tmp_path):
    """A backup with the schema of an earlier version is restored as this version's, and the file stays as it was."""
    from flowstone.stores import migrations
    from flowstone.stores.sqlite import SqliteBackend

    file = tmp_path / "old.db"
    with closing(SqliteBackend(str(file))) as backend, backend.changing() as connection:
        config = __import__("alembic.config", fromlist=["Config"]).Config()
        config.set_main_option("script_location", str(migrations.__path__[0]))
        config.attributes["connection"] = connection
        __import__("alembic.command", fromlist=["upgrade"]).upgrade(config, "0001")
    sql(file, "PRAGMA journal_mode = DELETE", "INSERT INTO pipeline VALUES (1, 'test', 'p', 'd', '{\"assets\": []}', 1, 1)")
    before = file.read_bytes()
    put_back(file, tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'flowstone.db'}", verify=True)

    assert len(rows(f"sqlite:///{tmp_path / 'home' / 'flowstone.db'}")["pipeline"]) == 1
    assert file.read_bytes() == before
