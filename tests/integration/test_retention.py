"""What is kept and what goes: runs that collect, the prune, files nobody refers to, on both databases."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from flowstone import FlowStone, Pipeline, asset, source
from flowstone.app.collection import ranges
from flowstone.foundation.clock import DAY
from flowstone.foundation.errors import MissingOutputError
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.testing import MovableClock, isolated_settings


class World:
    """A pipeline whose values are told from outside, and a FlowStone with a retention."""

    def __init__(self, home, url, retention, clock, settled):
        self.value, self.home, self._settled = 0, home, settled
        self.clock = clock
        settings = dataclasses.replace(isolated_settings(home, database_url=url), retention=retention)
        self.flow = FlowStone(self.pipeline(), settings=settings, actor="ann", clock=clock)

    def pipeline(self):
        @asset(source=True, version=lambda: str(self.value))
        def orders(ctx):
            ctx.log.info("seen")
            return [self.value]

        @asset
        def total(orders):
            if self.value < 0:
                raise ValueError("no")
            return sum(orders)

        return Pipeline("p", [orders, total, source("rates", version=lambda: str(self.value))])

    def make(self, *values):
        """Run once for each value; return the runs' ids."""
        made = []
        for self.value in values:
            made.append(self.flow.run().run_id)
            self.clock.advance(1)
        return made

    def prune(self, *, dry_run=False):
        """Remove what is old, or count it, once nothing that others do on the server holds events back."""
        self._settled(self.flow)
        return self.flow.prune(dry_run=dry_run)

    def kept(self, name="orders"):
        return [v.output.version for v in self.flow.outputs(name)]

    def files(self):
        return sorted(path for path in (self.home / "outputs").rglob("*.json"))

    def faults(self):
        return [f for f in self.flow.doctor() if f.level in ("fail", "warn")]

    def events(self, name):
        return [event.payload for event in self.flow.events(names=[name], limit=100_000)]


@pytest.fixture
def world(tmp_path, database_url, settled):
    """A function from a retention to a :class:`World`; those it made are closed when the test ends."""
    made = []

    def make(**kept):
        given = RetentionSettings(**{"outputs": 2, **kept})
        made.append(World(tmp_path / "home", database_url, given, MovableClock(datetime.now(UTC)), settled))
        return made[-1]

    yield make
    for one in made:
        one.flow.close()


def test_a_run_gives_up_what_it_superseded(world):
    """After each run the newest versions are there, older bytes are gone, and records, digests and lineage stay."""
    w = world()
    ids = w.make(1, 2, 3, 4)
    every = w.flow.outputs("total", which="all")
    told = w.events("flowstone.output.collected")

    assert (w.kept(), w.kept("total"), w.kept("rates")) == ([4, 3], [4, 3], [4, 3, 2, 1])
    assert len(w.files()) == 4
    assert [(v.output.version, v.output.gone, v.current) for v in every] == [
        (4, "", True), (3, "", False), (2, "collected", False), (1, "collected", False),
    ]  # fmt: skip
    assert every[3].output.gone_at is not None
    assert every[3].output.digest
    assert [(e["asset"], e["versions"], e["outputs"]) for e in told] == [
        ("orders", "1", 1), ("total", "1", 1), ("orders", "2", 1), ("total", "2", 1),
    ]  # fmt: skip
    assert w.flow.get("total", run_id=ids[2]) == 3
    assert len(w.flow.show(ids[0]).edges) == 1
    assert w.faults() == []


def test_a_value_that_was_collected_is_one_clear_error(world):
    """``get(run_id=…)`` of a collected output says so, when, and that the record stays; so does asking for its bytes."""
    w = world()
    ids = w.make(1, 2, 3)

    for ask in (w.flow.get, w.flow.get_bytes):
        with pytest.raises(MissingOutputError, match=r"version 1 \(out_\w+\) were collected on [-0-9]+ [0-9:]+ UTC; its record"):
            ask("orders", run_id=ids[0])
    assert w.flow.get("rates", run_id=ids[0]) == "1"


