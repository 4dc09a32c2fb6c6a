"""Delivery: at once and beside the run, again when it fails, by one process at a time, and never lost."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest

from flowstone import Pipeline, asset
from flowstone.app import messages
from flowstone.events.catalogue import AssetOverdue, NotificationDelivered, NotificationFailed
from flowstone.foundation.channels import ChannelSettings
from flowstone.notifications import delivery
from flowstone.notifications.delivery import TRIES, Delivery
from flowstone.stores import processes
from flowstone.testing import MovableClock

FAILED = ("run.failed",)


@asset
def broken():
    """Never there."""
    raise ValueError("no")


PIPELINE = Pipeline("shop", [broken])


def cause(flow, *assets):
    """Have a message about each of *assets* written; nobody is woken to deliver it."""
    for name in assets:
        with flow._deployment.services().database.transaction() as tx:
            tx.emit(AssetOverdue, asset=name, pipeline="shop", partition="", due_at=1)


def deliver(flow, seconds=60.0, channels=None):
    """Deliver what is due, as a tick does."""
    services, until = flow._deployment.services(), time.monotonic() + seconds
    made = flow._deployment.delivery(services)
    if channels is not None:
        made._channels = channels
    return made.deliver(lambda: until)


class Taking:
    """A channel that keeps what it is given, after doing *before*."""

    def __init__(self, before=lambda: None) -> None:
        self.got, self._before = [], before

    def send(self, id, message, seconds):
        self._before()
        self.got.append(id)


def wait_until(condition):
    """Wait for what must become true."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_run_delivers_what_it_causes(at, receiver):
    """When a run fails its message is posted beside it, and that it was is recorded, before the object is closed."""
    flow = at(PIPELINE, receiver.channel(on=FAILED))
    result = flow.run()
    flow.close()
    again = at()
    (record,) = again.notifications()
    (event,) = again.events(names=[NotificationDelivered.name])

    assert [f"next: flowstone show {result.run_id}"] == [got.body["blocks"][-1]["elements"][0]["text"] for got in receiver.got]
    assert (record.status, record.tries, record.process, record.message) == ("delivered", 1, "", "")
    assert record.ended_at >= record.at
    assert {**event.payload, "duration_ns": 0, "at": 0} == {
        "at": 0, "notification": record.id, "channel": "ops", "cause": "run.failed", "tries": 1, "duration_ns": 0,
    }  # fmt: skip


def test_a_long_process_delivers_while_it_lives(at, receiver):
    """Nobody has to close anything: the message of a failed run is delivered though the process goes on, as is the next one."""
    flow = at(PIPELINE, receiver.channel(on=FAILED))
    for count in (1, 2):
        flow.run()
        wait_until(lambda count=count: len(receiver.got) == count)


def test_a_process_does_not_wait_long_for_a_receiver_that_hangs(at, receiver, monkeypatch):
    """Closing ends while the receiver still hangs; the message is the next one's to deliver, under the same id."""
    monkeypatch.setattr(messages, "EXIT_SECONDS", 0.2)
    monkeypatch.setattr(messages.Courier.close, "__defaults__", (0.2,))
    hanging, reached = threading.Event(), threading.Event()
    receiver.before = lambda request: (reached.set(), hanging.wait(60))
    flow = at(PIPELINE, receiver.channel(on=FAILED))
    flow.run()
    reached.wait(60)
    flow.close()
    assert not hanging.is_set()
    hanging.set()
    receiver.before = lambda request: None
    later = at(None, receiver.channel(on=FAILED))

    assert [record.status for record in later.notifications()] == ["pending"]
    assert deliver(later).delivered == 1
    assert len({got.headers["idempotency-key"] for got in receiver.got}) == 1
    assert [record.tries for record in later.notifications()] == [2]


def test_a_receiver_that_refuses_is_asked_again_for_hours_and_then_no_more(at, receiver):
    """Each failure is recorded and the next try is later; after the last one the message is given up, and that is recorded."""
    clock = MovableClock()
    flow = at(None, receiver.channel(), clock=clock)
    receiver.answers = [(500, {})]
    cause(flow, "orders")
    begun, waits = clock.now, []
    for _ in range(TRIES):
        assert deliver(flow).failed == 1
        assert deliver(flow).failed == 0  # it is not due
        (record,) = flow.notifications()
        if record.status == "pending":
            waits.append((record.not_before - clock.now_ns()) / 1e9)
            clock.advance(waits[-1])
    events = [event.payload for event in flow.events(names=[NotificationFailed.name])]

    assert len(receiver.got) == TRIES
    assert waits == [10, 30, 90, 270, 810, 2430, 3600, 3600, 3600, 3600, 3600]
    assert (record.status, record.tries, record.message) == ("failed", TRIES, "127.0.0.1 answered 500")
    assert timedelta(hours=5) < clock.now - begun < timedelta(hours=8)
    assert [event["final"] for event in events] == [False] * (TRIES - 1) + [True]
    assert {event["type"] for event in events} == {"undelivered"}
    assert deliver(flow).failed == 0


def test_who_asks_to_be_left_alone_is(at, receiver):
    """``Retry-After`` is honoured: nothing is sent before, the rest of the channel's messages included."""
    clock = MovableClock()
    flow = at(None, receiver.channel(), clock=clock)
    receiver.answers = [(429, {"Retry-After": "120"}), (200, {})]
    cause(flow, "orders")

    assert deliver(flow).retry_in == 120
    clock.advance(119)
    assert deliver(flow).delivered == 0
    clock.advance(2)
    assert deliver(flow).delivered == 1


