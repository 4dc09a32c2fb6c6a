"""The process executor: child processes that run bodies, each kept for the next body until everything ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from flowstone.events.dispatcher import Dispatcher
from flowstone.execution.body import Work
from flowstone.execution.child import FAREWELL_SECONDS, Child, ChildDiedError
from flowstone.execution.lanes import Done, Finished
from flowstone.execution.outcome import Failed, Lost, Outcome, Report, TimedOut
from flowstone.execution.parcel import (
    Answer,
    Captured,
    Closed,
    Goodbye,
    Hello,
    Missed,
    Printed,
    Recorded,
    RunEnded,
    Shown,
    Taken,
    Task,
)
from flowstone.execution.settlement import Claim
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import AttemptTimeoutError, WorkerLostError
from flowstone.ledger.failures import Failure, describe
from flowstone.observability.logs.capture import Capture


@dataclass
class _Busy:
    """An attempt on its way, and the child that has it."""

    thread: threading.Thread
    child: Child | None = None
    ended: bool = False


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
        accept: Callable[[list[Any]], object],
    ) -> None:
        self._entry, self._greet, self._clean, self._owner, self._accept = entry, greet, clean, owner, accept
        self._dispatcher, self._capture = dispatcher, capture
        self._idle: list[Child] = []
        self._busy: dict[int, _Busy] = {}  # by attempt row
        self._born = 0
        self._lock = threading.Lock()

    def start(self, claim: Claim, work: Work, done: Done) -> None:
        """Run the body in a child; a thread waits for it."""
        row = claim.attempt_row

        def serve() -> None:
            report = self._serve(row, work)
            with self._lock:
                child = self._busy.pop(row).child
                if child is not None and not isinstance(report.outcome, Lost | TimedOut) and child.alive:
                    self._idle.append(child)
            done.put(Finished(claim, report))

        thread = threading.Thread(target=serve, name=f"flowstone-{claim.step.asset}", daemon=True)
        with self._lock:
            self._busy[row] = _Busy(thread)
        thread.start()

    def end(self, claim: Claim) -> None:
        """Kill the child that runs the attempt; nothing of it is left when this returns."""
        self._end([claim.attempt_row])

    def _end(self, rows: Iterable[int]) -> None:
        with self._lock:
            ending = [self._busy[row] for row in rows if row in self._busy]
            for busy in ending:
                busy.ended = True
                if busy.child is not None:
                    busy.child.kill()
        for busy in ending:
            busy.thread.join()

    def end_run(self, run_id: str) -> None:
        """Have every child close what it has open for the run."""
        with self._lock:
            idle, self._idle = self._idle, []
        kept = [child for child in idle if self._ask(child, RunEnded(run_id), None)]
        with self._lock:
            self._idle += kept

    def close(self) -> None:
        """End every child: those without work by themselves, their resources torn down, others at once."""
        self._end(list(self._busy))
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

    def _serve(self, row: int, work: Work) -> Report:
        """Have a child run the body, and report how that ended."""
        monotonic = self._dispatcher.monotonic_ns
        started = monotonic()
        outcome: Outcome
        try:
            child = self._hand_over(row, work)
            started = monotonic()
            limit = work.asset.timeout
            answer = self._listen(child, None if limit is None else started + int(limit * NANOSECONDS))
            if isinstance(answer, Answer):
                return answer.unpack()
            outcome = self._timed_out(work)
        except ChildDiedError as error:
            lost = WorkerLostError(f"attempt {work.target.attempt} of {work.asset.name!r}: {error.message}")
            outcome = Lost(self._describe(lost, work, retryable=True))
        except Exception as error:  # noqa: BLE001 - it refuses to work, or what it says cannot be read
            outcome = Failed(self._describe(error, work, retryable=False), retry=False)
        used = self._busy[row].child
        if used is not None:
            used.bury()
            self._clean(used.owner)
        return Report(outcome, monotonic() - started)

    def _hand_over(self, row: int, work: Work) -> Child:
        """Give the body to a child that takes it; one that died while it had no work is replaced."""
        while True:
            with self._lock:
                if self._busy[row].ended:
                    raise ChildDiedError("it was ended before it began")
                is_new = not self._idle
                if is_new:
                    self._born += 1
                    child = Child(self._entry, self._greet(f"{self._owner}.{self._born}"))
                else:
                    child = self._idle.pop()
                self._busy[row].child = child
            try:
                child.begin()
                child.send(Task.of(work))
                if isinstance(self._listen(child, None), Taken):
                    return child
            except ChildDiedError:
                if is_new:
                    raise

    def _listen(self, child: Child, deadline: int | None) -> Taken | Answer | Closed | None:
        """Pass on what the child says until it has done what it was asked; ``None`` when the deadline (monotonic) comes first."""
        while True:
            left = None if deadline is None else max(0.0, (deadline - self._dispatcher.monotonic_ns()) / NANOSECONDS)
            match child.receive(left):
                case None:
                    return None
                case Taken() | Answer() | Closed() as answer:
                    return answer
                case Shown(packed):
                    self._dispatcher.deliver(packed.unpack())
                case Printed(text):
                    self._capture.echo(text)
                case Captured(lines):
                    self._capture.accept(lines)
                case Recorded(spans):
                    self._accept(spans)
                case Missed(losses):
                    for loss in losses:
                        self._dispatcher.losses.add(*loss)

    def _timed_out(self, work: Work) -> TimedOut:
        asset = work.asset
        error = AttemptTimeoutError(
            f"asset {asset.name!r} did not finish within its timeout of {asset.timeout:g} s",
            hint="raise timeout=, or make the work smaller",
        )
        policy = asset.retries
        retry = policy.attempts > 1 and (policy.should_retry(error) or policy.should_retry(TimeoutError()))
        return TimedOut(self._describe(error, work, retryable=retry), retry)

    def _describe(self, error: Exception, work: Work, *, retryable: bool) -> Failure:
        return describe(error, self._dispatcher.redactor, retryable=retryable, asset=work.asset.name)
