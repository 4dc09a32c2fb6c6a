"""A process that works says that it lives, hears what others ask of its runs, and settles what dead processes left behind."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

from flowstone.execution import cancel
from flowstone.execution.services import Services
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import FlowStoneError
from flowstone.stores import processes, runs
from flowstone.stores.database import Database
from flowstone.stores.liveness import DEAD_SECONDS

LISTEN_SECONDS = 1.0
BEAT_SECONDS = 5.0
REAP_SECONDS = 10.0
LOST_SECONDS = DEAD_SECONDS * 2 / 3
"""A process that could not say for so long that it lives stops working, before others may take it for dead."""
BLOCKED_LOOKS = (LOST_SECONDS - BEAT_SECONDS) / LISTEN_SECONDS

_logger = logging.getLogger("flowstone.heartbeat")


class Heartbeat:
    """Beats while its owner keeps it, at the latest until the process ends; whatever the store does, it goes on.

    Where processes are *judged* by their heartbeats, because a database server is shared by hosts that share no locks, a second
    thread looks whether the first one is stuck in the store. *told* is called with each beat: it has news for the store;
    *again* is called each second.
    """

    def __init__(
        self,
        services: Services,
        *,
        judged: bool,
        told: Callable[[Database], object] = id,
        again: Callable[[], object] = bool,
    ) -> None:
        self._services, self._judged, self._told, self._again = services, judged, told, again
        self._ended = threading.Event()
        self._threads = [self._thread(Heartbeat.tick)] + ([self._thread(Heartbeat.watch)] if judged else [])
        self._heard_at = self._beat_at = self._reaped_at = services.clock.monotonic_ns()
        self._beats = self._watched = self._looks = 0

    def _thread(self, act: Callable[[Heartbeat], None]) -> threading.Thread:
        owned = (weakref.ref(self), self._ended, act)
        return threading.Thread(target=_again_and_again, args=owned, name=f"flowstone-{act.__name__}", daemon=True)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait until it has ended, or is stuck in the store."""
        self._ended.set()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(BEAT_SECONDS)

    def tick(self) -> None:
        """Do what is due now."""
        now = self._services.clock.monotonic_ns()
        held = self._services.stopping.held()
        self._beats += 1
        try:
            if now - self._beat_at >= BEAT_SECONDS * NANOSECONDS:
                self._beat_at = now
                self._beat()
                self._heard_at = now
                self._told(self._services.database)
            self._again()
            if held:
                self._listen(held)
            if held and now - self._reaped_at >= REAP_SECONDS * NANOSECONDS:
                self._reaped_at = now
                self._services.reap()
        except Exception as error:  # noqa: BLE001 - the store may refuse in many ways; the next beat tries again
            if self._judged and now - self._heard_at >= LOST_SECONDS * NANOSECONDS:
                self._lose(f"the store could not be reached for {LOST_SECONDS:.0f} s ({_first_line(error)})")
        finally:
            self._beats += 1

    def watch(self) -> None:
        """Look whether one tick goes on and on. Looks are counted, not seconds: when no thread runs nothing is stuck."""
        stuck = self._beats % 2 and self._beats == self._watched
        self._watched, self._looks = self._beats, self._looks + 1 if stuck else 0
        if self._looks >= BLOCKED_LOOKS:
            self._lose("the store does not answer")

    def _beat(self) -> None:
        services = self._services
        services.database.measure_clock()
        with services.database.transaction() as tx:
            alive = processes.beat(tx, services.process, services.database.now())
        if not alive:
            self._lose("this process was taken for dead")

    def _listen(self, held: list[str]) -> None:
        with self._services.database.reading() as connection:
            asked = {
                run_id: cancel.message(connection, self._services.project, run_id)
                for run_id in runs.cancel_requested(connection, held)
            }
        for run_id, message in asked.items():
            self._services.stopping.cancel(run_id, message)

    def _lose(self, why: str) -> None:
        if self._services.stopping.lose():
            _logger.warning("%s: its work stops, its runs wait to be resumed", why)


def _again_and_again(owned: weakref.ref[Heartbeat], ended: threading.Event, act: Callable[[Heartbeat], None]) -> None:
    while not ended.wait(LISTEN_SECONDS):
        heartbeat = owned()
        if heartbeat is None:
            return
        act(heartbeat)
        del heartbeat


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, FlowStoneError) else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
