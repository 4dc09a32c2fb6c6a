"""Ticks: what is overdue is said once, by one of many; a duty that fails keeps no other from being done."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from flowstone import Daily, Pipeline, Static, asset, source
from flowstone.app import ticking
from flowstone.assets.keys import encode_key
from flowstone.automation.deadlines import NEWEST, Deadlines
from flowstone.automation.tick import LONGEST, Duty, Tick
from flowstone.cli.main import execute
from flowstone.events.catalogue import AssetOverdue
from flowstone.foundation.channels import ChannelSettings
from flowstone.foundation.errors import DatabaseError
from flowstone.stores import processes, ticks
from flowstone.testing import MovableClock

DUTIES = ["dead work", "approvals", "due times", "messages", "metrics", "audit", "prune", "runs"]

LOG = ChannelSettings("log", "log", on=("asset.overdue",))
DAY = timedelta(days=1)


def clock_at(text):
    """A clock that stands at a time of 2026, in UTC."""
    return MovableClock(datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC))


def daily(**options):
    """An asset with one partition a day in Zurich, due at half past seven of the next one; another one it may be run with."""

    @asset(partitions=Daily("2026-01-01", timezone="Europe/Zurich"), due="07:30", owners=["sales", "ops"], **options)
    def orders(ctx):
        return str(ctx.partition)

    return Pipeline("shop", [orders])


def single(due, name="stock", **options):
    """An asset without partitions, computed anew in every run."""

    @asset(name=name, due=due, source=True, **options)
    def body():
        return 1

    return Pipeline("shop", [body])


def said(flow):
    """What was said to be overdue, in order: asset, partition and when it was due."""
    found = [event.payload for event in flow.events(names=[AssetOverdue.name])]
    return [
        (one["asset"], one.get("partition", ""), f"{datetime.fromtimestamp(one['due_at'] / 1e9, UTC):%m-%d %H:%M}")
        for one in found
    ]


def test_a_partition_that_is_not_there_by_its_time(at):
    """It is said once, with its owners, when a tick comes by after the due time; when the value arrives it is overdue no more."""
    clock = clock_at("11-20 10:00")
    flow = at(daily(), LOG, clock=clock)
    flow.run(partition="2026-11-19")
    assert flow.tick().ok
    assert said(flow) == []

    clock.set(datetime(2026, 11, 21, 6, 29, tzinfo=UTC))
    flow.tick()
    assert said(flow) == []
    clock.set(datetime(2026, 11, 21, 6, 30, tzinfo=UTC))
    assert "orders 2026-11-20 overdue since now; 1 overdue in all" in {done.text for done in flow.tick().duties}
    assert said(flow) == [("orders", "d:2026-11-20", "11-21 06:30")]
    (message,) = flow.notifications()
    assert (message.status, message.payload["facts"]["owners"]) == ("delivered", "sales, ops")
    assert message.payload["command"] == "flowstone explain orders --partition 2026-11-20"

    clock.advance(3600)
    flow.tick()
    assert [(late.asset, late.partition) for late in flow.overdue()] == [("orders", "d:2026-11-20")]
    flow.run(partition="2026-11-20")
    assert "1 arrived late" in {done.text for done in flow.tick().duties}
    assert (flow.overdue(), len(said(flow))) == ([], 1)


def test_an_open_partition_is_due_on_its_own_day(at):
    """A snapshot of the present is overdue while there is still time to take it."""

    @asset(partitions=Daily("2026-01-01", past="refuse"), due="18:00")
    def snapshot():
        return 1

    clock = clock_at("11-20 10:00")
    flow = at(Pipeline("shop", [snapshot]), clock=clock)
    flow.run()
    clock.set(datetime(2026, 11, 21, 18, 1, tzinfo=UTC))
    flow.tick()

    assert said(flow) == [("snapshot", "d:2026-11-21", "11-21 18:00")]


def test_a_new_due_time_does_not_make_the_past_late(at):
    """Of ten years of partitions none is late that was due before a run first brought the due time; the next ones are."""

    @asset(partitions=Daily("2016-01-01"))
    def before():
        return 1

    @asset(name="before", partitions=Daily("2016-01-01"), due="07:30", code_version="2")
    def after():
        return 1

    clock = clock_at("11-20 10:00")
    at(Pipeline("shop", [before]), clock=clock).run(partition="2026-11-01")
    clock.advance(60)
    flow = at(Pipeline("shop", [after]), clock=clock)
    flow.run(partition="2026-11-01")
    flow.tick()
    assert said(flow) == []
    clock.advance(2 * DAY)
    flow.tick()

    assert [key for _, key, _ in said(flow)] == ["d:2026-11-20", "d:2026-11-21"]


def test_new_code_does_not_forgive_what_is_late(at):
    """A value that was due before the newest version of the pipeline, and after the due time was known, is late all the same."""
    clock = clock_at("11-20 10:00")
    at(daily(), clock=clock).run(partition="2026-11-19")
    clock.set(datetime(2026, 11, 21, 9, tzinfo=UTC))
    flow = at(daily(code_version="2"), clock=clock)
    flow.run(partition="2026-11-19")
    flow.tick()

    assert [key for _, key, _ in said(flow)] == ["d:2026-11-20"]


def test_nobody_is_told_for_ever(at):
    """When nothing comes for weeks, as of a pipeline that was given up, it is said so often and no more, until a value comes."""
    clock = clock_at("11-01 10:00")
    flow = at(daily(), clock=clock)
    flow.run(partition="2026-10-31")
    for _ in range(30):
        clock.advance(DAY)
        flow.tick()
    assert len(said(flow)) == NEWEST
    flow.run(partition="2026-11-05")
    flow.tick()

    assert len(said(flow)) == NEWEST + 1
    assert len(flow.overdue()) == NEWEST


def test_after_a_long_silence_only_the_newest_are_looked_at(at):
    """When no tick came for a year not every day of it is said."""
    clock = clock_at("01-02 10:00")
    flow = at(daily(), clock=clock)
    flow.run(partition="2026-01-01")
    clock.advance(300 * DAY)
    flow.tick()

    assert [key for _, key, _ in said(flow)] == [f"d:2026-10-{day}" for day in range(22, 29)]


def test_candidates_and_withdrawn_values_are_not_there(at):
    """What was withdrawn is late again, if it was not said before."""
    clock = clock_at("11-20 10:00")
    flow = at(daily(), clock=clock)
    flow.run(partition="2026-11-19")
    clock.set(datetime(2026, 11, 21, 10, tzinfo=UTC))
    flow.run(partition="2026-11-20")
    flow.tick()
    assert said(flow) == []
    flow.invalidate("orders", partition="2026-11-20")
    flow.tick()

    assert [key for _, key, _ in said(flow)] == ["d:2026-11-20"]


def test_what_is_due_every_day(at):
    """Without partitions each day needs a value made or found up to date since midnight; each day that lacks one is said once."""
    clock = clock_at("11-20 06:00")
    flow = at(single("07:30 Europe/Zurich"), clock=clock)
    flow.run()
    for hour in range(1, 5):
        clock.set(datetime(2026, 11, 20, 6 + hour, tzinfo=UTC))
        flow.tick()
    assert said(flow) == []
    clock.set(datetime(2026, 11, 20, 22, 59, tzinfo=UTC))
    flow.run()  # before midnight in Zurich: it is for the day that ends
    for day in (21, 22):
        for minute in (29, 31, 59):
            clock.set(datetime(2026, 11, day, 6, minute, tzinfo=UTC))
            flow.tick()
    assert said(flow) == [("stock", "", "11-21 06:30"), ("stock", "", "11-22 06:30")]
    (late,) = flow.overdue()
    assert datetime.fromtimestamp(late.at / 1e9, UTC) == datetime(2026, 11, 21, 6, 31, tzinfo=UTC)
    flow.run()
    flow.tick()
    assert flow.overdue() == []
    clock.set(datetime(2026, 11, 23, 6, 31, tzinfo=UTC))
    flow.tick()

    assert said(flow)[2:] == [("stock", "", "11-23 06:30")]


def test_found_up_to_date_is_there(at):
    """A run that reuses the value has it in time: nothing has to be computed for it."""
    clock = clock_at("11-20 06:00")

    @asset(due="07:30")
    def stock():
        return 1

    flow = at(Pipeline("shop", [stock]), clock=clock)
    assert flow.run().status == "success"
    clock.advance(DAY)
    assert [step.asset for step in flow.run().reused] == ["stock"]
    clock.advance(timedelta(hours=2))
    flow.tick()

    assert said(flow) == []


def test_a_value_that_must_not_be_older(at):
    """With a timedelta and no partitions it is late when its value gets too old, and once more only after there was another."""
    clock = clock_at("11-20 06:00")
    flow = at(single(timedelta(hours=6)), clock=clock)
    flow.run()
    for hours in (5, 1):
        clock.advance(timedelta(hours=hours))
        flow.tick()
        assert said(flow) == []
    clock.advance(1)
    for _ in range(3):
        flow.tick()
        clock.advance(DAY)
    assert said(flow) == [("stock", "", "11-20 12:00")]
    flow.run()
    flow.tick()
    assert flow.overdue() == []
    clock.advance(timedelta(hours=7))
    flow.tick()

    assert len(said(flow)) == 2


def test_a_value_that_was_never_there(at):
    """What was never computed is late so long after a run first brought its due time, whatever versions of the code came then."""
    clock = clock_at("11-20 06:00")

    def pipeline(version):
        @asset
        def other():
            return 1

        @asset(due=timedelta(hours=6), code_version=version)
        def stock():
            return 1

        return Pipeline("shop", [other, stock])

    for version in "123":
        flow = at(pipeline(version), clock=clock)
        flow.run("other")
        flow.tick()
        assert said(flow) == []
        clock.advance(timedelta(hours=2, seconds=1))
    flow.tick()

    assert said(flow) == [("stock", "", "11-20 12:00")]


def test_each_declared_key_is_due(at):
    """With static keys each of them is due by itself; one that is declared no more is not waited for."""

    def pipeline(*keys):
        @asset(partitions=Static(keys), due="07:30", source=True)
        def stock():
            return 1

        return Pipeline("shop", [stock])

    clock = clock_at("11-20 06:00")
    flow = at(pipeline("eu", "us", "asia"), clock=clock)
    flow.run(partition="eu")
    clock.advance(timedelta(hours=2))
    flow.tick()
    assert sorted(key for _, key, _ in said(flow)) == ["asia", "us"]
    smaller = at(pipeline("eu", "us"), clock=clock)
    smaller.run(partition="us")
    smaller.tick()

    assert smaller.overdue() == []


def test_an_observed_source_is_there_with_a_new_version(at):
    """What something else makes is late when no new version of it was seen since midnight, though runs looked."""
    versions = ["1"]
    rates = source("rates", version=lambda: versions[-1], due="07:30")

    @asset
    def report(rates: object = None):
        return 1

    clock = clock_at("11-20 06:00")
    flow = at(Pipeline("shop", [rates, report]), clock=clock)
    flow.run()
    for version, late in (("2", 0), ("2", 1)):
        clock.advance(22 * 3600 if versions[1:] else DAY)
        versions.append(version)
        flow.run()
        clock.advance(2 * 3600)
        flow.tick()
        assert len(said(flow)) == late


def test_who_has_no_due_time_any_more_is_not_waited_for(at):
    """When the due time goes what was late is closed, so that no figure says it is late for ever."""
    clock = clock_at("11-20 06:00")
    flow = at(single("07:30"), clock=clock)
    flow.run()
    clock.advance(timedelta(days=1, hours=2))
    flow.tick()
    assert len(flow.overdue()) == 1
    plain = at(single(None), clock=clock)
    plain.run()
    plain.tick()

    assert plain.overdue() == []


def test_what_is_due_next(at):
    """Of each asset it is known when the value that is not there is due, or was."""
    clock = clock_at("11-20 06:00")
    flow = at(daily(), clock=clock)
    flow.run(partition="2026-11-19")
    database = flow._deployment.services().database

    def outlook():
        return {
            name: f"{datetime.fromtimestamp(at / 1e9, UTC):%m-%d %H:%M}"
            for name, at in Deadlines("test", database).outlook().items()
        }

    assert outlook() == {"orders": "11-13 06:30"}
    for day in range(12, 19):
        flow.run(partition=f"2026-11-{day}")
    assert outlook() == {"orders": "11-21 06:30"}  # that of the 19th is there before its time
    clock.set(datetime(2026, 11, 21, 7, tzinfo=UTC))
    assert outlook() == {"orders": "11-21 06:30"}


# -- ticks ------------------------------------------------------------------------------------------------------------------


def test_eight_ticks_at_once(at, receiver):
    """Of eight that tick at the same moment one does the duties; everything is said once and delivered once."""
    clock = clock_at("11-20 10:00")
    flow = at(daily(), receiver.channel(on=("asset.overdue",)), clock=clock)
    flow.run(partition="2026-11-19")
    clock.advance(3 * DAY)
    flows = [at(None, receiver.channel(on=("asset.overdue",)), clock=clock) for _ in range(8)]
    barrier, statuses = threading.Barrier(8), []

    def work(each):
        each._deployment.services()
        barrier.wait()
        statuses.append(each.tick().status)

    threads = [threading.Thread(target=work, args=(each,)) for each in flows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(statuses) <= {"done", "busy"}
    assert [key for _, key, _ in said(flow)] == ["d:2026-11-20", "d:2026-11-21", "d:2026-11-22"]
    assert len(receiver.got) == len({got.headers["idempotency-key"] for got in receiver.got}) == 3


def test_deadlines_marked_by_eight_at_once(at):
    """Even where nobody keeps them from it, eight that mark at the same moment say each value once."""
    clock = clock_at("11-20 10:00")
    flow = at(daily(), clock=clock)
    flow.run(partition="2026-11-19")
    clock.advance(3 * DAY)
    flows = [at(None, clock=clock) for _ in range(8)]
    barrier, found = threading.Barrier(8), []

    def work(each):
        deadlines = Deadlines("test", each._deployment.services().database)
        barrier.wait()
        found.extend(late.partition for late in deadlines.mark().late)

    threads = [threading.Thread(target=work, args=(each,)) for each in flows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [key for _, key, _ in said(flow)] == ["d:2026-11-20", "d:2026-11-21", "d:2026-11-22"]


def ticker(flow):
    """A tick of *flow*'s process."""
    services = flow._deployment.services()
    return Tick("test", services.database, flow._deployment.locks, services.process)


