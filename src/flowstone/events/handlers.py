"""One attached observer: isolated, timed, counted, and put in quarantine with back-off when it fails or is slow."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from flowstone.events.catalogue import HandlerFailed
from flowstone.events.event import Event
from flowstone.events.losses import Loss, Losses
from flowstone.events.spans import message_of
from flowstone.foundation.forks import renew_in_children

SLOW_NS = 100_000_000
FIRST_QUARANTINE_NS = 1_000_000_000
LONGEST_QUARANTINE_NS = 300_000_000_000
DRAIN_SECONDS = 5.0

log = logging.getLogger("flowstone.handlers")


class HandlerInfo(NamedTuple):
    """What is known of an attached handler: every event offered is in ``calls``, ``skipped``, ``dropped`` or ``waiting``.

    ``failures`` are calls that raised, ``slow`` calls that took over 100 ms; ``skipped`` came in quarantine, ``dropped`` did not
    fit the queue, ``waiting`` are in it. ``busy_ns`` is the time of all calls, ``slowest_ns`` that of the longest.
    """

    id: str
    events: tuple[str, ...]
    queued: bool
    calls: int
    failures: int
    slow: int
    skipped: int
    dropped: int
    quarantined: bool
    waiting: int = 0
    busy_ns: int = 0
    slowest_ns: int = 0


class Depth(threading.local):
    """How many handlers the current thread's work came through: those it is inside of, and those whose queues it waited in."""

    value = 0


class Surroundings(Protocol):
    """What a handler needs of the dispatcher."""

    monotonic_ns: Callable[[], int]
    depth: Depth
    losses: Losses

    def emit(self, cls: type[Event], /, **fields: Any) -> None:
        """Emit an event."""
        ...


class Handler:
    """An observer that runs in the emitting thread."""

    queued = False

    def __init__(self, id: str, patterns: tuple[str, ...], function: Callable[[Event], Any], dispatcher: Surroundings) -> None:
        self.id, self.patterns = id, patterns
        self._function, self._dispatcher = function, dispatcher
        self._clock = dispatcher.monotonic_ns
        # Without a lock, and exact all the same: a thread is not interrupted between reading and writing a number.
        self.calls = self.failures = self.slow = self.skipped = self.dropped = 0
        self.busy_ns = self.slowest_ns = 0
        self._in_a_row = 0
        self._quarantined_until = 0
        self.patient = False
        """Whether it is not put in quarantine for being slow."""

    def hears(self, name: str) -> bool:
        """Whether an event called *name* is for this handler."""
        return any(name == p or (p.endswith("*") and name.startswith(p[:-1])) for p in self.patterns)

    def hears_prefix(self, prefix: str) -> bool:
        """Whether any event whose name starts with *prefix* could be for this handler."""
        return any(p.startswith(prefix) or (p.endswith("*") and prefix.startswith(p[:-1])) for p in self.patterns)

    def info(self) -> HandlerInfo:
        """The handler's figures now."""
        return HandlerInfo(
            self.id,
            self.patterns,
            self.queued,
            self.calls,
            self.failures,
            self.slow,
            self.skipped,
            self.dropped,
            bool(self._quarantined_until) and self._clock() < self._quarantined_until,
            self.waiting(),
            self.busy_ns,
            self.slowest_ns,
        )

    def waiting(self) -> int:
        """How many events it has accepted and not begun."""
        return 0

    def losses(self) -> list[Loss]:
        """What it was offered and did not handle."""
        counts = (("dropped", self.dropped), ("failed", self.failures), ("quarantined", self.skipped))
        return [Loss(self.id, reason, lost) for reason, lost in counts]

    def handle(self, happened: Event) -> None:
        """Handle the event; never raises, except ``KeyboardInterrupt``."""
        started = self._clock()
        if self._quarantined_until and started < self._quarantined_until:
            self.skipped += 1
            return
        self.calls += 1
        failure: BaseException | None = None
        try:
            self._function(happened)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - telemetry never breaks work, whatever it raises
            failure = error
        elapsed = self._clock() - started
        self.busy_ns += elapsed
        if elapsed > self.slowest_ns:  # noqa: PLR1730 - between a call of max and the writing another thread could come
            self.slowest_ns = elapsed
        if failure is not None:
            self.failures += 1
            self._punish(happened, "error", elapsed, failure)
            del failure  # it refers to this frame, which refers to it
            return
        is_slow = elapsed > SLOW_NS and not self.queued
        self.slow += is_slow
        if is_slow and not self.patient:
            self._punish(happened, "slow", elapsed, None)
        elif self._in_a_row:
            self._in_a_row = self._quarantined_until = 0

    def close(self) -> None:
        """Nothing is held."""

    def _punish(self, happened: Event, kind: str, elapsed: int, error: BaseException | None) -> None:
        pause = min(FIRST_QUARANTINE_NS << min(self._in_a_row, 20), LONGEST_QUARANTINE_NS)
        self._in_a_row += 1
        self._quarantined_until = self._clock() + pause
        what = type(error).__name__ if error else f"took {elapsed / 1e6:.0f} ms"  # its text, redacted, is in the event
        log.warning("handler %s on %s: %s; quarantined for %g s", self.id, happened.name, what, pause / 1e9)
        if not isinstance(happened, HandlerFailed):
            self._dispatcher.emit(
                HandlerFailed,
                handler=self.id,
                event=happened.name,
                kind=kind,
                duration_ns=elapsed,
                quarantine_ns=pause,
                type=type(error).__name__ if error else "",
                message=message_of(error) if error else what,
            )


