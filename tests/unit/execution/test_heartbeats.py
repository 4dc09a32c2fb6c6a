"""Who lives, who is taken for dead, and what a process does that was."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest

from flowstone import Pipeline, asset
from flowstone.app import heartbeat
from flowstone.foundation.errors import DatabaseError, RecordError
from flowstone.stores import processes, runs
from flowstone.testing import MovableClock


class Elsewhere:
    """Makers of FlowStones that share one database and one clock, each with a lock folder of its own: different hosts."""

    def __init__(self, flow, folder):
        self._flow, self._folder, self.clock = flow, folder, MovableClock()

    def host(self, name, pipeline=None):
        """A FlowStone on the host *name*; its own thread for heartbeats rests, :func:`beat` does it."""
        home = self._folder / name
        home.mkdir(exist_ok=True)
        (self._folder / "shared").mkdir(exist_ok=True)
        link = home / "flowstone.db"
        if not link.is_symlink():
            link.symlink_to(self._folder / "shared" / "flowstone.db")
        made = self._flow(pipeline, home=home, clock=self.clock)
        made._deployment.services()
        made._deployment._heartbeat.stop()
        made._deployment._heartbeat = heartbeat.Heartbeat(made._deployment.services(), judged=True)  # as on a server
        return made


@pytest.fixture
def elsewhere(flow, tmp_path):
    """FlowStones on different hosts that share a database."""
    return Elsewhere(flow, tmp_path)


def beat(made):
    """Let the heartbeat of *made* do what is due, five seconds later."""
    made._deployment.clock.advance(5)
    made._deployment._heartbeat.tick()


def row_of(made):
    """The row of the process of *made*."""
    services = made._deployment.services()
    with services.database.reading() as connection:
        return processes.find(connection, services.process)


def leave_running(made):
    """Make a run that its process neither works on nor lets go of, and return its id."""
    with pytest.raises(KeyboardInterrupt):
        made.run()
    (run,) = made.runs()
    services = made._deployment.services()
    with services.database.transaction() as tx:
        assert runs.move(tx, run.id, "waiting", "running", process=services.process)
    return run.id


def silent_row(reader, silent):
    """The row of *silent*'s process, read without asking it."""
    with reader._deployment.reading().reading() as connection:
        return processes.find(connection, silent._deployment._process)


def test_a_process_says_every_five_seconds_that_it_lives(elsewhere):
    """The heartbeat is written when it is due, with the database's time, and not before."""
    made = elsewhere.host("a")
    began = row_of(made).heartbeat_at
    elsewhere.clock.advance(4)
    made._deployment._heartbeat.tick()
    early = row_of(made).heartbeat_at
    beat(made)

    assert early == began
    assert row_of(made).heartbeat_at - began == 9_000_000_000


def test_a_silent_process_of_another_host_is_dead_after_thirty_seconds(elsewhere):
    """30 s after its last heartbeat a process elsewhere still lives; a moment later its row is ended."""
    silent, other = elsewhere.host("a"), elsewhere.host("b")
    elsewhere.clock.advance(30)
    other._deployment.services()
    before = silent_row(other, silent)
    elsewhere.clock.advance(timedelta(microseconds=1))
    other._deployment.services()

    assert before.ended_at is None
    assert silent_row(other, silent).ended_at is not None


def test_a_process_that_beats_is_left_alone(elsewhere):
    """A long run elsewhere is nobody else's business as long as its process beats."""
    other = elsewhere.host("b")
    seen = []

    @asset
    def long():
        for _ in range(10):
            beat(mine)
        other._deployment.services()
        seen.append([run.status for run in other.runs()])

    mine = elsewhere.host("a", Pipeline("p", [long]))

    assert mine.run().ok
    assert seen == [["running"]]