def test_while_one_ticks_the_others_leave(at):
    """A second tick says since when the first one runs; when that has ended the next one ticks."""
    first, second = at(), at()
    seen = []
    inside = Duty("inside", lambda: str(seen.append(ticker(second).run([Duty("never", lambda: "done")]))))
    began = first._deployment.services().database.now()
    done = ticker(first).run([inside])

    assert (done.status, seen[0].status, seen[0].duties) == ("done", "busy", ())
    assert seen[0].since >= began
    assert ticker(second).run([Duty("again", lambda: "done")]).status == "done"


def test_a_tick_whose_process_died_is_nobodys_turn(at):
    """When the process of a tick that has begun is dead, or it goes on for longer than anybody may, the next one ticks."""
    clock = clock_at("11-20 10:00")
    first, second = at(clock=clock), at(clock=clock)
    services = first._deployment.services()
    turns = []

    def dies():
        with services.database.transaction() as tx:
            processes.end(tx, services.process, services.database.now())
        turns.append(ticker(second).run([Duty("mine", lambda: "done")]).status)
        return "too late"

    ticker(first).run([Duty("dies", dies)])
    with second._deployment.reading().reading() as connection:
        last = ticks.last(connection, "test")
    assert turns == ["done"]
    assert [duty["name"] for duty in last.did["duties"]] == ["mine"]  # what the dead one wrote does not count

    def hangs():
        clock.advance(LONGEST / 1e9 + 1)
        turns.append(ticker(second).run([]).status)
        return ""

    third = at(clock=clock)
    ticker(third).run([Duty("hangs", hangs)])
    assert turns == ["done", "done"]


