"""A handler that fails or is slow is put in quarantine with back-off; a queued one accounts for every event."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone import Count, Event, event
from flowstone.events import handlers
from flowstone.events.catalogue import HandlerFailed
from flowstone.events.dispatcher import Dispatcher
from flowstone.testing import CapturedEvents, MovableClock

SECOND = 1_000_000_000


@event("acme.tick")
class Tick(Event, frozen=True, kw_only=True):
    """The clock ticked."""

    number: Count = 0


class Unreliable:
    """A handler that fails while ``broken``, and takes ``seconds`` of the clock."""

    def __init__(self, clock):
        self.clock, self.broken, self.seconds, self.heard = clock, True, 0.0, []

    def __call__(self, happened):
        self.clock.advance(self.seconds)
        if self.broken:
            raise ValueError(f"token=abc{happened.number}")
        self.heard.append(happened.number)


@pytest.fixture
def unreliable(dispatcher, clock):
    made = Unreliable(clock)
    dispatcher.attach("mine", Tick, made)
    return made


@pytest.fixture
def failures(dispatcher):
    caught = CapturedEvents()
    dispatcher.attach("failures", HandlerFailed, caught.append)
    return caught


def info(dispatcher):
    return dispatcher.list_handlers("acme")[0]


def test_quarantine_doubles_up_to_five_minutes(dispatcher, clock, unreliable, failures):
    """Each failure in a row doubles the pause, from one second to at most 300, and events in between are skipped."""
    for _ in range(12):
        dispatcher.emit(Tick)
        pause = failures[-1].quarantine_ns
        clock.advance((pause - 1) / SECOND)
        assert info(dispatcher).quarantined
        dispatcher.emit(Tick)
        clock.advance(1 / SECOND)
        assert not info(dispatcher).quarantined

    assert [failed.quarantine_ns // SECOND for failed in failures] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert (info(dispatcher).calls, info(dispatcher).failures, info(dispatcher).skipped) == (12, 12, 12)


def test_a_success_ends_the_back_off(dispatcher, clock, unreliable, failures):
    """After a call that succeeds the next failure begins at one second again."""
    for broken in (True, True, False, True):
        unreliable.broken = broken
        dispatcher.emit(Tick)
        clock.advance(300)

    assert [failed.quarantine_ns // SECOND for failed in failures] == [1, 2, 1]


def test_a_slow_handler_is_counted_told_and_quarantined(dispatcher, unreliable, failures):
    """A call over 100 ms is counted as slow, not as a failure; one of exactly 100 ms is not."""
    unreliable.broken, unreliable.seconds = False, 0.1
    dispatcher.emit(Tick, number=1)
    assert (info(dispatcher).slow, failures) == (0, [])

    unreliable.seconds = 0.25
    dispatcher.emit(Tick, number=2)
    dispatcher.emit(Tick, number=3)

    assert unreliable.heard == [1, 2]
    seen = info(dispatcher)
    assert (seen.calls, seen.failures, seen.slow, seen.skipped, seen.quarantined) == (2, 0, 1, 1, True)
    failed = failures.assert_emitted(HandlerFailed, handler="mine", event="acme.tick", kind="slow", type="")
    assert (failed.duration_ns, failed.quarantine_ns, failed.message) == (250_000_000, SECOND, "took 250 ms")


def test_a_patient_handler_is_not_punished_for_a_busy_machine(dispatcher, unreliable, failures):
    """One that waits for nothing is counted when it is slow, and hears the next event all the same."""
    dispatcher.detach("mine")
    dispatcher.attach("mine", Tick, unreliable, patient=True)
    unreliable.broken, unreliable.seconds = False, 0.2
    for number in range(3):
        dispatcher.emit(Tick, number=number)

    found = info(dispatcher)
    assert (unreliable.heard, found.slow, found.skipped, found.quarantined) == ([0, 1, 2], 3, 0, False)
    assert failures == []


def test_the_news_of_a_failure_is_redacted(dispatcher, unreliable, failures):
    """What a handler's error says passes the same redaction as every text."""
    dispatcher.emit(Tick)

    assert failures[0].message == "token=[redacted]"


class Gate:
    """A handler that waits until it is opened."""

    def __init__(self):
        self.entered, self.open, self.heard = threading.Event(), threading.Event(), []

    def __call__(self, happened):
        self.entered.set()
        assert self.open.wait(10)
        self.heard.append(happened.number)


