"""What SIGTERM does to a run: nothing new begins, what runs may finish within the grace, then it is interrupted.

Ctrl-C stays what it is. The handler only puts a word in a queue, which is safe wherever it interrupts; a thread acts on it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Self

import click

from flowstone import FlowStone
from flowstone.foundation.clock import NANOSECONDS


class Graceful:
    """While it is entered, in the main thread, SIGTERM drains *flow*, and what runs in the main thread can be interrupted."""

    def __init__(self, flow: FlowStone, grace_seconds: float | None = None) -> None:
        self._flow = flow
        self._grace = flow.settings.run.grace / NANOSECONDS if grace_seconds is None else grace_seconds
        self._words: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="flowstone-signals", daemon=True)
        self._main = threading.main_thread().ident or 0
        self._interrupting = False
        self._before: Callable[[int, FrameType | None], Any] | int | None = None
        self.terminated = False
        """Whether SIGTERM has arrived."""

    def __enter__(self) -> Self:
        self._flow._deployment.stopping.interrupt = self._interrupt
        self._thread.start()
        self._before = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._flow._deployment.stopping.interrupt = None
        signal.signal(signal.SIGTERM, signal.SIG_IGN if self.terminated else self._before)  # it is being obeyed
        self._words.put(False)
        self._thread.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        if self._interrupting:
            self._interrupting = False
            raise KeyboardInterrupt
        self.terminated = True
        self._words.put(True)

    def _interrupt(self) -> None:
        """Interrupt the main thread, in a system call too. SIGINT is of no use: in the background of a shell it is ignored."""
        self._interrupting = True
        signal.pthread_kill(self._main, signal.SIGTERM)

    def _serve(self) -> None:
        if not self._words.get():
            return
        click.echo(f"terminating: nothing new begins, what runs may finish for {self._grace:g} s", err=True)
        self._flow.stop(self._grace)
        try:
            if not self._words.get(timeout=self._grace):
                return
        except Empty:
            pass
        self._flow.stop(0)
