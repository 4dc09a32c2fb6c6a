"""Work beside an event loop: done in a thread, stopped when who waits for it is interrupted or cancelled."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from flowstone.app.apart import apart, awaited


def interrupt_main():
    """Interrupt the main thread as Ctrl-C does, with a signal."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


class Work:
    """Something that runs until it is stopped."""

    def __init__(self, begun=lambda: None):
        self._begun, self._stopped, self.ended = begun, threading.Event(), False

    def run(self):
        """Run until stopped."""
        self._begun()
        assert self._stopped.wait(10)
        self.ended = True
        return "stopped"

    def stop(self):
        """Have it end."""
        self._stopped.set()


def test_without_a_loop_it_is_called_here():
    """Where no event loop runs, nothing is moved to another thread."""
    assert apart(threading.get_ident, lambda: None) == threading.get_ident()


def test_in_a_loop_it_is_called_in_a_thread():
    """Where an event loop runs, the call is made in a thread in which a loop can be run; its errors come back."""

    async def main():
        async def inner():
            return threading.current_thread().name

        return apart(lambda: asyncio.run(inner()), lambda: None)

    assert asyncio.run(main()) == "flowstone-run"

    async def failing():
        return apart(lambda: 1 // 0, lambda: None)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(failing())


def test_an_interrupt_stops_the_work_and_waits_for_it():
    """Ctrl-C while a loop stands still for the work has the work stopped, and is raised when it has ended."""
    work = Work(begun=interrupt_main)

    async def main():
        apart(work.run, work.stop)

    previous = signal.signal(signal.SIGINT, raise_at_once)  # as notebooks do; asyncio leaves a handler of others alone
    try:
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
    finally:
        signal.signal(signal.SIGINT, previous)
    assert work.ended


def raise_at_once(number, frame):
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def test_a_cancelled_task_stops_the_work():
    """Where asyncio turns Ctrl-C into a cancel of the task that stands still, the work is stopped all the same."""
    work = Work(begun=interrupt_main)
    results = []

    async def main():
        results.append(apart(work.run, work.stop))
        await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert (results, work.ended) == (["stopped"], True)


def test_the_loop_goes_on_while_the_work_is_awaited():
    """Awaiting the work does not hold up the loop, and gives what it returns."""

    async def main():
        work = Work()
        waiting = asyncio.ensure_future(awaited(work.run, work.stop))
        await asyncio.sleep(0)
        work.stop()  # by the loop, which does not stand still
        return await waiting

    assert asyncio.run(main()) == "stopped"


def test_a_cancel_stops_the_work_and_waits_for_it():
    """Cancelling the task has the work stopped; the task is cancelled once it has ended."""
    work = Work()

    async def main():
        waiting = asyncio.ensure_future(awaited(work.run, work.stop))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return work.ended

    assert asyncio.run(main()) is True


def test_work_that_cannot_be_stopped_is_left_by_the_second_cancel():
    """The first cancel waits for the work, the second does not."""
    work = Work()

    async def main():
        asked = asyncio.Event()
        waiting = asyncio.ensure_future(awaited(work.run, asked.set))
        await asyncio.sleep(0)
        waiting.cancel()
        await asked.wait()
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return work.ended

    assert asyncio.run(main()) is False
    work.stop()
