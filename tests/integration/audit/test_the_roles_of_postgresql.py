"""The roles of PostgreSQL: who runs pipelines appends to the audit log and can do nothing else to it."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from filelock import FileLock
from sqlalchemy.engine import make_url

from flowstone import FlowStone, Pipeline, asset
from flowstone.foundation.errors import DatabaseError
from flowstone.foundation.settings import load
from flowstone.stores.append_only import KEYS

SCRIPT = Path(__file__).parents[3] / "deploy" / "postgresql" / "audit-roles.sql"
ROLES = ("flowstone_app", "flowstone_sealer", "flowstone_auditor")
_numbers = itertools.count(1)

REFUSED = psycopg.errors.InsufficientPrivilege
COLUMNS = "project, subject, version, action, actor, asset, run_id, at, leaf"
CLASH = "ON CONFLICT (project, subject, version) DO UPDATE SET actor = 'x'"
CHANGES = [
    *(f"UPDATE {table} SET at = 0" for table in KEYS if table not in ("audit_seal", "audit_disclosure")),
    "UPDATE audit_entry SET leaf = 'x'", "UPDATE audit_entry SET actor = 'somebody'", "UPDATE audit_seal SET seq = seq + 1",
    "UPDATE audit_disclosure SET value = 'x'",
    *(f"DELETE FROM {table}" for table in KEYS), *(f"TRUNCATE {table} CASCADE" for table in KEYS),
    "DELETE FROM audit_pending", "INSERT INTO audit_pending VALUES (1)", "TRUNCATE audit_pending",
    f"INSERT INTO audit_entry (id, {COLUMNS}) VALUES (1, 'shop', 's', 9, 'a', 'b', '', '', 0, 'x')",
    f"INSERT INTO audit_entry ({COLUMNS}) SELECT {COLUMNS} FROM audit_entry {CLASH}",
    "INSERT INTO audit_log VALUES (2, 'another/2', '', 0)", "INSERT INTO audit_seal VALUES (99, 99, 'x')",
    "INSERT INTO audit_head VALUES (99, 98, 'x', 'x', '', 0)", "INSERT INTO audit_anchor VALUES (1, 'mine', '', 0)",
    "INSERT INTO audit_redaction VALUES (1, 'reason', 0)", "INSERT INTO audit_prune VALUES (99, '', '', 0)",
    "SELECT setval('audit_entry_id_seq', 1)", "ALTER TABLE audit_entry DISABLE TRIGGER ALL", "DROP TABLE audit_entry",
    "DROP TRIGGER audit_entry_row ON audit_entry", "SET session_replication_role = replica", "CREATE TABLE mine (id int)",
    "UPDATE alembic_version SET version_num = '9'",
    "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
]  # fmt: skip


def accepted(url, statements):
    """Those of *statements* that a login is not refused."""
    done = []
    for statement in statements:
        with psycopg.connect(url) as connection:
            try:
                connection.execute(statement)
            except REFUSED:
                connection.rollback()
            else:
                done.append(statement)
    return done


@asset
def orders():
    """What was ordered."""
    return [1, 2, 3]


class Server:
    """A database whose owner has made the tables and the roles; *log_in* gives the URL of a login of a role."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home, self._made = url, home, []
        self.lock = FileLock(Path(os.environ["FLOWSTONE_STATE_HOME"]).parent / "roles.lock")

    def flow(self, url: str, actor: str) -> FlowStone:
        """FlowStone over *url*."""
        arguments = {"home": str(self.home), "project": "shop", "database.url": url}
        return FlowStone(Pipeline("shop", [orders]), settings=load(start=self.home.parent, arguments=arguments), actor=actor)

    def grant(self) -> None:
        """Run the script as the owner; roles belong to the whole server, and other tests make them too."""
        with self.lock, psycopg.connect(self.url) as connection:
            connection.execute(SCRIPT.read_text())

    def log_in(self, role: str) -> str:
        """The URL of a new login that has *role*."""
        name = f"fs_login_{os.getpid()}_{next(_numbers)}"
        with self.lock, psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
            connection.execute(f"GRANT {role} TO {name}")
        self._made.append(name)
        return make_url(self.url).set(username=name, password="pw").render_as_string(hide_password=False)

    def close(self) -> None:
        """Drop the logins, and the roles unless another test uses them."""
        with self.lock, psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._made:
                connection.execute(f"DROP ROLE {name}")
            for role in ROLES:
                connection.execute(f"DROP OWNED BY {role}")
                with suppress(psycopg.errors.DependentObjectsStillExist):
                    connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def server(postgres_url, tmp_path, monkeypatch, tell):
    """A database with a log that the owner began, whose first run is sealed, and the roles of the script."""
    monkeypatch.setenv("FLOWSTONE_STATE_HOME", os.environ["FLOWSTONE_STATE_HOME"])
    made = Server(postgres_url, tmp_path / "home")
    with made.flow(postgres_url, "owner") as flow:
        flow.run()
        tell(flow)
        flow.audit.seal()
    made.grant()
    yield made
    made.close()


