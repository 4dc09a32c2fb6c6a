"""Processes that meet: in a new store, at one asset, at one run, and one that comes back after it was taken for dead."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from flowstone.events.catalogue import MaterializationDelayed

PROJECTS = Path(__file__).parents[1] / "projects"
CROWD = 8
AFTER = [["before", "success"], ["held", "lost"], ["held", "success"], ["after", "success"]]


@pytest.fixture
def meeting(place, tmp_path, database_url):
    """A place of the shared pipeline, on each database."""
    return place(tmp_path / "place", database_url, pipeline="shared.py", partition=None)


def together(meeting, wait_until, count, do, **given):
    """Have *count* processes do something at the same moment; return what each of them said."""
    go = f"{meeting.notes}.go"
    started = [meeting.start(do, go=go, **given, name=f"w{number}") for number in range(count)]
    wait_until(lambda: len(list(meeting.notes.parent.glob("notes.go.*"))) == count, "everybody to be there")
    meeting.touch("go")
    return [meeting.finish(process) for process in started]


def test_processes_that_begin_at_once_create_one_store(meeting, wait_until):
    """Eight processes meet at a store that does not exist: all of them run, in one store, and each thing is computed once."""
    said = together(meeting, wait_until, CROWD, "run", targets=["derived"])

    assert said == ["success"] * CROWD
    meeting.hold_whole()
    meeting.hold_bodies(most_lost=0)
    assert sorted(note[2] for note in meeting.noted() if note[0] == "begin") == ["base", "derived"]
    with meeting.reader() as flow:
        assert [run.status for run in flow.runs()] == ["success"] * CROWD


def test_two_processes_that_want_the_same_compute_it_once(meeting, wait_until, tmp_path):
    """One of two processes computes an asset; the other waits, says for whom, on the terminal too, and takes what was made."""
    first = meeting.start("run", targets=["after"])
    wait_until((meeting.notes.parent / "notes.go_on.waiting").exists, "the first process to be inside")
    variables = {"FLOWSTONE_HOME": str(meeting.home), "FLOWSTONE_DATABASE_URL": meeting.url, "FLOWSTONE_PROJECT": "test"}
    command = [sys.executable, "-m", "flowstone", "run", "-p", str(PROJECTS / "shared.py"), "after"]
    environment = {**os.environ, **variables, "SHAKEN_NOTES": str(meeting.notes)}
    second = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    with meeting.reader() as flow:
        wait_until(lambda: flow.events(names=[MaterializationDelayed.name]), "the second process to say that it waits")
        (told,) = flow.events(names=[MaterializationDelayed.name])
    meeting.touch("go_on")

    assert meeting.finish(first) == "success"
    said = second.communicate()[0]
    assert second.returncode == 0
    meeting.hold_whole()
    assert sorted(note[2] for note in meeting.noted() if note[0] == "begin") == ["after", "before", "held"]
    with meeting.reader() as flow:
        waited, computed = (run.id for run in flow.runs())
        assert (told.run_id, told.payload["reason"], told.payload["holder"]) == (waited, "claimed", computed)
    assert f"held          waits    {computed} computes it now" in said
    assert "3 reused" in said


def test_withdrawing_and_computing_take_turns(meeting, wait_until):
    """While one process withdraws a value again and again and another one runs, each value is made once and withdrawn once."""
    go = f"{meeting.notes}.go"
    running = meeting.start("run", targets=["derived"], times=15, go=go)
    withdrawing = meeting.start("invalidate", targets=["base"], times=60, go=go)
    meeting.touch("go")
    assert meeting.finish(running) == "success"
    withdrawn = int(meeting.finish(withdrawing))

    meeting.hold_whole()
    meeting.hold_bodies(most_lost=0)
    made = sum(note[0] == "made" for note in meeting.noted())
    with meeting.reader() as flow:
        assert len(flow.events(names=["flowstone.asset.invalidated"])) == withdrawn
        there = [condition for condition in flow.status() if condition.asset == "base" and condition.output]
    assert made - withdrawn == len(there)


@pytest.mark.parametrize("trial", range(3))
def test_a_run_that_is_cancelled_while_it_ends_has_one_end(place, wait_until, tmp_path, database_url, trial):
    """Who works on the run, who cancels it and the record agree on whether it succeeded or was cancelled."""
    made = place(tmp_path / "place", database_url, pipeline="small.py", partition=None)
    chance = random.Random(trial)
    process = made.start("work")
    made.reach(process, chance.randint(1, 8))
    time.sleep(chance.uniform(0, 0.01))  # the moment is meant to be any
    cancelling = made.start("cancel")
    worked, cancelled = made.finish(process), made.finish(cancelling)

    made.hold_whole()
    made.hold_bodies(most_lost=0)
    with made.reader() as flow:
        (run,) = flow.runs()
        assert len(flow.events(names=["flowstone.run.stop"])) == 1
    assert worked == run.status
    assert cancelled == run.status or cancelled.startswith(f"{run.id} ended {run.status}")


@pytest.mark.parametrize("executor", ["inline", "process"])
def test_a_process_that_was_taken_for_dead_comes_back_to_nothing(place, wait_until, tmp_path, database_url, executor):
    """Stopped for longer than a process may be silent, then continued: its result is refused; what another one made stays."""
    mine, others = (place(tmp_path / name, url_of(database_url), pipeline="shared.py", partition=None) for name in ("a", "b"))
    for made in (mine, others):
        share(made.home, tmp_path / "shared")
    others.notes = mine.notes  # both can be let go; what runs notes itself in one file
    process = mine.start(executor=executor, targets=["after"])
    wait_until((mine.notes.parent / "notes.go_on.waiting").exists, "the process to be inside")
    stop_between_changes(process, mine.url, wait_until)
    try:
        assert others.finish(others.start(executor=executor, dead_seconds=0.4, insist=True)) == "success"
        mine.touch("go_on")
    finally:
        os.kill(process, signal.SIGCONT)
    said = mine.finish(process)

    assert said.startswith("RecordError: ")
    assert "no longer this process's" in said
    mine.hold_whole()
    others.hold_bodies(most_lost=1)
    with others.reader() as flow:
        (run,) = flow.runs()
        view = flow.show(run.id)
        assert [[a.asset, a.status] for a in view.attempts] == AFTER
        assert (run.status, flow.get("held"), flow.get("after")) == ("success", [1, 2], 2)
        assert sorted(output.asset for output in view.outputs) == ["after", "before", "held"]


def stop_between_changes(process, url, wait_until):
    """Stop *process* where no transaction of its heartbeat or its sealer is open, which would keep everybody waiting."""
    while True:
        os.kill(process, signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it to be stopped")
        if not is_changing(url):
            return
        os.kill(process, signal.SIGCONT)


def is_changing(url):
    """Whether a transaction is open in the database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(make_url(url).database, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False
    with psycopg.connect(url, autocommit=True) as connection:
        own = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        return bool(connection.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {own} AND state <> 'idle'").fetchone()[0])


def url_of(database_url):
    """PostgreSQL's URL; on SQLite each home has its own name for the one file."""
    return None if database_url.startswith("sqlite") else database_url


def share(home, folder):
    """Let *home* have *folder*'s database file and outputs under its own names: another machine, whose locks are not seen."""
    (folder / "outputs").mkdir(parents=True, exist_ok=True)
    home.mkdir()
    (home / "outputs").symlink_to(folder / "outputs")
    (home / "flowstone.db").symlink_to(folder / "flowstone.db")


def writers(meeting, wait_until, times):
    """Have many processes commit *times* small transactions each; return how long these took, sorted, in nanoseconds."""
    with meeting.reader() as flow:
        flow._deployment.services()
    said = together(meeting, wait_until, CROWD, "write", times=times)
    with meeting.reader() as flow, flow._deployment.reading().reading() as connection:
        found = connection.exec_driver_sql("SELECT payload FROM event ORDER BY id").scalars()
        written = {}
        for payload in map(json.loads, found):
            written.setdefault(payload["asset"], []).append(payload["output"])
        assert [str(finding) for finding in flow.doctor() if finding.level == "fail"] == []
    assert written == {f"w{number}": [str(count) for count in range(times)] for number in range(CROWD)}
    return sorted(took for line in said for took in json.loads(line))


@pytest.mark.parametrize("times", [pytest.param(200, id="some"), pytest.param(2_000, id="many", marks=pytest.mark.prove)])
def test_many_writers_lose_nothing(place, wait_until, tmp_path, times, record_property):
    """Eight processes write to one SQLite file: all of it is there, in each one's order, and nobody hears that it is locked."""
    took = writers(place(tmp_path / "place", pipeline="shared.py"), wait_until, times)

    figures = {f"p{share}": took[len(took) * share // 100 - 1] / 1e6 for share in (50, 99, 100)}
    record_property("milliseconds", figures)
    print(f"{len(took):,} transactions of {CROWD} processes, in ms: {figures}")
    assert len(took) == CROWD * times