def test_a_process_that_was_taken_for_dead_settles_nothing_and_begins_nothing(elsewhere):
    """A process that was stopped for more than 30 s: its settle is refused, the next step is not begun, its run is another's."""
    ran = []

    @asset
    def first(ctx):
        ran.append(f"first {ctx.attempt}")
        if ctx.attempt == 1:
            elsewhere.clock.advance(31)  # stopped, and continued
            assert other.resume(ctx.run_id).ok
        return ctx.attempt

    @asset
    def second(first):
        ran.append("second")
        return first

    pipeline = Pipeline("p", [first, second])
    mine, other = elsewhere.host("a", pipeline), elsewhere.host("b", pipeline)
    with pytest.raises(RecordError, match="no longer this process's"):
        mine.run()
    (run,) = other.runs()

    assert ran == ["first 1", "first 2", "second"]
    assert (run.status, other.get("second")) == ("success", 2)
    assert [(a.asset, a.status) for a in other.show(run.id).attempts] == [
        ("first", "lost"), ("first", "success"), ("second", "success"),
    ]  # fmt: skip
    assert [finding for finding in other.doctor() if finding.level == "fail"] == []


def test_a_claim_without_a_settlement_is_refused_too(elsewhere):
    """A process that was taken for dead between two steps claims nothing: the claim looks whose the run is."""
    ran = []

    @asset(version=lambda: freeze(), source=True)
    def first():
        ran.append("first")

    def freeze():
        elsewhere.clock.advance(31)
        other._deployment.services()
        return "1"

    mine, other = elsewhere.host("a", Pipeline("p", [first])), elsewhere.host("b")
    with pytest.raises(RecordError, match="no longer this process's"):
        mine.run()

    assert ran == []
    assert [run.status for run in other.runs()] == ["waiting"]
    assert other.show(other.runs()[0].id).attempts == []


def test_a_process_that_was_taken_for_dead_hears_it_and_works_again(elsewhere, caplog):
    """The next heartbeat finds the row ended: running work is stopped; what begins later is the living process's own."""
    seen = []

    @asset
    def only(ctx):
        if ctx.attempt == 1:
            elsewhere.clock.advance(31)
            other._deployment.services()
            with caplog.at_level(logging.WARNING):
                mine._deployment._heartbeat.tick()
            seen.append(mine._deployment.stopping.of(ctx.run_id).kind)

    mine, other = elsewhere.host("a", Pipeline("p", [only])), elsewhere.host("b")
    with pytest.raises(RecordError):
        mine.run()
    ended = row_of(mine).ended_at
    again = mine.resume(mine.runs()[0].id)

    assert seen == ["lost"]
    assert "this process was taken for dead" in caplog.text
    assert ended is not None
    assert again.ok
    assert row_of(mine).ended_at is None


def test_a_process_that_cannot_reach_the_store_stops_before_it_is_taken_for_dead(elsewhere, monkeypatch, caplog):
    """After 20 s of refused heartbeats the work stops; a store that answers again within that time stops nothing."""
    made = elsewhere.host("a")
    stopping = made._deployment.stopping
    refusing = True

    def beats(*_):
        if refusing:
            raise DatabaseError("gone\nmore")
        return True

    monkeypatch.setattr(processes, "beat", beats)
    with stopping.holding("run"), caplog.at_level(logging.WARNING):
        for _ in range(3):
            beat(made)
        refusing = False
        beat(made)
        refusing = True
        for _ in range(3):
            beat(made)
        before = stopping.of("run")
        beat(made)
        after = stopping.of("run")

    assert before is None
    assert after.kind == "lost"
    assert "could not be reached for 20 s (gone)" in caplog.text


def test_a_process_that_nobody_judges_works_on(flow, tmp_path, monkeypatch):
    """Who shares a SQLite file shares its locks: however long the file cannot be written, nobody takes the process for dead."""
    clock = MovableClock()
    made = flow(home=tmp_path, clock=clock)
    made._deployment.services()
    made._deployment._heartbeat.stop()
    monkeypatch.setattr(processes, "beat", lambda *_: 1 / 0)
    with made._deployment.stopping.holding("run"):
        for _ in range(20):
            beat(made)
        asked = made._deployment.stopping.of("run")

    assert asked is None


