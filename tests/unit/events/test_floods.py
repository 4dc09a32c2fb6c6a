"""Handlers that emit what they hear, and emitters that never pause: bounded, and every event accounted for."""

from __future__ import annotations

import threading

import pytest

from flowstone import Count, Event, event
from flowstone.events.dispatcher import MAX_DEPTH, Dispatcher

WAIT = 30  # seconds until a thread counts as hanging


@event("tests.floods.drop")
class Drop(Event, frozen=True, kw_only=True):
    """A drop fell."""

    number: Count


def figures(dispatcher, id):
    return next(handler for handler in dispatcher.list_handlers() if handler.id == id)


def test_a_queued_handler_that_emits_what_it_hears_ends():
    """An echo through a queue is cut off after the same depth as one in the emitting thread; the next event begins anew."""
    dispatcher = Dispatcher()
    heard, done = [], threading.Semaphore(0)

    def echo(happened):
        heard.append(happened.number)
        dispatcher.emit(Drop, number=happened.number + 1)
        done.release()

    dispatcher.attach("echo", Drop, echo, queued=True)
    for start in (0, 100):
        dispatcher.emit(Drop, number=start)
        for _ in range(MAX_DEPTH):
            assert done.acquire(timeout=WAIT)
    dispatcher.close()

    assert heard == [*range(MAX_DEPTH), *range(100, 100 + MAX_DEPTH)]
    assert dispatcher.too_deep == 2


def test_two_queued_handlers_cannot_keep_each_other_busy():
    """Two handlers that answer each other through their queues come to an end."""
    dispatcher = Dispatcher()
    calls, ended = [], threading.Event()

    def answer(happened):
        calls.append(happened.number)
        dispatcher.emit(Drop, number=happened.number + 1)
        if happened.number == MAX_DEPTH - 1:
            ended.set()

    for id in ("one", "two"):
        dispatcher.attach(id, Drop, answer, queued=True)
    dispatcher.emit(Drop, number=0)
    assert ended.wait(WAIT)
    dispatcher.close()

    assert len(calls) <= 2 ** (MAX_DEPTH + 1)


def test_a_bomb_is_bounded():
    """A handler that emits three events for each it hears is called a bounded number of times, and the emitter goes on."""
    dispatcher = Dispatcher()

    def bomb(happened):
        for _ in range(3):
            dispatcher.emit(Drop, number=happened.number + 1)

    dispatcher.attach("bomb", Drop, bomb)
    dispatcher.emit(Drop, number=0)

    info = figures(dispatcher, "bomb")
    assert info.calls + info.skipped <= sum(3**depth for depth in range(MAX_DEPTH))
    assert info.calls > 1
    assert dispatcher.too_deep <= 3**MAX_DEPTH


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.prove)])
def test_every_event_of_a_flood_is_accounted_for(count):
    """Of a hundred thousand events each is handled, dropped by a full queue, or skipped in quarantine; none is lost uncounted."""
    dispatcher = Dispatcher()
    handled = [0]

    def add(happened):
        handled[0] += 1

    dispatcher.attach("counts", Drop, add, queued=True, capacity=1_000)
    dispatcher.attach("fails", Drop, lambda happened: 1 / 0)
    happened = dispatcher.build(Drop, {"number": 1})
    for _ in range(count):
        dispatcher.deliver(happened)
    waiting = figures(dispatcher, "counts")
    failing = figures(dispatcher, "fails")
    dispatcher.detach("counts")

    assert failing.calls == failing.failures >= 1
    assert failing.calls + failing.skipped == count
    assert handled[0] + waiting.dropped == count
