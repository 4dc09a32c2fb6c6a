"""Runs a coroutine to its end from code that is not asynchronous, whether or not an event loop runs around it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

LOOK_UP_SECONDS = 0.2  # a signal that arrives just before a wait begins is seen when the wait ends


def run_coroutine(coroutine: Coroutine[Any, Any, Any], ends_now: Callable[[], bool] = bool) -> Any:
    """Return what *coroutine* returns, or raise what it raises; it has an event loop in a thread of its own.

    It sees this thread's context variables. What interrupts the waiting (Ctrl-C) cancels it, waits until it has ended, and is
    raised; a second interrupt does not wait. So does *ends_now*, asked while it runs: true is an interrupt.
    """
    return _Running(coroutine).result(ends_now)


class _Running:
    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._ended: Future[Any] = Future()
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._work), name="flowstone-coroutine", daemon=True)

    def result(self, ends_now: Callable[[], bool]) -> Any:
        try:
            self._thread.start()
            while not self._ended.done():
                wait([self._ended], LOOK_UP_SECONDS)
                if ends_now() and not self._ended.done():
                    raise KeyboardInterrupt
        except RuntimeError:  # no thread can be started
            self._coroutine.close()
            raise
        except BaseException:
            self._cancel()
            raise
        self._thread.join()
        return self._ended.result()

    def _work(self) -> None:
        try:
            self._ended.set_result(asyncio.run(self._main()))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiting thread raises it
            self._ended.set_exception(error)
        finally:
            self._begun.set()

    async def _main(self) -> Any:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        return await self._coroutine

    def _cancel(self) -> None:
        self._begun.wait()
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
