"""One child process: spawned, spoken with over a pipe, killed together with whatever it started.

A child hangs on two pipes: messages go over one; the other only stays open as long as this process lives, and its closing ends
the child and everything it started.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

from flowstone.execution.parcel import Hello, Refused
from flowstone.foundation.errors import WorkerLostError

FAREWELL_SECONDS = 5.0


class ChildDiedError(WorkerLostError):
    """The child process is gone."""


class Child:
    """One child process; used by one attempt at a time."""

    def __init__(self, entry: str, hello: Hello) -> None:
        self._entry, self._hello = entry, hello
        self._channel: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._lock = threading.Lock()
        self._killed = False

    @property
    def owner(self) -> str:
        """What the files it is writing are named by."""
        return self._hello.owner

    def begin(self) -> None:
        """Spawn it unless it lives; raises what it refuses to work for, or :class:`ChildDiedError`."""
        if self._process is not None:
            return
        ours, theirs = Pipe()
        watched, lifeline = os.pipe()
        with theirs:
            try:
                with self._lock:
                    if self._killed:
                        raise ChildDiedError("it was ended before it began")
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", self._entry, str(theirs.fileno()), str(watched)],
                        stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(), watched), start_new_session=True,
                    )  # fmt: skip
            finally:
                os.close(watched)
                self._channel, self._lifeline = ours, lifeline
        self.send(self._hello)
        answer = self.receive(None)
        if isinstance(answer, Refused):
            raise answer.error

    def send(self, message: object) -> None:
        """Send *message*; raises :class:`ChildDiedError` when nobody is there."""
        try:
            self._open().send_bytes(pickle.dumps(message))
        except OSError as error:
            raise self._died() from error

    def receive(self, seconds: float | None) -> Any:
        """The next message, ``None`` when none came for *seconds*; raises :class:`ChildDiedError`."""
        channel = self._open()
        try:
            return pickle.loads(channel.recv_bytes()) if channel.poll(seconds) else None
        except (EOFError, OSError) as error:
            raise self._died() from error

    @property
    def alive(self) -> bool:
        """Whether it runs, or has not begun."""
        return self._process is None or self._process.poll() is None

    def kill(self) -> None:
        """End it and everything it started, now."""
        with self._lock:
            self._killed = True
            self._kill_group()

    def wait(self) -> None:
        """Wait for its end a while; what it started still carries its number."""
        until = time.monotonic() + FAREWELL_SECONDS
        while not self._has_exited() and time.monotonic() < until:
            time.sleep(0.005)

    def bury(self) -> int:
        """Kill it and return how it ended: an exit code, or a signal's number below 0."""
        with self._lock:
            self._killed = True
            self._kill_group()
            code = self._process.wait() if self._process is not None else 0
            if self._channel is not None:
                self._channel.close()
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1
        return code

    def _kill_group(self) -> None:
        if self._process is not None and self._process.returncode is None:  # not reaped: the number is still its own
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _has_exited(self) -> bool:
        """Whether it has ended; it stays unreaped, so that its number still names what it started."""
        process = self._process
        if process is None or process.returncode is not None:
            return True
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _open(self) -> Connection:
        if self._channel is None:
            raise ChildDiedError("it has not begun")
        return self._channel

    def _died(self) -> ChildDiedError:
        self.wait()  # it may just be on its way out: how it ended is its own
        pid = self._process.pid if self._process is not None else 0
        return ChildDiedError(f"its process {pid} {_ended(self.bury())}")


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended by itself with exit code {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    return f"was killed by {name}" + (" (as the kernel does when memory runs out)" if name == "SIGKILL" else "")
