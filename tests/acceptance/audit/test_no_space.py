"""A full disk and a database that may not be written: the change is undone, nothing is un-audited, and work goes on later."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import text

from flowstone import Pipeline, asset
from flowstone.foundation.errors import DatabaseError, RecordError
from flowstone.testing import isolated_flow

LONG = "because of what was asked " * 30


@asset(source=True)
def orders():
    """What was ordered."""
    return list(range(2_000))


@asset
def total(orders):
    """How much that is."""
    return sum(orders)


@asset
def broken(orders):
    """What goes wrong."""
    raise ValueError(LONG)


@pytest.fixture
def opened(tmp_path):
    """A function that opens the one project on SQLite; each is closed when the test ends."""
    made = []

    def open_():
        made.append(isolated_flow(Pipeline("shop", [orders, total, broken]), home=tmp_path / "home"))
        return made[-1]

    yield open_
    for flow in made:
        flow.close()


def limit(flow, spare):
    """Let the database have no more pages than now, and *spare*; ``None``: as many as it wants."""
    database = flow._deployment.services().database
    with database.transaction():
        connection = database.backend._writer.driver_connection
        pages = 10**6 if spare is None else connection.execute("PRAGMA page_count").fetchone()[0] + spare
        connection.execute(f"PRAGMA max_page_count = {pages}")


def rows(flow):
    """How many rows the tables have that only changes add to."""
    with flow._deployment.reading().reading() as connection:
        names = ("run", "output", "hold", "audit_entry", "audit_disclosure")
        return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in names}


def hold(flow):
    """Something is held."""
    flow.hold(asset="orders", reason=LONG)


def decide(flow):
    """A group of errors is decided about, in turn."""
    (group,) = flow.error_groups(status=None)
    (flow.reopen_errors if group.status == "muted" else flow.mute_errors)(group.id, reason=LONG)


def release(flow):
    """What is held is released, and held again."""
    for held in flow.holds():
        flow.release(held.id, reason=LONG)
    hold(flow)


def until_refused(flow, change):
    """Make a change again and again until the database is full; return the rows before that one, and its error."""
    for _ in range(1_000):
        before = rows(flow)
        try:
            change(flow)
        except (DatabaseError, RecordError) as error:
            return before, error
    raise AssertionError("the database is never full")


def test_a_full_database_undoes_what_is_changed(opened):
    """Wherever in a change the database is full, nothing of it is there, the error says so, and with more room it is made."""
    flow, told = opened(), set()
    flow.run()
    for number in range(24):
        change = (hold, decide, release)[number % 3]
        limit(flow, number // 3)
        before, refused = until_refused(flow, change)
        told.add((type(refused).__name__, "full" in refused.message))
        assert change is release or rows(flow) == before
        limit(flow, None)
        change(flow)
        assert flow.audit.verify(record=False).checked.findings == []

    assert told == {("AuditUnavailableError", True), ("DatabaseError", True)}
    flow.audit.seal()
    assert flow.audit.verify().checked.verdict == "INTACT"


def test_a_run_that_fills_the_database_waits(opened):
    """A run whose records find no room stops and says so; with more room the next process resumes it, and all is audited."""
    for spare in range(6):
        flow = opened()
        limit(flow, spare)
        _, refused = until_refused(flow, lambda flow: flow.run(force=True))
        assert "full" in refused.message
        limit(flow, None)
        flow.close()
        flow = opened()
        flow._deployment.services()  # what the one before left is settled
        resumed = [flow.resume(run.id).status for run in flow.runs() if run.status == "waiting"]
        assert set(resumed) <= {"partial"}
        assert flow.audit.verify(record=False).checked.findings == []

    flow.audit.seal()
    assert flow.audit.verify().checked.verdict == "INTACT"
    assert {run.status for run in flow.runs()} == {"partial"}
    assert [finding.text for finding in flow.doctor() if finding.level == "fail"] == []


BEGINNING = """
import os, resource, signal, sys
from pathlib import Path
from flowstone import Pipeline, asset
from flowstone.foundation.errors import DatabaseError
from flowstone.testing import isolated_flow

@asset(source=True)
def orders():
    return [1, 2, 3]

home = Path(sys.argv[1], "home")

def opened():
    return isolated_flow(Pipeline("shop", [orders]), home=home)

def rows(flow):
    with flow._deployment.reading().reading() as connection:
        names = ("run", "output", "hold", "audit_entry", "audit_disclosure")
        return [connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar() for name in names]

def refused(change):
    try:
        change()
    except DatabaseError as error:
        assert error.hint, error
        return error.message
    raise AssertionError("it was not refused")
"""

WRITES_FAIL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
flow, failed = opened(), 0
flow.run()
for spare in range(0, 40_000, 1_000):
    grown = max(path.stat().st_size for path in home.glob("flowstone.db*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (grown + spare, unlimited[1]))
    done = 0
    def change():
        global before, done
        for done in range(200):
            before = rows(flow)
            flow.hold(asset="orders", reason="because of what was asked " * 30)
    said = refused(change)
    assert "full" in said or "disk I/O error" in said, said
    assert rows(flow) == before
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    flow.hold(asset="orders", reason="with more room")
    assert flow.audit.verify(record=False).checked.findings == []
    failed += 1
flow.run(force=True)
flow.audit.seal()
print(failed, flow.audit.verify().checked.verdict)
flow.close()
"""

READ_ONLY = """
import ctypes
if "again" not in sys.argv:
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE: what is not permitted is not, to root neither
    os.execv(sys.executable, [*sys.orig_argv, "again"])

flow = opened()
flow.run()
before = rows(flow)
flow.close()

def permit(folder, file):
    home.chmod(folder)
    for path in home.glob("flowstone.db*"):
        path.chmod(file)

permit(0o555, 0o644)  # without a write-ahead log: the process before has ended
flow = opened()
said = [refused(lambda: flow.hold(asset="orders", reason="a question")), refused(lambda: flow.run(force=True))]
flow.close()
permit(0o755, 0o444)
flow = opened()
said += [refused(lambda: flow.hold(asset="orders", reason="a question")), refused(lambda: flow.run(force=True))]
flow.close()
permit(0o755, 0o644)
flow = opened()
database = flow._deployment.services().database
with database.transaction():
    writer = database.backend._writer.driver_connection
    writer.execute("PRAGMA query_only = ON")
said.append(refused(lambda: flow.hold(asset="orders", reason="a question")))
with database.backend.lock:
    writer.execute("PRAGMA query_only = OFF")
assert rows(flow) == before, (before, rows(flow))
flow.hold(asset="orders", reason="a question")
flow.run(force=True)
flow.audit.seal()
print(flow.audit.verify().checked.verdict, *said, sep="\\n")
flow.close()
"""


def said_by(program, folder):
    """What a process says that does what *program* says."""
    done = subprocess.run([sys.executable, "-c", BEGINNING + program, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_writes_that_fail_undo_what_is_changed(tmp_path):
    """When the system refuses to let a file grow, at forty places of a change, it is undone; with more room work goes on."""
    assert said_by(WRITES_FAIL, tmp_path) == ["40 INTACT"]


def test_a_database_that_may_not_be_written_is_left_as_it_is(tmp_path):
    """A file, a folder or a connection that is read-only: changes are refused with a hint, and made when it is writable."""
    verdict, *said = said_by(READ_ONLY, tmp_path)

    assert verdict == "INTACT"
    assert len(said) == 5
    assert all("readonly" in each or "unable to open" in each or "cannot write" in each for each in said), said