def test_who_runs_pipelines_appends_and_changes_nothing(server):
    """With the role of the app a run writes its entries; every change, removal, truncation and numbering of them is refused."""
    url = server.log_in("flowstone_app")
    with server.flow(url, "worker") as flow:
        before = flow.audit.head()
        assert flow.run(force=True).ok
        after = flow.audit.head()
    assert after.unsealed > before.unsealed == 0
    assert accepted(url, CHANGES) == []


def test_who_runs_pipelines_does_not_seal(server):
    """Sealing with the role of the app is refused."""
    with server.flow(server.log_in("flowstone_app"), "worker") as flow:
        flow.run(force=True)
        with pytest.raises(DatabaseError, match="permission denied"):
            flow.audit.seal()


def test_the_sealer_seals_and_redacts_and_changes_nothing_else(server):
    """With the role of the sealer entries get their place and disclosures may go; what the guards keep stays."""
    url = server.log_in("flowstone_sealer")
    with server.flow(url, "sealer") as flow:
        hold = flow.hold(asset="orders", reason="of somebody")
        flow.run(force=True)
        flow.audit.seal()
        seq = next(entry.seq for entry in flow.audit.entries() if entry.action == "hold.added")
        flow.audit.redact(seq, reason="asked to")
        flow.audit.seal()
        assert hold.reason == "of somebody"
        assert "reason" in flow.audit.show(seq).redacted
        assert flow.audit.verify().checked.verdict == "INTACT"
    for statement in ("DELETE FROM audit_entry", "DELETE FROM audit_disclosure"):
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            connection.execute(f"{statement} WHERE true")
    changes = ("UPDATE audit_entry SET actor = 'x'", "UPDATE audit_head SET note = ''", "TRUNCATE audit_seal")
    assert accepted(url, changes) == []


def test_the_auditor_reads_and_writes_nothing(server):
    """With the role of the auditor the log is verified; that it was cannot be recorded, and no table can be written to."""
    url = server.log_in("flowstone_auditor")
    with server.flow(url, "auditor") as flow:
        checked = flow.audit.verify().checked
        assert checked.verdict == "INTACT"
        assert any("could not be recorded" in notice for notice in checked.notices)
        assert flow.audit.verify(record=False).checked.notices == []
    with psycopg.connect(server.url) as connection:
        tables = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")]
    assert len(tables) > 20
    assert accepted(url, [f"DELETE FROM {table}" for table in tables]) == []


def test_the_script_takes_back_what_was_granted(server):
    """Run again, as after an upgrade, it leaves each role what it says and nothing more."""
    url = server.log_in("flowstone_app")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("GRANT ALL ON audit_entry, audit_head TO flowstone_app")
    server.grant()
    assert accepted(url, CHANGES) == []
