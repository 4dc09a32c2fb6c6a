"""The outbox: which events cause which messages, in the transaction of the event, and nothing but names and counts in them."""

from __future__ import annotations

import json

import pytest

from flowstone import GiveUp, Keys, Pipeline, Retry, asset
from flowstone.events.catalogue import AssetOverdue, RunStop, TelemetryLost
from flowstone.foundation.channels import ChannelSettings

CANARY = "canary-7f3a"
LOG = ChannelSettings("log", "log")


class World:
    """Two assets whose bodies do as they are told."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.kind = ValueError

        @asset(source=True)
        def orders():
            return self.body("orders")

        @asset(source=True)
        def rates():
            return self.body("rates")

        self.pipeline = Pipeline("shop", [orders, rates])

    def body(self, name):
        if name in self.broken:
            raise self.kind(f"row 7 holds {CANARY}")
        return CANARY


@pytest.fixture
def world():
    return World()


def causes(flow):
    """What was caused, oldest first, and not yet asked for."""
    return [record.cause for record in reversed(flow.notifications())]


def test_a_run_that_fails_and_the_one_after_it(at, world):
    """A failed and a partial run cause a message each, the first success after it one more, and further ones none."""
    flow = at(world.pipeline, ChannelSettings("log", "log", on=("run.failed", "run.partial", "run.recovered")))
    world.broken = {"orders", "rates"}
    failed = flow.run()
    world.broken = {"rates"}
    flow.run()
    world.broken = set()
    for _ in range(3):
        flow.run()
    told = {record.cause: record for record in flow.notifications()}
    payload = told["run.failed"].payload
    (stopped,) = flow.events(names=["flowstone.run.stop"], run_id=failed.run_id)
    seconds = max(1, round(stopped.payload["duration_ns"] / 1e9))

    assert causes(flow) == ["run.failed", "run.partial", "run.recovered"]
    assert payload["title"] == "shop ended failed"
    assert payload["facts"] == {
        "pipeline": "shop", "run": failed.run_id, "steps": "2 failed", "took": f"{seconds}s", "failed": "orders, rates",
    }  # fmt: skip
    assert payload["command"] == f"flowstone show {failed.run_id}"
    assert (payload["project"], told["run.failed"].subject) == ("test", failed.run_id)


def test_a_failure_that_was_cancelled_is_nobodys_business(at, world):
    """Who ends a run knows that it ended; and it is no failure to recover from."""
    flow = at(world.pipeline, LOG)
    with flow._deployment.services().database.transaction() as tx:
        tx.emit(
            RunStop, pipeline="shop", run_id="run_x", outcome="cancelled", duration_ns=1, success=0, reused=0, failed=1, skipped=0
        )
    flow.run()

    assert causes(flow) == []


def test_many_failures_are_counted(at):
    """Of many assets that failed the first five are named, the rest are counted."""

    def broken(number):
        @asset(name=f"a{number}")
        def body():
            raise GiveUp("no")

        return body

    flow = at(Pipeline("shop", [broken(number) for number in range(8)]), LOG)
    flow.run()
    (failed,) = [record for record in flow.notifications() if record.cause == "run.failed"]

    assert failed.payload["facts"]["failed"] == "a0, a1, a2, a3, a4 and 3 more"


def test_errors_that_are_new_and_errors_that_are_back(at, world):
    """A new error causes one message however often it comes; one that returns after it was resolved another; muted none."""
    flow = at(world.pipeline, ChannelSettings("log", "log", on=("error_group.opened", "error_group.regressed")))
    world.broken = {"orders"}
    flow.run()
    flow.run()
    (group,) = flow.error_groups()
    flow.resolve_errors(group.id, reason="mended")
    flow.run()
    flow.mute_errors(group.id, reason="known")
    flow.run()
    opened, back = reversed(flow.notifications())

    assert causes(flow) == ["error_group.opened", "error_group.regressed"]
    assert opened.payload["facts"] == {"type": "ValueError", "asset": "orders", "group": f"grp_{group.fingerprint}"}
    assert (opened.payload["title"], back.payload["title"]) == ("ValueError in orders is new", "ValueError in orders is back")
    assert opened.payload["command"] == f"flowstone errors show grp_{group.fingerprint}"
    assert flow.error_group(opened.payload["facts"]["group"]).group.id == group.id


def test_no_data_in_a_message(at, world):
    """Values, and what errors say, are in no message."""
    flow = at(world.pipeline, LOG)
    world.broken = {"orders"}
    flow.run()
    world.broken = set()
    flow.run()

    assert len(flow.notifications()) == 3
    assert CANARY not in json.dumps([record.payload for record in flow.notifications()])
    assert CANARY in flow.errors()[0].message


def test_what_observers_lost(at, world):
    """One message for each process, sink and reason: more of the same is no news."""
    flow = at(world.pipeline, LOG)
    for lost, sink in ((3, "otel"), (5, "otel"), (1, "queue")):
        flow.emit(TelemetryLost, sink=sink, reason="dropped", lost=lost, process="proc_1")
    otel = [record.payload for record in flow.notifications() if "otel" in record.subject]

    assert causes(flow) == ["telemetry.lost", "telemetry.lost"]
    assert [payload["facts"]["events"] for payload in otel] == ["3"]


def test_each_channel_hears_what_it_asked_for(at, world):
    """``on`` decides for each channel; one that asks for nothing gets nothing."""
    flow = at(
        world.pipeline, ChannelSettings("all", "log"), ChannelSettings("runs", "log", on=("run.failed",)),
        ChannelSettings("off", "log", on=()),
    )  # fmt: skip
    world.broken = {"orders", "rates"}
    flow.run()
    told = {(record.channel, record.cause) for record in flow.notifications()}

    assert told == {("all", "run.failed"), ("all", "error_group.opened"), ("runs", "run.failed")}


def test_without_channels_nothing_is_written(at, world):
    """No recorder of messages is attached where nobody listens."""
    for flow in (at(world.pipeline), at(world.pipeline, ChannelSettings("off", "log", on=()))):
        world.broken = {"orders", "rates"}
        flow.run()

        assert "Outbox" not in [type(recorder).__name__ for recorder in flow._deployment.reading().recorders]
        assert flow.notifications() == []


def test_no_cause_no_message(at, world):
    """A transaction that is undone has caused nothing; the same cause, later, does."""
    flow = at(world.pipeline, LOG)
    database = flow._deployment.services().database
    late = {"asset": "orders", "pipeline": "shop", "partition": "", "due_at": 1, "owners": "sales, ops"}

    def undone():
        with database.transaction() as tx:
            tx.emit(AssetOverdue, **late)
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError):
        undone()

    assert flow.notifications() == []
    for _ in range(2):
        with database.transaction() as tx:
            tx.emit(AssetOverdue, **late)
    (told,) = flow.notifications()
    assert (told.cause, told.status, told.payload["facts"]["owners"]) == ("asset.overdue", "pending", "sales, ops")


@pytest.mark.parametrize(
    ("partition", "command"),
    [
        ("d:2026-11-22", "flowstone explain orders --partition 2026-11-22"),
        ("s:JChybSAtcmYgfikK", "flowstone explain orders --partition '$(rm -rf ~)\\n'"),
        ("[redacted]", "flowstone explain orders --partition '[redacted]'"),
    ],
)
def test_a_partition_in_a_command(at, world, partition, command):
    """The command can be pasted: what a shell would read is quoted, and what was masked, and is no key any more, stays so."""
    flow = at(world.pipeline, LOG)
    with flow._deployment.services().database.transaction() as tx:
        tx.emit(AssetOverdue, asset="orders", pipeline="shop", partition=partition, due_at=1)

    assert flow.notifications()[0].payload["command"] == command


def test_strange_texts_undo_no_record(at):
    """A name with half a surrogate pair, or a NUL, is escaped: the run is recorded, and its message."""

    @asset(partitions=Keys(str), retries=Retry(attempts=1))
    def broken():
        raise ValueError("\ud800\0")

    flow = at(Pipeline("shop", [broken]), LOG)
    result = flow.run(partition="a\0b")

    assert result.status == "failed"
    assert "run.failed" in causes(flow)
