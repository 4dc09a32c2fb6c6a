"""One thread of a process that works.

It says that the process lives, hears what others ask of its runs, and settles what dead processes left behind.
"""

from __future__ import annotations

import logging
import threading
import weakref

from flowstone.execution import cancel
from flowstone.execution.services import Services
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import FlowStoneError
from flowstone.stores import processes, runs
from flowstone.stores.liveness import DEAD_SECONDS

LISTEN_SECONDS = 1.0
BEAT_SECONDS = 5.0
REAP_SECONDS = 10.0
LOST_SECONDS = DEAD_SECONDS * 2 / 3
"""A process that could not say for so long that it lives stops working, before others may take it for dead."""

_logger = logging.getLogger("flowstone.heartbeat")


class Heartbeat:
    """Beats while its owner keeps it, at the latest until the process ends; whatever the store does, it goes on."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=_beat_on, args=(weakref.ref(self), self._ended), name="flowstone-heartbeat", daemon=True
        )
        self._heard_at = self._beat_at = self._reaped_at = services.clock.monotonic_ns()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until it has ended."""
        self._ended.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def tick(self) -> None:
        """Do what is due now."""
        now = self._services.clock.monotonic_ns()
        held = self._services.stopping.held()
        try:
            if now - self._beat_at >= BEAT_SECONDS * NANOSECONDS:
                self._beat_at = now
                self._beat()
                self._heard_at = now
            if held:
                self._listen(held)
            if held and now - self._reaped_at >= REAP_SECONDS * NANOSECONDS:
                self._reaped_at = now
                self._services.reap()
        except Exception as error:  # noqa: BLE001 - the store may refuse in many ways; the next beat tries again
            if now - self._heard_at >= LOST_SECONDS * NANOSECONDS:
                self._lose(f"the store could not be reached for {LOST_SECONDS:.0f} s ({_first_line(error)})")

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
        if self._services.stopping.held():
            _logger.warning("%s: its work stops, its runs wait to be resumed", why)
            self._services.stopping.lose()


def _beat_on(owned: weakref.ref[Heartbeat], ended: threading.Event) -> None:
    while not ended.wait(LISTEN_SECONDS):
        heartbeat = owned()
        if heartbeat is None:
            return
        heartbeat.tick()
        del heartbeat


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, FlowStoneError) else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