def test_a_heartbeat_that_is_stuck_in_the_store_is_found_out(elsewhere, monkeypatch, caplog):
    """A server that takes the question and never answers: 15 looks later the work stops, and not before."""
    made = elsewhere.host("a")
    stuck, answer = threading.Event(), threading.Event()

    def beats(*_):
        stuck.set()
        return answer.wait(30)

    monkeypatch.setattr(processes, "beat", beats)
    pulse, stopping = made._deployment._heartbeat, made._deployment.stopping
    elsewhere.clock.advance(5)
    ticking = threading.Thread(target=pulse.tick)
    with stopping.holding("run"), caplog.at_level(logging.WARNING):
        for _ in range(30):
            pulse.watch()
        ticking.start()
        stuck.wait(30)
        for _ in range(15):
            pulse.watch()
        before = stopping.of("run")
        pulse.watch()
        after = stopping.of("run")
        answer.set()
        ticking.join(30)

    assert before is None
    assert after.kind == "lost"
    assert "the store does not answer" in caplog.text


def test_a_run_whose_process_lost_the_store_can_be_resumed(elsewhere, monkeypatch):
    """The work ends with an error that names the next command, and the run waits."""

    @asset
    def first(ctx):
        if ctx.attempt == 1:
            mine._deployment.stopping.lose()

    @asset
    def second(first):
        pass

    mine = elsewhere.host("a", Pipeline("p", [first, second]))
    with pytest.raises(RecordError, match="could not be reached") as stopped:
        mine.run()
    (run,) = mine.runs()

    assert (run.status, run.outcome) == ("waiting", {"reason": "lost"})
    assert stopped.value.hint == f"flowstone run --resume {run.id}"
    assert mine.resume(run.id).ok
    assert [a.asset for a in mine.show(run.id).attempts] == ["first", "second"]


def test_a_run_settles_what_died_meanwhile(elsewhere):
    """A process with a long run settles, within the run, what another host left behind."""
    seen = []

    @asset
    def dies():
        raise KeyboardInterrupt

    @asset
    def long():
        for _ in range(8):
            beat(mine)
        seen.extend(run.status for run in mine.runs() if run.id == left)

    dead, mine = elsewhere.host("a", Pipeline("p", [dies])), elsewhere.host("b", Pipeline("q", [long]))
    left = leave_running(dead)

    assert mine.run().ok
    assert seen == ["waiting"]


def test_nobody_beats_for_what_is_in_memory(flow):
    """A store in memory has no other readers, so no thread is started for it."""
    made = flow(Pipeline("p", [asset(lambda: 1, name="one")]))

    assert made.run().ok
    assert made._deployment._heartbeat is None


def test_the_thread_ends_with_its_owner(flow, tmp_path):
    """A FlowStone that is closed leaves no thread."""
    made = flow(Pipeline("p", [asset(lambda: 1, name="one")]), home=tmp_path)
    made.run()
    (thread,) = made._deployment._heartbeat._threads
    alive = thread.is_alive()
    made.close()

    assert alive
    assert not thread.is_alive()


def test_a_heartbeat_that_nobody_owns_ends_by_itself(flow, tmp_path, monkeypatch):
    """A FlowStone that is forgotten without being closed does not beat for ever."""
    monkeypatch.setattr(heartbeat, "LISTEN_SECONDS", 0.001)
    made = flow(home=tmp_path)
    orphan = heartbeat.Heartbeat(made._deployment.services(), judged=True)
    orphan.start()
    threads = orphan._threads
    del orphan
    for thread in threads:
        thread.join(30)

    assert [thread.is_alive() for thread in threads] == [False, False]