def test_a_duty_that_fails_keeps_no_other_from_being_done(at, monkeypatch):
    """What it raises is its line; the others are done, the tick is recorded, the exit code is 1, and doctor names it."""

    def fails(*_):
        raise DatabaseError("the disk is full\nmore words")

    monkeypatch.setattr(ticking, "_fold", fails)
    flow = at(daily(), LOG)
    flow.run(partition="2026-11-19")
    done = flow.tick()
    told = {duty.name: (duty.ok, duty.text) for duty in done.duties}
    (finding,) = [finding for finding in flow.doctor() if finding.subject == "tick"]

    assert list(told) == DUTIES
    assert [name for name, (ok, _) in told.items() if not ok] == ["metrics"]
    assert told["metrics"] == (False, "the disk is full")
    assert not done.ok
    assert (finding.level, "metrics failed: the disk is full" in finding.text) == ("warn", True)


def test_an_interrupted_tick_leaves_the_turn(at):
    """Ctrl-C inside a duty ends the tick: it is not recorded as done, and the next one may begin at once."""
    flow = at()

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ticker(flow).run([Duty("interrupted", interrupted)])
    with flow._deployment.reading().reading() as connection:
        last = ticks.last(connection, "test")

    assert (last.at, last.did) == (0, {})
    assert ticker(flow).run([]).status == "done"


