"""What the work of this process was asked to stop: by a signal, by another process through the store, or by losing the store.

Asking changes nothing by itself. Whoever works on a run looks at :meth:`Stopping.of` before each step, starts nothing when
there is a :class:`Stop`, ends what runs as the stop says, settles it, and raises :class:`StopRequest`; ``run`` then says what
becomes of the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from flowstone.foundation.clock import NANOSECONDS, Clock, SystemClock
from flowstone.foundation.errors import UsageError

Kind = Literal["drain", "cancel", "lost"]


class Stop(NamedTuple):
    """What was asked of a run: ``drain`` lets what runs finish until *deadline* (monotonic), ``cancel`` and ``lost`` end it now.

    A drain can be hurried: look again after every wait. *message* says who asked, for what is ended by it.
    """

    kind: Kind
    deadline: int | None = None
    message: str = ""


class StopRequest(BaseException):
    """The work on a run ends because that was asked for: ``cancel`` ends the run, ``drain`` and ``lost`` leave it waiting."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind)
        self.kind: Kind = kind


class Stopping:
    """The stops asked of the runs this process holds; may be asked and read in any thread, and asked in a signal handler."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked = False
        self._drain: Stop | None = None
        self._stops: dict[str, Stop] = {}
        self._held: set[str] = set()
        self._wakers: dict[str, Callable[[], None]] = {}
        self._inside = ""
        self._elsewhere: dict[str, int] = {}
        self._changed = threading.Condition(threading.RLock())  # reentrant: a signal handler may ask while this thread holds it
        self.interrupt: Callable[[], None] | None = None
        """Interrupts the main thread as Ctrl-C does. Set by an application that owns its process; a library has none."""

    # -- for whoever works on a run -------------------------------------------------------------------------------------

    def of(self, run_id: str) -> Stop | None:
        """What was asked of the run, or ``None``; costs one attribute read while nothing is asked of anybody."""
        if not self._asked:
            return None
        return self._stops.get(run_id) or self._drain

    def ends_now(self, run_id: str) -> bool:
        """Whether what runs of the run is to end now: users' code that can be ended asks this from time to time."""
        stop = self.of(run_id)
        return stop is not None and (stop.deadline is None or self._clock.monotonic_ns() >= stop.deadline)

    def request(self, run_id: str) -> BaseException:
        """What to raise after an attempt was interrupted: the stop that was asked for, or else the user's own Ctrl-C."""
        stop = self.of(run_id)
        return KeyboardInterrupt() if stop is None else StopRequest(stop.kind)

    def wait(self, run_id: str, seconds: float) -> None:
        """Wait *seconds*, or until something is asked of the run; a clock that is moved by hand moves on at once."""
        if not isinstance(self._clock, SystemClock):
            self._clock.sleep(seconds)
            return
        with self._changed:
            self._changed.wait_for(lambda: self.of(run_id) is not None, seconds)

    def add_waker(self, run_id: str, wake: Callable[[], None]) -> None:
        """Call *wake*, which must not block, whenever something is asked of the run; at once when it is asked already."""
        with self._changed:
            self._wakers[run_id] = wake
        if self.of(run_id) is not None:
            wake()

    def remove_waker(self, run_id: str) -> None:
        """Call it no more."""
        with self._changed:
            self._wakers.pop(run_id, None)

    @contextmanager
    def interruptible(self, run_id: str) -> Iterator[None]:
        """User code of the run is running in this thread: a stop that ends it now may interrupt it, if an application allows."""
        if threading.current_thread() is not threading.main_thread():
            self._elsewhere[run_id] = threading.get_ident()
            try:
                yield
            finally:
                with self._changed:  # an interrupt that is on its way is sent before this and not later
                    self._elsewhere.pop(run_id, None)
            return
        if self.interrupt is None:
            yield
            return
        try:
            with self._changed:
                self._inside = run_id
                stop = self.of(run_id)
                if stop is not None and stop.deadline is None:
                    self.interrupt()  # asked after the last look
            yield
        finally:
            self._inside = ""
            with self._changed:  # an interrupt that is on its way lands here and not later
                pass

    # -- for whoever holds runs -----------------------------------------------------------------------------------------

    @contextmanager
    def holding(self, run_id: str) -> Iterator[None]:
        """This process works on the run: it can be asked to stop, and others look after it while it does.

        Raises :class:`UsageError` when another thread of it does so already.
        """
        with self._changed:
            if run_id in self._held:
                raise UsageError(f"{run_id} is being worked on by this process", hint=f"flowstone show {run_id}")
            self._held.add(run_id)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(run_id)
                self._stops.pop(run_id, None)
                self._wakers.pop(run_id, None)
                self._asked = bool(self._stops or self._drain)

    def held(self) -> list[str]:
        """The runs this process works on now."""
        with self._changed:
            return sorted(self._held)

    # -- for whoever asks -----------------------------------------------------------------------------------------------

    def drain(self, grace_seconds: float) -> None:
        """Start nothing more in this process; what runs may finish for *grace_seconds*, then it is to be ended.

        Asked with 0 it ends at once, user code in the main thread too: nobody else does that when the grace is over.
        """
        deadline = self._clock.monotonic_ns() + int(grace_seconds * NANOSECONDS)
        with self._changed:
            self._drain = Stop("drain", deadline)
            self._tell(list(self._held), now=grace_seconds <= 0)

    def cancel(self, run_id: str, message: str) -> None:
        """End the run as soon as possible; nothing happens when this process does not hold it. *message* says who asked."""
        with self._changed:
            self._stop([run_id], Stop("cancel", message=message))

    def suspend(self, run_id: str, interrupt: Callable[[int], None] | None = None) -> None:
        """End what runs of the run and leave it waiting to be resumed; nothing happens when this process does not hold it.

        The first time, *interrupt* is called with the thread its code is in, if that is not the main thread.
        """
        with self._changed:
            first = self._stop([run_id], Stop("drain", self._clock.monotonic_ns()))
            if first and interrupt is not None and run_id in self._elsewhere:
                interrupt(self._elsewhere[run_id])

    def lose(self) -> bool:
        """End the work on every run held now, others may take this process for dead; later runs are not concerned.

        Return whether any run hears it for the first time.
        """
        with self._changed:
            return self._stop(list(self._held), Stop("lost"))

    def _stop(self, run_ids: list[str], stop: Stop) -> bool:
        asked = [run_id for run_id in run_ids if run_id in self._held and run_id not in self._stops]
        self._stops.update(dict.fromkeys(asked, stop))
        self._tell(asked, now=True)
        return bool(asked)

    def _tell(self, run_ids: list[str], *, now: bool) -> None:
        self._asked = bool(self._stops or self._drain)
        self._changed.notify_all()
        for run_id in run_ids:
            if run_id in self._wakers:
                self._wakers[run_id]()
        if now and self._inside in run_ids and self.interrupt is not None:
            self.interrupt()