def test_all_keeps_all(world):
    """With ``retention.outputs = "all"`` nothing is collected, by a run or by a prune."""
    w = world(outputs=None)
    w.make(1, 2, 3, 4)
    w.prune()

    assert w.kept() == [4, 3, 2, 1]


def test_a_value_in_memory_is_let_go(tmp_path, database_url):
    """The memory of a superseded value is given back, and the record says that it was collected."""
    settings = isolated_settings(tmp_path, database_url=database_url)
    settings = dataclasses.replace(settings, retention=RetentionSettings(outputs=1))

    @asset(io="memory", source=True)
    def big():
        return [1] * 100

    with FlowStone(Pipeline("p", [big]), settings=settings) as flow:
        ids = [flow.run().run_id for _ in range(3)]
        manager = flow._deployment.io.get("memory")

        assert len(manager._kept) == 1
        assert flow.get("big", run_id=ids[2]) == [1] * 100
        with pytest.raises(MissingOutputError, match="were collected"):
            flow.get("big", run_id=ids[0])


def test_an_invalidated_value_is_not_current_and_goes_in_its_turn(world):
    """A withdrawn output keeps its bytes as one of the newest versions, and is collected when it is none any more."""
    w = world()
    w.make(1, 2)
    w.flow.invalidate("orders")

    assert w.kept() == [2, 1]
    w.make(3, 4)
    assert w.kept() == [4, 3]


def interrupted(w, value):
    """A run that stops between its two steps; returns its id."""

    def stop(_):
        raise KeyboardInterrupt

    w.value = value
    w.flow.attach("stop", "flowstone.materialization.start", lambda e: stop(e) if e.asset == "total" else None)
    with pytest.raises(KeyboardInterrupt):
        w.flow.run()
    w.flow.detach("stop")
    return w.flow.runs()[0].id


def make_while_waiting(w, *values):
    """Run the source alone; other steps of a waiting run stay undone."""
    for w.value in values:
        w.flow.run("orders")
        w.clock.advance(1)


def test_what_a_waiting_run_made_is_kept_until_it_ends(world):
    """The result of a finished step of a run that waits is not collected, and the resumed run uses it; then it goes."""
    w = world(outputs=1)
    w.make(1)
    id = interrupted(w, 2)
    make_while_waiting(w, 3, 4, 5)

    assert w.kept() == [5, 2]
    resumed = w.flow.resume(id)
    w.prune()

    assert (resumed.status, w.flow.get("total", run_id=id)) == ("success", 2)
    assert w.kept() == [5]
    assert w.faults() == []