def test_a_queued_handler_accounts_for_every_event(dispatcher):
    """With a blocked handler and room for three, every event offered is handled or counted as dropped, and none waits."""
    gate = Gate()
    dispatcher.attach("mine", Tick, gate, queued=True, capacity=3)
    dispatcher.emit(Tick, number=0)
    assert gate.entered.wait(10)
    for number in range(1, 10):
        dispatcher.emit(Tick, number=number)
    assert (info(dispatcher).queued, info(dispatcher).dropped) == (True, 6)

    gate.open.set()
    handler = dispatcher._handlers["mine"]
    dispatcher.detach("mine")

    assert gate.heard == [0, 1, 2, 3]
    assert (handler.calls, handler.skipped, handler.dropped) == (4, 0, 6)


def test_closing_handles_what_was_accepted(dispatcher):
    """``close`` returns after every accepted event is handled, in order, and the thread is gone."""
    heard, before = [], threading.active_count()
    dispatcher.attach("mine", Tick, heard.append, queued=True)
    for number in range(500):
        dispatcher.emit(Tick, number=number)
    dispatcher.close()

    assert [happened.number for happened in heard] == list(range(500))
    assert threading.active_count() == before


def test_a_lingering_handler_is_hurried_by_closing(dispatcher):
    """One that would wait a day for more events handles those it has when it is closed, in order."""
    heard = []
    dispatcher.attach("mine", Tick, heard.append, queued=True, linger=86_400.0)
    for number in range(3):
        dispatcher.emit(Tick, number=number)
    before = len(heard)
    dispatcher.detach("mine")

    assert (before, [tick.number for tick in heard]) == (0, [0, 1, 2])


def test_what_a_stuck_handler_leaves_behind_is_counted(dispatcher, monkeypatch):
    """A handler that does not return in time is left; what it had not begun is dropped, and its thread ends when it returns."""
    monkeypatch.setattr(handlers, "DRAIN_SECONDS", 0.05)
    gate = Gate()
    dispatcher.attach("mine", Tick, gate, queued=True, capacity=5)
    for number in range(4):
        dispatcher.emit(Tick, number=number)
    assert gate.entered.wait(10)
    handler = dispatcher._handlers["mine"]
    dispatcher.detach("mine")
    handler.handle(Tick(at=0))
    assert (handler.calls, handler.dropped) == (1, 4)

    gate.open.set()
    handler._thread.join(10)
    assert not handler._thread.is_alive()
    assert gate.heard == [0]


def test_a_queued_handler_can_detach_itself(dispatcher):
    """A queued handler that detaches itself does not wait for itself, handles what was accepted and ends its thread."""
    heard, begin = [], threading.Event()

    def once(happened):
        assert begin.wait(10)
        if not heard:
            dispatcher.detach("mine")
        heard.append(happened.number)

    dispatcher.attach("mine", Tick, once, queued=True)
    handler = dispatcher._handlers["mine"]
    for number in range(3):
        dispatcher.emit(Tick, number=number)
    begin.set()
    handler._thread.join(10)

    assert not handler._thread.is_alive()
    assert heard == [0, 1, 2]


def test_a_queued_handler_may_be_slow_and_may_fail(dispatcher, clock, unreliable, failures):
    """Slowness of a queued handler delays nobody and is not held against it; its failures are."""
    slow = Unreliable(clock)
    slow.broken, slow.seconds = False, 30
    dispatcher.detach("mine")
    dispatcher.attach("mine", Tick, slow, queued=True)
    handler = dispatcher._handlers["mine"]
    dispatcher.emit(Tick)
    dispatcher.detach("mine")
    assert (handler.calls, handler.slow, failures) == (1, 0, [])

    dispatcher.attach("mine", Tick, unreliable, queued=True)
    handler = dispatcher._handlers["mine"]
    dispatcher.emit(Tick)
    dispatcher.emit(Tick)
    dispatcher.detach("mine")
    assert (handler.calls, handler.failures, handler.skipped, len(failures)) == (1, 1, 1, 1)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_a_queued_handlers_sums_are_exact(fails, capacity):
    """Whatever fails and whatever fits, the events offered are those called, skipped and dropped."""
    dispatcher = Dispatcher(MovableClock())

    def handler(happened):
        if fails[happened.number]:
            raise ValueError

    dispatcher.attach("mine", Tick, handler, queued=True, capacity=capacity)
    attached = dispatcher._handlers["mine"]
    for number in range(len(fails)):
        dispatcher.emit(Tick, number=number)
    dispatcher.close()

    assert attached.calls + attached.skipped + attached.dropped == len(fails)
