"""What SIGTERM does to a run: nothing new begins, what runs may finish within the grace, then it is interrupted.

Ctrl-C stays what it is. A thread acts, and hears of a signal at once through a pipe: a handler runs only when the main thread
comes back from wherever it is, and a signal that arrives just before a system call waits until that ends.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

import click

from flowstone import FlowStone
from flowstone.foundation.clock import NANOSECONDS

NUDGE_SECONDS = 0.05
_NUDGE = signal.SIGURG  # not SIGINT: who is started in the background by a shell ignores that one
_LOOK, _END = 0, 255  # what this program writes to the pipe; Python writes the numbers of signals


class Graceful:
    """While it is entered, in the main thread, SIGTERM drains *flow*, and what runs in the main thread can be interrupted."""

    def __init__(self, flow: FlowStone, grace_seconds: float | None = None) -> None:
        self._flow = flow
        self._grace = flow.settings.run.grace / NANOSECONDS if grace_seconds is None else grace_seconds
        self._thread = threading.Thread(target=self._serve, name="flowstone-signals", daemon=True)
        self._main = threading.main_thread().ident or 0
        self._interrupting = self._terminated = False
        self._heard = self._told = self._told_before = -1
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        self._heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        self._told_before = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        for number, handler in ((_NUDGE, self._nudged), (signal.SIGTERM, _no_exit)):
            self._before[number] = signal.signal(number, handler)
        self._flow._deployment.stopping.interrupt = self._interrupt
        self._thread.start()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._flow._deployment.stopping.interrupt = None
        with suppress(OSError):  # an asset has closed files that were not its own
            os.write(self._told, bytes([_END]))
            self._thread.join()
        self._interrupting = False
        signal.set_wakeup_fd(self._told_before)
        signal.signal(_NUDGE, self._before[_NUDGE])
        signal.signal(signal.SIGTERM, signal.SIG_IGN if self._terminated else self._before[signal.SIGTERM])  # it is being obeyed
        for descriptor in (self._heard, self._told):
            with suppress(OSError):
                os.close(descriptor)

    def _interrupt(self) -> None:
        """Have the main thread raise ``KeyboardInterrupt``, in a system call too."""
        self._interrupting = True
        os.write(self._told, bytes([_LOOK]))

    def _nudged(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        if self._interrupting:
            self._interrupting = False
            raise KeyboardInterrupt

    def _serve(self) -> None:
        deadline: float | None = None
        while True:
            if self._interrupting:  # again and again: one that comes just before a system call does not interrupt that
                signal.pthread_kill(self._main, _NUDGE)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                ready, _, _ = select.select([self._heard], [], [], NUDGE_SECONDS if self._interrupting else left)
                words = os.read(self._heard, 512) if ready else b""
            except OSError:  # an asset has closed what was not its own: nothing can be heard any more
                return
            if _END in words:
                return
            for _ in range(words.count(signal.SIGTERM)):
                deadline = self._terminate()
            if deadline is not None and time.monotonic() >= deadline:
                deadline = self._terminate()

    def _terminate(self) -> float | None:
        """Begin the grace and return when it is over; end it when it had begun before."""
        if self._terminated:
            self._flow.stop(0)
            return None
        self._terminated = True
        click.echo(f"terminating: nothing new begins, what runs may finish for {self._grace:g} s", err=True)
        self._flow.stop(self._grace)
        return time.monotonic() + self._grace


def _no_exit(number: int, frame: FrameType | None) -> None:
    """Take the place of the handler that would end the process."""