def test_what_a_waiting_run_will_load_is_kept(world):
    """An input that was pinned when a waiting run was planned is not collected."""
    w = world(outputs=1)
    w.make(7)
    w.flow.attach("stop", "flowstone.materialization.start", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        w.flow.run("total", deps=False, force=True)
    w.flow.detach("stop")
    make_while_waiting(w, 8, 9)

    assert w.kept() == [3, 1]
    assert w.flow.resume(w.flow.runs(status="waiting")[0].id).ok
    assert w.flow.get("total") == 7


def test_a_running_run_keeps_what_was_current_when_it_began(world, tmp_path):
    """While a run works, another one supersedes what it may still take as it is: that is kept until the run has ended."""
    w = world(outputs=1)
    w.make(1)
    other = FlowStone(w.flow.pipeline, settings=w.flow.settings, clock=w.clock)
    during = []

    def supersede(happened):
        if happened.asset == "orders" and not during:
            during.append(True)
            for w.value in (3, 4):
                w.clock.advance(1)
                other.run("orders", force=True)
            during.append(w.kept())

    w.value = 2
    w.flow.attach("between", "flowstone.materialization.stop", supersede)
    w.flow.run()
    w.flow.detach("between")
    other.close()

    assert during[1] == [4, 3, 2, 1]
    w.prune()
    assert w.kept() == [4]
    assert w.faults() == []


def test_equal_bytes_share_a_file_and_outlive_each_other(world):
    """Versions with equal bytes are one file on the disk: collecting one leaves the others readable."""
    w = world(outputs=1)
    w.make(1)
    (first,) = [path for path in w.files() if "orders" in str(path)]
    for _ in range(2):
        w.flow.run("orders", force=True)
    (last,) = [path for path in w.files() if "orders" in str(path)]

    assert (first.exists(), last.stat().st_nlink) == (False, 1)
    assert w.flow.get("orders") == [1]
    assert w.faults() == []


def test_a_location_two_outputs_have_goes_with_the_last_of_them(world, database_url, change):
    """Where records share one location, its bytes stay as long as any of them is not gone."""
    w = world(outputs=1)
    w.make(1, 2)
    change("UPDATE output SET location = 'orders/@none/shared.json', gone = '', gone_at = NULL WHERE asset = 'orders'")
    shared = w.home / "outputs" / "orders" / "@none" / "shared.json"
    next(path for path in w.files() if "orders" in str(path)).rename(shared)
    w.prune()

    assert [v.output.version for v in w.flow.outputs("orders", which="gone")] == [1]
    assert shared.exists()
    assert w.flow.get("orders") == [2]


def test_collecting_never_fails_the_run(world, monkeypatch, caplog):
    """A file that cannot be removed, a database that refuses: the run's result stands, and a warning says what happened."""
    w = world(outputs=1)
    w.make(1)
    monkeypatch.setattr("flowstone.app.collection.retention.superseded_by", lambda *_: 1 / 0)
    result = w.flow.run(force=True)
    monkeypatch.undo()

    assert result.ok
    assert "could not be collected" in caplog.text

    def refuse(*_):
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr("flowstone.io_managers.files.os.unlink", refuse)
    result = w.flow.run(force=True)
    monkeypatch.undo()
    left = w.faults()
    w.prune()

    assert result.ok
    assert [(f.subject, f.fix) for f in left] == [("output files", "flowstone db prune")]
    assert w.faults() == []


# -- the prune -----------------------------------------------------------------------------------------------------------


def test_a_prune_removes_what_is_old_and_nothing_else(world):
    """Events, lines and errors of runs that ended long ago go, those of later ones stay; a dry run tells the same."""
    w = world(outputs=1, events=90 * DAY, logs=30 * DAY, errors=60 * DAY)
    w.make(1, -2)
    old = [run.id for run in w.flow.runs()]
    w.clock.advance(timedelta(days=100))
    (new,) = w.make(3)
    before = {id: len(w.flow.events(run_id=id)) for id in (*old, new)}
    planned, again = w.prune(dry_run=True), w.prune(dry_run=True)
    done = {part.kind: part.removed for part in w.prune()}

    assert {part.kind: part.removed for part in planned} == done
    assert planned == again
    assert done["events"] >= sum(before[id] for id in old)
    assert (done["logs"], done["errors"], done["files"]) == (2, 1, 0)
    assert [len(w.flow.events(run_id=id)) for id in (*old, new)] == [0, 0, before[new]]
    assert [len(w.flow.logs(id)) for id in (*old, new)] == [0, 0, 1]
    assert w.flow.errors() == []
    assert [run.id for run in w.flow.runs()] == [new, *old]
    assert [v.output.version for v in w.flow.outputs("orders", which="all")] == [3, 2, 1]
    assert {e["kind"]: e["removed"] for e in w.events("flowstone.db.pruned") if e["kind"] in ("logs", "errors")} == {
        "logs": 2, "errors": 1,
    }  # fmt: skip
    assert w.faults() == []
    assert all(part.removed == 0 for part in w.prune() if part.kind != "processes")


def test_a_prune_in_small_steps_ends_at_the_same_state(world, monkeypatch):
    """However small the transactions, the same rows go, each has its event, and every run keeps all its events or loses them."""
    monkeypatch.setattr("flowstone.stores.pruning.WINDOW", 7)
    w = world(events=DAY, logs=DAY, errors=DAY)
    w.make(*range(1, 5), -5)
    w.clock.advance(2 * 86_400)
    (new,) = w.make(9)
    seen = []

    def look(_):
        with_events = {event.run_id for event in w.flow.events(limit=100_000) if event.name == "flowstone.run.start"}
        seen.append((len(with_events), [f.subject for f in w.flow.doctor() if f.level == "fail"]))

    w.flow.attach("look", "flowstone.db.pruned", look)
    done = {part.kind: part.removed for part in w.prune()}
    told = w.events("flowstone.db.pruned")

    assert len([e for e in told if e["kind"] == "events"]) > 5
    assert sum(e["removed"] for e in told if e["kind"] == "events") == done["events"]
    assert all(faults == [] for _, faults in seen)
    assert [count for count, _ in seen] == sorted((count for count, _ in seen), reverse=True)
    assert {event.run_id for event in w.flow.events(limit=100_000)} - {None} == {new}


def test_each_kind_has_a_length_of_its_own(world):
    """Errors and lines may go before the events of the same run, or after them: what is left agrees either way."""
    for kept in ({"errors": DAY, "logs": DAY, "events": None}, {"errors": None, "logs": None, "events": DAY}):
        w = world(**kept)
        failed, _ = w.make(-1, 1)
        w.clock.advance(2 * 86_400)
        done = {part.kind: part.removed for part in w.prune()}

        assert (done["errors"], done["events"] > 0) == ((1, False) if kept["errors"] else (0, True))
        assert (len(w.flow.errors(run_id=failed)), len(w.flow.logs(failed))) == ((0, 0) if kept["errors"] else (1, 1))
        assert w.faults() == []
        w.flow.close()


def test_what_is_held_or_not_ended_is_not_pruned(world):
    """The events, lines and errors of a held run and of a run that waits stay, however old; once they are free they go."""
    w = world(outputs=1, events=DAY, logs=DAY, errors=DAY)
    held, _ = w.make(-1, 1)
    hold = w.flow.hold(run_id=held, reason="court case")
    waiting = interrupted(w, 2)
    w.clock.advance(10 * 86_400)
    done = {part.kind: part.removed for part in w.prune()}

    assert (done["errors"], done["logs"]) == (0, 1)
    assert len(w.flow.errors()) == 1
    assert all(w.flow.events(run_id=id) for id in (held, waiting))
    assert [len(w.flow.logs(id)) for id in (held, waiting)] == [1, 1]
    assert w.faults() == [f for f in w.faults() if f.subject == "runs"]

    w.flow.release(hold.id, reason="over")
    assert {part.kind: part.removed for part in w.prune()}["errors"] == 1


def test_the_newest_event_is_never_pruned(world, change):
    """With a clock that says everything is old the newest event stays: cursors never go backwards."""
    w = world(events=0, logs=0, errors=0)
    w.make(1)
    w.clock.advance(10)
    newest = w.flow.events(limit=100_000)[-1].id
    w.prune()
    left = w.flow.events(limit=100_000)

    assert [event.name for event in left] == ["flowstone.run.stop", *["flowstone.db.pruned"] * (len(left) - 1)]
    assert left[0].id == newest


def test_rows_of_ended_processes_go(world):
    """Processes that ended more than a day ago are forgotten, and a value they made is still explained."""
    w = world()
    w.make(1)
    for _ in range(2):
        with FlowStone(settings=w.flow.settings, clock=w.clock) as other:
            other.prune()
    w.clock.advance(2 * 86_400)
    done = {part.kind: part.removed for part in w.prune()}

    assert done["processes"] == 2
    assert w.flow.explain("orders").output is not None


# -- files ---------------------------------------------------------------------------------------------------------------


def old_file(path, w):
    """Write a file and let two hours pass: a file's last change cannot be set, so the world's clock begins at the machine's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("left")
    w.clock.advance(7_200)
    return path


def test_only_files_that_are_ours_and_in_nobodys_use_go(world):
    """A prune removes files of ended runs that no output has and of outputs that are gone; never one it does not know."""
    w = world(outputs=1)
    run, _ = w.make(1, 2)
    waiting = interrupted(w, 3)
    folder = w.home / "outputs" / "orders" / "@none"
    owner = w.flow._deployment._process
    orphan = old_file(folder / f"{run}-1-zzzzzzzz_1.json", w)
    others = [
        folder / f"{waiting}-1-zzzzzzzz_2.json",  # its run may still record it
        folder / "run_0000000000ab-1-zzzzzzzz_3.json",  # another database's
        folder / "notes.txt",
        folder / f".tmp-{owner}-new_1",  # a living process writes it
        folder / ".tmp-proc_unknown-new_1",
    ]
    for path in others:
        path.write_text("left")
    planned = [part for part in w.prune(dry_run=True) if part.kind == "files"]
    (done,) = [part for part in w.prune() if part.kind == "files"]

    assert [(p.removed, p.bytes) for p in planned] == [(done.removed, done.bytes)] == [(1, 4)]
    assert not orphan.exists()
    assert all(path.exists() for path in others)
    assert w.events("flowstone.db.pruned")[-1]["kind"] == "files"
    assert w.flow.get("orders") == [3]


def test_a_young_file_is_left_alone(world):
    """A file that changed within the hour may be about to be recorded; a new name of an old file is young as well."""
    w = world()
    (run,) = w.make(1)
    (stored,) = [path for path in w.files() if "orders" in str(path)]
    os.utime(stored, (0, 0))
    linked = stored.with_name(f"{run}-1-zzzzzzzz_1.json")
    linked.hardlink_to(stored)

    assert [part.removed for part in w.prune() if part.kind == "files"] == [0]
    w.clock.advance(2 * 3_600)
    assert [part.removed for part in w.prune() if part.kind == "files"] == [1]
    assert w.flow.get("orders") == [1]


def test_projects_in_one_folder_do_not_prune_each_other(tmp_path, database_url):
    """Two projects share a database and a folder: a prune of one leaves the other's outputs, events and lines alone."""
    flows = []
    for name in ("a", "b"):
        settings = isolated_settings(tmp_path / "home", project=name, database_url=database_url)
        settings = dataclasses.replace(settings, retention=RetentionSettings(outputs=1, events=0, logs=0, errors=0))

        @asset(source=True)
        def orders(ctx):
            ctx.log.info("seen")
            return 1

        flows.append(FlowStone(Pipeline("p", [orders]), settings=settings, clock=MovableClock(datetime.now(UTC))))
    first, second = flows
    runs = [second.run().run_id for _ in range(2)]
    first.run()
    before = ([event.id for event in second.events(limit=1_000)], second.logs(runs[0]), second.outputs(which="all"))
    first._deployment.clock.advance(7_200)
    first.prune()
    after = ([event.id for event in second.events(limit=1_000)], second.logs(runs[0]), second.outputs(which="all"))
    value = second.get("orders")
    for flow in flows:
        flow.close()

    assert before == after
    assert value == 1


def test_ranges_are_short_texts():
    """Version numbers are told as ranges."""
    assert [ranges([1]), ranges([1, 2, 3]), ranges([1, 2, 4, 6, 7]), ranges([])] == ["1", "1-3", "1-2,4,6-7", ""]


@pytest.fixture
def change(database_url):
    """A function that changes the database from outside."""

    def execute(statement):
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(text(statement))
        engine.dispose()

    return execute
