"""Child processes that run bodies: spawned, never forked, kept for the next body, and killed when they must be.

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
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

from flowstone.events.dispatcher import Dispatcher
from flowstone.execution.body import Work
from flowstone.execution.lanes import Done, Finished
from flowstone.execution.outcome import Failed, Lost, Outcome, Report, TimedOut
from flowstone.execution.parcel import Answer, Captured, Closed, Goodbye, Hello, Printed, Refused, RunEnded, Shown, Task
from flowstone.execution.settlement import Claim
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import AttemptTimeoutError, WorkerLostError
from flowstone.ledger.failures import describe
from flowstone.observability.capture import Capture

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
        pid = self._process.pid if self._process is not None else 0
        return ChildDiedError(f"its process {pid} {_ended(self.bury())}")


class Children:
    """The process executor: one child for each attempt that runs, kept for the next one."""

    def __init__(
        self,
        entry: str,
        greet: Callable[[str], Hello],
        dispatcher: Dispatcher,
        capture: Capture,
        clean: Callable[[str], object],
        owner: str,
    ) -> None:
        self._entry, self._greet, self._clean, self._owner = entry, greet, clean, owner
        self._dispatcher, self._capture = dispatcher, capture
        self._idle: list[Child] = []
        self._busy: dict[int, tuple[Child, threading.Thread]] = {}
        self._born = 0
        self._lock = threading.Lock()

    def start(self, claim: Claim, work: Work, done: Done) -> None:
        """Run the body in a child; a thread waits for it."""

        def serve() -> None:
            report, usable = self._serve(child, work)
            with self._lock:
                del self._busy[claim.attempt_row]
                if usable:
                    self._idle.append(child)
            done.put(Finished(claim, report))

        thread = threading.Thread(target=serve, name=f"flowstone-{claim.step.asset}", daemon=True)
        with self._lock:
            dead = [child for child in self._idle if not child.alive]
            self._idle = [child for child in self._idle if child not in dead]
            if self._idle:
                child = self._idle.pop()
            else:
                self._born += 1
                child = Child(self._entry, self._greet(f"{self._owner}.{self._born}"))
            self._busy[claim.attempt_row] = (child, thread)
        for gone in dead:
            gone.bury()
        thread.start()

    def end(self, claim: Claim) -> None:
        """Kill the child that runs the attempt; nothing of it is left when this returns."""
        with self._lock:
            child, thread = self._busy.get(claim.attempt_row, (None, None))
        if child is not None and thread is not None:
            child.kill()
            thread.join()

    def end_run(self, run_id: str) -> None:
        """Have every child close what it has open for the run."""
        with self._lock:
            idle, self._idle = self._idle, []
        kept = [child for child in idle if self._ask(child, RunEnded(run_id), None)]
        with self._lock:
            self._idle += kept

    def close(self) -> None:
        """End every child: those without work by themselves, their resources torn down, others at once."""
        with self._lock:
            busy = list(self._busy.values())
        for child, thread in busy:
            child.kill()
            thread.join()
        with self._lock:
            idle, self._idle = self._idle, []
        until = self._dispatcher.monotonic_ns() + int(FAREWELL_SECONDS * NANOSECONDS)
        for child in idle:
            if self._ask(child, Goodbye(), until):
                child.wait()
                child.bury()

    def _ask(self, child: Child, message: object, deadline: int | None) -> bool:
        """Have a child without work do something; one that does not is buried. Return whether it did."""
        try:
            child.send(message)
            if self._listen(child, deadline) is not None:
                return True
        except ChildDiedError:
            pass
        child.bury()
        return False

    def _serve(self, child: Child, work: Work) -> tuple[Report, bool]:
        """The attempt's report, and whether the child is fit for another."""
        monotonic = self._dispatcher.monotonic_ns
        started = monotonic()
        outcome: Outcome
        try:
            child.begin()
            started = monotonic()
            child.send(Task.of(work))
            limit = work.asset.timeout
            answer = self._listen(child, None if limit is None else started + int(limit * NANOSECONDS))
            if isinstance(answer, Answer):
                return answer.unpack(), True
            outcome = _timed_out(work)
        except ChildDiedError as error:
            name, number = work.asset.name, work.target.attempt
            outcome = Lost(describe(WorkerLostError(f"attempt {number} of {name!r}: {error.message}"), retryable=True))
        except Exception as error:  # noqa: BLE001 - it refuses to work, or what it says cannot be read
            outcome = Failed(describe(error, retryable=False), retry=False)
        child.bury()
        self._clean(child.owner)
        return Report(outcome, monotonic() - started), False

    def _listen(self, child: Child, deadline: int | None) -> Answer | Closed | None:
        """Pass on what the child says until it has done what it was asked; ``None`` when the deadline (monotonic) comes first."""
        while True:
            left = None if deadline is None else max(0.0, (deadline - self._dispatcher.monotonic_ns()) / NANOSECONDS)
            match child.receive(left):
                case None:
                    return None
                case Answer() | Closed() as answer:
                    return answer
                case Shown(packed):
                    self._dispatcher.deliver(packed.unpack())
                case Printed(text):
                    self._capture.echo(text)
                case Captured(lines):
                    self._capture.accept(lines)


def _timed_out(work: Work) -> TimedOut:
    asset = work.asset
    error = AttemptTimeoutError(
        f"asset {asset.name!r} did not finish within its timeout of {asset.timeout:g} s",
        hint="raise timeout=, or make the work smaller",
    )
    policy = asset.retries
    retry = policy.attempts > 1 and (policy.should_retry(error) or policy.should_retry(TimeoutError()))
    return TimedOut(describe(error, retryable=retry), retry)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended by itself with exit code {code}"
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    return f"was killed by {name}" + (" (as the kernel does when memory runs out)" if name == "SIGKILL" else "")
