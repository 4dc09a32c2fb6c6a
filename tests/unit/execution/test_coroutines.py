"""Coroutines run to their end in a loop of their own, wherever they are called from."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading

import pytest

from flowstone.execution.coroutines import run_coroutine

VARIABLE = contextvars.ContextVar("variable", default="outside")


def interrupt_main():
    """Interrupt the main thread as Ctrl-C does, with a signal."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


async def seen(value="there"):
    """What a coroutine sees around it."""
    await asyncio.sleep(0)
    return value, VARIABLE.get(), threading.current_thread().name


def test_the_value_comes_back_with_the_context_seen():
    """The coroutine runs in a thread of its own, sees the caller's context variables, and its value comes back."""
    token = VARIABLE.set("inside")
    try:
        assert run_coroutine(seen()) == ("there", "inside", "flowstone-coroutine")
    finally:
        VARIABLE.reset(token)


def test_it_runs_inside_a_running_loop():
    """A coroutine can be run by code that is called in an event loop."""

    async def outer():
        return run_coroutine(seen())

    assert asyncio.run(outer())[0] == "there"


@pytest.mark.parametrize("error", [ValueError("wrong"), asyncio.CancelledError(), SystemExit(2), KeyboardInterrupt()], ids=repr)
def test_what_it_raises_comes_back(error):
    """Whatever the coroutine raises, a cancellation too, is raised where it is waited for."""

    async def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        run_coroutine(fail())
    assert caught.value is error or isinstance(error, asyncio.CancelledError)


def test_an_interrupt_cancels_it_and_waits_for_its_end():
    """Ctrl-C while a coroutine runs cancels it; it has cleaned up when the interrupt is raised."""
    ended = []

    async def waits():
        try:
            asyncio.get_running_loop().call_soon(interrupt_main)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        run_coroutine(waits())
    assert ended == ["cleaned up"]


def test_it_is_cancelled_when_it_is_to_end():
    """What is asked while it runs can end it as an interrupt does."""
    ended, begun = [], threading.Event()

    async def waits():
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        run_coroutine(waits(), begun.is_set)
    assert ended == ["cleaned up"]


def test_tasks_it_leaves_behind_are_cancelled():
    """What the coroutine started and did not wait for does not go on after it."""
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def leaves():
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task.done()

    assert run_coroutine(leaves()) is False
    assert ended == ["cancelled"]
