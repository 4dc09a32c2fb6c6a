"""What handlers may do to the dispatcher, to each other and to the work, as the design's table has it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import pytest

from flowstone import Count, Event, Pipeline, asset, event
from flowstone.events.catalogue import HandlerFailed
from flowstone.events.context import Scope
from flowstone.foundation.redaction import Redactor
from flowstone.observability.logs.capture import Capture
from flowstone.testing import isolated_flow


@event("tests.conduct.tick")
class Tick(Event, frozen=True, kw_only=True):
    """The clock ticked."""

    number: Count = 0


def info(dispatcher, id):
    return next(handler for handler in dispatcher.figures() if handler.id == id)


def ends(error):
    def handle(happened):
        raise error

    return handle


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), SystemExit(3), GeneratorExit(), asyncio.CancelledError(), StopIteration(), BaseException("base")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_handler_raises_is_its_own(dispatcher, error):
    """Its error reaches neither the emitter nor the others; it is counted, told by its type, and the handler is in quarantine."""
    heard, told = [], []
    dispatcher.attach("failures", HandlerFailed, told.append)
    dispatcher.attach("bad", Tick, ends(error))
    dispatcher.attach("good", Tick, heard.append)
    dispatcher.emit(Tick, number=1)

    assert [happened.number for happened in heard] == [1]
    assert (info(dispatcher, "bad").failures, info(dispatcher, "bad").quarantined) == (1, True)
    assert [(happened.handler, happened.kind, happened.type) for happened in told] == [("bad", "error", type(error).__name__)]


def test_an_interrupt_is_the_emitters(dispatcher):
    """Ctrl-C while a handler runs is no failure of the handler: it reaches the emitter, and the next event is handled."""
    dispatcher.attach("interrupted", "tests.*", ends(KeyboardInterrupt()))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            dispatcher.emit(Tick)

    assert (info(dispatcher, "interrupted").calls, info(dispatcher, "interrupted").quarantined) == (2, False)
    assert dispatcher.depth.value == 0


@pytest.mark.parametrize("queued", [False, True])
def test_a_handler_can_detach_itself(dispatcher, queued):
    """It is called once; the others, and its own figures, are as they were."""
    heard, done = [], threading.Event()

    def once(happened):
        heard.append(happened.number)
        dispatcher.detach("once")
        done.set()

    dispatcher.attach("once", Tick, once, queued=queued)
    dispatcher.attach("other", Tick, lambda happened: None)
    dispatcher.emit(Tick, number=1)
    assert done.wait(10)
    dispatcher.emit(Tick, number=2)

    assert heard == [1]
    assert info(dispatcher, "other").calls == 2
    assert [handler.id for handler in dispatcher.list_handlers()] == ["other"]


def test_a_handler_can_detach_another_and_attach_a_third(dispatcher):
    """Both take effect with the next event: the table an event is shown by does not change while it is shown."""
    heard = []

    def arranges(happened):
        if happened.number == 1:
            dispatcher.detach("leaves")
            dispatcher.attach("comes", Tick, lambda event: heard.append(("comes", event.number)))

    dispatcher.attach("arranges", Tick, arranges)
    dispatcher.attach("leaves", Tick, lambda event: heard.append(("leaves", event.number)))
    dispatcher.emit(Tick, number=1)
    dispatcher.emit(Tick, number=2)

    assert heard == [("leaves", 1), ("comes", 2)]


def test_a_handler_that_emits_is_heard_within(dispatcher):
    """An event emitted by a handler is shown to everybody before the next handler sees the first."""
    heard = []

    def answers(happened):
        heard.append(("answers", happened.number))
        if happened.number == 1:
            dispatcher.emit(Tick, number=2)

    dispatcher.attach("answers", Tick, answers)
    dispatcher.attach("listens", Tick, lambda event: heard.append(("listens", event.number)))
    dispatcher.emit(Tick, number=1)

    assert heard == [("answers", 1), ("answers", 2), ("listens", 2), ("listens", 1)]


@pytest.mark.parametrize("kind", ["generator", "coroutine"])
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_handler_that_only_makes_something_to_run_harms_nobody(dispatcher, kind):
    """A generator or coroutine function as a handler does nothing, and does not break the work."""

    def generates(happened):
        yield happened

    async def awaits(happened):
        return happened

    dispatcher.attach("odd", Tick, generates if kind == "generator" else awaits)
    dispatcher.emit(Tick)

    assert (info(dispatcher, "odd").calls, info(dispatcher, "odd").failures) == (1, 0)


def test_latency_is_measured(dispatcher, clock):
    """The time of all calls and of the longest one are kept, of those that raise too."""

    def takes(happened):
        clock.advance(happened.number / 1000)
        if happened.number == 7:
            raise ValueError

    dispatcher.attach("timed", Tick, takes)
    for number in (5, 20, 7):
        dispatcher.emit(Tick, number=number)

    timed = info(dispatcher, "timed")
    assert (timed.calls, timed.busy_ns, timed.slowest_ns) == (3, 32_000_000, 20_000_000)


def test_no_handler_runs_inside_a_transaction(tmp_path):
    """Whatever a run emits, at the moment it is shown no transaction is open in that thread, and the store can be asked."""
    seen = []

    @asset
    def orders(ctx):
        ctx.progress(1, 2)
        return [1]

    @asset
    def broken(orders):
        raise ValueError("no")

    with isolated_flow(Pipeline("shop", [orders, broken]), home=tmp_path) as flow:

        def looks(happened):
            database = flow._deployment.reading()
            seen.append((happened.name, getattr(database.inside, "value", False), len(flow.runs())))

        flow.attach("looks", "*", looks)
        flow.run()
        failures = [handler.failures for handler in flow.list_handlers() if handler.id == "looks"]

    assert {"flowstone.run.start", "flowstone.io.store.stop", "flowstone.error", "flowstone.run.stop"} <= {n for n, _, _ in seen}
    assert {(inside, runs) for _, inside, runs in seen} == {(False, 1)}
    assert failures == [0]


# -- forks -----------------------------------------------------------------------------------------------------------------


def in_a_child(function):
    """Fork, call *function* in the child, and return how the child ended: 0, or what it was killed by."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # one that hangs is ended, and seen
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("count", [15, pytest.param(100, marks=pytest.mark.prove)])
def test_a_fork_under_load_does_not_hang(dispatcher, clock, count):
    """Children forked while threads emit, attach, count and print can do all of that; the parent goes on."""
    stop, emitted, heard = threading.Event(), [0, 0], []
    scope, capture = Scope("run_1", "orders", "", 1), Capture(clock, Redactor(), losses=dispatcher.losses)
    dispatcher.attach("queued", Tick, lambda happened: heard.append(happened.number), queued=True)

    def load(which):
        while not stop.is_set():
            dispatcher.emit(Tick, number=which)
            dispatcher.losses.add("exporter", "dropped")
            capture.add(scope, "info", "stdout", "hello")
            capture.take()
            dispatcher.attach(f"passing {which}", Tick, lambda happened: None)
            dispatcher.detach(f"passing {which}")
            emitted[which] += 1

    def child():
        done = threading.Event()
        dispatcher.attach("child", Tick, lambda happened: done.set(), queued=True)
        dispatcher.emit(Tick)
        dispatcher.losses.add("exporter", "dropped")
        capture.add(scope, "info", "stdout", "of the child")
        if not done.wait(20):
            raise TimeoutError
        dispatcher.detach("child")
        dispatcher.detach("queued")

    threads = [threading.Thread(target=load, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        endings = [in_a_child(child) for _ in range(count)]
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()

    assert endings == [0] * count
    assert ("exporter", "dropped", sum(emitted)) in dispatcher.losses.totals()