def test_a_duty_may_be_rare(at):
    """A duty that is due once a day is left out until a day has passed since it was last done well."""
    clock = clock_at("11-20 10:00")
    flow = at(clock=clock)
    outcomes, done = iter([ValueError("no"), "first", "second"]), []

    def rare():
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        done.append((outcome, clock.now.hour))
        return outcome

    for _ in range(30):
        ticker(flow).run([Duty("rare", rare, every=86_400_000_000_000), Duty("usual", lambda: "")])
        clock.advance(3600)

    assert done == [("first", 11), ("second", 11)]


def test_prune_is_done_once_a_day(at):
    """The first tick of a day prunes, the others do not."""
    clock = clock_at("11-20 10:00")
    flow = at(daily(), clock=clock)
    flow.run(partition="2026-11-19")
    names = []
    for _ in range(3):
        names.append("prune" in [duty.name for duty in flow.tick().duties])
        clock.advance(DAY / 2)

    assert names == [True, False, True]


def test_old_messages_are_pruned(at):
    """A message that was delivered or given up goes when the events of its time would; one that waits stays."""
    clock = clock_at("11-20 10:00")
    at(daily(), clock=clock).run(partition="2026-11-19")
    clock.advance(DAY)
    both = at(None, LOG, ChannelSettings("elsewhere", "log", on=("asset.overdue",)), clock=clock)
    Deadlines("test", both._deployment.services().database).mark()
    here = at(daily(), LOG, clock=clock)
    here.tick()
    clock.advance(89 * DAY)
    assert [part.removed for part in here.prune(dry_run=True) if part.kind == "messages"] == [0]
    clock.advance(2 * DAY)
    assert [part.removed for part in here.prune(dry_run=True) if part.kind == "messages"] == [1]
    here.prune()

    assert [(record.channel, record.status) for record in here.notifications()] == [("elsewhere", "pending")]