def test_a_channel_that_fails_keeps_nobody_else_waiting(at):
    """After a failure the channel's other messages wait untouched; other channels get theirs, whatever is raised."""

    class Raising:
        def send(self, id, message, seconds):
            raise SystemError("secret words")

    flow = at(None, ChannelSettings("bad", "log"), ChannelSettings("good", "log"))
    cause(flow, "a", "b", "c")
    good = Taking()
    done = deliver(flow, channels={"bad": Raising(), "good": good})
    bad = [record for record in flow.notifications() if record.channel == "bad"]

    assert (done.delivered, done.failed, len(good.got)) == (3, 1, 3)
    assert sorted(record.tries for record in bad) == [0, 0, 1]
    assert {record.message for record in bad} == {"", "SystemError while it was sent"}


def test_messages_for_somebody_elses_channels_stay(at, receiver):
    """Who does not know the channel leaves its messages to who does."""
    flow = at(None, receiver.channel("ops"))
    cause(flow, "orders")
    stranger = at(None, ChannelSettings("other", "log"))

    assert deliver(stranger).elsewhere == 1
    assert [record.status for record in flow.notifications()] == ["pending"]
    assert deliver(flow).delivered == 1


def test_many_at_once_deliver_each_message_once(at):
    """Eight that deliver at the same moment send each of forty messages exactly once."""
    flows = [at(None, ChannelSettings("one", "log"), ChannelSettings("two", "log")) for _ in range(8)]
    cause(flows[0], *(f"a{number}" for number in range(20)))
    barrier, channels = threading.Barrier(8), {"one": Taking(), "two": Taking()}

    def work(flow):
        flow._deployment.services()
        barrier.wait()
        deliver(flow, channels=channels)

    threads = [threading.Thread(target=work, args=(flow,)) for flow in flows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [len(channel.got) for channel in channels.values()] == [20, 20]
    assert len({*channels["one"].got, *channels["two"].got}) == 40
    assert {record.status for record in flows[0].notifications()} == {"delivered"}
    assert len(flows[0].events(names=[NotificationDelivered.name])) == 40


def claimed_by(flow, other):
    """Claim the only message in the name of *other*'s process, as if it were being sent."""
    stuck = threading.Event()
    services = other._deployment.services()
    made = Delivery("test", services.database, {"ops": Taking(stuck.wait)}, services.process, lambda process: True)
    thread = threading.Thread(target=made.deliver, args=(lambda: time.monotonic() + 60,), daemon=True)
    thread.start()
    wait_until(lambda: flow.notifications()[0].process)
    return stuck, thread, made, services


def test_who_is_sending_is_not_disturbed_while_it_lives(at):
    """A claimed message is nobody else's for a minute; then it is, and who is late does not count."""
    clock = MovableClock()
    flow, other = (at(None, ChannelSettings("ops", "log"), clock=clock) for _ in range(2))
    cause(flow, "orders")
    stuck, thread, *_ = claimed_by(flow, other)
    taking = Taking()

    assert deliver(flow, channels={"ops": taking}).delivered == 0
    clock.advance(delivery.CLAIM_SECONDS + 1)
    assert deliver(flow, channels={"ops": taking}).delivered == 1
    stuck.set()
    thread.join()
    assert len(flow.events(names=[NotificationDelivered.name])) == 1
    assert flow.notifications()[0].tries == 2


def test_what_a_dead_process_was_sending_is_sent_at_once(at):
    """When the process that claimed a message has ended it is anybody's, without waiting for the minute."""
    flow, other = (at(None, ChannelSettings("ops", "log")) for _ in range(2))
    cause(flow, "orders")
    stuck, thread, made, services = claimed_by(flow, other)
    made.let_go()  # it dies: whatever it sends, it says nothing any more
    stuck.set()
    thread.join()
    assert deliver(flow).delivered == 0  # for all anybody knows it lives
    with services.database.transaction() as tx:
        processes.end(tx, services.process, services.database.now())

    assert deliver(flow).delivered == 1
    assert [(record.status, record.tries) for record in flow.notifications()] == [("delivered", 2)]


def test_time_that_is_over_begins_nothing(at):
    """A delivery whose time is over claims nothing."""
    flow = at(None, ChannelSettings("ops", "log"))
    cause(flow, "orders")

    assert deliver(flow, seconds=-1).delivered == 0
    assert [(record.status, record.tries) for record in flow.notifications()] == [("pending", 0)]


@pytest.mark.parametrize("cut", ["claim", "settle"])
def test_a_store_that_refuses_loses_nothing(at, monkeypatch, cut):
    """When the store fails around a send the message is there afterwards: delivered once more at worst."""
    clock = MovableClock()
    flow = at(None, ChannelSettings("ops", "log"), clock=clock)
    cause(flow, "orders")
    taking = Taking()
    with monkeypatch.context() as patch:
        patch.setattr(delivery.notifications, cut, lambda *_, **__: (_ for _ in ()).throw(delivery.FlowStoneError("no store")))
        deliver(flow, channels={"ops": taking})
    clock.advance(delivery.CLAIM_SECONDS + 1)
    deliver(flow, channels={"ops": taking})

    assert [record.status for record in flow.notifications()] == ["delivered"]
    assert len(taking.got) == (2 if cut == "settle" else 1)
    assert len(set(taking.got)) == 1