class QueuedHandler(Handler):
    """An observer behind a bounded queue and a thread; every event offered is handled, skipped or counted as dropped."""

    queued = True

    def __init__(
        self,
        id: str,
        patterns: tuple[str, ...],
        function: Callable[[Event], Any],
        dispatcher: Surroundings,
        capacity: int,
        linger: float = 0.0,
    ) -> None:
        super().__init__(id, patterns, function, dispatcher)
        self._capacity, self._linger = capacity, linger
        self._accepted = self._abandoned = 0
        self._closed = False
        self.renew()
        renew_in_children(self)

    def renew(self) -> None:
        """Begin with an empty queue and no thread; after a fork, what was waiting is the parent's."""
        self._queue: queue.Queue[tuple[Event, int] | None] = queue.Queue(self._capacity)
        self._thread: threading.Thread | None = None
        self._lock, self._hurry = threading.Lock(), threading.Event()
        self._accepted = self.calls + self.skipped + self._abandoned

    def waiting(self) -> int:
        """How many events are in the queue."""
        return self._accepted - self.calls - self.skipped - self._abandoned

    def handle(self, happened: Event) -> None:
        """Put the event in the queue, or count it as dropped; never waits."""
        with self._lock:
            if self._accept(happened):
                return
            self.dropped += 1
        self._dispatcher.losses.say(self.id, "dropped", self.dropped)

    def _accept(self, happened: Event) -> bool:
        if self._closed:
            return False
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=f"flowstone-handler-{self.id}", daemon=True)
                thread.start()
                self._thread = thread
            self._queue.put_nowait((happened, self._dispatcher.depth.value))
        except (queue.Full, RuntimeError):  # no thread can be started while the interpreter shuts down
            return False
        self._accepted += 1
        return True

    def close(self) -> None:
        """Handle what was accepted, for at most 5 seconds; what remains then is counted as dropped."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._hurry.set()
        if thread is None or thread is threading.current_thread():
            return
        try:
            self._queue.put(None, timeout=DRAIN_SECONDS)
            thread.join(DRAIN_SECONDS)
        except queue.Full:
            pass
        while thread.is_alive():
            try:
                if self._queue.get_nowait() is not None:
                    self.dropped += 1
                    self._abandoned += 1
            except queue.Empty:
                return

    def _work(self) -> None:
        while not (self._closed and self._queue.empty()):
            waiting = self._queue.get()
            if self._linger:
                self._hurry.wait(self._linger)
            while waiting is not None:
                happened, self._dispatcher.depth.value = waiting
                super().handle(happened)
                try:
                    waiting = self._queue.get_nowait()
                except queue.Empty:
                    break
            else:
                return
