"""Runs work away from a running event loop: users' code may need a loop of its own, and a loop must not stand still for a run."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")
ASK_AGAIN_SECONDS = 0.1


def apart(call: Callable[[], T], stop: Callable[[], object]) -> T:
    """Return what *call* returns; where an event loop runs in this thread, it is called in another, which is waited for.

    What interrupts the waiting (Ctrl-C in a notebook) has *stop* called until the work has ended, and is raised. So has a cancel
    of the task around (what ``asyncio.run`` makes of Ctrl-C), which asyncio raises later.
    """
    if not _in_loop():
        return call()
    task = asyncio.current_task()
    asked = task.cancelling() if task is not None else 0
    future, thread = _prepared(call)
    try:
        thread.start()
        while not future.done():
            wait([future], ASK_AGAIN_SECONDS)
            if task is not None and task.cancelling() > asked:
                stop()
    except BaseException:
        while thread.is_alive():
            stop()
            thread.join(ASK_AGAIN_SECONDS)
        raise
    return future.result()


async def awaited(call: Callable[[], T], stop: Callable[[], object]) -> T:
    """Return what *call*, in a thread, returns; cancelling has *stop* called and waits until the work has ended.

    A second cancel does not wait.
    """
    called, thread = _prepared(call)
    thread.start()
    future = asyncio.wrap_future(called)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            stop()
            await asyncio.wait([future], timeout=ASK_AGAIN_SECONDS)
        future.exception()  # it has been looked at: what it says is that it was stopped
        raise


def interrupt_thread(ident: int) -> None:
    """Raise ``KeyboardInterrupt`` in a thread as soon as it runs Python code: what Ctrl-C is to the main one."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(KeyboardInterrupt))


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _prepared(call: Callable[[], T]) -> tuple[Future[T], threading.Thread]:
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def work() -> None:
        try:
            future.set_result(context.run(call))
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits raises it
            future.set_exception(error)

    return future, threading.Thread(target=work, name="flowstone-run", daemon=True)
