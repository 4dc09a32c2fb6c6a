"""Sealing: one sealer at a time, never a fork or a gap, whenever it dies and however entries are committed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from flowstone.audit.acts import Act
from flowstone.audit.entries import entry_of
from flowstone.audit.sealing import Sealer
from flowstone.audit.state import State
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.errors import AuditUnavailableError, DatabaseError
from flowstone.stores import audit, holds
from flowstone.stores.database import Database
from flowstone.stores.records import HoldRecord

KILLED = """
import json, os, signal, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
spec = spec_from_file_location("auditing", sys.argv[1])
auditing = sys.modules["auditing"] = module_from_spec(spec)
spec.loader.exec_module(auditing)
from flowstone.audit.sealing import Sealer
from flowstone.audit.state import State

class Dying:
    "A cursor of the driver that counts what it does."
    def __init__(self, cursor, step):
        self.cursor, self.step = cursor, step
    def __getattr__(self, name):
        return getattr(self.cursor, name)
    def execute(self, *arguments, **options):
        self.step()
        return self.cursor.execute(*arguments, **options)
    def executemany(self, *arguments):
        self.step()
        return self.cursor.executemany(*arguments)

def seal_until(world, moment):
    count = [0]
    def step():
        count[0] += 1
        if count[0] == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    world.open()
    backend, write = world.database.backend, State._write
    begin = backend.begin
    backend.begin = lambda **options: Dying(begin(**options), step)
    def dying_write(cls, path, text):
        step()
        write(path, text)
        step()
    State._write = classmethod(dying_write)
    Sealer(world.database, world.state, world.origin).seal()
    world.close()
    os._exit(0)

world = auditing.World(sys.argv[2], Path(sys.argv[3]))
world.live(5)
moment, died = 0, True
while died:
    moment += 1
    world.hold(), world.read()
    world.close()
    child = os.fork()
    if child == 0:
        seal_until(world, moment)
    died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    world.open()
    if moment % 3:
        world.seal()
    checked = world.verify()
    assert (checked.verdict, checked.findings) == ("INTACT", []), (moment, checked)
    assert moment % 3 == 0 or checked.unsealed == 0
world.seal()
print(json.dumps([moment, world.verify().signed_size, world.verify().entries]))
"""


def test_a_sealer_that_is_killed_leaves_nothing_half_done(program, database_url, tmp_path):
    """Killed before any statement, its commit or a write of its state, a sealer leaves a log that is intact and goes on."""
    command = [sys.executable, "-c", KILLED, str(program), database_url, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    moments, signed, entries = json.loads(done.stdout)

    assert moments > 8
    assert signed == entries > 2 * moments


def other(world):
    """Another process's view of the same database."""
    return Database(world.url, Dispatcher(world.clock), world.clock)


def append(world, database, number, *, fail=False):
    """Append one entry, or fail to."""
    with database.transaction() as tx:
        act = Act("data.read", f"read:{number}", "success", {"asset": "orders"})
        world.auditor.append(tx, entry_of(act, actor="dev", identity="os", at=database.now(), version=1))
        if fail:
            raise ZeroDivisionError


def sealed_subjects(world):
    """The subjects of the sealed entries, in their order."""
    with world.database.reading() as connection:
        query = "SELECT subject FROM audit_seal JOIN audit_entry ON id = entry ORDER BY seq"
        return [row[0] for row in connection.execute(text(query)) if row[0].startswith("read:")]


def test_two_sealers_at_once_make_one_order(world):
    """Sealers of two processes that seal while entries come in give each entry one place, and every head follows the last."""
    start, failures = threading.Barrier(3), []

    def work(do):
        database = other(world)
        try:
            start.wait()
            for number in range(15):
                do(database, number)
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            database.close()

    seal = lambda database, _: Sealer(database, world.state, world.origin).seal()  # noqa: E731
    jobs = [seal, seal, lambda database, number: append(world, database, number)]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.seal()

    assert failures == []
    assert sealed_subjects(world) == [f"read:{number}" for number in range(15)]
    assert (world.verify().verdict, world.verify().findings) == ("INTACT", [])


@pytest.mark.parametrize("count", [3, pytest.param(60, marks=pytest.mark.prove)])
def test_no_entry_that_commits_late_is_overlooked(make_world, new_postgres_url, count):
    """On PostgreSQL entries commit in any order, or not at all: each that is committed is sealed once, and nothing else."""
    world = make_world(new_postgres_url())
    writers = [other(world) for _ in range(4)]
    expected = set()
    for seed in range(count):
        rng, open_ = random.Random(seed), {}
        for number in range(40):
            writer = rng.randrange(4)
            if writer in open_:
                name, transaction = open_.pop(writer)
                if rng.random() < 0.7:
                    transaction.__exit__(None, None, None)
                    expected.add(name)
                else:
                    transaction.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
            else:
                transaction = writers[writer].transaction()
                act = Act("data.read", f"read:{seed}.{number}", "success", {"asset": "orders"})
                entry = entry_of(act, actor="dev", identity="os", at=world.clock.now_ns(), version=rng.choice([1, None]))
                world.auditor.append(transaction.__enter__(), entry)
                open_[writer] = (act.subject, transaction)
            if rng.random() < 0.3:
                world.seal()
        for name, transaction in open_.values():
            transaction.__exit__(None, None, None)
            expected.add(name)
        world.seal()
    for writer in writers:
        writer.close()

    found = sealed_subjects(world)
    assert (len(found), set(found)) == (len(expected), expected)
    assert (world.verify().verdict, world.verify().findings) == ("INTACT", [])


