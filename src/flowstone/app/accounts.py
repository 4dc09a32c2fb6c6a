"""What a process's observers lost and how its handlers fare, told to the store: when a run ends, with heartbeats, at the end."""

from __future__ import annotations

import logging

from flowstone.events.catalogue import TelemetryLost
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.losses import Loss
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.serialize import to_json
from flowstone.stores import processes
from flowstone.stores.database import Database

LOSSES_EVERY_NS = 60 * NANOSECONDS
"""A run that goes on and on says once in a minute what was lost."""

_logger = logging.getLogger("flowstone.accounts")


class Accounts:
    """Tells what changed since it was told last; never raises, because telemetry breaks no work."""

    def __init__(self, dispatcher: Dispatcher, process: str) -> None:
        self._dispatcher, self._process = dispatcher, process
        self._figures = ""
        self._lost_at = dispatcher.monotonic_ns()

    def beat(self, database: Database) -> None:
        """Tell how handlers fare, and once in a while what was lost."""
        now = self._dispatcher.monotonic_ns()
        due = now - self._lost_at >= LOSSES_EVERY_NS
        if due:
            self._lost_at = now
        self._tell(database, self._dispatcher.losses.take() if due else [])

    def tell(self, database: Database) -> None:
        """Tell everything, now."""
        self._tell(database, self._dispatcher.losses.take())

    def _tell(self, database: Database, lost: list[Loss]) -> None:
        losses = self._dispatcher.losses
        handlers = [handler._asdict() for handler in self._dispatcher.figures()]
        figures = to_json({"handlers": handlers, "lost": [loss._asdict() for loss in losses.totals()]})
        if figures == self._figures and not lost:
            return
        try:
            with database.transaction() as tx:
                for loss in lost:
                    tx.emit(TelemetryLost, sink=loss.sink, reason=loss.reason, lost=loss.lost, process=self._process)
                processes.tell(tx, self._process, figures)
        except Exception as error:  # noqa: BLE001 - the store may refuse in many ways; the next time tells it
            losses.give_back(lost)
            _logger.warning("what observers lost could not be recorded: %s", error)
            return
        self._figures = figures
        losses.forgive({loss.sink for loss in lost}, len(lost))