def test_what_doctor_says(at):
    """It says nothing of ticks where nobody needs any; else how long ago the last one was, what is overdue and what waits."""
    clock = clock_at("11-20 10:00")
    subjects = {"tick", "due times", "messages", "channels"}
    flow = at(single(None), clock=clock)
    flow.run()
    assert subjects & {finding.subject for finding in flow.doctor()} == set()

    def told(flow):
        return {f.subject: (f.level, f.text) for f in flow.doctor() if f.subject in subjects}

    flow = at(single("07:30"), LOG, clock=clock)
    flow.run()
    assert told(flow)["tick"][0] == "warn"
    flow.tick()
    assert {level for subject, (level, _) in told(flow).items() if subject != "channels"} == {"ok"}
    assert told(flow)["channels"] == ("not checked", "whether log take messages: flowstone notifications test CHANNEL")
    clock.advance(DAY - timedelta(minutes=1))
    assert told(flow)["tick"] == ("warn", told(flow)["tick"][1])
    assert told(flow)["tick"][1].startswith("the last one was 23 h ago")
    flow.tick()
    assert told(flow)["due times"] == ("warn", "1 overdue: stock (due 2026-11-21 07:30 UTC)")


# -- the command line -------------------------------------------------------------------------------------------------------

PROJECT = """
from flowstone import Daily, Pipeline, asset

raise_now = __import__("os").environ.get("TICKING")
if raise_now:
    raise RuntimeError("users' code was imported")

@asset(partitions=Daily("2026-01-01"), due="00:00")
def orders():
    return 1

pipeline = Pipeline("shop", [orders])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in a folder of its own, which is the working directory."""
    (tmp_path / "pipeline.py").write_text(PROJECT)
    (tmp_path / "flowstone.toml").write_text('project = "shop"\n[notifications.ops]\ntype = "log"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_verbs(project, monkeypatch, capsys):
    """``tick`` says what it did, a line for each duty, and imports no user code; ``notifications`` lists and tries channels."""
    assert execute(["tick"]) == 0
    assert capsys.readouterr().out == "Nothing to do: there is no database yet. flowstone run creates it.\n"
    assert execute(["run"]) == 0
    monkeypatch.setenv("TICKING", "1")
    capsys.readouterr()
    assert execute(["tick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:13].strip() for line in lines] == DUTIES
    assert execute(["tick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], {duty["ok"] for duty in told["duties"]}) == ("done", {True})
    assert execute(["notifications", "list"]) == 0
    assert capsys.readouterr().out == "No messages. Channels: ops.\n"
    assert execute(["notifications", "test", "ops"]) == 0
    assert capsys.readouterr().out == "ops took the message.\n"
    assert execute(["notifications", "test", "opps"]) == 2
    assert "did you mean 'ops'?" in capsys.readouterr().err
    (project / "flowstone.toml").write_text('[notifications.ops]\ntype = "slack"\nurl = "secret:NOWHERE"\n')
    assert execute(["notifications", "test", "ops"]) == 1
    assert "ops did not take the message: the secret named NOWHERE" in capsys.readouterr().out


def test_a_failed_duty_and_a_tick_that_is_running(project, monkeypatch, capsys):
    """Exit code 1 when a duty fails; 0 when another tick is running, since when and where."""
    execute(["run", "--quiet"])
    capsys.readouterr()
    monkeypatch.setattr(ticking, "_mark", lambda services: 1 // 0)
    assert execute(["tick"]) == 1
    assert "due times  FAILED  ZeroDivisionError" in capsys.readouterr().out
    codes = []
    monkeypatch.setattr(ticking, "_mark", lambda services: codes.append(execute(["tick"])) or "")
    assert execute(["tick"]) == 0

    assert codes == [0]
    assert "Another tick is running since 20" in capsys.readouterr().out


def test_a_partition_of_a_key_is_named_as_people_read_it(at):
    """Encoded keys stay in the record; people see the key."""
    clock = clock_at("11-20 06:00")

    @asset(partitions=Static(["a b"]), due="07:30")
    def stock():
        return 1

    @asset
    def other():
        return 1

    flow = at(Pipeline("shop", [stock, other]), LOG, clock=clock)
    flow.run("other")
    clock.advance(timedelta(hours=2))
    text = next(duty.text for duty in flow.tick().duties if duty.name == "due times")

    assert text == "stock a b overdue since now; 1 overdue in all"
    assert said(flow)[0][1] == encode_key("a b")