SIZES = [pytest.param(4, 200, id="4x200"), pytest.param(8, 10_000, id="8x10000", marks=pytest.mark.prove)]


@pytest.mark.parametrize(("count", "entries"), SIZES)
def test_processes_that_append_beside_each_other_lose_nothing(world, program, tmp_path, count, entries):
    """Entries that several processes append and seal at once have no gap and no duplicate, and the log is intact."""
    told = {"url": world.url, "origin": world.origin, "state": str(tmp_path / "state"), "count": entries, "every": 50}
    commands = [[sys.executable, str(program), json.dumps({**told, "number": number})] for number in range(count)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate()[1] for process in running]
    world.seal()

    assert said == [""] * count
    found = sealed_subjects(world)
    assert len(found) == len(set(found)) == count * entries
    checked = world.verify()
    assert (checked.verdict, checked.findings, checked.unsealed) == ("INTACT", [], 0)
    assert checked.entries == count * entries + 1


def test_a_head_survives_losing_power(world):
    """A transaction with power is committed durably whatever the others are, and the one after it is as before."""
    question = "PRAGMA synchronous" if world.url.startswith("sqlite") else "SHOW synchronous_commit"
    if not world.url.startswith("sqlite"):
        with world.database.backend.engine.connect() as connection:
            name = connection.exec_driver_sql("SELECT current_database()").scalar()
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
            connection.commit()
        world.restart()
    said = []
    for power in (False, True, False):
        with world.database.transaction(power=power) as tx:
            said.append(tx._cursor.execute(question).fetchone()[0])

    assert said in ([1, 2, 1], ["off", "on", "off"])


# -- when the log cannot be written ---------------------------------------------------------------------------------------------


def held(world):
    """A hold and its entry, in one transaction."""
    record = HoldRecord(id="hold_1", asset="a", partition="", output="", run_id="", reason="r", actor="dev", identity="os", at=1,
                        released_at=None, released_by="")  # fmt: skip
    with world.database.transaction() as tx:
        holds.add(tx, "shop", record)
        act = Act("hold.added", "hold:hold_1", "success", {"hold": "hold_1"})
        world.auditor.append(tx, entry_of(act, actor="dev", identity="os", at=1, version=1))


def test_a_change_whose_entry_is_refused_is_undone(world, editor):
    """When the entry cannot be written the change is undone, the error says why, and it is one that the joint commit knows."""
    with editor(world) as attacker:
        attacker.run("ALTER TABLE audit_entry RENAME TO hidden")
    with pytest.raises(AuditUnavailableError, match="audit_entry") as refused:
        held(world)
    assert isinstance(refused.value, DatabaseError)
    with world.database.reading() as connection:
        assert holds.every(connection, "shop") == []
    with editor(world) as attacker:
        attacker.run("ALTER TABLE hidden RENAME TO audit_entry")
    held(world)


def test_a_second_entry_of_a_version_undoes_its_change(world):
    """Two entries of one version of one subject cannot be: the second change is undone, whichever way its entry is added."""

    def add(disclosed):
        act = Act("data.read", f"read:{len(disclosed)}", "success", {"asset": "orders"}, disclosed)
        with world.database.transaction() as tx:
            world.auditor.append(tx, entry_of(act, actor="dev", identity="os", at=1, version=1))

    for disclosed in ({}, {"reason": "x"}):
        add(disclosed)
        with pytest.raises(AuditUnavailableError, match="could not be written"):
            add(disclosed)


def test_what_no_entry_may_hold_undoes_its_change(world):
    """What two readers of JSON could read differently is refused before anything is written."""
    with pytest.raises(AuditUnavailableError, match="float"), world.database.transaction() as tx:
        world.auditor.append(tx, entry_of(Act("x", "y:1", "success", {"size": 1.5}), actor="dev", identity="os", at=1, version=1))


def test_a_full_disk_undoes_the_change(make_world, tmp_path):
    """When SQLite's file may not grow, changes fail with the entry or without it, and nothing is recorded un-audited."""
    world = make_world(f"sqlite:///{tmp_path / 'flowstone.db'}")
    world.live(3)
    with world.database.transaction() as tx:
        pages = tx._cursor.execute("PRAGMA page_count").fetchone()[0]
    world.database.backend._writer.driver_connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DatabaseError, match="full"):
        world.live(500)
    world.restart()

    assert (world.verify().findings, world.verify().verdict) == ([], "INTACT")


def test_the_newest_head_that_is_remembered_never_gets_older(tmp_path):
    """Of two heads that are remembered in the wrong order, the newer one stays."""
    state = State(tmp_path / "log")
    for size in (5, 9, 7):
        state.remember(f"laptop/1\n{size}\n{'A' * 43}=\n")

    assert state.head().split("\n")[1] == "9"


def test_what_is_sealed_is_asked_for_by_pages(world, monkeypatch):
    """More entries than a page are sealed in several transactions, each with a head that follows the last."""
    monkeypatch.setattr(audit, "PAGE", 7)
    for number in range(30):
        append(world, world.database, number)
    made = Sealer(world.database, world.state, world.origin).seal()

    assert [sealed.added for sealed in made] == [7, 7, 7, 7, 3]
    assert world.verify().findings == []
